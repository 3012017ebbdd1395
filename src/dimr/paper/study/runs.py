"""What the study's page says about single runs: all of them, those that went wrong, copies."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimr.config.runs import BASELINE_SETTING, BASELINES
from dimr.config.validation import did_you_mean
from dimr.paper.results import read_frame
from dimr.paper.statistics import deviation, trimmed_mean
from dimr.paper.study.claims import FID, Claims, Metric
from dimr.paper.study.findings import values_by_seed
from dimr.paper.tables.render import markdown_lines
from dimr.runtime.errors import DimrError

if TYPE_CHECKING:
    import pandas as pd

SANITY = {"real": "Real images (training)", "reconstruction": "Autoencoder (training images)"}
FAR = 3.0
"""Multiple of the median of a run's seeds above which, at any setting, a FID means divergence."""
GUESSED = 0.2
"""Most "own class" of a network that did not learn its labels: guessing one of ten gives 0.1."""
RERUN_COLUMNS = ("condition", "setting", FID, "class_accuracy")
"""Required columns of ``reruns.csv``, a run repeated under other conditions; others may exist."""


def table_text(heads: list[str], body: list[list[str]], left: int) -> str:
    """A Markdown table whose first ``left`` columns are left-aligned."""
    right = [index >= left for index in range(len(heads))]
    return "\n".join(markdown_lines(heads, body, right))


def all_runs(definition: Claims, frame: "pd.DataFrame") -> str:
    """A table: every network at every setting that claims compare, over all its seeds."""
    metric, body, above = _fid(definition), [], ""
    for run, name, setting in compared(definition):
        fid = values_by_seed(frame, run, setting, metric.key)
        own_class, low = (
            values_by_seed(frame, run, setting, key).mean()
            for key in ("class_accuracy", "low_fidelity_share")
        )
        spread = f" ± {metric.text(deviation(fid.tolist()))}" if len(fid) > 1 else ""
        lr = values_by_seed(frame, run, setting, "lr").iloc[0]
        trained = max(
            len(values_by_seed(frame, run, at, metric.key)) for at in definition.settings(run)
        )
        went_wrong = f"{len(diverged(definition, run, frame))} of {trained}"
        once = ["", "", ""] if run == above else [name, f"{lr:g}", went_wrong]
        body.append([
            *once, setting, str(len(fid)), metric.text(fid.mean()) + spread,
            metric.text(fid.median()), metric.text(trimmed_mean(fid.tolist())),
            f"{own_class:.1%}", f"{low:.1%}",
        ])  # fmt: skip
        above = run
    heads = ["Network", "Learning rate", "Diverged", "Setting", "Seeds", metric.title, "Median",
             "Trimmed mean", "Own class", "Low fidelity"]  # fmt: skip
    return table_text(heads, body, left=4)


def _fid(definition: Claims) -> Metric:
    """The metric that shows that a training diverged."""
    return next((one for one in definition.metrics if one.key == FID), definition.metrics[0])


def compared(definition: Claims) -> list[tuple[str, str, str]]:
    """Run (dataset/model), name and setting of everything that claims compare."""
    return [
        (run, name, setting)
        for run, name in definition.names.items()
        for setting in definition.settings(run)
    ]


def _far(
    definition: Claims, run: str, setting: str, frame: "pd.DataFrame"
) -> tuple["pd.Series", float]:
    """FID of the seeds that are far from their run's median at a setting, and that median."""
    values = values_by_seed(frame, run, setting, _fid(definition).key)
    median = float(values.median())
    return values[values > FAR * median], median


def diverged(definition: Claims, run: str, frame: "pd.DataFrame") -> list[str]:
    """Seeds of a run whose FID is far from the median at any setting that claims compare."""
    settings = definition.settings(run)
    found = (
        seed for setting in settings for seed in _far(definition, run, setting, frame)[0].index
    )
    return sorted(set(found))


def outliers(definition: Claims, frame: "pd.DataFrame") -> list[str]:
    """What diverged, in words: network, seed and setting with its FID and the median."""
    metric, found = _fid(definition), []
    for run, name, setting in compared(definition):
        far, median = _far(definition, run, setting, frame)
        found += [
            f"{name}, seed {seed}, {setting}: {metric.text(value)} (median {metric.text(median)})"
            for seed, value in far.items()
        ]
    return found


def without_labels(definition: Claims, frame: "pd.DataFrame") -> dict[str, float]:
    """Runs that have not learned their labels: mean own class at their best setting."""
    best = {
        run: max(
            float(values_by_seed(frame, run, setting, "class_accuracy").mean())
            for setting in definition.settings(run)
        )
        for run in definition.names
    }
    return {run: share for run, share in best.items() if share < GUESSED}


