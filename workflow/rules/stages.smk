# The pipeline: one rule per stage of dimr.stages, which says what it reads, writes and runs. Rules
# hand each other a result's record instead of its folder: the same content triggers nothing again.
# Environment variables say where to find files that must not be downloaded unasked (DIMR_IMAGENET,
# DIMR_REFERENCE, DIMR_EXTRACTOR, DIMR_CLASSIFIER): no result depends on them, so moving these files
# reruns nothing.

TRAIN = STAGES["train"]


for stage in [one for one in STAGES.values() if one is not TRAIN]:

    rule:
        name:
            stage.name
        input:
            unpack(partial(stage_inputs, stage)),
        output:
            **stage_outputs(stage),
        log:
            f"logs/{stage.log}.log",
        benchmark:
            f"logs/{stage.log}.tsv"
        wildcard_constraints:
            **stage.wildcards,
        priority: stage.priority
        localrule: stage.is_short
        conda:
            "../../environment.yml"
        threads: stage_threads(stage)
        resources:
            **stage_resources(stage),
        params:
            command=partial(stage_command, stage),
        shell:
            "dimr --log {log} {params.command} {resources.threads_option}"


ruleorder: baseline > sample
