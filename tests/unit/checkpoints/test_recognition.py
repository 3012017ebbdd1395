"""Variants are recognised from shapes, at the published networks' true ones, without gigabytes."""

import pytest
import torch
from torch import Tensor

from dimr import build
from dimr.checkpoints import ImportOptions, read_published
from dimr.checkpoints.formats import from_published, to_published
from dimr.config.project import PROJECT
from dimr.models.complexity import on_meta

from .conftest import XL_2R, dimr_shapes, weights_of, without_memory

G_2R = {"layers": [57, 29], "dims": [1152, 576], "side": 32}


def save(weights, tmp_path):
    torch.save(weights, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("dimr_2r_tdrms", {"layers": [3, 2], "dims": [32, 16], "side": 8, "labels": 11}),
        (
            "dimr_3r_tdrms",
            {"layers": [3, 2, 2], "dims": [32, 16, 8], "side": 16, "channels": 3, "labels": 7},
        ),
    ],
)
def test_the_shapes_written_by_hand_are_the_authors(name, sizes):
    theirs = {key: tuple(tensor.shape) for key, tensor in weights_of(name).items()}
    assert dimr_shapes(**sizes) == theirs


def test_xl_of_the_authors(xl, tmp_path, dimr, capsys):
    path = save(xl, tmp_path)
    assert path.stat().st_size < 1e6  # not 2 GB
    dimr("import", path, "--dry-run", "--variant", "dimr-xl-2r")
    report = capsys.readouterr().out
    assert "dimr-xl-2r (505.0M parameters, 1018 tensors, all matched; names: dimr)" in report
    assert "4 x 32 x 32, 1000 classes" in report
    assert "16 heads (" in report
    assert "nearest" not in report
    imported = read_published(path, ImportOptions())
    assert imported.parameters == 505046408
    assert imported.network == PROJECT.run("imagenet256/dimr-xl-2r/published").network
    assert list(tmp_path.iterdir()) == [path]


def test_the_name_map_of_xl_on_the_meta_device():
    with torch.device("meta"):
        weights = {name: torch.empty(shape) for name, shape in dimr_shapes(**XL_2R).items()}
    back = to_published(from_published(weights))
    assert {n: t.shape for n, t in back.items()} == {n: t.shape for n, t in weights.items()}


@pytest.mark.parametrize(
    "name", ["dimr-m-3r", "dimr-xl-3r", "dimr-g-2r", "uvit-h-2", "uvit-m-4", "uvit-h-4", "dit-xl-2"]
)
def test_every_kind_of_published_variant(name, tmp_path):
    listed = PROJECT.variant(name)
    own = {"learn_sigma": True} if listed.family == "dit" else {}
    if listed.family == "uvit" and listed.published_input["time_map"] == "pixel":
        own = {"has_null_label": False}
    network = on_meta(listed.complete(**listed.published_input, **own))
    shapes = {key: tensor.shape for key, tensor in to_published(network).items()}
    imported = read_published(save(without_memory(shapes), tmp_path), ImportOptions(variant=listed))
    assert imported.listed == listed
    assert imported.network.sizes == network.sizes


def test_a_pixel_uvit_of_ours_has_a_label_for_no_class(tmp_path, dimr, capsys):
    """Tensors do not tell whether the last label is a class: in the authors' pixel models it is."""
    network = PROJECT.run("digits-pixel/uvit-xs-4/0").network
    path = save(to_published(build("uvit", **network.sizes.arguments())), tmp_path)
    dimr("import", path, "--dry-run")
    assert '11 classes, no label for "no class"' in capsys.readouterr().out
    assert read_published(path, ImportOptions(network=network)).network == network


def test_our_own_sizes_bring_their_heads(tmp_path, capsys, dimr):
    for name, heads in (("dimr-xs-2r", 4), ("uvit-xs-2", 4), ("dit-xs-sigma-2", 4)):
        inputs = {"input_size": 8, "channels": 4, "num_classes": 10}
        path = save(to_published(build(name, **inputs)), tmp_path)
        imported = read_published(path, ImportOptions())
        assert (imported.listed.name, imported.network.heads) == (name, heads)
        dimr("import", path, "--dry-run", "--variant", f"digits/{name}/0", "--schedule", "latent")
        assert f"4 heads (digits/{name}/0)" in capsys.readouterr().out


def test_a_size_that_is_not_listed_names_the_nearest(tmp_path, dimr, capsys):
    weights = without_memory(dimr_shapes([37, 20], [960, 480], side=32))
    dimr("import", save(weights, tmp_path), "--dry-run")
    report = capsys.readouterr().out
    assert "no listed variant (48" in report
    assert "nearest  dimr-xl-2r (505.0M parameters; 9" in report
    assert "16 heads (as published for width 960" in report


