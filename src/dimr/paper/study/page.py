"""The page on the study on digits (``docs/digits-study.md``), made from committed results only.

The template holds the text; every number, verdict and list of findings comes from ``seeds.csv`` and
``study.json``. A name in the template that nothing defines is an error, not a blank.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimr.config.runs import BASELINE_SETTING, BASELINES
from dimr.config.validation import validate
from dimr.paper.results import read_frame, recorded
from dimr.paper.study.claims import Claim, Claims, Finding, findings, load_claims, values_by_seed
from dimr.paper.study.results import StudyFacts
from dimr.paper.tables.render import markdown_lines
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, read_text, write_text

if TYPE_CHECKING:
    import pandas as pd

SEEDS, FACTS = "seeds.csv", "study.json"
SANITY = {"real": "Real images (training)", "reconstruction": "Autoencoder (training images)"}
VERDICTS = ("better", "worse", "undecided")
FAR = 3.0
"""Times the median of a run's seeds: the page names a seed whose FID is larger."""
MADE_BY = "`make study` from results/digits, experiments/claims.yaml and {}"


def study_page(claims: Path, template: Path, results: Path, page: Path) -> str:
    """The page's text.

    Args:
        claims: ``experiments/claims.yaml``.
        template: the page with Jinja's blanks.
        results: the folder of ``seeds.csv``, ``study.json`` and the pictures.
        page: where the page will be: links to pictures start there.

    Raises:
        DimrError: results that are missing, or a blank of the template that nothing fills.
    """
    import jinja2

    blanks = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    context = {"made_by": MADE_BY.format(template.name), **_context(claims, results, page)}
    try:
        text = blanks.from_string(read_text(template)).render(context)
    except jinja2.TemplateSyntaxError as error:
        raise DimrError(f"{template}: line {error.lineno}: {error.message}") from None
    except jinja2.UndefinedError as error:
        raise DimrError(f"{template}: {error.message}") from None
    return text.rstrip() + "\n"


def _context(claims: Path, results: Path, page: Path) -> dict[str, Any]:
    """What fills the template's blanks."""
    definition, frame = load_claims(claims), recorded(results / SEEDS)
    found = findings(definition, frame)
    facts = validate(StudyFacts, read_json(results / FACTS), str(results / FACTS))
    changes = [change for one in found for change in one.changes.values()]
    return {
        "short": _short(definition, found),
        "claims": {c.key: _claim(definition, c, found, frame) for c in definition.claims},
        "intervals": sum(change.low is not None for change in changes),
        "steps": _steps(definition, results / SEEDS),
        "copies": _copies(definition, frame),
        "seeds_of": frame.groupby(frame["dataset"] + "/" + frame["model"])["seed"].nunique(),
        "outliers": _outliers(definition, frame),
        "far": f"{FAR:.0f}",
        "picture": _picture(results, page),
        "link": lambda name: _link(results / name, page),
        **facts.model_dump(),
        **_durations(facts),
    }


def write_study(claims: Path, template: Path, results: Path, page: Path) -> None:
    """Write the page of ``study_page``."""
    write_text(page, study_page(claims, template, results, page))


def _short(definition: Claims, found: list[Finding]) -> dict[str, Any]:
    """What the page begins with: claims by verdict, in words, and every comparison in a table."""
    groups: dict[str, list[str]] = {verdict: [] for verdict in (*VERDICTS, "mixed")}
    for claim in definition.claims:
        verdicts = [one.verdict for one in found if one.claim == claim]
        counts = {word: verdicts.count(word) for word in VERDICTS if word in verdicts}
        if len(counts) == 1:
            groups[verdicts[0]].append(claim.title)
        else:
            parts = ", ".join(f"{count} {word}" for word, count in counts.items())
            groups["mixed"].append(f"{claim.title} ({parts})")
    body, above = [], None
    for one in found:
        title = "" if one.claim == above else one.claim.title
        name, against, setting, seeds, *_, difference, verdict = _line(definition, one)
        body.append([title, verdict, name, against, setting, seeds, difference])
        above = one.claim
    difference = f"{definition.metrics[0].title}, difference [95%]"
    heads = ["Claim", "Verdict", "Compared", "Against", "Setting", "Seeds", difference]
    return {"claims": groups, "table": _table(heads, body, left=5)}


def _line(definition: Claims, one: Finding) -> list[str]:
    """Names, setting, seeds, the two means, difference and verdict, of the deciding metric."""
    metric, runs = definition.metrics[0], (one.comparison.run, one.comparison.against)
    means = [metric.text(mean) for mean in one.means[metric.key]]
    difference = metric.difference(one.changes[metric.key])
    names = map(definition.name, runs)
    return [*names, one.setting, str(one.seeds), *means, difference, one.verdict]


def _claim(
    definition: Claims, claim: Claim, found: list[Finding], frame: "pd.DataFrame"
) -> dict[str, Any]:
    """A claim's title and tables: the deciding metric, the others, and the costs in words."""
    deciding, *others = definition.metrics
    body, other_body = [], []
    for one in found:
        if one.claim == claim:
            name, against, *cells = _line(definition, one)
            note = f" ({one.comparison.note})" if one.comparison.note else ""
            body.append([name, against + note, *cells])
            changes = [(metric, one.changes[metric.key]) for metric in others]
            texts = [f"{m.difference(change)}, {m.verdict(change)}" for m, change in changes]
            other_body.append([name, against, one.setting, *texts])
    heads = ["Compared", "Against", "Setting", "Seeds", deciding.title, "The other's"]
    return {
        "title": claim.title,
        "table": _table([*heads, "Difference [95%]", "Verdict"], body, left=3),
        "others": _table([*heads[:3], *(m.title for m in others)], other_body, left=3),
        "costs": _costs(definition, claim, frame),
    }


