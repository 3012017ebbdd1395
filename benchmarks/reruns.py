"""How far the numbers of a run move when it is run again: `python benchmarks/reruns.py`.

A finished run of the repository's `runs/` is trained, sampled and measured again, each time from
the same configuration, data and code, under one other condition: as it was; with two threads; with
the vector instructions of an older processor (AVX2) in PyTorch, its compiler and its matrix
products.
Compiled code is made for each condition: PyTorch's cache does not tell processors apart, and what
it had compiled for AVX-512 gave losses that were not finite where PyTorch itself used AVX2.
The table has the run's own numbers first; `--out results/digits/reruns.csv` is where the page on
the digits study reads it. Another day or machine: run it there; lines of other dates stay. A run
of the study that was trained again on another machine, its autoencoder and classifier too, is one
more condition: `--made-as "another machine"` adds its numbers without running anything.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from dimr.paper.results import read_result
from dimr.runtime.atomic import atomic_file

OLDER = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
CONDITIONS = {  # by name: threads, environment
    "again": (1, {}),
    "two threads": (2, {}),
    "AVX2 only": (1, OLDER),
}
WEIGHTS = "diffusion_pytorch_model.safetensors"
METRICS = ("fid_digits", "inception_score", "class_accuracy", "low_fidelity_share")
COLUMNS = ("date", "run", "condition", "setting", *METRICS, "weights_difference")


def dimr(stage, threads, environment, **paths):
    """One stage's command."""
    options = [
        text for name, path in paths.items() for text in (f"--{name.replace('_', '-')}", path)
    ]
    command = [sys.executable, "-m", "dimr", stage, "--threads", threads, *options]
    subprocess.run(list(map(str, command)), env={**os.environ, **environment}, check=True)


def rerun(run, settings, threads, environment, folder):
    """The run's stages in a folder of its own: weights, and metrics by setting."""
    data, config = Path("data") / run.parts[1], run / "config"
    how = (threads, {**environment, "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled")})
    model, encoder = folder / "model", data / "autoencoder"
    dimr("train", *how, config=config / "train.yaml", data=data / "latents", out=model,
         log_csv=folder / "log.csv", state=folder / "state")  # fmt: skip
    for setting in settings:
        samples = folder / "samples" / setting
        dimr("sample", *how, config=config / f"sample-{setting}.yaml", model=model,
             autoencoder=encoder, out=samples)  # fmt: skip
        dimr("evaluate", *how, config=config / "evaluate.yaml", samples=samples, model=model,
             images=data / "images", classifier=data / "classifier",
             metrics=folder / f"{setting}.json",
             provenance=folder / f"{setting}-provenance.json")  # fmt: skip
    return model


def difference(model, other):
    """The largest difference of a weight, over the largest weight of its tensor."""
    own, others = load_file(model / WEIGHTS), load_file(other / WEIGHTS)
    return max(
        float(np.abs(own[name] - others[name]).max() / max(np.abs(others[name]).max(), 1e-12))
        for name in own
    )


def lines_of(folder, run, condition, settings, change, date=""):
    """Lines of the table for one condition, of metrics in a folder; change None: not known."""
    for setting in settings:
        metrics = json.loads((folder / f"{setting}.json").read_text())
        yield {
            "date": date, "run": "/".join(run.parts[1:]),
            "condition": condition, "setting": setting,
            "weights_difference": "" if change is None else f"{change:.3g}",
            **{name: f"{metrics[name]:.6g}" for name in METRICS if name in metrics},
        }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/digits/dimr-xs-2r/0"))
    parser.add_argument("--settings", nargs="+", default=["unguided", "guided"])
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--made-as", metavar="CONDITION",
                        help="run nothing: add the run's numbers under this name")  # fmt: skip
    parser.add_argument("--out", type=Path, help="CSV that lines are added to")
    options = parser.parse_args()
    run, settings = options.run, options.settings
    for setting in settings:  # refused if changed since they were made
        read_result(run.parents[2], "/".join(run.parts[1:]), setting)
    today = datetime.now(UTC).date().isoformat()
    made = ("recorded", 0.0, "")  # condition, difference of the weights, date
    if options.made_as:
        made = (options.made_as, None, today)
    condition, change, date = made
    lines = list(lines_of(run / "metrics", run, condition, settings, change, date))
    if options.out:
        add(lines, options.out)
    for name in () if options.made_as else options.conditions:
        with tempfile.TemporaryDirectory() as folder:
            model = rerun(run, settings, *CONDITIONS[name], Path(folder))
            change = difference(model, run / "model")
            lines += lines_of(Path(folder), run, name, settings, change, today)
        if options.out:  # after each, so that a failure of the last does not lose hours
            add(lines, options.out)
    writer = csv.DictWriter(sys.stdout, COLUMNS)
    writer.writeheader()
    writer.writerows(lines)


def add(lines, path):
    """Add lines to a CSV; those of the same day, run, condition and setting are replaced."""

    def place(line):
        return tuple(line[name] for name in COLUMNS[:4])

    old = list(csv.DictReader(path.open(newline=""))) if path.is_file() else []
    fresh = set(map(place, lines))
    with atomic_file(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([line for line in old if place(line) not in fresh] + lines)


if __name__ == "__main__":
    main()
