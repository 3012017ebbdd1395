# Images: drawn from a trained network, or, for the sanity rows, from the dataset itself.


rule sample:
    input:
        config=run_config("sample-{setting}"),
        model="runs/{run}/model",
        autoencoder=of_dataset("autoencoder"),
    output:
        directory("runs/{run}/samples/{setting}"),
    log:
        "logs/{run}/sample-{setting}.log",
    benchmark:
        "logs/{run}/sample-{setting}.tsv"
    conda:
        "../../environment.yml"
    threads: cores("sample")
    resources:
        **of_job("sample"),
    shell:
        "dimr --log {log} sample --config {input.config} --model {input.model} "
        "--autoencoder {input.autoencoder} --out {output} --threads {threads}"


rule baseline:
    input:
        unpack(baseline_input),
        config=run_config("sample-reference"),
        images=of_dataset("images"),
    output:
        directory("runs/{run}/samples/reference"),
    log:
        "logs/{run}/sample-reference.log",
    benchmark:
        "logs/{run}/sample-reference.tsv"
    wildcard_constraints:
        run=rf"[\w-]+/({'|'.join(BASELINES)})/\d+",
    conda:
        "../../environment.yml"
    resources:
        **of_job("baseline"),
    params:
        autoencoder=lambda wildcards, input: options(input, "autoencoder"),
    shell:
        "dimr --log {log} baseline --config {input.config} --images {input.images} "
        "{params.autoencoder} --out {output} --threads {threads}"


ruleorder: baseline > sample
