"""Finished results that are shared: their record below ``results/recorded``, which DVC versions.

The record mirrors the repository: ``results/recorded/runs/digits/dimr-xs-2r/0/model``. The folders
that the workflow writes to are no outputs of DVC's: ``dvc exp run`` and ``dvc checkout`` put every
output back to its recorded version, or delete it if there is none, and a run that took days may be
newer than its record. Large files are hard links, so that nothing is stored twice.
"""

import hashlib
import os
import shutil
from pathlib import Path

import yaml

from dimr.config.recipes import ROOT, mapping
from dimr.config.runs import load_run
from dimr.runtime.errors import DimrError
from dimr.runtime.files import atomic_directory, atomic_file, read_yaml, write_if_changed
from dimr.sharing.adopt import survey

RECORDED = "results/recorded"
"""Folder of the record."""
PIPELINE = "results/dvc.yaml"
"""Stages of the record: one a run or dataset that ``LIST`` names, and the tables."""
LIST = "results/recorded.yaml"
"""What is recorded: name of the stage, and path in the repository."""
LINKED_BYTES = 1_000_000
"""Files from this size on are links; a smaller one is a copy, which an editor may write to."""
NOT_COPIED = ".snakemake_timestamp"


def finished(good: list[str]) -> list[str]:
    """Runs that have metrics, and the datasets that are made here of which they are.

    Args:
        good: targets of the workflow that are what the configuration asks for (``survey``).
    """
    runs = [target.split("/metrics/")[0] for target in good if "/metrics/" in target]
    runs = [run for run in dict.fromkeys(runs) if run != "runs/workspace"]
    datasets = dict.fromkeys(run.split("/")[1] for run in runs)
    made = [name for name in datasets if f"data/{name}/images" in good]
    return [*(f"data/{name}" for name in made), *runs]


def record(name: str, good: list[str], bad: list[str], root: Path = ROOT) -> None:
    """Put the finished results of a run or dataset into the record, in place of older ones.

    Args:
        name: ``runs/digits/dimr-xs-2r/0`` or ``data/digits``.
        good: targets of the workflow that are what the configuration asks for (``survey``).
        bad: a line for each that is not.
        root: the repository.

    Raises:
        DimrError: it is not finished, or something is there that is of another configuration.
    """
    refuse_foreign(name, bad)
    targets = [target for target in good if target.startswith(f"{name}/")]
    if not targets:
        raise DimrError(f"{name}: nothing is there to record")
    if name.startswith("runs/"):
        run = load_run(name.removeprefix("runs/"), root)
        if run.network is not None and f"{name}/model" not in targets:
            raise DimrError(f"{name}: not finished: no model")
        if not any("/metrics/" in target for target in targets):
            raise DimrError(f"{name}: not finished: no metrics")
    with atomic_directory(root / RECORDED / name) as folder:
        for target in targets:
            for path in _with_companions(target, root):
                _place(root / path, folder / Path(path).relative_to(name))


def refuse_foreign(path: str, bad: list[str]) -> None:
    """Raise the line on what is at or below ``path`` and not as the configuration asks for."""
    for line in bad:
        if line.startswith((f"{path}/", f"{path}:")):
            raise DimrError(line)


def add_to_list(names: list[str], root: Path = ROOT) -> list[str]:
    """List what was recorded, beside what is listed; return the stages of ``names``."""
    path = root / LIST
    content = mapping(read_yaml(path), LIST) if path.exists() else {"recorded": {}}
    listed = mapping(content.get("recorded"), f"{LIST}: recorded")
    stages = {name.removeprefix("runs/").replace("/", "-"): name for name in names}
    text = yaml.safe_dump({"recorded": dict(sorted({**listed, **stages}.items()))})
    note = "# Written by `make record`; what is taken out of it is shared no more.\n"
    write_if_changed(path, note + text)
    return [f"{PIPELINE}:recorded@{stage}" for stage in stages]


def bring_in(root: Path = ROOT) -> tuple[list[str], list[str]]:
    """Put recorded results where the workflow looks for them; what is there already stays.

    Returns:
        The targets that were missing and are there now; and a line for each recorded one that is
        not what the configuration here asks for.
    """
    good, bad = survey(root, root / RECORDED)
    missing = [target for target in good if not (root / target).exists()]
    for target in missing:
        for path in _with_companions(target, root / RECORDED):
            _place(root / RECORDED / path, root / path)
    return missing, [f"{RECORDED}/{line}" for line in bad]


