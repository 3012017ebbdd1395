"""Variants are recognised from shapes, at the published networks' true ones, without gigabytes."""

import pytest
import torch

from dimr import build
from dimr.checkpoints import ImportOptions, from_published, read_published, to_published
from dimr.config.project import PROJECT
from dimr.models.complexity import on_meta

from .conftest import XL_2R, dimr_shapes, load, weights_of, without_memory

SMALL = {"input_size": 8, "channels": 4, "num_classes": 10}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("dimr_2r_tdrms", {"layers": [3, 2], "dims": [32, 16], "side": 8, "labels": 11}),
        ("dimr_3r_tdrms",
         {"layers": [3, 2, 2], "dims": [32, 16, 8], "side": 16, "channels": 3, "labels": 7}),
    ],
)  # fmt: skip
def test_the_shapes_written_by_hand_are_the_authors(name, sizes):
    theirs = {key: tuple(tensor.shape) for key, tensor in weights_of(name).items()}
    assert dimr_shapes(**sizes) == theirs


def test_xl_of_the_authors(xl, tmp_path, file_of, dimr):
    path = file_of(xl)
    assert path.stat().st_size < 1e6  # not 2 GB
    report = dimr("import", path, "--dry-run", "--variant", "dimr-xl-2r")
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
    "name",
    [
        "dimr-m-3r", "dimr-m-rms-3r", "dimr-xl-3r", "dimr-xl-layer-2r", "dimr-g-2r",
        "uvit-h-2", "uvit-m-4", "uvit-h-4", "dit-xl-2",
    ],
)  # fmt: skip
def test_every_kind_of_published_variant(name, file_of):
    listed = PROJECT.variant(name)
    own = {"learn_sigma": True} if listed.family == "dit" else {}
    if listed.family == "uvit" and listed.published_input["time_map"] == "pixel":
        own = {"has_null_label": False}
    network = on_meta(listed.complete(**listed.published_input, **own))
    shapes = {key: tensor.shape for key, tensor in to_published(network).items()}
    imported = read_published(file_of(without_memory(shapes)), ImportOptions(variant=listed))
    assert imported.listed == listed
    assert imported.network.sizes == network.sizes


def test_a_pixel_uvit_of_ours_has_a_label_for_no_class(file_of, dimr):
    """Tensors do not tell whether the last label is a class: in the authors' pixel models it is."""
    network = PROJECT.run("digits-pixel/uvit-xs-4/0").network
    path = file_of(to_published(build("uvit", **network.sizes.arguments())))
    assert '11 classes, no label for "no class"' in dimr("import", path, "--dry-run")
    assert read_published(path, ImportOptions(network=network)).network == network


@pytest.mark.parametrize("name", ["dimr-xs-2r", "uvit-xs-2", "dit-xs-sigma-2"])
def test_our_own_sizes_bring_their_heads(name, file_of, dimr):
    path = file_of(to_published(build(name, **SMALL)))
    imported = read_published(path, ImportOptions())
    assert (imported.listed.name, imported.network.heads) == (name, 4)
    run = f"digits/{name}/0"
    told = dimr("import", path, "--dry-run", "--variant", run, "--schedule", "latent")
    assert f"4 heads ({run})" in told


@pytest.mark.slow
def test_a_size_that_is_not_listed_names_the_nearest(file_of, dimr):
    weights = without_memory(dimr_shapes([37, 20], [960, 480], side=32))
    report = dimr("import", file_of(weights), "--dry-run")
    assert "no listed variant (48" in report
    assert "nearest  dimr-xl-2r (505.0M parameters; 9" in report
    assert "16 heads (as published for width 960" in report


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("dimr-g-2r", "holds dimr-xl-2r, not dimr-g-2r of --variant: layers [39, 20], "),
        ("imagenet256/dimr-g-2r/published",
         "holds dimr-xl-2r, not dimr-g-2r of imagenet256/dimr-g-2r/published: "),
        ("uvit-h-2", "holds dimr-xl-2r, not uvit-h-2 of --variant: family dimr, not uvit"),
        ("digits/dimr-xl-2r/0",
         "holds dimr-xl-2r, but not as in digits/dimr-xl-2r/0: input_size 32, not 8"),
    ],
)  # fmt: skip
def test_another_variant_is_refused_with_both_names(variant, message, xl, refusal):
    assert refusal(xl, "--variant", variant).startswith(message)


