"""Where the state of a training is kept: one folder for everything that decides its steps.

The number of steps is not part of it (the rate is constant after the warm-up): a longer training
resumes where a shorter one ended. No state is ever removed because configuration or code changed;
one that cannot be used stays beside the new one.
"""

import contextlib
import itertools
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dimr.config.schema import TrainConfig
from dimr.runtime.atomic import atomic_file, make_folder
from dimr.runtime.errors import DimrError
from dimr.runtime.files import key_of, read_json, single_line, write_json
from dimr.training.checkpoint import OF, Checkpoints, check, newest_step, steps_in

log = logging.getLogger(__name__)

DESCRIPTION = "state.json"
FREE = ("steps", "log_every", "compile")
"""Settings that change steps only by rounding: their number, logging, and how they are computed."""
NAMED = 4
"""Differences that a message names at most."""


def decisive(config: TrainConfig, data: str, start: str = "") -> dict[str, Any]:
    """What decides the steps of a training.

    Args:
        config: of the training.
        data: identifies the content of its data.
        start: identifies the weights that it starts from; empty: fresh ones.
    """
    values = config.model_dump(mode="json")
    train = {key: value for key, value in values["train"].items() if key not in FREE}
    return {**values, "train": train, "data": data, **({"start": start} if start else {})}


def state_folder(root: Path, config: TrainConfig, data: str, start: str = "") -> Path:
    """The folder of a training's state below ``root``.

    It is named by ``decisive``. If the state there is beyond the last step that is requested, a
    folder beside it is used, so that the longer training keeps its checkpoints.
    """
    name, steps = key_of(decisive(config, data, start)), config.train.steps
    beside = (f"{name}-{steps}{f'-{again}' if again else ''}" for again in itertools.count())
    folders = (root / one for one in itertools.chain([name], beside))
    return next(folder for folder in folders if (newest_step(folder) or 0) <= steps)


def begin(folder: Path, config: TrainConfig, data: str, start: str = "") -> None:
    """Prepare the folder from ``state_folder``, and say where training begins.

    Steps that the same training has left in a neighbouring folder are not repeated.

    Raises:
        DimrError: the folder belongs to another training, or is in use.
    """
    wanted, steps = decisive(config, data, start), config.train.steps
    with locked(folder):
        if not _is_described(folder, wanted):
            write_json(folder / DESCRIPTION, wanted)
        _take_over(folder, wanted, steps)
        _announce(folder, wanted, steps)


def require_same(place: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    """Refuse what another training left: a folder may have been copied or renamed.

    Args:
        place: where it is, for the message.
        found: what it says about itself, as from ``decisive``.
        wanted: what this training is.

    Raises:
        DimrError: with the first differences.
    """
    if difference := _differences(found, wanted):
        raise DimrError(
            f"{place}: belongs to another training ({_listed(difference)}); move it away, or give "
            "another --state"
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which is released however the process ends.

    Raises:
        DimrError: another process holds it.
    """
    make_folder(folder)
    owner = folder / "lock.pid"
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        name = owner.read_text(encoding="utf-8").strip() if owner.exists() else "unknown"
        raise DimrError(
            f"{folder}: process {name} is training here; wait for it or end it"
        ) from None
    try:
        owner.write_text(f"{os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        lock.release()


def _is_described(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether a state's description exists and is readable; it must then be ``wanted``."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return False
    try:
        found = read_json(path)
    except DimrError as error:
        log.warning("%s; using what the checkpoints say", error)
        return False
    require_same(folder, found, wanted)
    return True


def _take_over(folder: Path, wanted: Mapping[str, Any], steps: int) -> None:
    """Take the newest whole checkpoint up to ``steps``, and its log, from a neighbouring folder."""
    has, name = newest_step(folder) or 0, key_of(wanted)
    beside = {folder.parent / name, *folder.parent.glob(f"{name}-*")} - {folder}
    found = [
        (step, source) for source in beside for step in steps_in(source) if has < step <= steps
    ]
    for step, source in sorted(found, reverse=True):
        _is_described(source, wanted)
        path = source / f"checkpoints/step-{step:09d}"
        try:
            saved = check(path)
        except DimrError as error:
            log.warning("%s; trying the previous one", error)
            continue
        require_same(path, saved.facts.get(OF, wanted), wanted)
        try:
            Checkpoints(folder / "checkpoints").take(saved)
        except FileNotFoundError:  # its training is still running, and has removed it
            continue
        if (source / "log.csv").is_file():
            with atomic_file(folder / "log.csv") as temporary:
                shutil.copyfile(source / "log.csv", temporary)
        log.info("%s: starts from step %d of %s", folder, step, source)
        return


def _announce(folder: Path, wanted: Mapping[str, Any], steps: int) -> None:
    """If training begins at step 0 beside another state, say in one line how they differ."""
    others = {}
    for other in sorted(folder.parent.iterdir()) if folder.parent.is_dir() else ():
        if newest_step(other) is None:
            continue
        try:
            others[other] = _differences(read_json(other / DESCRIPTION), wanted)
        except DimrError:
            others[other] = {"configuration": ("unknown", "as in --config")}
    if folder in others or not others:
        return
    nearest = min(others, key=lambda other: len(others[other]))
    reason = f"is at step {newest_step(nearest):,}"
    if others[nearest]:
        reason += f" and differs in {_listed(others[nearest])}"
    else:
        reason += f", beyond the {steps:,} that are requested"
    log.warning("%s: %s; training starts at step 0; that state is kept", nearest, reason)


def _differences(found: Any, wanted: Any) -> dict[str, tuple[Any, Any]]:
    then, now = _flat(found), _flat(wanted)
    keys = dict.fromkeys([*now, *then])
    return {key: (then.get(key), now.get(key)) for key in keys if then.get(key) != now.get(key)}


def _listed(differences: Mapping[str, tuple[Any, Any]]) -> str:
    """``train.lr 0.001, now 0.002; seed 0, now 1``."""
    listed = [
        f"{key} {single_line(then)[:64]}, now {single_line(now)[:64]}"
        for key, (then, now) in differences.items()
    ]
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return "; ".join(listed[:NAMED]) + more


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    inner = (_flat(one, f"{prefix}.{key}" if prefix else str(key)) for key, one in value.items())
    return {key: one for part in inner for key, one in part.items()}
