"""What made a run's value, and what ``dimr why`` found, in words."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dimr.paper.results import RunResult
from dimr.stages.provenance import METRICS_DIGEST

if TYPE_CHECKING:
    from dimr.paper.explain import Explanation

WIDTH = 20  # of names
SIX_DIGITS = 1e-5
"""Relative: tables and ``seeds.csv`` are written with six digits, each off by half of the last."""
TRACED: dict[str, str | dict[str, str]] = {
    "keys": {"training": "samples.model.key", "sampling": "samples.key", "evaluation": "key"},
    "seed": {"training": "samples.model.config.seed", "sampling": "samples.config.seed"},
    "weights": "samples.model.source",  # of the authors', where they are
    "training_steps": "samples.model.steps",
    "samples": "images",
    "sampled_from": "samples.config.source",  # of a sanity row: real, reconstruction
    "guidance": "samples.config.guidance",
    "evaluations": "samples.config.steps",
    "solver": "samples.config.solver",
    "extractor": "extractor",
    "extractor_weights": "extractor_weights",
    "reference": "reference",
    "evaluate": "evaluate",
}
"""What is said about a run, and where its record (``provenance``) has it."""
MADE = ("command", "git_revision", "git_dirty", "code", "device", "machine", "versions")
"""What a stage's record says about how its result was made (``provenance.collect``)."""


def trace(made: RunResult, run: str, setting: str) -> dict[str, Any]:
    """Everything that a run's records say about its value; plain JSON.

    ``steps`` are in order: training (one per session) or import, sampling, evaluation.
    """

    def said(path: str | dict[str, str]) -> Any:
        if isinstance(path, dict):
            return {name: said(one) for name, one in path.items()}
        value: Any = made.record
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    sessions = [("train", one) for one in made.model.get("sessions", [])]
    stages = [*(sessions or [("import", made.model)]), ("sample", made.samples),
              ("evaluate", made.record)]  # fmt: skip
    return {
        "run": run,
        "setting": setting,
        "metrics": str(made.file),
        "metrics_sha256": said(METRICS_DIGEST),
        **{name: said(path) for name, path in TRACED.items()},
        "steps": [
            {"step": stage, **{key: one.get(key) for key in MADE}}
            for stage, one in stages
            if one.get("command")
        ],
    }


# --- for people -----------------------------------------------------------------------------------


def why_text(explanations: "Sequence[Explanation]") -> str:
    """Each cell, its runs and their steps, as indented lines."""
    return "\n\n".join("\n".join(_cell(one)) for one in explanations)


def _line(name: str, value: Any, indent: int = 0) -> str:
    return f"{' ' * indent}{name:<{WIDTH - indent}}{value}".rstrip()


def _cell(one: "Explanation") -> Iterator[str]:
    yield _line("table", one.table)
    yield _line("row", f"{one.row} ({one.block})" if one.block else one.row)
    if one.setting:
        yield _line("setting", one.setting)
    same = one.heading in ("", one.column)
    yield _line("column", one.column if same else f"{one.column} ({one.heading})")
    if one.verdict != "unchecked":
        yield _line("value", f"{one.value or 'blank'}{f', printed {one.text}' if one.text else ''}")
        yield _line("", one.how)
    yield _line("in the table", _stated(one))
    for missing in one.missing:
        known = "" if missing["recorded"] is None else f" (recorded: {missing['recorded']:g})"
        what = f"{missing['run']}, {missing['setting']}{known}: {missing['command']}"
        yield _line("not available", what)
    for run in one.runs:
        yield ""
        yield from _run(run)
    if one.runs:
        yield ""
        yield _line("table", one.command)


def _stated(one: "Explanation") -> str:
    if one.stated is None:
        return "no such cell: the table is of another definition"
    stated = one.stated or "blank"
    if one.verdict == "unchecked":
        return f"{stated}: cannot be checked: {one.absent}"
    what = f"the recorded seeds in {one.seeds}" if one.seeds else "its runs"
    if one.verdict == "wrong":
        return f"{stated}: NOT what {what} give: stale, or edited"
    if one.seeds is None:
        return f"{stated}: the same"
    where = one.absent if one.runs else "the runs themselves are not available"
    beside = where if one.missing else "the runs here are reruns, which differ"
    return f"{stated}: agrees with {what}; {beside}"


def _run(run: dict[str, Any]) -> Iterator[str]:
    yield _line("run", f"{run['run']}, {run['setting']}")
    value, recorded = run["value"], run["recorded"]
    if value is not None:
        yield _line("value", repr(value), 2)
    if value is not None and recorded is not None:
        yield _line("recorded", _rerun(value, recorded), 2)
    yield _line("metrics", f"{run['metrics']}, sha256 {run['metrics_sha256']}, unchanged", 2)
    for name in TRACED:
        if run[name] is not None:
            yield _line(name.replace("_", " "), _plain(run[name]), 2)
    before = None
    for step in run["steps"]:
        yield _line(step["step"], step["command"], 2)
        made = {key: value for key, value in step.items() if key not in ("step", "command")}
        yield _line("", "same code and machine as the step before" if made == before else _by(made))
        before = made


def _rerun(value: float, recorded: float) -> str:
    if math.isclose(value, recorded, rel_tol=SIX_DIGITS):
        return f"{recorded:g}: the same, to six digits"
    share = f" ({abs(value - recorded) / abs(recorded):.1%})" if recorded else ""
    return f"{recorded:g}: a rerun: differs by {abs(value - recorded):.3g}{share}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        said = {key: one for key, one in value.items() if one is not None}
        return ", ".join(f"{key} {_plain(one)}" for key, one in said.items()) or "none"
    return value if isinstance(value, str) else json.dumps(value)


def _by(made: dict[str, Any]) -> str:
    """Code, machine and versions on one line."""
    state = " with uncommitted changes" if made["git_dirty"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in (made["versions"] or {}).items())
    git = f"git {made['git_revision'] or 'unknown'}{state}"
    return f"{git}, code {made['code']}; {made['device']}, {made['machine']}; {versions}"
