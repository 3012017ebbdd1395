"""adaLN-Zero's and TD-LN's vectors over time, against computations of another kind."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dimr import build
from dimr.checkpoints.model_folder import read_model
from dimr.config.project import PROJECT
from dimr.models.norms import Modulation
from dimr.paper.figures import adaln_pca, td_ln
from dimr.paper.figures.definitions import define
from dimr.paper.figures.time_vectors import (
    adaln_zero_vectors,
    diffusion_times,
    td_norm_vectors,
)
from dimr.runtime.errors import DimrError

from .conftest import TRAINED, check_legible, made_up, texts

WEIGHTS = "diffusion_pytorch_model.safetensors"


def modulations_of_a_pass(network, t, label):
    """What every ``Modulation`` gives while the whole network runs."""
    seen = []
    hooks = [
        module.register_forward_hook(lambda _, __, parts: seen.append(parts))
        for module in network.modules()
        if isinstance(module, Modulation)
    ]
    sizes = network.sizes
    image = torch.zeros(1, sizes.channels, sizes.input_size, sizes.input_size)
    with torch.no_grad():
        network(image, torch.tensor([t]), torch.tensor([label]))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(
    ("family", "extra", "label"),
    [("dit", {}, None), ("dit", {}, 3), ("uvit", {"time": "adaln_zero"}, None)],
)
def test_adaln_vectors_are_those_of_a_forward_pass(family, extra, label):
    sizes = {"depth": 3, "dim": 16, "heads": 2, "patch": 2, "input_size": 4, "channels": 2}
    network = made_up(build(family, **sizes, num_classes=5, **extra), 0)
    times = diffusion_times()
    vectors = adaln_zero_vectors(network, times, label)
    assert [(one.block, one.part) for one in vectors[:3]] == [
        (0, "attention"), (0, "MLP"), (1, "attention"),
    ]  # fmt: skip
    for index in (0, 200, 999):
        *blocks, last = modulations_of_a_pass(network, times[index], 5 if label is None else label)
        assert len(blocks) == 3
        for number, (shift1, scale1, _, shift2, scale2, _) in enumerate(blocks):
            attention, mlp = vectors[2 * number], vectors[2 * number + 1]
            for ours, theirs in [
                (attention.scale, 1 + scale1), (attention.shift, shift1),
                (mlp.scale, 1 + scale2), (mlp.shift, shift2),
            ]:  # fmt: skip
                np.testing.assert_allclose(ours[index], theirs.flatten(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(vectors[-1].shift[index], last[0].flatten(), atol=1e-5)
        np.testing.assert_allclose(vectors[-1].scale[index], 1 + last[1].flatten(), atol=1e-5)


def test_a_network_without_adaln_is_refused():
    network = build(
        "uvit", depth=1, dim=8, heads=2, patch=2, input_size=4, channels=1, num_classes=2
    )
    with pytest.raises(DimrError, match=r"uvit.*without adaLN-Zero"):
        adaln_zero_vectors(network, diffusion_times(10))


def test_components_against_the_covariance_matrix():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(200, 12)) @ generator.normal(size=(12, 12)) + 5
    found = adaln_pca.principal_components(vectors)
    values, directions = np.linalg.eigh(np.cov(vectors.T))
    values, directions = values[::-1], directions[:, ::-1]
    np.testing.assert_allclose(found.shares, values / values.sum(), rtol=1e-9)
    placed = (vectors - vectors.mean(0)) @ directions[:, :2]
    np.testing.assert_allclose(np.abs(found.plane), np.abs(placed), rtol=1e-7, atol=1e-9)


def test_a_circle_and_a_line_have_the_components_that_they_must():
    angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    circle = np.zeros((100, 5))
    circle[:, 1], circle[:, 3] = np.cos(angle), np.sin(angle)
    np.testing.assert_allclose(
        adaln_pca.principal_components(circle).shares[:3], [0.5, 0.5, 0], atol=1e-12
    )
    line = np.outer(np.arange(10.0), [1, 2, 3])
    np.testing.assert_allclose(adaln_pca.principal_components(line).shares[0], 1)


@pytest.fixture(scope="module")
def components(runs):
    return adaln_pca.load(define("digits/adaln_pca", PROJECT), runs)


def test_every_norm_of_every_block_is_analysed(components):
    assert len(components) == 2 * 6
    for norm in components:
        for kind in ("scale", "shift"):
            assert norm.by_kind[kind].plane.shape == (1000, 2)
            assert norm.by_kind[kind].shares.sum() == pytest.approx(1)


def test_the_picture_of_the_components_is_legible(components):
    figure = adaln_pca.draw(components, [0, 3, 5])
    check_legible(figure)
    shown = [text for text, _ in texts(figure)]
    assert "(b) block 1" in shown
    assert "(h) block 6" in shown
    share = next(n for n in components if (n.block, n.part) == (3, "attention"))
    assert f"1st ({100 * share.by_kind['scale'].shares[0]:.0f}%)" in shown


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
    last = adaln_zero_vectors(network, diffusion_times())[2 * 5]
    np.testing.assert_array_equal(time_data.adaln[2].values, last.scale)
    titles = [panel.title for panel in time_data.td]
    assert titles == ["scale, block 1", "scale, block 3", "scale, block 5", "shift, output"]


def test_the_picture_of_time_is_legible(time_data):
    figure = td_ln.draw(time_data)
    check_legible(figure)
    shown = " ".join(text for text, _ in texts(figure))
    for one in time_data.counts:
        assert f"{one.parameters:,}" in shown
