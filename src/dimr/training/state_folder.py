"""Where the state of a training lies: one folder for all that decides its steps.

How many steps there are is no part of it (the rate is constant after the warm-up): a training that
is to be longer resumes where the shorter one ended. No state is ever removed for a configuration
or for code; one that cannot be used stays beside.
"""

import itertools
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from dimr.config.schema import TrainConfig
from dimr.runtime.errors import DimrError
from dimr.runtime.files import atomic_file, key_of, read_json, single_line, write_json
from dimr.training.checkpoint import Checkpoints, check, locked, newest_step, steps_in
from dimr.training.distributed import World

log = logging.getLogger(__name__)

DESCRIPTION = "state.json"
OF = "of"
"""The fact of a checkpoint that says what its training is, as ``DESCRIPTION`` does."""
FREE = ("steps", "log_every", "compile")
"""Settings that change no step but by rounding: how many, what is written, how it is computed."""
NAMED = 4
"""Differences that a message names at most."""


def decisive(phase: TrainConfig, data: str) -> dict[str, Any]:
    """What decides the steps of a training; ``data`` identifies the content of its data."""
    config = phase.model_dump(mode="json")
    train = {key: value for key, value in config["train"].items() if key not in FREE}
    return {**config, "train": train, "data": data}


def state_folder(root: Path, phase: TrainConfig, data: str) -> Path:
    """The folder of a training's state below ``root``.

    It is named by ``decisive``. Where the state there has gone beyond the last step that is asked
    for, a folder beside it is taken, so that the longer training keeps its checkpoints.
    """
    name, steps = key_of(decisive(phase, data)), phase.train.steps
    beside = (f"{name}-{steps}{f'-{again}' if again else ''}" for again in itertools.count())
    places = (root / one for one in itertools.chain([name], beside))
    return next(place for place in places if (newest_step(place) or 0) <= steps)


def begin(folder: Path, phase: TrainConfig, data: str) -> None:
    """Make the folder that ``state_folder`` named ready, and say where training begins.

    What the same training has left in a folder beside it is not trained again.

    Raises:
        DimrError: the folder is another training's, or in use.
    """
    with locked(folder):
        describe(folder, phase, data)
        _take_over(folder, decisive(phase, data), phase.train.steps)
        announce(folder, phase, data)


def describe(folder: Path, phase: TrainConfig, data: str) -> None:
    """Leave in a state's folder what it is of, for people and for ``announce``.

    Raises:
        DimrError: it says that it is another training's.
    """
    wanted = decisive(phase, data)
    if not _says_so(folder, wanted):
        write_json(folder / DESCRIPTION, wanted)


def require_same(place: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    """Refuse what another training left: a folder may have been copied, or given another name.

    Args:
        place: where it lies, for the message.
        found: what it says of itself, as from ``decisive``.
        wanted: what this training is.

    Raises:
        DimrError: with the first differences.
    """
    if difference := _differences(found, wanted):
        raise DimrError(
            f"{place}: belongs to another training ({_said(difference)}); move it away, or give "
            "another --state"
        )


def _says_so(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether a state's description is there and readable; it must then be what is wanted."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return False
    try:
        found = read_json(path)
    except DimrError as error:
        log.warning("%s; checkpoints say it too", error)
        return False
    require_same(folder, found, wanted)
    return True


def _take_over(folder: Path, wanted: Mapping[str, Any], steps: int) -> None:
    """Take the newest whole checkpoint, of ``steps`` at most, that lies beside, and its log."""
    has, name = newest_step(folder) or 0, key_of(wanted)
    beside = {folder.parent / name, *folder.parent.glob(f"{name}-*")} - {folder}
    found = [
        (step, source) for source in beside for step in steps_in(source) if has < step <= steps
    ]
    for step, source in sorted(found, reverse=True):
        _says_so(source, wanted)
        path = source / f"checkpoints/step-{step:09d}"
        saved, problem = check(path, World(torch.device("cpu")))
        if saved is None:
            log.warning("%s; trying the one before", problem)
            continue
        require_same(path, saved.facts.get(OF, wanted), wanted)
        try:
            Checkpoints(folder / "checkpoints").take(saved)
        except FileNotFoundError:  # its training still runs, and has removed it
            continue
        if (source / "log.csv").is_file():
            with atomic_file(folder / "log.csv") as temporary:
                shutil.copyfile(source / "log.csv", temporary)
        log.info("%s: begins with step %d of %s", folder, step, source)
        return


def announce(folder: Path, phase: TrainConfig, data: str) -> None:
    """Say in one line, where training begins at step 0 beside another state, how they differ."""
    if newest_step(folder) is not None:
        return
    wanted = decisive(phase, data)
    others = {other: _difference(other, wanted) for other in _states(folder.parent)}
    if not others:
        return
    nearest = min(others, key=lambda other: len(others[other]))
    step = newest_step(nearest)
    if not others[nearest]:
        reason = f"is at step {step:,}, beyond the {phase.train.steps:,} that are asked for"
    else:
        reason = f"is at step {step:,} and differs in {_said(others[nearest])}"
    log.warning("%s: %s; training begins at step 0, and that state stays", nearest, reason)


def _states(root: Path) -> Iterator[Path]:
    """Folders with a checkpoint."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if newest_step(folder) is not None:
            yield folder


def _difference(folder: Path, wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What a state is of, and what is wanted, where they differ."""
    try:
        return _differences(read_json(folder / DESCRIPTION), wanted)
    except DimrError:
        return {"configuration": ("unknown", "as in --config")}


def _differences(found: Any, wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    then, now = _flat(found), _flat(wanted)
    keys = dict.fromkeys([*now, *then])
    return {key: (then.get(key), now.get(key)) for key in keys if then.get(key) != now.get(key)}


def _said(differences: Mapping[str, tuple[Any, Any]]) -> str:
    """``train.lr 0.001, now 0.002; seed 0, now 1``."""
    said = [f"{key} {_short(then)}, now {_short(now)}" for key, (then, now) in differences.items()]
    more = f" and {len(said) - NAMED} more" if len(said) > NAMED else ""
    return "; ".join(said[:NAMED]) + more


def _short(value: Any) -> str:
    return single_line(value)[:64]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    inner = (_flat(one, f"{prefix}.{key}" if prefix else str(key)) for key, one in value.items())
    return {key: one for part in inner for key, one in part.items()}
