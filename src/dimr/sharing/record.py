"""Finished results that are shared: their record below ``results/recorded``, which DVC versions.

The record mirrors the repository: ``results/recorded/runs/digits/dimr-xs-2r/0/model``. The folders
that the workflow writes to are not DVC's outputs: ``dvc exp run`` and ``dvc checkout`` reset every
output to its recorded version, or delete it if there is none, and a run that took days may be newer
than its record. Large files are hard links, so that nothing is stored twice.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from dimr.config.project import Project
from dimr.config.validation import mapping
from dimr.runtime.atomic import atomic_directory, atomic_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_yaml, write_if_changed
from dimr.runtime.record import is_there
from dimr.sharing.adopt import Survey, survey

RECORDED = "results/recorded"
"""Folder of the record."""
PIPELINE = "results/dvc.yaml"
"""Stages of the record: one for each run or dataset in ``LIST``, and the tables."""
LIST = "results/recorded.yaml"
"""What is recorded: name of the stage, and path in the repository."""
LINKED_BYTES = 1_000_000
"""Files of at least this size are links; smaller ones are copies, which an editor may change."""
NOT_COPIED = ".snakemake_timestamp"


def record_all(project: Project, names: Sequence[str] = (), commit: bool = True) -> Iterator[str]:
    """Record results, list them for DVC and commit them to its cache (``dimr record``).

    Args:
        project: the repository.
        names: ``runs/digits/dimr-xs-2r/0`` or ``data/digits``; none: all that is finished, and what
            DVC holds in place: the workspace run and the tables.
        commit: whether to list and commit them.

    Yields:
        a line for each one, recorded or not.

    Raises:
        DimrError: one of ``names`` cannot be recorded, or ``dvc commit`` fails.
    """
    from dimr.sharing.workspace import existing

    existing(project)  # so that an experiment's configuration is not committed
    found = survey(project)
    done = []
    for name in [name.rstrip("/") for name in names] or finished(found):
        try:
            record(name, found, project)
            done.append(name)
        except DimrError as error:
            if names:
                raise
            yield f"not recorded  {error}"
    if not commit:
        return
    stages = add_to_list(done, project.root)
    if not names:
        ready, lines = ready_stages(found, project)
        yield from (f"not recorded  {line}" for line in lines)
        stages += ready
    if not stages:  # dvc commit without stages would commit all
        yield "nothing to record"
        return
    command = [sys.executable, "-m", "dvc", "commit", "--quiet", "--force", *stages]
    if subprocess.run(command, cwd=project.root).returncode:
        raise DimrError("dvc commit failed, as above")
    yield from (f"recorded      {stage}" for stage in stages)


def finished(found: Survey) -> list[str]:
    """Runs that have metrics, and their datasets if those are prepared here (digits)."""
    runs = [place.split("/metrics/")[0] for place in found.good if "/metrics/" in place]
    runs = [run for run in dict.fromkeys(runs) if run != "runs/workspace"]
    datasets = dict.fromkeys(run.split("/")[1] for run in runs)
    made = [name for name in datasets if f"data/{name}/images" in found.good]
    return [*(f"data/{name}" for name in made), *runs]


def record(name: str, found: Survey, project: Project) -> None:
    """Put the finished results of a run or dataset into the record, replacing older ones.

    Raises:
        DimrError: it is not finished, or has a result of another configuration.
    """
    found.refuse_bad(name)
    places = [place for place in found.good if place.startswith(f"{name}/")]
    if not places:
        raise DimrError(f"{name}: nothing to record")
    if name.startswith("runs/"):
        has_network = project.run(name.removeprefix("runs/")).network is not None
        if has_network and f"{name}/model" not in places:
            raise DimrError(f"{name}: not finished: no model")
        if not any("/metrics/" in place for place in places):
            raise DimrError(f"{name}: not finished: no metrics")
    with atomic_directory(project.root / RECORDED / name) as folder:
        for place in places:
            for path in with_companions(place, project.root):
                copy_result(project.root / path, folder / Path(path).relative_to(name))


def add_to_list(names: Sequence[str], root: Path) -> list[str]:
    """Add what was recorded to ``LIST``; return the stages of ``names``."""
    path = root / LIST
    content = mapping(read_yaml(path), LIST) if path.exists() else {"recorded": {}}
    listed = mapping(content.get("recorded"), f"{LIST}: recorded")
    stages = {name.removeprefix("runs/").replace("/", "-"): name for name in names}
    text = yaml.safe_dump({"recorded": dict(sorted({**listed, **stages}.items()))})
    note = "# Written by `make record`; what is removed from it is no longer shared.\n"
    write_if_changed(path, note + text)
    return [f"{PIPELINE}:recorded@{stage}" for stage in stages]


def bring_in(project: Project) -> tuple[list[str], list[str]]:
    """Put recorded results where the workflow looks for them; existing results are kept.

    Returns:
        The places that were missing and exist now; and a line for each recorded result that is not
        what the configuration here asks for.
    """
    root = project.root
    found = survey(project, root / RECORDED)
    missing = [place for place in found.good if not is_there(root / place)]
    for place in missing:
        for path in with_companions(place, root / RECORDED):
            copy_result(root / RECORDED / path, root / path)
    return missing, [f"{RECORDED}/{line}" for line in found.lines]


def with_companions(place: str, root: Path) -> list[str]:
    """A result's own path, and those of the files that the same stage wrote beside it."""
    path = Path(place)
    beside = {
        "metrics": path.parent.parent / "provenance" / path.name,
        "model": path.parent / "log.csv",
    }
    companion = beside.get(path.parent.name) or beside.get(path.name)
    exists = companion is not None and place.startswith("runs/") and (root / companion).exists()
    return [place, str(companion)] if exists else [place]


