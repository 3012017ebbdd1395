"""What is behind a run's value: keys, seeds, settings, code, versions and commands."""

from pathlib import Path
from typing import Any

from dimr.paper.results import RunResult, RunSetting
from dimr.paper.tables.runs import METRICS
from dimr.stages.provenance import METRICS_DIGEST

ORIGIN = ("command", "git_revision", "git_dirty", "code", "device", "machine", "versions")
"""What a step's record says of how it was made (``provenance.collect``)."""


def run_value(made: RunResult, cell: RunSetting, key: str, root: Path) -> float | None:
    """What a run has for a column; None: no value of its own (``model``, ``seeds``, ...)."""
    if key == "epochs":
        return made.epochs(cell[0].split("/")[0], root)
    return made.value(key if key in made.metrics else base_key(key))


def base_key(key: str) -> str:
    """The metric that a column of deviations or differences is computed from."""
    if key in METRICS:
        return key
    return key.removesuffix("_std").removesuffix("_difference")


def trace(made: RunResult, run: str, setting: str, value: float | None) -> dict[str, Any]:
    """One run's value and everything that its records say of it; plain JSON.

    ``steps`` are in order: training (one a session) or import, sampling, evaluation.
    """
    record = made.record
    samples = record.get("samples", {})
    model, asked = samples.get("model", {}), samples.get("config", {})
    return {
        "run": run,
        "setting": setting,
        "value": value,
        "metrics": str(made.file),
        "metrics_sha256": record[METRICS_DIGEST],
        "keys": {
            "training": model.get("key"),
            "sampling": samples.get("key"),
            "evaluation": record.get("key"),
        },
        "seed": {
            "training": (model.get("config") or {}).get("seed"),
            "sampling": asked.get("seed"),
        },
        "weights": model.get("source"),  # of the authors', where they are
        "training_steps": model.get("steps"),
        "samples": record.get("images"),
        "sampled_from": asked.get("source"),  # of a sanity row: real, reconstruction
        "guidance": asked.get("guidance"),
        "evaluations": asked.get("steps"),
        "solver": asked.get("solver"),
        "extractor": record.get("extractor"),
        "extractor_weights": record.get("extractor_weights"),
        "reference": record.get("reference"),
        "evaluate": record.get("evaluate"),
        "steps": _steps(model, samples, record),
    }


def _steps(
    model: dict[str, Any], samples: dict[str, Any], record: dict[str, Any]
) -> list[dict[str, Any]]:
    sessions = [("train", one) for one in model.get("sessions", [])]
    made_of = sessions or [("import", model)]
    named = [*made_of, ("sample", samples), ("evaluate", record)]
    return [
        {"step": step, **{key: one.get(key) for key in ORIGIN}}
        for step, one in named
        if one.get("command")
    ]
