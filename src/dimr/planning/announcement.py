"""What is announced before the workflow trains: which networks, and about how long.

The time is scaled from the digits study's trainings (``study.json``), as counting a network takes
seconds; ``dimr plan`` does that.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from dimr.config.project import Project
from dimr.config.runs import Run
from dimr.config.validation import validate
from dimr.paper.study.results import StudyFacts
from dimr.planning.text import duration
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json

NAMED = 3
"""How many runs are named; the rest are counted."""


def announcement(names: Sequence[str], project: Project) -> str:
    """One line on the trainings that begin.

    Args:
        names: of the runs, at least one.
        project: that has the runs.

    Raises:
        DimrError: a run that does not exist.
    """
    rest = len(names) - NAMED
    others = f" and {rest} more" if rest > 0 else ""
    what = "1 network" if len(names) == 1 else f"{len(names)} networks"
    named = f"{', '.join(names[:NAMED])}{others}"
    return (
        f"this will train {what} ({named}){_time(names, project)}: Ctrl-C to stop; dimr plan "
        "TARGET for the cost in detail"
    )


def _time(names: Sequence[str], project: Project) -> str:
    """The time on one core, if all are on digits and the study's times are known."""
    runs = [project.run(name) for name in names]
    if not all(run.recipe.data.source_name is None for run in runs):
        return ""
    rate = seconds_per_image(project.root / "results/digits/study.json")
    if rate is None:
        return ""
    return f", about {duration(rate * sum(map(_images, runs)))} of one core"


def _images(run: Run) -> int:
    return run.own_steps * run.recipe.train.batch


def seconds_per_image(facts: Path) -> float | None:
    """What an image took on average in a study's trainings; None: not known."""
    try:
        known = validate(StudyFacts, read_json(facts), str(facts))
    except DimrError:
        return None
    sizes = [one.train["steps"] * one.train["batch"] for one in known.datasets.values()]
    spent = known.times.get("train")
    if not sizes or not spent or not spent.recorded:
        return None
    return spent.seconds / spent.recorded / fmean(sizes)
