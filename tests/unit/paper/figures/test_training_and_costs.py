"""Training curves and costs: what is read, and that it is what is drawn."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Annotation

from dimr.config.project import PROJECT
from dimr.paper.figures import cost, training
from dimr.paper.figures.lookup import define
from dimr.runtime.errors import DimrError

from .conftest import check_legible, leave_metrics, texts

STEPS = np.arange(1, 21)
ROWS = 6  # of the ablation


def write_log(path, branches, level):
    """A made-up log.csv."""
    log = {"step": STEPS * 50, "images": STEPS * 1600, "loss": level / STEPS}
    log |= {f"loss_branch_{r + 1}": level * (r + 1) / STEPS for r in range(branches)}
    log |= {"gradient_norm": level / STEPS**2, "lr": 0.001, "images_per_second": 500.0 + level}
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(log).to_csv(path, index=False)


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Logs of the ablation: five seeds of networks with a loss of one branch and of two."""
    runs = tmp_path_factory.mktemp("logged")
    for run in define("digits/training_ablation", PROJECT).runs(PROJECT):
        write_log(runs / run / "log.csv", 2 if "/dimr-xs-2r/" in run else 1, 1 + int(run[-1]))
    return runs


def test_curves_are_the_logs_and_their_median_over_seeds(logged):
    models = training.load(define("digits/training_ablation", PROJECT), PROJECT, logged)
    assert [len(model.logs) for model in models] == [5] * ROWS
    (dimr,) = [model for model in models if len(model.branches) > 1]
    assert dimr.branches == ["loss_branch_1", "loss_branch_2"]
    middle = dimr.median("loss_branch_2")
    assert middle.index.tolist() == (STEPS * 1600).tolist()
    assert middle.iloc[10] == pytest.approx(3 * 2 / 11)  # the third of five seeds


def test_a_burst_of_one_seed_does_not_move_the_thick_line(logged):
    logs = training.load(define("digits/training_ablation", PROJECT), PROJECT, logged)[0].logs
    burst = logs[0].copy()
    burst.loc[10, "loss_branch_1"] = 1000.0
    quiet = training.Curves("a", logs).median("loss_branch_1")
    loud = training.Curves("a", [burst, *logs[1:]]).median("loss_branch_1")
    assert loud.max() == quiet.max() < 3


def test_the_picture_of_training_is_legible(logged):
    models = training.load(define("digits/training_ablation", PROJECT), PROJECT, logged)
    figure = training.draw(models)
    check_legible(figure)
    lines = [6 * number for number in (ROWS, 1, ROWS, ROWS)]  # five seeds and a median
    assert [len(axes.lines) for axes in figure.axes] == lines
    assert {model.name for model in models} <= {text.get_text() for text in figure.legends[0].texts}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: "", "not readable as a log"),
        (lambda text: text.splitlines()[0] + "\n", "no lines"),
        (lambda text: text.replace("gradient_norm", "norm"), "no column gradient_norm"),
        (lambda text: text.replace("502.0", "fast"), "images_per_second: should hold only numbers"),
    ],
)
def test_what_is_no_log_is_named(tmp_path, change, message):
    path = tmp_path / "log.csv"
    write_log(path, 1, 2)
    path.write_text(change(path.read_text()))
    with pytest.raises(DimrError, match=rf"log\.csv: {message}"):
        training.read_log(path)
    path.unlink()
    with pytest.raises(DimrError, match=r"log\.csv: no such file"):
        training.read_log(path)


def test_runs_of_the_papers_table_are_those_trained_on_the_dataset():
    definition = define("training", PROJECT)
    names = [row.name for row in definition.rows(PROJECT)]
    assert "DiMR-XL/2R" in names
    assert len(set(names)) == len(names)
    assert all(run.startswith("imagenet256/") for run in definition.runs(PROJECT))
    assert not any("published" in run for run in definition.runs(PROJECT))


# --- costs ----------------------------------------------------------------------------------------


