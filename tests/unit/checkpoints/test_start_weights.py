"""What another network takes of weights: classes by name, positions by interpolation, all else."""

import pytest
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

from dimr.checkpoints import to_published
from dimr.checkpoints.export import export
from dimr.checkpoints.model_folder import write_class_names, write_model
from dimr.checkpoints.start_weights import read_start, resize_positions
from dimr.config.variants import check_network
from dimr.data.classes import class_names, same_classes, wordnet_ids
from dimr.models import build
from dimr.runtime.errors import DimrError

from .conftest import WEIGHTS, weights_of

INPUT = {"input_size": 8, "channels": 4, "num_classes": 3, "time_map": "latent"}
FAMILIES = {
    "dimr": {"layers": [2, 1], "dims": [16, 8], "heads": 2, "norm": "rms"},
    "uvit": {"depth": 3, "dim": 16, "heads": 2, "patch": 2},
    "dit": {"depth": 2, "dim": 16, "heads": 2, "patch": 2},
}
LABELS = {"dimr": "lowest.label.weight", "uvit": "label.weight", "dit": "label.weight"}


def network(family, **changes):
    """The configuration of a small network."""
    value = {"family": family, "schedule": "latent", **INPUT, **FAMILIES[family], **changes}
    return check_network(value, "test")


def built(config, seed=0):
    """A network with initial weights of a seed."""
    torch.manual_seed(seed)
    return build(config.sizes)


@pytest.fixture
def folder(tmp_path):
    """Write a model folder."""

    def write(config, names=None, seed=0):
        model = tmp_path / f"model{seed}"
        model.mkdir()
        write_model(model, config, built(config, seed).state_dict(), "noise")
        if names:
            write_class_names(model, names)
        return model

    return write


