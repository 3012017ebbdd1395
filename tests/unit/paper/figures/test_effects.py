"""The figure of effects: what is drawn is what was found, beside what the paper has."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from dimr.config.project import PROJECT
from dimr.paper.figures import effects
from dimr.paper.figures.lookup import define
from dimr.paper.published import load_published
from dimr.paper.results import results
from dimr.paper.study.findings import findings

from .conftest import check_legible, leave_metrics, texts

METRICS = {"inception_score": 7.0, "precision": 0.5, "recall": 0.5, "class_accuracy": 0.9}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Made-up metrics of every run that the claims compare."""
    runs, numbers = tmp_path_factory.mktemp("measured"), np.random.default_rng(0)
    for run, setting in define("digits/effects", PROJECT).cells(PROJECT):
        fid, share = numbers.lognormal(0, 0.3), numbers.uniform(0, 0.1)
        metrics = {"fid_digits": fid, "low_fidelity_share": share, "images": 2000, **METRICS}
        leave_metrics(runs, run, setting, metrics)
    return runs


def test_every_comparison_is_a_bar_beside_the_papers(measured):
    definition = define("digits/effects", PROJECT)
    claims = definition.claims(PROJECT)
    frame = results(PROJECT, measured, definition.cells(PROJECT))
    found = findings(claims, load_published(PROJECT), frame)
    figure = effects.make(definition, PROJECT, measured)
    (axes,) = figure.axes
    hollow = [bar.get_width() for bar in axes.patches if to_hex(bar.get_facecolor()) == "#000000"]
    filled = [bar for bar in axes.patches if to_hex(bar.get_facecolor()) != "#000000"]
    papers = [math.log1p(one.paper) for one in found if one.paper is not None]
    assert hollow == pytest.approx(papers)
    ours = [one for one in found if one.effect is not None]
    drawn = [(bar.get_width(), to_hex(bar.get_facecolor()).upper()) for bar in filled]
    assert [colour for _, colour in drawn] == [effects.COLOURS[one.verdict] for one in ours]
    most = axes.get_xlim()[1]
    for (width, _), one in zip(drawn, ours, strict=True):
        assert width == pytest.approx(max(-most, min(most, math.log1p(one.effect.mean))))
    intervals = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 0.8]
    for ends, one in zip(
        intervals, (one for one in ours if one.effect.low is not None), strict=True
    ):
        low, high = (math.log1p(max(end, -1 + 1e-9)) for end in (one.effect.low, one.effect.high))
        assert list(ends) == pytest.approx([max(low, -most), min(high, most)])


def test_the_picture_of_effects_is_legible_and_names_every_claim(measured):
    definition = define("digits/effects", PROJECT)
    figure = effects.make(definition, PROJECT, measured)
    check_legible(figure)
    seen = [text for text, _ in texts(figure)]
    titles = [claim.title for claim in definition.claims(PROJECT).claims]
    places = [next(n for n, text in enumerate(seen) if text.startswith(t)) for t in titles]
    assert places == sorted(places)  # as in claims.yaml
    assert "0" in seen
    rows = sum(
        len(one.settings)
        for claim in definition.claims(PROJECT).claims
        for one in claim.comparisons
    )
    assert sum(text in effects.COLOURS for text in seen) == rows + 4  # and the legend


def test_the_figure_is_made_of_what_the_claims_compare():
    definition = define("digits/effects", PROJECT)
    files = definition.files(PROJECT)
    cells = definition.claims(PROJECT).cells()
    assert definition.cells(PROJECT) == cells
    assert files[-2:] == ["experiments/claims.yaml", "experiments/published.yaml"]
    assert len(files) == 2 * len(cells) + 2