def test_another_variant_is_refused_with_both_names(xl, tmp_path, error_of):
    path = save(xl, tmp_path)
    refused = error_of("import", path, "--dry-run", "--variant", "dimr-g-2r")
    assert "weights.pth: holds dimr-xl-2r, not dimr-g-2r of --variant: layers [39, 20], " in refused
    run = "imagenet256/dimr-g-2r/published"
    assert f"holds dimr-xl-2r, not dimr-g-2r of {run}: " in error_of(
        "import", path, "--dry-run", "--variant", run
    )
    refused = error_of("import", path, "--dry-run", "--variant", "uvit-h-2")
    assert refused.endswith("holds dimr-xl-2r, not uvit-h-2 of --variant: family dimr, not uvit")
    refused = error_of("import", path, "--dry-run", "--variant", "digits/dimr-xl-2r/0")
    assert "holds dimr-xl-2r, but not as in digits/dimr-xl-2r/0: input_size 32, not 8" in refused
    assert "did you mean dimr-xl-2r" in error_of(
        "import", path, "--dry-run", "--variant", "dimr-xl-2"
    )


def test_a_dit_that_learns_its_variance_is_the_published_one_and_not_ours(tmp_path, error_of):
    inputs = {"input_size": 8, "channels": 4, "num_classes": 10}
    path = save(to_published(build("dit-xs-sigma-2", **inputs)), tmp_path)
    assert (
        "holds dit-xs-sigma-2, not dit-xs-2 of --variant: learn_sigma True, not False"
        in error_of("import", path, "--dry-run", "--variant", "dit-xs-2")
    )


def test_heads_that_disagree_or_are_unknown(xl, tmp_path, error_of, dimr, capsys):
    path = save(xl, tmp_path)
    assert "number of heads: 8 (--heads), 16 (--variant): which?" in error_of(
        "import", path, "--dry-run", "--variant", "dimr-xl-2r", "--heads", 8
    )
    assert "width 960 cannot be split into 7 heads (--heads)" in error_of(
        "import", path, "--dry-run", "--heads", 7
    )
    dimr("import", path, "--dry-run", "--heads", 8)
    report = capsys.readouterr().out
    assert "no listed variant" in report
    assert "nearest  dimr-xl-2r (505.0M parameters; 1018 of 1018 tensors fit, 16 heads)" in report
    assert "no tensor tells the heads of width 32: give --heads" in error_of(
        "import", save(weights_of("uvit_latent"), tmp_path), "--dry-run"
    )


PATCH = "stages.0.input_layer.1.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("stages.0.blocks.7.block1.dense.bias"),
            "tensor 'stages.0.blocks.7.block1.dense.bias' is missing; 1017 of 1018 tensors are "
            "those of dimr-xl-2r",
        ),
        (
            lambda w: w.update({"stages.1.blocks.3.block2.w3.bias": torch.zeros(480)}),
            "'stages.1.blocks.3.block2.w3.bias' is one too many (nearest that belongs: "
            "'stages.1.blocks.3.block2.w",
        ),
        (
            lambda w: w.update({PATCH: w[PATCH][:900]}),  # from which the width is read
            f"tensor '{PATCH}' has shape (900, 4, 2, 2), not (960, 4, 2, 2); 1017 of 1018",
        ),
        (
            lambda w: w.update({PATCH: torch.zeros(3)}),
            f"tensor '{PATCH}' has shape (3,), not (960, 4, 2, 2)",
        ),
        (
            lambda w: w.pop(PATCH),
            f"tensor '{PATCH}' is missing",
        ),
        (
            lambda w: w.update({"stages.1.upsample.1.kernel.bias": torch.zeros(7)}),
            "tensor 'stages.1.upsample.1.kernel.bias' has shape (7,), not (1920,)",
        ),
        (
            lambda w: [w.pop(n) for n in list(w) if n.startswith("stages.0.blocks.38.")],
            "tensor 'stages.0.blocks.38.",
        ),
        (
            lambda w: w.update({PATCH: torch.zeros(960, 4, 2, 2, dtype=torch.int32)}),
            f"tensor '{PATCH}' is torch.int32, no floating point",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message, xl, tmp_path, error_of):
    change(xl)
    path = save(xl, tmp_path)
    refused = error_of("import", path, "--out", tmp_path / "model")
    assert refused.startswith(f"{path}: ")
    assert message in refused
    assert list(tmp_path.iterdir()) == [path]


def test_a_wrong_tensor_is_not_another_variant(xl, tmp_path, error_of):
    xl[PATCH] = xl[PATCH][:900]
    path = save(xl, tmp_path)
    assert f"tensor '{PATCH}' has shape (900, 4, 2, 2), not (960, 4, 2, 2)" in error_of(
        "import", path, "--dry-run", "--variant", "dimr-xl-2r"
    )


def test_nothing_known(tmp_path, error_of):
    path = save({"conv1.weight": torch.zeros(3, 3)}, tmp_path)
    assert "tensor 'conv1.weight': of no known network; known are stages.* (dimr)" in error_of(
        "import", path, "--out", tmp_path / "model"
    )
    assert isinstance(torch.load(path)["conv1.weight"], Tensor)  # the file itself is whole