def _with_companions(target: str, root: Path) -> list[str]:
    """A target's own path, and those of the files that the same step wrote beside it."""
    path = Path(target)
    beside = {
        "metrics": path.parent.parent / "provenance" / path.name,
        "model": path.parent / "log.csv",
    }
    companion = beside.get(path.parent.name) or beside.get(path.name)
    there = companion is not None and target.startswith("runs/") and (root / companion).exists()
    return [target, str(companion)] if there else [target]


def _place(source: Path, target: Path) -> None:
    """Make ``target`` the same as ``source``: whole or not at all."""
    if source.is_dir():
        with atomic_directory(target) as folder:
            for file in sorted(source.rglob("*")):
                if file.is_file() and file.name != NOT_COPIED:
                    _place(file, folder / file.relative_to(source))
        return
    with atomic_file(target) as temporary:
        real = source.resolve()  # DVC's own may be a symbolic link into its cache
        if real.stat().st_size >= LINKED_BYTES:
            try:
                os.link(real, temporary)
                return
            except OSError:
                pass  # another file system, or one without hard links
        shutil.copyfile(real, temporary)
        shutil.copystat(real, temporary)
        temporary.chmod(0o644)


# --- what DVC holds in place: the workspace run, and tables --------------------------------------


def ready_stages(bad: list[str], root: Path = ROOT) -> tuple[list[str], list[str]]:
    """Stages of the workspace run and of the tables whose outputs are there and as they should be.

    Args:
        bad: a line for each result that is not what the configuration asks for (``survey``).
        root: the repository.

    Returns:
        The stages as ``dvc commit`` takes them; and a line for each that is not ready.
    """
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        outs = {
            f"{Path(stage.path).relative_to(repo.root_dir).as_posix()}:{stage.name}": [
                Path(out.fs_path).relative_to(repo.root_dir).as_posix() for out in stage.outs
            ]
            for stage in repo.index.stages
        }
    ready, lines = [], []
    for stage, paths in outs.items():
        if stage.startswith(f"{PIPELINE}:recorded@"):
            continue
        try:
            for path in paths:
                _check_in_place(path, bad, root)
        except DimrError as error:
            lines.append(f"{stage} ({error})")
            continue
        ready.append(stage)
    return ready, lines


def _check_in_place(path: str, bad: list[str], root: Path) -> None:
    refuse_foreign(path, bad)
    if not (root / path).exists():
        raise DimrError(f"{path}: is not there")
    if path.startswith("results/"):
        check_table(path, root)


# --- tables ---------------------------------------------------------------------------------------


def recorded_tables(root: Path = ROOT) -> list[str]:
    """Tables (``.csv``) that are as recorded, made of metrics that are as recorded.

    A table has no key of its own. What git brings is the recorded one if its checksum in the lock
    file says so; it is that of the metrics at hand if these are the recorded ones.
    """
    from dimr.paper.tables.definitions import find_definitions
    from dimr.paper.tables.runs import Table

    lock = (root / PIPELINE).with_suffix(".lock")
    stages = read_yaml(lock)["stages"] if lock.exists() else {}
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    sums = {out["path"]: out.get("md5") for out in outs}
    found = []
    for name, table in find_definitions(root).items():
        files = [path for path in sums if path.startswith(f"results/{name}.")]
        cells = table.cells() if isinstance(table, Table) else []
        metrics = [f"runs/{run}/metrics/{setting}.json" for run, setting in cells]
        if (
            files
            and all(_md5(root / path) == sums[path] for path in files)
            and all(_same(root / path, root / RECORDED / path) for path in metrics)
        ):
            found.append(f"results/{name}.csv")
    return found


def _md5(path: Path) -> str | None:
    """DVC's checksum of a file; None: it is not there."""
    return hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else None


def _same(path: Path, other: Path) -> bool:
    return path.is_file() and other.is_file() and path.read_bytes() == other.read_bytes()


def check_table(path: str, root: Path = ROOT) -> None:
    """Refuse a table's file that is older than metrics it is made of."""
    from dimr.paper.tables.definitions import load_definition
    from dimr.paper.tables.runs import Table

    name = Path(path).relative_to("results").with_suffix("")
    table = load_definition(root / "experiments/tables" / f"{name}.yaml")
    for run, setting in table.cells() if isinstance(table, Table) else []:
        metrics = root / f"runs/{run}/metrics/{setting}.json"
        if not metrics.is_file() or metrics.stat().st_mtime > (root / path).stat().st_mtime:
            what = "older than" if metrics.is_file() else "made of what is not there,"
            made_again = f"snakemake {Path(path).with_suffix('.csv')}"
            raise DimrError(f"{path}: {what} {metrics.relative_to(root)}: {made_again}")
