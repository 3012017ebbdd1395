"""Stages of a few lines, for tests of the workflow's contracts: copied into a project's stages/.

Each stage keeps its definition (command, places, configuration, keys) and leaves its outputs with
the real keys, and its name in calls.txt. The text of ``MODEL`` stands for the code of a network:
experiments with other code give other metrics.
"""

import functools
import json
import os
import time
from pathlib import Path

from dimr.runtime.record import read_record, seal
from dimr.stages.job import Job
from dimr.stages.provenance import sealed

MODEL = "1.0"


def install(stages):
    """Put ``run`` in place of what the stages do."""
    for stage in stages.values():
        stage.run = functools.partial(run, stage)


def run(stage, options):
    told(stage.name)
    job = Job(stage, options)
    if stage.name == "evaluate":
        value = read_record(options.samples)["value"]
        options.metrics.write_text(json.dumps({"value": value}))
        record = sealed({"key": job.key, "cost": {}}, options.metrics)
        options.provenance.write_text(json.dumps(record))
        return
    if not stage.result.is_folder:
        options.out.write_text("")
        return
    facts = {}
    if stage.name == "train":
        train(job.config, options, job.key)
        facts["value"] = float(MODEL) * job.config.train.steps
    elif stage.result.kind == "samples":
        model = getattr(options, "model", None)
        facts["value"] = read_record(model)["value"] if model else 0.0
    seal(options.out, stage.result.kind, {"key": job.key, **facts})


def table(options):
    told("table")
    for path in filter(None, (options.csv, options.markdown, options.latex, options.picture)):
        Path(path).write_text("table")


def compile_step(_):
    told("compile")


def told(name):
    with open("calls.txt", "a") as calls:
        calls.write(f"{name}\n")


def train(config, options, key):
    """A trainer of a few lines: counts steps in its state, and stops early or fails on request."""
    state = options.state / key
    state.mkdir(parents=True, exist_ok=True)
    steps = state / "steps"
    done = int(steps.read_text()) if steps.exists() else 0
    (state / "resumed_from").write_text(str(done))
    while done < config.train.steps:
        done += 1
        steps.write_text(str(done))
        if os.environ.get("STOP_AT") == str(done):
            raise SystemExit(75)
        if os.environ.get("SLOW"):
            time.sleep(0.05)
    options.log_csv.write_text(f"step,loss,images_per_second\n{done},1.0,1.0\n")