def _table(heads: list[str], body: list[list[str]], left: int) -> str:
    right = [index >= left for index in range(len(heads))]
    return "\n".join(markdown_lines(heads, body, right))


def _costs(definition: Claims, claim: Claim, frame: "pd.DataFrame") -> str:
    """Parameters and multiply-accumulates of the networks of a claim, in words."""
    parts = []
    for run in dict.fromkeys(run for c in claim.comparisons for run in (c.run, c.against)):
        setting = definition.settings(run)[0]
        millions, gmacs = (
            values_by_seed(frame, run, setting, key).iloc[0] for key in ("parameters_m", "gmacs")
        )
        parts.append(f"{definition.name(run)} {millions:.2f} million parameters, {gmacs:.3f} GMACs")
    return "; ".join(parts)


def _steps(definition: Claims, seeds: Path) -> dict[str, Any]:
    """FID by solver and number of evaluations, of the run that was sampled with most of them.

    Means over the seeds that every number of evaluations has.
    """
    metric, asked = definition.metrics[0], read_frame(seeds)
    guided = asked[asked["kind"] == "constant"]
    counts = guided.groupby(["dataset", "model"])["evaluations"].nunique()
    if counts.empty:
        raise DimrError(f"{seeds}: no run with constant guidance says its evaluations")
    dataset, model = counts.idxmax()
    own = guided[(guided["dataset"] == dataset) & (guided["model"] == model)]
    by_seed = own.pivot_table(metric.key, "seed", ["solver", "evaluations"]).dropna()
    if by_seed.empty:
        raise DimrError(f"{seeds}: {dataset}/{model}: no seed has every number of evaluations")
    means = by_seed.mean().unstack("solver")
    body = [
        [f"{n:.0f}", *("" if value != value else metric.text(value) for value in line)]
        for n, line in zip(means.index, means.to_numpy(), strict=True)
    ]
    heads = ["Network evaluations", *(f"{metric.title}, solver {name}" for name in means)]
    return {
        "name": definition.name(f"{dataset}/{model}"),
        "seeds": len(by_seed),
        "table": _table(heads, body, left=0),
    }


def _copies(definition: Claims, frame: "pd.DataFrame") -> dict[str, Any]:
    """Sanity rows and memorisation: means over seeds, by run and setting."""
    dataset = next(iter(definition.names)).split("/")[0]
    metric, body, of_models = definition.metrics[0], [], []
    cells = [(f"{dataset}/{model}", SANITY[model], BASELINE_SETTING) for model in BASELINES]
    for run, name, setting in (*cells, *_compared(definition)):
        fid, ratio, share = (
            values_by_seed(frame, run, setting, key).mean()
            for key in (metric.key, "nearest_ratio", "near_copy_share")
        )
        body.append([name, setting, metric.text(fid), f"{ratio:.2f}", f"{share:.1%}"])
        if setting != BASELINE_SETTING:
            of_models.append((ratio, share))
    heads = ["Images", "Setting", metric.title, "Nearest ratio", "Near copies"]
    return {
        "table": _table(heads, body, left=2),
        "smallest_ratio": f"{min(ratio for ratio, _ in of_models):.2f}",
        "largest_share": f"{max(share for _, share in of_models):.1%}",
    }


def _compared(definition: Claims) -> list[tuple[str, str, str]]:
    """Run (dataset/model), name and setting of everything that claims compare."""
    return [
        (run, name, setting)
        for run, name in definition.names.items()
        for setting in definition.settings(run)
    ]


def _outliers(definition: Claims, frame: "pd.DataFrame") -> list[str]:
    """Seeds whose FID is far from the median of their run's, at a setting, in words."""
    metric, found = definition.metrics[0], []
    for run, name, setting in _compared(definition):
        values = values_by_seed(frame, run, setting, metric.key)
        median = values.median()
        found += [
            f"{name}, seed {seed}, {setting}: {metric.text(value)} (median {metric.text(median)})"
            for seed, value in values[values > FAR * median].items()
        ]
    return found


def _picture(results: Path, page: Path) -> Callable[[str, str], str]:
    """``picture(name, caption)`` in the template: the image if it is among the results."""

    def picture(name: str, caption: str) -> str:
        file = results / name
        if not file.is_file():
            return f"*{caption}* (`{file.as_posix()}` is not made yet.)"
        return f"![{caption}]({_link(file, page)})\n\n*{caption}*"

    return picture


def _link(file: Path, page: Path) -> str:
    """From the page to a file."""
    return Path(os.path.relpath(file, page.parent)).as_posix()


def _durations(facts: StudyFacts) -> dict[str, str]:
    """Core minutes by step, core hours in all, and what no job recorded, in words."""
    times = facts.times
    seconds = sum(one.seconds for one in times.values())
    return {
        **{f"{step}_minutes": f"{one.seconds / 60:.0f}" for step, one in times.items()},
        "total_hours": f"{seconds / 3600:.1f}",
        "least_minutes": f"{seconds / 60 / facts.machine.cores:.0f}",
        "unrecorded_jobs": str(sum(one.jobs - one.recorded for one in times.values())),
    }