def copy_result(source: Path, target: Path) -> None:
    """Make ``target`` the same as ``source``: whole or not at all."""
    if source.is_dir():
        with atomic_directory(target) as folder:
            for file in sorted(source.rglob("*")):
                if file.is_file() and file.name != NOT_COPIED:
                    copy_result(file, folder / file.relative_to(source))
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


# --- what DVC holds in place: the workspace run, and tables ---------------------------------------


def ready_stages(found: Survey, project: Project) -> tuple[list[str], list[str]]:
    """Stages of the workspace run and of the tables whose outputs all exist and are as expected.

    Returns:
        The stages as ``dvc commit`` takes them; and a line for each that is not ready.
    """
    from dvc.repo import Repo

    ready, lines = [], []
    with Repo(str(project.root)) as repo:
        for stage in repo.index.stages:
            name = f"{Path(stage.path).relative_to(repo.root_dir).as_posix()}:{stage.name}"
            if name.startswith(f"{PIPELINE}:recorded@"):
                continue
            try:
                for out in stage.outs:
                    path = Path(out.fs_path).relative_to(repo.root_dir).as_posix()
                    found.refuse_bad(path)
                    if not (project.root / path).exists():
                        raise DimrError(f"{path}: does not exist")
                    if path.startswith("results/"):
                        check_table(path, project)
                ready.append(name)
            except DimrError as error:
                lines.append(f"{name} ({error})")
    return ready, lines


def check_table(path: str, project: Project) -> None:
    """Refuse a table's file that is older than metrics it is made from."""
    name = Path(path).relative_to("results").with_suffix("").as_posix()
    for metrics in _metrics_of_tables(project)[name]:
        file = project.root / metrics
        if not file.is_file() or file.stat().st_mtime > (project.root / path).stat().st_mtime:
            what = "older than" if file.is_file() else "made from a missing file,"
            again = f"snakemake {Path(path).with_suffix('.csv')}"
            raise DimrError(f"{path}: {what} {metrics}: {again}")


def recorded_tables(project: Project) -> list[str]:
    """Tables (``.csv``) that are as recorded and made from metrics that are as recorded.

    A table has no key of its own. The file from git is the recorded one if the lock file has its
    checksum; it belongs to the metrics here if these are the recorded ones.
    """
    root = project.root
    lock = (root / PIPELINE).with_suffix(".lock")
    stages = read_yaml(lock)["stages"] if lock.exists() else {}
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    sums = {out["path"]: out.get("md5") for out in outs}
    return [
        f"results/{name}.csv"
        for name, metrics in _metrics_of_tables(project).items()
        if (files := [path for path in sums if path.startswith(f"results/{name}.")])
        and all(_md5(root / path) == sums[path] for path in files)
        and all(_same(root / path, root / RECORDED / path) for path in metrics)
    ]


def _metrics_of_tables(project: Project) -> dict[str, list[str]]:
    """The files of metrics that each table is made from, by the table's name."""
    from dimr.paper.tables.definitions import find_definitions

    return {
        name: [f"runs/{run}/metrics/{setting}.json" for run, setting in cells()]
        for name, table in find_definitions(project).items()
        for cells in [getattr(table, "cells", list)]  # counted and absent tables have none
    }


def _md5(path: Path) -> str | None:
    """DVC's checksum of a file; None: it does not exist."""
    return hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else None


def _same(path: Path, other: Path) -> bool:
    return path.is_file() and other.is_file() and path.read_bytes() == other.read_bytes()