def test_names_of_no_variant(xl, file_of, error_of):
    command = ["import", file_of(xl), "--dry-run", "--variant"]
    assert "did you mean dimr-xl-2r" in error_of(*command, "dimr-xl-2")
    assert "run digits/real/0 has no network" in error_of(*command, "digits/real/0")


def test_a_dit_that_learns_its_variance_is_the_published_one_and_not_ours(refusal):
    weights = to_published(build("dit-xs-sigma-2", **SMALL))
    message = "holds dit-xs-sigma-2, not dit-xs-2 of --variant: learn_sigma True, not False"
    assert message in refusal(weights, "--variant", "dit-xs-2")


@pytest.mark.slow
def test_heads_that_disagree_or_are_unknown(xl, file_of, refusal, dimr):
    disagree = refusal(xl, "--variant", "dimr-xl-2r", "--heads", 8)
    assert "heads: 8 (--heads), 16 (--variant): which?" in disagree
    assert "width 960 cannot be split into 7 heads (--heads)" in refusal(xl, "--heads", 7)
    report = dimr("import", file_of(xl), "--dry-run", "--heads", 8)
    assert "no listed variant" in report
    assert "nearest  dimr-xl-2r (505.0M parameters; 1018 of 1018 tensors fit, 16 heads)" in report
    unknown = refusal(weights_of("uvit_latent"))
    assert "no tensor tells the heads of width 32: give --heads" in unknown


PATCH = "stages.0.input_layer.1.weight"
DENSE = "stages.0.blocks.7.block1.dense.bias"
KERNEL = "stages.1.upsample.1.kernel.bias"
W3 = "stages.1.blocks.3.block2.w3.bias"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (DENSE, None, "is missing; 1017 of 1018 tensors are those of dimr-xl-2r"),
        (W3, torch.zeros(480), "is one too many (nearest that belongs: 'stages.1.blocks.3.block2."),
        (PATCH, torch.zeros(900, 4, 2, 2),  # from which the width is read
         "has shape (900, 4, 2, 2), not (960, 4, 2, 2); 1017 of 1018"),
        (PATCH, torch.zeros(3), "has shape (3,), not (960, 4, 2, 2)"),
        (PATCH, None, "is missing"),
        (KERNEL, torch.zeros(7), "has shape (7,), not (1920,)"),
        (PATCH, torch.zeros(960, 4, 2, 2, dtype=torch.int32), "is torch.int32, not floating point"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(name, change, message, xl, refusal):
    if change is None:
        del xl[name]
    else:
        xl[name] = change
    message = f"tensor {name!r} {message}"
    assert refusal(xl).startswith(message)
    if name == DENSE:
        assert refusal(xl, "--variant", "dimr-xl-2r").startswith(message)  # and not another one


def test_a_block_that_is_not_there(xl, refusal):
    weights = {name: t for name, t in xl.items() if not name.startswith("stages.0.blocks.38.")}
    assert refusal(weights).startswith("tensor 'stages.0.blocks.38.")


def test_nothing_known(file_of, refusal):
    path = file_of({"conv1.weight": torch.zeros(3, 3)})
    message = "tensor 'conv1.weight': of no known network; known are stages.0.input_layer.* (dimr)"
    assert message in refusal(path)
    assert "conv1.weight" in load(path)  # the file itself is whole


@pytest.mark.slow
def test_damaged_weights_of_an_unlisted_size_are_not_those_of_a_listed_one(refusal):
    weights = without_memory(dimr_shapes([37, 20], [960, 480], side=32))
    del weights[DENSE]
    assert refusal(weights) == f"tensor {DENSE!r} is missing"
