"""The provenance of a cell for people."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from dimr.paper.explain import Explanation
from dimr.paper.explain.recorded import SIX_DIGITS

WIDTH = 14  # of names


def why_text(explanations: Sequence[Explanation]) -> str:
    """Each cell, its runs and their steps, as indented lines."""
    return "\n\n".join("\n".join(_cell(one)) for one in explanations)


def _line(name: str, value: Any, indent: int = 0) -> str:
    return f"{' ' * indent}{name:<{WIDTH - indent}}{value}".rstrip()


def _cell(one: Explanation) -> Iterator[str]:
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
        yield _line(
            "not available",
            f"{missing['run']}, {missing['setting']}{known}: {missing['command']}",
        )
    for run in one.runs:
        yield ""
        yield from _run(run)
    if one.runs:
        yield ""
        yield _line("table", one.command)


def _stated(one: Explanation) -> str:
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
    return f"{stated}: agrees with {what}; {_beside(one)}"


def _beside(one: Explanation) -> str:
    """Of a value that recorded numbers give: where its runs are."""
    if not one.missing:
        return "the runs here are reruns, which differ"
    return "the runs themselves are not available" if not one.runs else one.absent


def _run(run: dict[str, Any]) -> Iterator[str]:
    yield _line("run", f"{run['run']}, {run['setting']}")
    if run["value"] is not None:
        yield _line("value", repr(run["value"]), 2)
        if run["recorded"] is not None:
            yield _line("recorded", _rerun(run["value"], run["recorded"]), 2)
    yield _line("metrics", f"{run['metrics']}, sha256 {run['metrics_sha256']}, as made", 2)
    yield _line("keys", _pairs(run["keys"]), 2)
    yield _line("seed", _pairs(run["seed"]), 2)
    if run["weights"]:
        yield _line("weights", _pairs(run["weights"]), 2)
    yield _line("samples", _samples(run), 2)
    if run["guidance"]:
        yield _line("guidance", _pairs(run["guidance"]), 2)
        solver = f"{run['solver']}, {run['evaluations']} network evaluations an image"
        yield _line("solver", solver, 2)
    yield _line("features", _features(run), 2)
    yield _line("reference", _pairs(run["reference"] or {}), 2)
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


def _pairs(values: dict[str, Any]) -> str:
    said = {key: value for key, value in values.items() if value is not None}
    return ", ".join(f"{key} {_plain(value)}" for key, value in said.items()) or "none"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _samples(run: dict[str, Any]) -> str:
    source = run["sampled_from"]
    drawn = f", {source} images, none drawn by a network" if source else ""
    trained = run["training_steps"]
    return f"{run['samples']}{drawn}" + (f", after {trained} training steps" if trained else "")


def _features(run: dict[str, Any]) -> str:
    weights = run["extractor_weights"]
    own = f", weights {weights['file']}, sha256 {weights['sha256']}" if weights else ""
    asked = {
        k: v for k, v in (run["evaluate"] or {}).items() if k in ("isc_splits", "prc_neighborhood")
    }
    return f"{run['extractor']}{own}" + (f"; {_pairs(asked)}" if asked else "")


def _by(made: dict[str, Any]) -> str:
    """Code, machine and versions on one line."""
    state = {None: "", True: " with uncommitted changes", False: ""}[made["git_dirty"]]
    versions = ", ".join(f"{name} {version}" for name, version in (made["versions"] or {}).items())
    git = f"git {made['git_revision'] or 'unknown'}{state}"
    return f"{git}, code {made['code']}; {made['device']}, {made['machine']}; {versions}"
