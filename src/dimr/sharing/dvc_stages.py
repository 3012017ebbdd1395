"""dvc.yaml: the workspace run as DVC stages at fixed paths, derived from the stages (contract B).

Stage ``config`` writes the phases' files; every other one runs Snakemake for all that params.yaml
asks of it and depends on its phase's file, on what stands for the content of what it reads, and on
the code that decides its result: all that its work imports. Nothing in it names a dataset, a family
or a setting. ``make dvc.yaml`` writes the file, and a test compares it.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

from dimr.runtime.code import SOURCE, code_files, work_files
from dimr.runtime.record import RECORD
from dimr.runtime.strict_yaml import dump
from dimr.sharing.workspace import FOLDER, INPUTS, METRICS, RUN, SAMPLES
from dimr.stages.pipeline import STAGES

HEAD = """\
# The workspace run (params.yaml) as DVC stages at fixed paths, the same for every dataset. Made by
# `make dvc.yaml` from src/dimr/stages. Stage `config` writes the phases' files. `data` has all made
# that the run needs, and leaves links to it; it depends on keys and not on code, for changes of
# which Snakemake makes no data again. The code of the others is what a stage's work imports. A
# cluster: export SNAKEMAKE_PROFILE=slurm.
"""
DIMR = "PYTHONPATH=src python -m dimr"
CONFIG = f"{FOLDER}/config"
MODEL = f"{FOLDER}/model"
PLOTS = [
    ("loss", "loss", "Training loss (multi-scale, mean since the last line)", "loss"),
    ("speed", "images_per_second", "Training speed", "images per second"),
]


def dvc_yaml() -> str:
    """The text of dvc.yaml."""
    log = f"{FOLDER}/log.csv"
    metrics = {
        "outs": [f"{FOLDER}/metrics", f"{FOLDER}/provenance"],
        "metrics": [METRICS],
    }
    stages = {
        "config": _config_stage(),
        "data": {
            "cmd": ["snakemake -- workspace_data", f"{DIMR} workspace after data"],
            "deps": [f"{CONFIG}/data.yaml"],
            "outs": [INPUTS],
        },
        "train": _step("train", [], {"outs": [MODEL, log]}),
        "sample": _step("sample", [f"{MODEL}/{RECORD}"], {"outs": [f"{FOLDER}/samples", SAMPLES]}),
        "evaluate": _step("evaluate", [SAMPLES, f"{MODEL}/{RECORD}"], metrics),
    }
    plots = [
        {name: {"x": "step", "y": {log: column}, "title": title,
                "x_label": "training step", "y_label": label}}
        for name, column, title, label in PLOTS
    ]  # fmt: skip
    return HEAD + dump({"stages": stages, "plots": plots})


def _config_stage() -> dict[str, Any]:
    names = ("recipes", "sources", "variants")
    code = code_files("dimr.config.phases", "dimr.config.project")
    files = [f"{CONFIG}/{name}.yaml" for name in ("data", "train", "sample", "evaluate")]
    return {
        "cmd": f"{DIMR} config {RUN}",
        "deps": [*(f"experiments/{name}.yaml" for name in names), *_shortened(code)],
        "params": ["dataset", "model", "seed", "train", "sample", "evaluate"],
        "outs": [{file: {"cache": False, "persist": True}} for file in files],
    }


def _step(name: str, reads: list[str], writes: dict[str, Any]) -> dict[str, Any]:
    """A stage that makes a part of the run."""
    commands = [
        f"{DIMR} workspace before {name}",
        f"snakemake --allowed-rules {name} workspace_{name} -- workspace_{name}",
        *([] if name == "train" else [f"{DIMR} workspace after {name}"]),
    ]
    code = _shortened(work_files(type(STAGES[name]).__module__))
    deps = [f"{CONFIG}/{name}.yaml", f"{INPUTS}/{name}.json", *reads]
    return {"cmd": commands, "deps": [*deps, *code], **writes}


def _shortened(files: list[Path]) -> list[str]:
    """Paths below the repository; a folder in place of all of its modules."""
    by_folder = defaultdict(set)
    for file in files:
        by_folder[file.parent].add(file)
    root = SOURCE.parents[1]
    found = []
    for folder, own in sorted(by_folder.items()):
        is_whole = folder != SOURCE and own == set(folder.rglob("*.py"))
        paths = [folder] if is_whole else sorted(own)
        found += [path.relative_to(root).as_posix() for path in paths]
    return found
