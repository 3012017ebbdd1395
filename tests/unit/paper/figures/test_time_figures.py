"""adaLN-Zero's and TD-LN's vectors over time, against computations of another kind."""

import contextlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dimr.checkpoints.model_folder import read_model
from dimr.config.project import PROJECT
from dimr.config.schema import NETWORKS, SampleConfig
from dimr.models import build
from dimr.models.norms import Modulation
from dimr.paper.figures import adaln_pca, td_ln
from dimr.paper.figures.lookup import define
from dimr.paper.figures.time_vectors import (
    adaln_zero_vectors,
    diffusion_times,
    sampled_conditions,
    td_norm_vectors,
)
from dimr.runtime.errors import DimrError
from dimr.sampling.sampler import Sampler

from .conftest import TRAINED, check_legible, made_up, texts

WEIGHTS = "diffusion_pytorch_model.safetensors"


@contextlib.contextmanager
def modulations(network):
    """What every ``Modulation`` gives while the whole network runs, a list of passes of each."""
    seen = {}
    hooks = [
        module.register_forward_hook(lambda one, _, parts: seen.setdefault(one, []).append(parts))
        for module in network.modules()
        if isinstance(module, Modulation)
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def check_vectors(vectors, seen):
    """Vectors of norms, in order, are those that the blocks' modulations gave in passes."""
    passes = [[torch.cat(part).flatten(1) for part in zip(*p, strict=True)] for p in seen.values()]
    expected = []
    for shift, scale, *others in passes:
        expected.append((scale, shift))
        if others:  # of a block: gate, then the same of the MLP
            _, shift2, scale2, _ = others
            expected.append((scale2, shift2))
    assert len(vectors) == len(expected)
    for norm, (scale, shift) in zip(vectors, expected, strict=True):
        np.testing.assert_allclose(norm.scale, 1 + scale, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(norm.shift, shift, rtol=1e-4, atol=1e-5)


SIZES = {"depth": 3, "dim": 16, "heads": 2, "input_size": 4, "channels": 2, "num_classes": 5}


def small(family, **sizes):
    """A small network with made-up weights, and its configuration."""
    common = {**SIZES, "patch": 2, "time_map": "latent", **sizes}
    config = NETWORKS[family](family=family, schedule="latent", **common)
    return made_up(build(config.sizes), 0).eval(), config


@pytest.mark.parametrize(
    ("family", "extra", "label"),
    [("dit", {}, None), ("dit", {}, 3), ("uvit", {"time": "adaln_zero"}, None)],
)
def test_adaln_vectors_are_those_of_a_forward_pass(family, extra, label):
    network, _ = small(family, **extra)
    times = torch.tensor([0.001, 0.2, 1.0])
    labels = None if label is None else torch.full((3,), label)
    vectors = list(adaln_zero_vectors(network, times, labels))
    assert [(one.block, one.part) for one in vectors[:3]] == [
        (0, "attention"), (0, "MLP"), (1, "attention"),
    ]  # fmt: skip
    with modulations(network) as seen, torch.no_grad():
        network(torch.zeros(3, 2, 4, 4), times, torch.full((3,), 5) if label is None else labels)
    check_vectors(vectors, seen)


@pytest.mark.parametrize(
    ("sizes", "changes", "rows"),
    [
        ({}, {"guidance": {"kind": "none"}}, 6 * 3),
        ({}, {"guidance": {"kind": "constant", "scale": 0.4}}, 6 * 3 * 2),
        ({}, {"guidance": {"kind": "constant", "interval": (0.0, 0.5)}}, 6 * 3 + 2 * 3),
        ({"learn_sigma": True}, {"solver": "ancestral", "guidance": {"kind": "none"}}, 6 * 3),
    ],
)
def test_vectors_are_those_that_are_met_while_images_are_drawn(sizes, changes, rows):
    network, config = small("dit", **sizes)
    settings = {"seed": 0, "count": 10, "steps": 6, "solver": "authors", **changes}
    sampling = SampleConfig.model_validate(settings)
    times, labels = sampled_conditions(config, sampling, 3)
    vectors = list(adaln_zero_vectors(network, times, labels))
    assert vectors[0].scale.shape == (rows, 16)
    with modulations(network) as seen:
        Sampler(network, config, sampling, lambda x: x, torch.device("cpu")).solve(range(3))
    check_vectors(vectors, seen)


def test_a_network_without_adaln_is_refused():
    network, _ = small("uvit")
    with pytest.raises(DimrError, match=r"uvit.*without adaLN-Zero"):
        list(adaln_zero_vectors(network, diffusion_times(10)))


def test_shares_against_the_singular_values():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(200, 12)) @ generator.normal(size=(12, 12)) + 5
    squares = np.linalg.svd(vectors - vectors.mean(0), compute_uv=False) ** 2
    found = adaln_pca.explained_variance(vectors)
    np.testing.assert_allclose(found, (squares / squares.sum())[:10], rtol=1e-9)


def test_a_circle_and_a_line_have_the_shares_that_they_must():
    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    circle = np.zeros((100, 5))
    circle[:, 1], circle[:, 3] = np.cos(angle), np.sin(angle)
    np.testing.assert_allclose(
        adaln_pca.explained_variance(circle), [0.5, 0.5, 0, 0, 0], atol=1e-12
    )
    line = np.outer(np.arange(10.0), [1, 2, 3])
    np.testing.assert_allclose(adaln_pca.explained_variance(line), [1, 0, 0], atol=1e-12)


@pytest.fixture(scope="module")
def shares(runs):
    return adaln_pca.load(define("digits/adaln_pca", PROJECT), runs)


def bars(axes):
    return [bar.get_height() for bar in axes.patches]


def test_four_panels_show_the_mean_over_all_layers(shares):
    assert len(shares) == 6 * 4  # blocks; two kinds of vectors of two norms
    figure = adaln_pca.draw(shares, None)
    check_legible(figure)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == [
        r"(a) scale $\gamma_1$", r"(b) scale $\gamma_2$", r"(c) shift $\beta_1$",
        r"(d) shift $\beta_2$",
    ]  # fmt: skip
    chosen = [one.shares for one in shares if (one.part, one.kind) == ("MLP", "scale")]
    assert bars(figure.axes[1]) == pytest.approx(np.mean(chosen, axis=0))
    assert len(bars(figure.axes[1])) == 10
    for axes in figure.axes:
        (line,) = [one for one in axes.lines if one.get_linestyle() == "--"]
        assert set(line.get_ydata()) == {0.1}


def test_depths_are_rows_of_one_layer_each(runs, shares):
    definition = define("digits/adaln_pca_depths", PROJECT)
    found = adaln_pca.load(definition, runs)
    assert sorted({one.block + 1 for one in found}) == definition.depths
    figure = adaln_pca.draw(found, definition.depths)
    check_legible(figure)
    shown = [text for text, _ in texts(figure)]
    assert [text for text in shown if text.startswith("layer")] == [
        "layer 2", "layer 3", "layer 5", "layer 6",
    ]  # fmt: skip
    (last,) = [s.shares for s in shares if (s.block, s.part, s.kind) == (5, "MLP", "shift")]
    assert bars(figure.axes[-1]) == pytest.approx(last)


def test_an_untrained_network_is_named(runs, tmp_path):
    shutil.copytree(runs / TRAINED["adaln"], tmp_path / TRAINED["adaln"])
    folder = tmp_path / TRAINED["adaln"] / "model"
    weights = load_file(folder / WEIGHTS)
    save_file({k: v * ("modulation" not in k) for k, v in weights.items()}, folder / WEIGHTS)
    with pytest.raises(DimrError, match=r"model: block 0, attention: .* not trained\?"):
        adaln_pca.load(define("digits/adaln_pca", PROJECT), tmp_path)


def test_td_vectors_follow_the_formula(runs):
    network, _ = read_model(runs / TRAINED["td"] / "model")
    vectors = td_norm_vectors(network, diffusion_times())
    assert [one.block for one in vectors] == [*range(5), None, None]
    assert [one.part for one in vectors] == ["attention"] * 5 + ["output"] * 2
    weights = {k: v.double().numpy() for k, v in network.state_dict().items()}
    tau = 8 * np.arange(1, 1001)[:, None] / 1000 - 4

    def formula(name):
        p0, p1, w, b = (weights[f"{name}.{key}"] for key in ("p0", "p1", "w", "b"))
        return p1 + (p0 - p1) / (1 + np.exp(-((w + 1) * tau / 4 + b)))

    block, output = vectors[2], vectors[-1]
    np.testing.assert_allclose(block.scale, formula("lowest.stack.blocks.2.norm1.scale"), atol=1e-5)
    assert block.shift is None  # TD-RMS norm
    np.testing.assert_allclose(output.shift, formula("higher.0.output.norm.shift"), atol=1e-5)


@pytest.fixture(scope="module")
def time_data(runs):
    return td_ln.load(define("digits/td_ln", PROJECT), runs)


def test_parameters_are_counted_by_name_too(runs, time_data):
    def count(run, *parts):
        weights = load_file(runs / run / "model" / WEIGHTS)
        return sum(v.numel() for k, v in weights.items() if any(part in k for part in parts))

    td, adaln, *blocks = time_data.counts
    assert td.parameters == count(TRAINED["td"], ".scale.", ".shift.")
    assert adaln.parameters == count(TRAINED["adaln"], "modulation", "embedding")
    assert td.of == 1_209_288  # as table 1 prints it: 1.21 M
    dim = json.loads((runs / TRAINED["adaln"] / "model/config.json").read_text())["dim"]
    assert [one.parameters for one in blocks] == [8 * dim, 16 * dim, 6 * dim * (dim + 1)]


def test_scales_are_what_multiplies_the_features(runs, time_data):
    network, _ = read_model(runs / TRAINED["adaln"] / "model")
    last = list(adaln_zero_vectors(network, diffusion_times()))[2 * 5]
    np.testing.assert_array_equal(time_data.adaln[2].values, last.scale)
    titles = [panel.title for panel in time_data.td]
    assert titles == ["scale, block 1", "scale, block 3", "scale, block 5", "shift, output"]


def test_the_picture_of_time_is_legible(time_data):
    figure = td_ln.draw(time_data)
    check_legible(figure)
    shown = " ".join(text for text, _ in texts(figure))
    for one in time_data.counts:
        assert f"{one.parameters:,}" in shown
