"""Small networks with made-up weights, as runs' models, and figures measured as they are drawn."""

import itertools

import matplotlib as mpl
import pytest
import torch
from tests.support.results import leave_result

from dimr.checkpoints.model_folder import write_model
from dimr.config.phases import write_phases
from dimr.config.project import PROJECT
from dimr.models import build
from dimr.paper.figures import style
from dimr.stages.pipeline import Pipeline

PIPELINE = Pipeline(PROJECT)
TRAINED = {"td": "digits/dimr-xs-2r/0", "adaln": "digits/dit-xs-2/0"}


def made_up(network, seed):
    """Every parameter at random, so that time matters everywhere, as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.fixture(scope="package")
def runs(tmp_path_factory):
    """A folder of runs with a DiMR and a DiT of the digits' sizes."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, run in enumerate(TRAINED.values()):
        sizes = PROJECT.run(run).network
        network = made_up(build(sizes.sizes), seed)
        (folder / run / "model").mkdir(parents=True)
        write_model(folder / run / "model", sizes, network.state_dict())
        write_phases(PROJECT.run(run).phases(), folder / run / "config")
    return folder


def leave_metrics(runs, run, setting, metrics, **record):
    """Metrics of a run of the present configuration; returns their file."""
    key = PIPELINE.key(f"runs/{run}/metrics/{setting}.json")
    return leave_result(runs, run, setting, metrics, key=key, **record)


@pytest.fixture(autouse=True)
def styled():
    """Figures are drawn as they are when they are written."""
    with mpl.rc_context(style.STYLE):
        yield


def texts(figure):
    """Every text of a figure that is seen, with its box in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    beyond = {id(label) for axes in figure.axes for label in labels_beyond(axes)}
    return [
        # Of the letters alone: an annotation's own box has its line in it too.
        (text.get_text(), Text.get_window_extent(text, renderer))
        for text in figure.findobj(lambda one: isinstance(one, Text))
        if text.get_visible() and text.get_text().strip() and id(text) not in beyond
    ]


def labels_beyond(axes):
    """Labels of ticks outside the axes' limits: matplotlib has them and does not draw them."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        margin = 1e-6 * (high - low)
        for tick in [*axis.majorTicks, *axis.minorTicks]:
            if not low - margin <= tick.get_loc() <= high + margin:
                yield from (tick.label1, tick.label2)


def check_legible(figure):
    """No text is cut off by the figure's edge or lies on another."""
    width, height = figure.bbox.size
    seen = texts(figure)
    assert seen
    for text, box in seen:
        assert min(box.x0, box.y0) > -2, f"{text!r} is cut off"
        assert max(box.x1 - width, box.y1 - height) < 2, f"{text!r} is cut off"
    for (one, first), (other, second) in itertools.combinations(seen, 2):
        assert not first.padded(-1).overlaps(second.padded(-1)), f"{one!r} lies on {other!r}"
