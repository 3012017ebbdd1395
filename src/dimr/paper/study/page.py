"""The page on the digits study (``docs/digits-study.md``), made only from committed results.

The template holds the text; every number, verdict and list of findings comes from ``seeds.csv``,
``study.json`` and ``published.yaml``. A name in the template that nothing defines is an error, not
a blank.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimr.config.validation import validate
from dimr.paper.results import read_frame, recorded
from dimr.paper.study.claims import Claim, Claims, load_claims, load_papers, percent
from dimr.paper.study.findings import (
    VERDICTS,
    Finding,
    Verdict,
    findings,
    more_seeds,
    values_by_seed,
)
from dimr.paper.study.results import Added, StudyFacts
from dimr.paper.study.runs import (
    FAR,
    all_runs,
    copies,
    ends_of_grid,
    longer,
    outliers,
    reruns,
    steps,
    table_text,
    without_labels,
)
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, read_text, write_text

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
SEEDS, FACTS = "seeds.csv", "study.json"
RERUNS, TUNING, BUDGET = "reruns.csv", "tuning.csv", "budget.csv"
WORDS = {
    "shows": "Claims that hold here",
    "opposite": "Claims that the digits contradict",
    "smaller": "Claims without an effect as large as the paper's",
    "open": "Claims that stay open",
    "mixed": "Claims on which comparisons differ",
}
"""What the page calls verdicts, in its order."""
MADE_BY = "`make study` from results/digits, experiments/claims.yaml and {}"


@dataclass(frozen=True)
class StudyResults:
    """What the page is made from: claims, numbers of runs, what was found, how it was made."""

    definition: Claims
    frame: "pd.DataFrame"
    found: list[Finding]
    facts: StudyFacts


def load_study(claims: Path, results: Path) -> StudyResults:
    """Read the claims, and published.yaml beside them, and a folder of results.

    Raises:
        DimrError: results that are missing, or do not have what a claim compares.
    """
    definition, frame = load_claims(claims), recorded(results / SEEDS)
    facts = validate(StudyFacts, read_json(results / FACTS), str(results / FACTS))
    found = findings(definition, load_papers(claims), frame)
    return StudyResults(definition, frame, found, facts)


def study_page(claims: Path, template: Path, results: Path, page: Path) -> str:
    """The page's text.

    Args:
        claims: ``experiments/claims.yaml``.
        template: the page, with Jinja placeholders.
        results: the folder of ``seeds.csv``, ``study.json`` and the pictures.
        page: where the page will be: links to pictures are relative to it.

    Raises:
        DimrError: results that are missing, or a blank of the template that nothing fills.
    """
    return _render(load_study(claims, results), template, results, page)


def write_study(claims: Path, template: Path, results: Path, page: Path) -> None:
    """Write the page of ``study_page``; what is open and may have more seeds is a warning."""
    study = load_study(claims, results)
    write_text(page, _render(study, template, results, page))
    for line in more_seeds(study.definition, study.found):
        log.warning(line)


def _render(study: StudyResults, template: Path, results: Path, page: Path) -> str:
    import jinja2

    blanks = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    context = {"made_by": MADE_BY.format(template.name), **_context(study, results, page)}
    try:
        text = blanks.from_string(read_text(template)).render(context)
    except jinja2.TemplateSyntaxError as error:
        raise DimrError(f"{template}: line {error.lineno}: {error.message}") from None
    except jinja2.UndefinedError as error:
        raise DimrError(f"{template}: {error.message}") from None
    return text.rstrip() + "\n"


def _context(study: StudyResults, results: Path, page: Path) -> dict[str, Any]:
    """What fills the template's blanks."""
    definition, frame, found, facts = study.definition, study.frame, study.found, study.facts
    return {
        "short": _short(definition, found),
        "verdicts": _verdicts(definition, found),
        "claims": [_claim(definition, claim, found, frame) for claim in definition.claims],
        "rule": definition.seeds,
        "to_raise": sum(1 for _ in more_seeds(definition, found)),
        "intervals": _intervals(found),
        "runs": all_runs(definition, frame),
        "steps": steps(definition, results / SEEDS, read_frame(results / SEEDS)),
        "copies": copies(definition, frame),
        "outliers": outliers(definition, frame),
        **_without_labels(definition, frame),
        "far": f"{FAR:.0f}",
        "reruns": reruns(definition, results / RERUNS),
        "longer": longer(definition, results / BUDGET),
        "ends_of_grid": ends_of_grid(results / TUNING),
        "picture": _picture(results, page),
        "link": lambda name: _link(results / name, page),
        **facts.model_dump(),
        "note": facts.note,  # left out if empty
        "times": facts.all_times,
        "added": [_added(definition, one) for one in facts.added],
        "across": _across(definition, frame, facts),
        **_durations(facts),
    }


def _short(definition: Claims, found: list[Finding]) -> list[str]:
    """What the page begins with, a line per verdict: the claims that have it."""
    groups: dict[str, list[str]] = {verdict: [] for verdict in WORDS}
    for claim in definition.claims:
        own = [one for one in found if one.claim is claim]
        if len({one.verdict for one in own}) == 1:
            groups[own[0].verdict].append(claim.title)
            continue
        counts = {
            against: _counts([one.verdict for one in own if one.comparison.against == against])
            for against in dict.fromkeys(one.comparison.against for one in own)
        }
        parts = [f"against {definition.name(against)}: {text}" for against, text in counts.items()]
        said = "; ".join(parts) if len(parts) > 1 else next(iter(counts.values()))
        groups["mixed"].append(f"{claim.title} ({said})")
    return [f"**{WORDS[word]}**: {'; '.join(of)}." for word, of in groups.items() if of]