def started(weights, config, same):
    """The parameters of a fresh network that starts from weights."""
    fresh = dict(built(config, seed=1).named_parameters())
    rows = weights.label_rows(config, same)
    return {name: weights.value(name, value, rows) for name, value in fresh.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_network_starts_as_the_weights_bitwise(folder, family):
    config = network(family)
    weights = read_start(folder(config), config)
    expected = dict(built(config).named_parameters())
    found = started(weights, config, range(3))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert weights.resized(expected) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_classes_keep_their_rows_whatever_their_order(folder, family):
    config = network(family, num_classes=4)
    weights = read_start(folder(network(family), ["cat", "a dog", "éclair"]), config)
    same = same_classes(["éclair", "fox", "cat", "a dog"], weights.class_names)
    assert same == [2, None, 0, 1]
    old = dict(built(network(family)).named_parameters())
    fresh = dict(built(config, seed=1).named_parameters())
    for name, value in started(weights, config, same).items():
        if name == LABELS[family]:
            assert torch.equal(value[[0, 2, 3, 4]], old[name][[2, 0, 1, 3]])  # "no class" last
            assert torch.equal(value[1], fresh[name][1])
        else:
            assert torch.equal(value, old[name]), name


def test_a_label_for_no_class_is_fresh_where_the_weights_have_none(folder):
    config = network("uvit")
    weights = read_start(folder(network("uvit", has_null_label=False)), config)
    assert weights.label_rows(config, [0, 1, 2]) == [0, 1, 2, None]
    other = network("uvit", has_null_label=False)
    assert weights.label_rows(other, [0, 1, 2]) == [0, 1, 2]
    value = started(weights, config, [0, 1, 2])["label.weight"]
    assert torch.equal(value[3], built(config, seed=1).label.weight[3])


@pytest.mark.parametrize(("old", "new"), [(4, 8), (8, 4), (6, 7)])
def test_positions_are_interpolated_as_timm_does(old, new):
    positions = torch.randn(2 + old**2, 5)
    expected = resample_abs_pos_embed(positions[None], [new, new], num_prefix_tokens=2)[0]
    assert torch.equal(resize_positions(positions, new), expected)
    grid = resize_positions(positions[2:].reshape(old, old, 5), new)
    assert torch.equal(grid.flatten(0, 1), expected[2:])


def test_a_ramp_stays_one_and_a_constant_is_kept():
    row, column = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    ramp = torch.stack([row, column, torch.ones(8, 8)], dim=-1)
    found = resize_positions(ramp, 16)
    torch.testing.assert_close(found[..., 2], torch.ones(16, 16))
    inside = torch.arange(16.0)[4:12] / 2 - 0.25  # pixel centres
    torch.testing.assert_close(found[4:12, 0, 0], inside)
    torch.testing.assert_close(found[0, 4:12, 1], inside)


@pytest.mark.parametrize(
    ("family", "resized"),
    [("dimr", ["4x4 -> 8x8", "8x8 -> 16x16"]), ("uvit", ["4x4 -> 8x8"]), ("dit", [])],
)
def test_another_resolution(folder, family, resized):
    config = network(family, input_size=16)
    weights = read_start(folder(network(family)), config)
    fresh = dict(built(config, seed=1).named_parameters())
    assert weights.resized(fresh) == resized
    found, changed = started(weights, config, range(3)), 0
    for name, value in found.items():
        assert value.shape == fresh[name].shape
        if value.shape != weights.tensors[name].shape:
            changed += 1
            corners = [weights.tensors[name], value]
            if family == "uvit":
                assert torch.equal(value[:2], weights.tensors[name][:2])
                corners = [one[2:].unflatten(0, (side, side))
                           for one, side in zip(corners, (4, 8), strict=True)]  # fmt: skip
            means = [corner.mean(dim=(0, 1)) for corner in corners]
            torch.testing.assert_close(*means, rtol=0, atol=5e-3)
    assert changed == len(resized)
    ours = built(config, seed=2)
    ours.load_state_dict(found, strict=family != "dit")
    x, t, label = ours.example_inputs(2, "cpu")
    assert ours(x, t, label)[-1].isfinite().all()


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("uvit", {}, "is a DiMR; this run trains a U-ViT: choose model.family and model.variant"),
        ("dimr", {"dims": [16, 16]}, "is a DiMR of dims [16, 8]; this run's has [16, 16]: choose"),
        ("dimr", {"layers": [5, 1]}, "is a DiMR of layers [2, 1]; this run's has [5, 1]: choose"),
        ("dimr", {"heads": 4}, "is a DiMR of heads 2; this run's has 4: choose"),
        ("dimr", {"norm": "layer"}, "is a DiMR of norm rms; this run's has layer: choose"),
        ("dimr", {"channels": 3}, "is a DiMR of channels 4; this run's has 3: both datasets need"),
        ("dimr", {"time_map": "pixel"}, "is a DiMR of time_map latent; this run's has pixel: both"),
    ],
)
def test_another_network_is_one_line(folder, family, changes, message):
    model = folder(network("dimr"))
    with pytest.raises(DimrError) as caught:
        read_start(model, network(family, **changes))
    assert str(caught.value).startswith(f"train.from: {model} {message}")
    assert "\n" not in str(caught.value)


def test_layers_that_are_built_alike_are_the_same(folder):
    assert read_start(folder(network("dimr")), network("dimr", layers=[3, 1])).network


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("family", ["dimr", "uvit"])
def test_a_file_in_published_names(tmp_path, family, suffix):
    """Nothing in it tells the heads: they are those of the network that starts."""
    config, path = network(family, input_size=16, num_classes=2), tmp_path / f"w{suffix}"
    tensors = {n: t.contiguous() for n, t in to_published(built(network(family))).items()}
    (save_file if suffix == ".safetensors" else torch.save)(tensors, path)
    weights = read_start(path, config)
    assert (weights.network.num_classes, weights.network.input_size) == (3, 8)
    assert weights.class_names is None
    found = started(weights, config, [1, None])
    assert torch.equal(found[LABELS[family]][0], built(network(family)).state_dict()[
        LABELS[family]][1])  # fmt: skip


