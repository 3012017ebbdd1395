"""U-ViT and DiT are their authors', and so is what diffusers' folders hold of DiT."""

import dataclasses

import pytest
import torch
from tests.support.diffusers_names import as_diffusers

from dimr import build
from dimr.checkpoints.formats import ConversionError, from_published, recognise, to_published
from dimr.models import UViT

CASES = {
    "uvit_latent": lambda step: step / 1000,
    "uvit_pixel": lambda step: step / 999,
    "dit": lambda step: (step + 1) / 1000,
}


@pytest.fixture(params=CASES)
def case(request, vectors):
    tensors = vectors(request.param)
    network = from_published(tensors.part("weights"), num_heads=4)
    return tensors, network, CASES[request.param](tensors["timestep"])


def test_output(case, relative_error):
    tensors, network, t = case
    outputs = network(tensors["x"], t, tensors["y"])
    assert len(outputs) == 1
    assert relative_error(outputs[0], tensors["output"]) < 1e-5


def test_one_time_shared_by_the_batch(case, relative_error):
    tensors, network, t = case
    for i in range(len(t)):
        output = network(tensors["x"], t[i], tensors["y"])[0]
        assert relative_error(output[i], tensors["output"][i]) < 1e-5


def test_names_go_both_ways_bitwise(case):
    tensors, network, _ = case
    weights = tensors.part("weights")
    back = to_published(network)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_the_convolution_of_a_uvit_is_read_off_the_weights(vectors, relative_error):
    """Whatever the time map is; its values are those of a convolution after the network."""
    tensors = vectors("uvit_pixel")
    weights = tensors.part("weights")
    plain = {name: w for name, w in weights.items() if not name.startswith("final_layer.")}
    step, y = tensors["timestep"], tensors["y"]
    for time_map, t in (("pixel", step / 999), ("latent", step / 1000)):
        network = from_published(weights, 4, time_map)
        without = from_published(plain, 4, time_map)
        assert (network.conv is None, without.conv is None) == (False, True)
        assert network.sizes.time_map == without.sizes.time_map == time_map
        with torch.no_grad():
            image = without(tensors["x"], t, y)[0]
            kernel, bias = weights["final_layer.weight"], weights["final_layer.bias"]
            expected = torch.nn.functional.conv2d(image, kernel, bias, padding=1)
            assert relative_error(network(tensors["x"], t, y)[0], expected) < 1e-6
        assert relative_error(expected, tensors["output"]) < 1e-5  # the authors'
        for built, theirs in ((network, weights), (without, plain)):
            back = to_published(built)
            assert back.keys() == theirs.keys()
            assert all(torch.equal(back[name], theirs[name]) for name in theirs)
            again = UViT(built.sizes)
            assert again.state_dict().keys() == built.state_dict().keys()


def test_a_latent_uvit_with_a_convolution(vectors):
    weights = vectors("uvit_latent").part("weights")
    conv = {"final_layer.weight": torch.randn(4, 4, 3, 3), "final_layer.bias": torch.randn(4)}
    network = from_published({**weights, **conv}, 4, "latent")
    assert torch.equal(network.conv.weight, conv["final_layer.weight"])
    plain = from_published(weights, 4).sizes
    assert network.sizes == dataclasses.replace(plain, final_conv=True)
    with pytest.raises(ConversionError, match=r"'final_layer\.bias' is missing"):
        from_published({**weights, "final_layer.weight": conv["final_layer.weight"]}, 4)


@pytest.fixture
def diffusers_weights(vectors):
    return as_diffusers(vectors("dit").part("weights"), depth=3)


def test_diffusers_names_are_those_of_diffusers_own_network(diffusers_weights):
    from diffusers import DiTTransformer2DModel

    theirs = DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=3,
        sample_size=8, patch_size=2, num_embeds_ada_norm=10,
    )  # fmt: skip
    expected = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in diffusers_weights.items()} == expected


def test_diffusers_dit(diffusers_weights, vectors, relative_error):
    tensors = vectors("dit")
    assert recognise(diffusers_weights).name == "diffusers-dit"
    network = from_published(diffusers_weights, num_heads=4, input_size=8)
    output = network(tensors["x"], (tensors["timestep"] + 1) / 1000, tensors["y"])[0]
    assert relative_error(output, tensors["output"]) < 1e-5
    # the position embedding is a formula: an input of another size than assumed gets its own
    other = from_published(diffusers_weights, num_heads=4)
    assert other.sizes.input_size == 32
    output = other(tensors["x"], (tensors["timestep"] + 1) / 1000, tensors["y"])[0]
    assert relative_error(output, tensors["output"]) < 1e-5


def test_diffusers_blocks_with_embedders_of_their_own_are_refused(diffusers_weights):
    name = "transformer_blocks.2.norm1.emb.timestep_embedder.linear_1.bias"
    diffusers_weights[name] = diffusers_weights[name] + 1e-6
    with pytest.raises(ConversionError, match=r"transformer_blocks\.2.*linear_1\.bias.*block 0"):
        from_published(diffusers_weights, num_heads=4)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("dit", lambda w: w.pop("final_layer.linear.bias"), "'final_layer.linear.bias' is missing"),
        ("dit", lambda w: w.update({"extra": w["pos_embed"]}), "'extra' is one too many"),
        (
            "dit",
            lambda w: w.update({"blocks.1.mlp.fc1.bias": torch.zeros(3)}),
            r"blocks\.1\.mlp\.fc1\.bias.*\(3,\), not \(128,\)",
        ),
        (
            "uvit_latent",
            lambda w: w.update({"mid_block.norm1.wieght": w.pop("mid_block.norm1.weight")}),
            r"'mid_block\.norm1\.weight' is missing \(nearest: 'mid_block\.norm1\.wieght'\)",
        ),
        (
            "uvit_latent",
            lambda w: w.update({"pos_embed": w["pos_embed"][:, :-1]}),
            "15 patches make no square",
        ),
        ("uvit_pixel", lambda w: w.pop("patch_embed.proj.weight"), "patch_embed.*is missing"),
    ],
)
def test_what_does_not_fit_is_named(vectors, file, change, message):
    weights = vectors(file).part("weights")
    change(weights)
    with pytest.raises(ConversionError, match=message) as caught:
        from_published(weights, num_heads=4)
    assert "\n" not in str(caught.value)


def test_heads_that_no_tensor_tells(vectors):
    with pytest.raises(ConversionError, match="give num_heads"):
        from_published(vectors("dit").part("weights"))


def test_ablations_have_no_published_form():
    sizes = {"input_size": 8, "channels": 4, "num_classes": 10}
    tables = ["dimr-xs-mlp-last-2r", "dimr-xs-last-2r", "dimr-xs-adaln-2r", "dimr-xs-convnext-2r",
              "dimr-xs-concat-2r", "dimr-xs-skips-2r"]  # fmt: skip
    for variant in ("uvit-xs-td-2", "uvit-xs-adaln-2", *tables):
        with pytest.raises(ConversionError, match=r"not the authors'|ablation"):
            to_published(build(variant, **sizes))