def _counts(verdicts: list[Verdict]) -> str:
    """``1 shows, 2 open``."""
    return ", ".join(f"{verdicts.count(word)} {word}" for word in VERDICTS if word in verdicts)


def _verdicts(definition: Claims, found: list[Finding]) -> str:
    """Every comparison of every claim, in a table."""
    body, above = [], None
    for one in found:
        title = "" if one.claim is above else one.claim.title
        names = [definition.name(run) for run in (one.comparison.run, one.comparison.against)]
        means = ["", ""] if one.means is None else [one.metric.text(mean) for mean in one.means]
        paper = "" if one.paper is None else percent(one.paper)
        body.append([title, one.verdict, *names, one.setting_text, one.seeds_text, *means,
                     one.effect_text, paper])  # fmt: skip
        above = one.claim
    heads = ["Claim", "Verdict", "Compared", "Against", "Setting", "Seeds", "Mean", "The other's",
             "Effect [95%]", "The paper's"]  # fmt: skip
    return table_text(heads, body, left=5)


def _claim(
    definition: Claims, claim: Claim, found: list[Finding], frame: "pd.DataFrame"
) -> dict[str, Any]:
    """A claim's title, text, the metrics that do not decide it in a table, and costs in words."""
    deciding = definition.metric_of(claim)
    others = [metric for metric in definition.metrics if metric != deciding]
    body = [
        [
            definition.name(one.comparison.run),
            definition.name(one.comparison.against),
            one.setting,
            *(metric.difference(one.changes[metric.key]) for metric in others),
        ]
        for one in found
        if one.claim is claim and one.changes
    ]
    heads = ["Compared", "Against", "Setting", *(metric.title for metric in others)]
    return {
        "title": claim.title,
        "about": claim.about,
        "notes": [one.note for one in claim.comparisons if one.note],
        "others": table_text(heads, body, left=3),
        "costs": _costs(definition, claim, frame),
    }


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


def _without_labels(definition: Claims, frame: "pd.DataFrame") -> dict[str, list[str]]:
    """Networks that have not learned their labels, and the claims that compare them."""
    shares = without_labels(definition, frame)
    return {
        "without_labels": [
            f"{definition.name(run)} ({share:.0%})" for run, share in shares.items()
        ],
        "without_labels_claims": [
            claim.title
            for claim in definition.claims
            if any(shares.keys() & {one.run, one.against} for one in claim.comparisons)
        ],
    }


def _intervals(found: list[Finding]) -> int:
    """How many intervals the page has: for effects, and for differences in other metrics."""
    effects = [one.effect for one in found]
    others = [change for one in found for key, change in one.changes.items()
              if key != one.metric.key]  # fmt: skip
    return sum(one is not None and one.low is not None for one in (*effects, *others))


def _added(definition: Claims, added: Added) -> str:
    """Runs that were added later, in words: networks, seeds, where, with which code, how long."""
    seeds: dict[str, list[int]] = {}
    for run in added.runs:
        model, _, seed = run.rpartition("/")
        seeds.setdefault(definition.name(model), []).append(int(seed))
    groups: dict[str, list[str]] = {}
    for name, of in seeds.items():
        groups.setdefault(_numbers(of), []).append(name)
    named = "; ".join(f"{numbers} of {', '.join(names)}" for numbers, names in groups.items())
    hours = sum(one.seconds for one in added.times.values()) / 3600
    code = ", ".join(revision[:10] for revision in added.git_revisions)
    changed = ", with uncommitted changes" if added.uncommitted_changes else ""
    return (
        f"seeds {named} ({hours:.1f} core hours) on {added.machine.cores} cores of "
        f"{added.machine.cpu}, PyTorch {added.versions.get('torch', '')}, git {code}{changed}"
    )


def _across(definition: Claims, frame: "pd.DataFrame", facts: StudyFacts) -> list[str]:
    """Comparisons with seeds whose one network is recorded and the other was added elsewhere."""
    made = {run: place for place, one in enumerate(facts.added, 1) for run in one.runs}
    known, every_seed, found = set(frame["run"]), set(frame["seed"]), []
    for one in (one for claim in definition.claims for one in claim.comparisons):
        pairs = {seed: (f"{one.run}/{seed}", f"{one.against}/{seed}") for seed in every_seed}
        seeds = [
            int(seed)
            for seed, pair in pairs.items()
            if known.issuperset(pair) and made.get(pair[0]) != made.get(pair[1])
        ]
        if seeds:
            names = definition.name(one.run), definition.name(one.against)
            found.append(f"{names[0]} against {names[1]} (seeds {_numbers(seeds)})")
    return list(dict.fromkeys(found))


def _numbers(numbers: list[int]) -> str:
    """``5 to 11``, or ``5, 7`` where some are left out."""
    least, most = min(numbers), max(numbers)
    if len(numbers) > 1 and sorted(numbers) == [*range(least, most + 1)]:
        return f"{least} to {most}"
    return ", ".join(map(str, sorted(numbers)))


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
    """Core minutes by step, core hours of tuning, of longer trainings and in all, in words."""
    times = facts.all_times
    seconds = sum(one.seconds for one in times.values())
    hours = {name: times[name].seconds / 3600 if name in times else 0.0
             for name in ("tuning", "longer")}  # fmt: skip
    return {
        **{f"{step}_minutes": f"{one.seconds / 60:.0f}" for step, one in times.items()},
        **{f"{name}_hours": f"{some:.1f}" for name, some in hours.items()},
        "total_hours": f"{seconds / 3600:.1f}",
        "least_minutes": f"{seconds / 60 / facts.machine.cores:.0f}",
        "unrecorded_jobs": str(sum(one.jobs - one.recorded for one in times.values())),
    }
