# A run's model: trained here, or the authors' own. The state of training lies outside the outputs,
# which are deleted when a job fails; the command saves and leaves some minutes before the time of a
# cluster's job is up, and the same command goes on (contract C).


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
    threads: cores("train")
    resources:
        **of_job("train"),
        launcher=launcher,
        threads_each=threads_a_process,
        seconds=seconds_to_train,
    shell:
        "left=logs/{wildcards.run}/train.exit; rm -f $left; "
        "{resources.launcher} --log {log} train --config {input.config} --data {input.data} --out {output.model} "
        "--log-csv {output.log_csv} --state runs/{wildcards.run}/state "
        "--autoencoder {input.autoencoder} --previews runs/{wildcards.run}/previews "
        "--threads {resources.threads_each} --stop-after {resources.seconds} "
        "|| {{ code=$?; echo $code > $left; exit $code; }}"


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
