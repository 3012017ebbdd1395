"""Weights of networks of text: in, out and in again, and what no tensor tells of them."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from dimr.checkpoints import ImportOptions, from_published, read_model, read_published, to_published
from dimr.checkpoints.formats import ConversionError
from dimr.checkpoints.formats.uvit import CLIP_TOKENS
from dimr.config.variants import load_network_config
from dimr.models import DiMR, UViT, UViTSizes
from dimr.models.complexity import on_meta
from dimr.models.conditioning import TextCondition
from dimr.runtime.errors import DimrError
from dimr.runtime.weight_notes import save_safetensors

from .conftest import HEADS, VECTORS, assert_same, load, weights_of, without_memory

CASES = {"dimr_text_2r": None, "uvit_text": 7}
"""Files, and how many tokens their tensors tell of."""
MS_COCO = {
    "dim": 512, "heads": 8, "patch": 2, "input_size": 32, "channels": 4, "text_dim": 768,
    "text_tokens": CLIP_TOKENS, "final_conv": True,
}  # fmt: skip
"""U-ViT-S/2 for MS-COCO (repository baofff/U-ViT); its depth is 13, that of the deep one 17."""


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_published_to_ours_and_back(name, imported, exported):
    weights = weights_of(name)
    next(iter(weights.values())).view(-1)[:2] = torch.tensor([-0.0, 1e-42])
    model, report = imported(weights, *HEADS)
    config = load_network_config(model / "config.json")
    found = (config.text_dim, config.text_tokens, config.num_classes, config.input_size)
    assert found == (24, CASES[name], 0, 8)
    tokens = CASES[name] or "any number of"
    assert f"input    4 x 8 x 8, text: {tokens} tokens of width 24\n" in report
    for file in ("back.pth", "back.safetensors"):
        back = exported(model, file)
        assert_same(load(back), weights)
        again, _ = imported(back, out=f"again-{file}")  # heads are recorded
        assert load_network_config(again / "config.json") == config


@pytest.mark.parametrize("name", CASES)
def test_what_is_loaded_computes_what_the_authors_network_does(name, imported):
    tensors = load_file(VECTORS / f"{name}.safetensors")
    network, _ = read_model(imported(weights_of(name), *HEADS)[0])
    text = tensors["text"]
    mask = tensors.get("mask", torch.ones(text.shape[:2], dtype=torch.bool))
    with torch.no_grad():
        output = network(tensors["x"], tensors["timestep"] / 1000, TextCondition(text, mask))[-1]
    expected = tensors["output" if "output" in tensors else "output.1"]
    assert (output - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("depth", [13, 17])
def test_the_ms_coco_models_of_uvits_authors(depth, file_of, dimr):
    """At their true shapes: nothing needs to be told of them."""
    sizes = UViTSizes(depth=depth, **MS_COCO)
    shapes = {name: tensor.shape for name, tensor in to_published(on_meta(sizes)).items()}
    assert shapes["pos_embed"] == (1, 1 + 77 + 256, 512)
    assert shapes["context_embed.weight"] == (512, 768)
    path = file_of(without_memory(shapes))
    report = dimr("import", path, "--dry-run")
    assert "input    4 x 32 x 32, text: 77 tokens of width 768" in report
    name = {13: "uvit-s-2", 17: "uvit-s-deep-2"}[depth]
    assert f"network  {name} (" in report
    assert f"8 heads (as {name} has), time map latent" in report
    imported = read_published(path, ImportOptions())
    assert imported.network.sizes == sizes
    assert (imported.network.schedule, imported.noise.untold) == ("latent", "")


@pytest.mark.parametrize(
    ("patches", "tokens", "input_size"),
    [(16, 7, None), (16, 20, None), (64, 3, None), (4, 9, None), (256, 77, None), (16, 77, None),
     (36, 7, 12), (1, 30, 2), (64, 200, 16)],
)  # fmt: skip
def test_how_the_positions_of_a_uvit_are_shared(patches, tokens, input_size):
    side = 2 * round(patches**0.5)
    sizes = UViTSizes(
        depth=3, dim=16, heads=4, patch=2, input_size=side, channels=4, text_dim=5,
        text_tokens=tokens,
    )  # fmt: skip
    weights = to_published(UViT(sizes))
    assert from_published(weights, 4, input_size=input_size).sizes == sizes
    with pytest.raises(ConversionError, match="are not those of the time, a text and 2500 patches"):
        from_published(weights, 4, input_size=100)


@pytest.mark.slow
def test_what_is_recorded_of_a_network_of_text(imported, exported):
    """The tokens of a DiMR's text, and the input of a U-ViT; of others nothing more than before."""
    weights = weights_of("uvit_text")
    extra = torch.randn(1, 36 - 16, 32)  # an input of 12, which is no power of 2
    weights["pos_embed"] = torch.cat([weights["pos_embed"], extra], dim=1)
    model, _ = imported(weights, *HEADS, "--input-size", 12)
    config = load_network_config(model / "config.json")
    assert (config.input_size, config.text_tokens) == (12, 7)
    for name in ("a.pth", "a.safetensors"):
        again, _ = imported(exported(model, name), out=f"of-{name}")
        assert load_network_config(again / "config.json") == config
    for name in ("uvit_latent", "dimr_2r_tdrms"):
        back = exported(imported(weights_of(name), *HEADS, out=name)[0], f"{name}.safetensors")
        with safe_open(back, "pt") as file:
            assert not {"input_size", "text_tokens"} & file.metadata().keys()