def test_every_published_row_with_a_fid_is_a_point(tmp_path):
    data = cost.load_published(define("cost", PROJECT), PROJECT, tmp_path)
    points = {point.name: point for point in data.points}
    images = PROJECT.training_images("imagenet256")
    ours = points["DiMR-XL/2R"]
    assert ours.values == (1.70,)
    assert ours.costs == {"images": 800 * images, "gmacs": 160, "parameters": 505e6}
    assert points["CDM"].costs == {"images": 2158 * images}  # nothing else is published
    assert points["BigGAN"].series == "others"
    assert ours.series == "DiMR"
    figure = cost.draw(data)
    check_legible(figure)
    panels = [[p for p in data.points if panel.key in p.costs] for panel in data.panels]
    assert [len(axes.lines) for axes in figure.axes] == [len(panel) for panel in panels]
    drawn = {tuple(line.get_xydata()[0]) for line in figure.axes[1].lines}
    assert (160, 1.70) in drawn


def test_every_panel_names_our_models_at_their_cost(tmp_path):
    data = cost.load_published(define("cost", PROJECT), PROJECT, tmp_path)
    figure = cost.draw(data)
    named = {p.label: p for p in data.points if p.label}
    assert {"XL/2R", "G/2R"} <= set(named)
    for axes, panel in zip(figure.axes, data.panels, strict=True):
        lines = [text for text in axes.texts if isinstance(text, Annotation)]
        found = {name: text for text in lines for name in text.get_text().split("\n")}
        assert set(found) == {name for name, p in named.items() if panel.key in p.costs}
        for name, text in found.items():
            x, (foot, top) = named[name].costs[panel.key] / panel.unit, text.xyann
            assert text.xy[0] == foot == pytest.approx(x)  # the line is upright
            assert 0 < top < 0.3


def test_runs_of_ours_are_drawn_beside_what_is_published(tmp_path):
    run = "imagenet256/dimr-xl-2r/0"
    record = {
        "cost": {"parameters_m": 505.0, "gmacs": 160.18},
        "samples": {"model": {"images": 1024 * 1000}},
    }
    file = leave_metrics(tmp_path, run, "guided", {"fid": 1.9, "images": 50000}, **record)
    data = cost.load_published(define("cost", PROJECT), PROJECT, tmp_path, [file])
    (ours,) = [point for point in data.points if point.series == "DiMR, made here"]
    assert ours.values == (1.9,)
    assert ours.costs["images"] == pytest.approx(1024 * 1000)
    assert ours.costs["parameters"] == pytest.approx(505e6)
    figure = cost.draw(data)
    check_legible(figure)
    assert "DiMR, made here" in [text.get_text() for text in figure.legends[0].texts]


@pytest.fixture
def measured(tmp_path):
    definition = define("digits/cost", PROJECT)
    for number, run in enumerate(definition.runs(PROJECT)):
        costs = {"parameters_m": 1.2, "gmacs": 0.02, "train_seconds": 100.0 + number}
        leave_metrics(tmp_path, run, "unguided", {"fid_digits": 1.0 + number}, cost=costs)
    return tmp_path


def test_costs_on_digits_are_the_runs_own(measured):
    data = cost.load(define("digits/cost", PROJECT), PROJECT, measured)
    first, second, _ = data.points
    assert first.values == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert first.costs == {"train_seconds": 102.0, "gmacs": 0.02, "parameters_m": 1.2}
    assert second.costs["train_seconds"] == 107.0
    figure = cost.draw(data)
    check_legible(figure)
    drawn = [[len(line.get_xdata()) for line in axes.lines] for axes in figure.axes]
    assert drawn == [[1, 5] * 3] * 3  # the mean, and five seeds
    assert any("FID-digits" in text for text, _ in texts(figure))


def test_metrics_that_were_edited_are_refused(measured):
    file = measured / "digits/dit-xs-2/3/metrics/unguided.json"
    file.write_text(file.read_text().replace("14.0", "0.1"))
    with pytest.raises(DimrError, match=r"dit-xs-2/3/metrics/unguided\.json: changed after"):
        cost.load(define("digits/cost", PROJECT), PROJECT, measured)
