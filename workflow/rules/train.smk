# A run's model: trained here, or the authors' own. The state of training lies outside the outputs,
# which are deleted when a job fails; the command saves and leaves 5 minutes before the job's time is
# up, and the same command goes on (contract C).


rule train:
    input:
        config=run_config("train"),
        data=of_dataset("latents"),
        autoencoder=of_dataset("autoencoder"),
    output:
        model=directory("runs/{run}/model"),
        log_csv="runs/{run}/log.csv",
    log:
        "logs/{run}/train.log",
    benchmark:
        "logs/{run}/train.tsv"
    wildcard_constraints:
        run=r"workspace|[\w-]+/[\w-]+/\d+",
    conda:
        "../../environment.yml"
    threads: threads_to_train
    resources:
        runtime=1440,  # minutes
    shell:
        "dimr --log {log} train --config {input.config} --data {input.data} --out {output.model} "
        "--log-csv {output.log_csv} --state runs/{wildcards.run}/state --threads {threads} "
        "--autoencoder {input.autoencoder} --previews runs/{wildcards.run}/previews "
        "--stop-after $(( {resources.runtime} * 60 - 300 ))"


rule published:
    input:
        config=run_config("import"),
    output:
        directory("runs/{run}/model"),
    log:
        "logs/{run}/import.log",
    benchmark:
        "logs/{run}/import.tsv"
    wildcard_constraints:
        run=r"[\w-]+/[\w-]+/published",
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} import --config {input.config} --out {output}"