def test_the_tokens_that_a_dimr_is_counted_with_come_back(tmp_path):
    inputs = {"input_size": 8, "channels": 4, "text_dim": 6, "text_tokens": 11}
    network = DiMR(layers=[3, 1], dims=[16, 8], heads=4, **inputs)
    notes = {"family": "dimr", "heads": "4", "text_tokens": "11"}
    path = tmp_path / "w.safetensors"
    save_safetensors(to_published(network), path, notes)
    assert read_published(path, ImportOptions()).network.sizes.text_tokens == 11
    others = {"text_tokens": "many", "input_size": "[1, 2]"}  # words of other programs
    save_safetensors(to_published(network), path, others)
    assert read_published(path, ImportOptions(heads=4)).network.sizes.text_tokens is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "told", "message"),
    [
        ("uvit_text", {}, ("--classes", 3), "a network of text, without classes; --classes 3"),
        ("dimr_text_2r", {}, ("--classes", 3), "a network of text, without classes; --classes 3"),
        ("dimr_text_2r", {"stages.0.class_embeds.weight": torch.zeros(11, 32)}, (),
         "tensor 'stages.0.class_embeds.weight' is one too many"),
        ("dimr_text_2r", {"stages.0.blocks.1.block1.condition_key_value.weight": None}, (),
         "tensor 'stages.0.blocks.1.block1.condition_key_value.weight' is missing"),
        ("dimr_text_2r", {"stages.0.blocks.0.block1.condition_key_value.weight": None}, (),
         "tensor 'stages.0.blocks.0.block1.condition_key_value.weight' is missing"),
        ("dimr_text_2r",
         {"stages.0.blocks.2.block1.condition_key_value.weight": torch.zeros(64, 23)}, (),
         "tensor 'stages.0.blocks.2.block1.condition_key_value.weight' has shape (64, 23), not "
         "(64, 24)"),
        ("uvit_text", {"context_embed.weight": None}, (),
         "tensor 'context_embed.weight' is missing"),
        ("uvit_text", {"label_emb.weight": torch.zeros(11, 32)}, (),
         "tensor 'label_emb.weight' is one too many"),
        ("uvit_text", {"pos_embed": torch.zeros(1, 2, 32)}, (),
         "2 positions are not those of the time, a text and 1 patches"),
        ("uvit_text", {}, ("--input-size", 64), "of the time, a text and 1024 patches"),
    ],
)  # fmt: skip
def test_what_does_not_fit(name, change, told, message, refusal):
    weights = {**weights_of(name), **change}
    weights = {key: tensor for key, tensor in weights.items() if tensor is not None}
    assert message in refusal(weights, *HEADS, *told)


def test_a_network_of_text_is_not_one_of_classes(file_of):
    text, classes = (file_of(weights_of(n), f"{n}.pth") for n in ("dimr_text_2r", "dimr_2r_tdrms"))
    of_text = read_published(text, ImportOptions(heads=4)).network
    of_classes = read_published(classes, ImportOptions(heads=4)).network
    for path, other in ((text, of_classes), (classes, of_text)):
        with pytest.raises(DimrError, match=r"num_classes (0, not 10|10, not 0)"):
            read_published(path, ImportOptions(network=other, where="the run"))