def steps(definition: Claims, source: Path, asked: "pd.DataFrame") -> dict[str, Any]:
    """FID by solver and number of evaluations, for the run with most such numbers.

    Means over the seeds that every number of evaluations has.

    Args:
        definition: the claims, which name the run.
        source: for messages.
        asked: ``seeds.csv`` as it is.
    """
    metric = _fid(definition)
    guided = asked[asked["kind"] == "constant"]
    counts = guided.groupby(["dataset", "model"])["evaluations"].nunique()
    if counts.empty:
        raise DimrError(f"{source}: no run with constant guidance says its evaluations")
    dataset, model = counts.idxmax()
    own = guided[(guided["dataset"] == dataset) & (guided["model"] == model)]
    by_seed = own.pivot_table(metric.key, "seed", ["solver", "evaluations"]).dropna()
    if by_seed.empty:
        raise DimrError(f"{source}: {dataset}/{model}: no seed has every number of evaluations")
    means = by_seed.mean().unstack("solver")
    body = [
        [f"{n:.0f}", *("" if value != value else metric.text(value) for value in line)]
        for n, line in zip(means.index, means.to_numpy(), strict=True)
    ]
    heads = ["Network evaluations", *(f"{metric.title}, solver {name}" for name in means)]
    return {
        "name": definition.name(f"{dataset}/{model}"),
        "seeds": len(by_seed),
        "table": table_text(heads, body, left=0),
    }


def copies(definition: Claims, frame: "pd.DataFrame") -> dict[str, Any]:
    """Sanity rows and memorisation: means over seeds, by run and setting."""
    dataset = next(iter(definition.names)).split("/")[0]
    metric, body, of_models = _fid(definition), [], []
    cells = [(f"{dataset}/{model}", SANITY[model], BASELINE_SETTING) for model in BASELINES]
    for run, name, setting in (*cells, *compared(definition)):
        fid, ratio, share = (
            values_by_seed(frame, run, setting, key).mean()
            for key in (metric.key, "nearest_ratio", "near_copy_share")
        )
        body.append([name, setting, metric.text(fid), f"{ratio:.2f}", f"{share:.1%}"])
        if setting != BASELINE_SETTING:
            of_models.append((ratio, share))
    heads = ["Images", "Setting", metric.title, "Nearest ratio", "Near copies"]
    return {
        "table": table_text(heads, body, left=2),
        "smallest_ratio": f"{min(ratio for ratio, _ in of_models):.2f}",
        "largest_share": f"{max(share for _, share in of_models):.1%}",
    }


def ends_of_grid(file: Path) -> list[str]:
    """Networks in ``tuning.csv`` whose chosen learning rate is the smallest or the largest tried.

    Empty if there is no such file.
    """
    if not file.is_file():
        return []
    found = []
    for name, tried in read_frame(file).groupby("model", sort=False):
        found += [
            f"{name} ({lr:g})"
            for lr in tried.loc[tried["chosen"] == "yes", "lr"]
            if lr in (tried["lr"].min(), tried["lr"].max())
        ]
    return found


def longer(definition: Claims, file: Path) -> str:
    """What the longest trainings of ``budget.csv`` have, beside the shortest, in words.

    Empty if there is no such file.
    """
    if not file.is_file():
        return ""
    frame, metric = read_frame(file), _fid(definition)
    parts = []
    for name, rows in frame.groupby("model", sort=False):
        rows = rows.sort_values("epochs")
        short, long = rows.iloc[0], rows.iloc[-1]
        parts.append(f"{name} {metric.text(short[FID])} → {metric.text(long[FID])}")
    times = frame["epochs"].max() / frame["epochs"].min()
    return f"{metric.title} after {times:.0f} times as many steps: {', '.join(parts)}"


def reruns(definition: Claims, file: Path) -> dict[str, str] | None:
    """How far one training differs when it is made again; None: ``reruns.csv`` does not exist.

    Raises:
        DimrError: a file without its columns, or without lines.
    """
    if not file.is_file():
        return None
    frame, metric = read_frame(file), _fid(definition)
    missing = [name for name in RERUN_COLUMNS if name not in frame]
    if missing:
        raise DimrError(f"{file}: no column {missing[0]!r} {did_you_mean(missing[0], list(frame))}")
    if frame.empty:
        raise DimrError(f"{file}: no lines: leave it out until reruns are measured")
    named = [name for name in ("run", "date") if name in frame]  # as benchmarks/reruns.py writes
    names = frame[[*named, *RERUN_COLUMNS[:2]]].fillna("").astype(str)
    body = [
        [*texts, metric.text(fid), f"{own_class:.1%}"]
        for texts, fid, own_class in zip(
            names.to_numpy().tolist(), frame[FID], frame["class_accuracy"], strict=True
        )
    ]
    of_one = frame.groupby(["setting", *(name for name in named if name == "run")])[FID]
    spans = of_one.max() - of_one.min()
    heads = [*(name.capitalize() for name in names), metric.title, "Own class"]
    return {
        "table": table_text(heads, body, left=len(names.columns)),
        "largest": metric.text(float(spans.max())),
    }
