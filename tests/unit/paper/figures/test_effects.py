"""The figure of effects: what is drawn is what was found, beside what the paper has."""

import math
import shutil

import pytest
from matplotlib.colors import to_hex
from tests.unit.paper.study.study_case import full_lines, write_results

from dimr.config.project import PROJECT, ROOT, Project
from dimr.paper.figures import effects
from dimr.paper.figures.lookup import define
from dimr.paper.published import load_published
from dimr.paper.results import recorded
from dimr.paper.study.findings import findings

from .conftest import check_legible, texts


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """One whose study recorded made-up numbers of every run that the claims compare."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "experiments", root / "experiments")
    write_results(root / "results/digits", full_lines())
    return Project(root)


def test_every_comparison_is_a_bar_beside_the_papers(project):
    definition = define("digits/effects", PROJECT)
    claims = definition.claims(PROJECT)
    frame = recorded(project.root / "results/digits/seeds.csv")
    found = findings(claims, load_published(PROJECT), frame)
    figure = effects.make(definition, project, project.root / "runs")
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


def test_the_picture_of_effects_is_legible_and_names_every_claim(project):
    definition = define("digits/effects", PROJECT)
    figure = effects.make(definition, project, project.root / "runs")
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


def test_the_figure_is_made_of_the_recorded_numbers_as_the_page():
    definition = define("digits/effects", PROJECT)
    assert definition.cells(PROJECT) == definition.claims(PROJECT).cells()
    assert definition.files(PROJECT) == [
        "results/digits/seeds.csv", "experiments/claims.yaml", "experiments/published.yaml",
    ]  # fmt: skip
