"""Where the state of a training lies: one folder for all that decides its steps.

How many steps there are is no part of it (the rate is constant after the warm-up): a training that
is to be longer resumes where the shorter one ended. No state is ever removed for a configuration
or for code; one that cannot be used stays beside.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dimr.errors import DimrError
from dimr.files import key_of, read_json, write_json
from dimr.settings import TrainPhase
from dimr.training.checkpoint import newest_step

log = logging.getLogger(__name__)

DESCRIPTION = "state.json"
FREE = ("steps", "log_every", "compile")
"""Settings that change no step but by rounding: how many, what is written, how it is computed."""
NAMED = 4
"""Differences that a message names at most."""


def decisive(phase: TrainPhase, data: str) -> dict[str, Any]:
    """What decides the steps of a training; ``data`` identifies the content of its data."""
    config = phase.model_dump(mode="json")
    train = {key: value for key, value in config["train"].items() if key not in FREE}
    return {**config, "train": train, "data": data}


def state_folder(root: Path, phase: TrainPhase, data: str) -> Path:
    """The folder of a training's state below ``root``.

    It is named by ``decisive``. Where the state there has gone beyond the last step that is asked
    for, a folder beside it is taken, so that the longer training keeps its checkpoints.
    """
    own = root / key_of(decisive(phase, data))
    steps = phase.train.steps
    reached = {own: newest_step(own)}
    reached |= {folder: newest_step(folder) for folder in sorted(root.glob(f"{own.name}-*"))}
    usable = {
        folder: step for folder, step in reached.items() if step is not None and step <= steps
    }
    if usable:
        return max(usable, key=lambda folder: usable[folder])
    return own if reached[own] is None else root / f"{own.name}-{steps}"


def describe(folder: Path, phase: TrainPhase, data: str) -> None:
    """Leave in a state's folder what it is of, for people and for ``announce``."""
    if not (folder / DESCRIPTION).is_file():
        write_json(folder / DESCRIPTION, decisive(phase, data))


def announce(folder: Path, phase: TrainPhase, data: str) -> None:
    """Say in one line, where training begins at step 0 beside another state, how they differ."""
    if newest_step(folder) is not None:
        return
    wanted = decisive(phase, data)
    others = {other: _difference(other, wanted) for other in _states(folder.parent)}
    if not others:
        return
    nearest = min(others, key=lambda other: len(others[other]))
    said = [f"{key} {then}, now {now}" for key, (then, now) in others[nearest].items()]
    step = newest_step(nearest)
    if not said:
        reason = f"is at step {step:,}, beyond the {phase.train.steps:,} that are asked for"
    else:
        more = f" and {len(said) - NAMED} more" if len(said) > NAMED else ""
        reason = f"is at step {step:,} and differs in {'; '.join(said[:NAMED])}{more}"
    log.warning("%s: %s; training begins at step 0, and that state stays", nearest, reason)


def _states(root: Path) -> Iterator[Path]:
    """Folders with a checkpoint."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if newest_step(folder) is not None:
            yield folder


def _difference(folder: Path, wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What a state is of, and what is wanted, where they differ."""
    try:
        found = _flat(read_json(folder / DESCRIPTION))
    except DimrError:
        return {"configuration": ("unknown", "as in --config")}
    flat = _flat(wanted)
    keys = dict.fromkeys([*flat, *found])
    return {key: (found.get(key), flat.get(key)) for key in keys if found.get(key) != flat.get(key)}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    inner = (_flat(one, f"{prefix}.{key}" if prefix else str(key)) for key, one in value.items())
    return {key: one for part in inner for key, one in part.items()}
