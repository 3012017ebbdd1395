# Metrics: numbers in one file, what made them in the other.


rule evaluate:
    input:
        unpack(cost_input),
        unpack(compared_with),
        config=run_config("evaluate"),
        samples="runs/{run}/samples/{setting}",
    output:
        metrics="runs/{run}/metrics/{setting}.json",
        provenance="runs/{run}/provenance/{setting}.json",
    log:
        "logs/{run}/evaluate-{setting}.log",
    benchmark:
        "logs/{run}/evaluate-{setting}.tsv"
    conda:
        "../../environment.yml"
    threads: cores("evaluate")
    resources:
        **of_job("evaluate"),
    params:
        others=lambda wildcards, input: options(
            input, "images", "classifier", "reference", "extractor_weights", "model"
        ),
    shell:
        "dimr --log {log} evaluate --config {input.config} --samples {input.samples} "
        "{params.others} --metrics {output.metrics} --provenance {output.provenance} "
        "--threads {threads}"
