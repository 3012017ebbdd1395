"""Takes the place of modules of dimr.cli in tests of the workflow's contracts.

Each step writes its outputs with the real keys, and its name into calls.txt. The text of ``MODEL``
stands for the code of a network: experiments with other code give other metrics.
"""

import json
import os
import time
from pathlib import Path

from dimr.config import schema as settings
from dimr.config.recipes import load_autoencoder_config
from dimr.config.runs import load_section, section_key
from dimr.stages.provenance import sealed

MODEL = "1.0"
SECTIONS = {
    "images": settings.Images,
    "autoencoder": settings.Autoencoder,
    "encode": settings.Latents,
    "classifier": settings.Classifier,
    "train": settings.TrainConfig,
    "sample": settings.SampleConfig,
    "baseline": settings.BaselineConfig,
    "evaluate": settings.EvaluateConfig,
}
COMMANDS = {
    "data": ["images", "autoencoder", "encode", "classifier"],
    "training": ["train"],
    "sampling": ["sample", "baseline"],
    "evaluation": ["evaluate", "table"],
}
PATHS = [
    "config", "images", "autoencoder", "data", "model", "samples", "classifier", "out", "log-csv",
    "state", "metrics", "provenance", "table", "runs", "csv", "markdown", "latex", "picture",
    "previews",
]  # fmt: skip


def add(steps):
    for command in COMMANDS[__name__.rsplit(".", 1)[1]]:
        parser = steps.add_parser(command)
        parser.set_defaults(handler=handle, command=command)
        for path in PATHS:
            parser.add_argument(f"--{path}", type=Path)
        parser.add_argument("--threads")
        parser.add_argument("--stop-after")
        parser.add_argument("--partial", action="store_true")


def recorded(folder):
    return json.loads((folder / "record.json").read_text())["key"]


def handle(options):
    command = options.command
    with open("calls.txt", "a") as calls:
        calls.write(f"{command}\n")
    if command == "table":
        for path in filter(None, (options.csv, options.markdown, options.latex, options.picture)):
            path.write_text("table")
        return
    if command == "autoencoder":
        config = load_autoencoder_config(options.config)
    else:
        config = load_section(SECTIONS[command], options.config)
    inputs = {
        "images": [],
        "autoencoder": [options.images],
        "encode": [options.autoencoder],
        "classifier": [options.images],
        "train": [options.data],
        "sample": [options.model, options.autoencoder],
        "baseline": [options.images],
        "evaluate": [options.samples, options.images, options.classifier],
    }[command]
    if command == "baseline" and config.source == "reconstruction":
        inputs = [options.images, options.autoencoder]
    key = section_key(config, *map(recorded, inputs))
    if command == "evaluate":
        value = json.loads((options.samples / "record.json").read_text())["value"]
        options.metrics.write_text(json.dumps({"value": value}))
        record = sealed({"key": key, "cost": {}}, options.metrics)
        options.provenance.write_text(json.dumps(record))
        return
    record = {"key": key}
    if command == "train":
        train(config, options, key)
        record["value"] = float(MODEL) * config.train.steps
    if command == "sample":
        record["value"] = json.loads((options.model / "record.json").read_text())["value"]
    if command == "baseline":
        record["value"] = 0.0
    options.out.mkdir(parents=True)
    (options.out / "record.json").write_text(json.dumps(record))


def train(config, options, key):
    """A trainer of a few lines: counts steps in its state, stops early if told, fails if told."""
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
