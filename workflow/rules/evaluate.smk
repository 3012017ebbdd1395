# Metrics: numbers in one file, what made them in the other.


rule evaluate:
    input:
        unpack(cost_input),
        config=run_config("evaluate"),
        samples="runs/{run}/samples/{setting}",
        images=of_dataset("images"),
        classifier=of_dataset("classifier"),
    output:
        metrics="runs/{run}/metrics/{setting}.json",
        provenance="runs/{run}/provenance/{setting}.json",
    log:
        "logs/{run}/evaluate-{setting}.log",
    benchmark:
        "logs/{run}/evaluate-{setting}.tsv"
    conda:
        "../../environment.yml"
    params:
        cost=lambda wildcards, input: (
            f"--model {input.model}" if "model" in input.keys() else ""
        ),
    shell:
        "dimr --log {log} evaluate --config {input.config} --samples {input.samples} "
        "--images {input.images} --classifier {input.classifier} {params.cost} "
        "--metrics {output.metrics} --provenance {output.provenance} --threads {threads}"