def test_an_exported_file_has_the_names_of_its_classes(folder, tmp_path):
    export(folder(network("dimr"), ["a", "b, c", "d"]), tmp_path / "w.pth")
    assert read_start(tmp_path / "w.pth", network("dimr")).class_names == ["a", "b, c", "d"]


def test_the_authors_dit(tmp_path):
    weights = weights_of("dit")
    torch.save(weights, tmp_path / "dit.pt")
    depth = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    width, channels, patch, _ = weights["x_embedder.proj.weight"].shape
    config = network("dit", depth=depth, dim=width, heads=4, patch=patch, channels=channels,
                     learn_sigma=True, input_size=4 * patch)  # fmt: skip
    found = read_start(tmp_path / "dit.pt", config)
    assert found.network.schedule == "linear"
    assert torch.equal(found.tensors["patch.weight"], weights["x_embedder.proj.weight"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_of_ours_without_its_folder(folder, tmp_path, family):
    model, file = folder(network(family)), tmp_path / "own.safetensors"
    (model / WEIGHTS).rename(file)
    weights = read_start(file, network(family, input_size=16, num_classes=2))
    assert weights.network.sizes == network(family).sizes
    with pytest.raises(DimrError, match=r"own.safetensors is a .*heads 2; this run's has 4"):
        read_start(file, network(family, heads=4))
    other = next(name for name in FAMILIES if name != family)
    with pytest.raises(DimrError, match=r"own.safetensors"):
        read_start(file, network(other))


def test_the_weights_in_a_model_folder_are_the_folder(folder):
    model = folder(network("dimr"), list("abc"))
    assert read_start(model / WEIGHTS, network("dimr")).class_names == list("abc")


def test_bad_weights_are_one_line(folder, tmp_path):
    config = network("dimr")
    tensors = built(config).state_dict()
    tensors["lowest.label.weight"][0, 0] = float("nan")
    published = tmp_path / "nan.pth"
    torch.save(to_published(_loaded(config, tensors)), published)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x10\0\0\0")
    foreign = tmp_path / "foreign.pth"
    torch.save({"conv.weight": torch.zeros(3)}, foreign)
    model = folder(config)
    save_file(tensors, model / WEIGHTS)
    for path, message in (
        (tmp_path / "none.pth", "train.from: .*none.pth: no such file"),
        (published, "nan.pth: tensor 'stages.0.class_embeds.weight' holds values that are not fin"),
        (model, f"{WEIGHTS}: tensor 'lowest.label.weight' holds values that are not finite"),
        (damaged, "damaged.safetensors: "),
        (foreign, "foreign.pth: tensor 'conv.weight': of no known network"),
    ):
        with pytest.raises(DimrError, match=message) as caught:
            read_start(path, config)
        assert "\n" not in str(caught.value)


def _loaded(config, tensors):
    network = built(config)
    network.load_state_dict(tensors)
    return network


# --- classes by name ------------------------------------------------------------------------------


def test_names_of_imagenet():
    """A folder of cats may be called as ImageNet calls them, or by an id."""
    imagenet = class_names(1000)
    assert same_classes(imagenet, imagenet) == list(range(1000))
    goldfish, tabby = 1, imagenet.index("tabby, tabby cat")
    named = ["Goldfish", "tabby  cat", wordnet_ids(1000)[281], "blue squares", "3"]
    assert same_classes(named, imagenet) == [goldfish, tabby, 281, None, None]


def test_names_that_are_not_single_are_not_guessed():
    twice = next(name for name in class_names(1000) if class_names(1000).count(name) == 2)
    assert same_classes([twice], class_names(1000)) == [None]
    assert same_classes(["a", "b", "a"], ["a", "a", "c"]) == [0, None, 1]
    assert same_classes(["kite"], ["kite, bird", "kite, toy"]) == [None]
    assert same_classes(["Kite"], ["kite", "kite, toy"]) == [0]
