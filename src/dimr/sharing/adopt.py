"""Results that came from elsewhere (``dvc pull``): are they what the configuration here would make?

Every stage leaves the key of its result: a hash of its configuration and of the keys of its inputs.
The expected key follows from the configuration alone, so a result is recognised without running
anything. Recognised results get new time stamps; the workflow regenerates the rest.
"""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dimr.config.project import Project
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json
from dimr.runtime.record import is_there
from dimr.stages.pipeline import Pipeline, Result
from dimr.stages.provenance import fault_of


@dataclass(frozen=True)
class Survey:
    """The results that exist.

    Attributes:
        good: places of those with the key that the configuration asks for.
        bad: why the others are not, by place.
    """

    good: list[str]
    bad: dict[str, str]

    @property
    def lines(self) -> list[str]:
        """A line for each bad one."""
        return [f"{place}: {reason}" for place, reason in self.bad.items()]

    def refuse_bad(self, path: str) -> None:
        """Raise ``DimrError`` on the first bad result at or below ``path``."""
        for place, reason in self.bad.items():
            if f"{place}/".startswith(f"{path}/"):
                raise DimrError(f"{place}: {reason}")


def survey(project: Project, folder: Path | None = None) -> Survey:
    """Compare the results of all runs, and of their datasets, with the configuration.

    Args:
        project: whose configuration says what is expected.
        folder: where the results are, ``runs`` and ``data``; None: in the repository.
    """
    folder = folder or project.root
    pipeline, found = Pipeline(project), Survey([], {})
    for name in run_names(folder):
        try:
            results = pipeline.results(project.run(name))
            expected = [(one, pipeline.key(one.place)) for one in results]
        except DimrError as error:
            found.bad[f"runs/{name}"] = str(error)
            continue
        for one, key in expected:
            known = one.place in found.good or one.place in found.bad
            if known or not is_there(folder / one.place):
                continue
            fault = fault_of_result(one, key, folder) or _stale(one, found)
            if fault is None:
                found.good.append(one.place)
            else:
                found.bad[one.place] = fault
    return found


def run_names(folder: Path) -> Iterator[str]:
    """Names of the runs that have a folder below ``folder/runs``."""
    for run in [folder / "runs/workspace", *sorted(folder.glob("runs/*/*/*"))]:
        name = run.relative_to(folder / "runs").as_posix()
        if run.is_dir() and not name.startswith("workspace/"):
            yield name


def fault_of_result(one: Result, key: str, folder: Path) -> str | None:
    """Why an existing result below a folder is not the expected one; None: it is."""
    try:
        record = read_json(folder / str(one.record))
        is_same = record["key"] == key
        if one.is_metrics and (fault := fault_of(record, folder / one.place)):
            return fault
    except (DimrError, KeyError, TypeError) as error:
        return f"no usable record ({error})"
    return None if is_same else "made with another configuration"


def _stale(one: Result, found: Survey) -> str | None:
    """Which input of a result is not the one that it was made with; None: each is."""
    keyed = [one.inputs.get(each.name) for each in one.stage.inputs if each.keyed]
    stale = [place for place in keyed if place in found.bad]
    return f"{stale[0]} is of another configuration" if stale else None


def adopt(project: Project) -> Iterator[str]:
    """Take over recorded results and tables: Snakemake then finds them up to date.

    Yields:
        a line for each result, adopted or not.

    Raises:
        DimrError: Snakemake failed.
    """
    from dimr.sharing.record import bring_in, recorded_tables
    from dimr.sharing.workspace import existing

    brought, foreign = bring_in(project)
    if (workspace := existing(project)) is not None:
        brought += workspace.bring_in()
    found = survey(project)
    for line in [*foreign, *found.lines]:
        yield f"not adopted  {line}"
    good = [*found.good, *recorded_tables(project)]
    if not good:
        yield "nothing to adopt"
        return
    touch(project.root, good)
    for target in good:
        yield f"{'brought in ' if target in brought else 'adopted    '}  {target}"


def touch(root: Path, places: Iterable[str], *flags: str) -> None:
    """Tell Snakemake that results are up to date; ``DimrError`` with what it says if it fails."""
    # --keep-incomplete: whatever goes wrong, existing results are kept
    flags = ("--touch", "--keep-incomplete", "--cores", "1", *flags)
    command = [sys.executable, "-m", "snakemake", *flags, "--", *places]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        said = f"{done.stdout}\n{done.stderr}".strip()
        raise DimrError(f"snakemake --touch failed (exit code {done.returncode}):\n{said}")
