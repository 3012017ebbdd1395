# Training: a stage whose command a launcher starts, and whose state is not among the outputs, as
# these are deleted when a job fails. The command saves and exits some minutes before the time of a
# cluster job is up, and the same command resumes (contract C).


rule train:
    input:
        unpack(partial(stage_inputs, TRAIN)),
    output:
        **stage_outputs(TRAIN),
    log:
        f"logs/{TRAIN.log}.log",
    benchmark:
        f"logs/{TRAIN.log}.tsv"
    wildcard_constraints:
        **TRAIN.wildcards,
    priority: TRAIN.priority
    conda:
        "../../environment.yml"
    threads: stage_threads(TRAIN)
    resources:
        **stage_resources(TRAIN),
        launcher=launcher,
        threads_each=threads_a_process,
        seconds=seconds_to_train,
        # For GPUs with less memory: --set-resources train:accumulate=4 train:checkpointing=block
        accumulate=1,
        checkpointing="none",
    params:
        command=partial(stage_command, TRAIN),
    shell:
        "left=logs/{wildcards.run}/train.exit; rm -f $left; "
        "{resources.launcher} --log {log} {params.command} "
        "--threads {resources.threads_each} --stop-after {resources.seconds} "
        "--accumulate {resources.accumulate} --checkpointing {resources.checkpointing} "
        "|| {{ code=$?; echo $code > $left; exit $code; }}"


rule compile:
    # A training's kernels, while its data is being made: without them training compiles by itself.
    # Requested only where somebody waits for it (`make demo`), so it may use all cores.
    input:
        config=partial(training_config, TRAIN),
    output:
        touch(".cache/compiled/{run}"),
    log:
        "logs/{run}/compile.log",
    wildcard_constraints:
        run=WILDCARDS["run"],
    localrule: True
    conda:
        "../../environment.yml"
    threads: stage_threads(TRAIN)
    resources:
        compilers=lambda wildcards: workflow.cores or 1,
    shell:
        "TORCHINDUCTOR_COMPILE_THREADS={resources.compilers} dimr --log {log} compile --config {input.config} --threads {threads}"
