"""In and out again: bitwise the same under the same names; and the network is the authors'."""

import json

import pytest
import torch
from safetensors.torch import load_file

from dimr.checkpoints import read_model
from dimr.checkpoints.model_folder import write_model
from dimr.config.project import PROJECT
from dimr.config.variants import load_network_config
from dimr.evaluation.measure import cost_of
from dimr.models import build
from dimr.runtime.files import sha256
from dimr.runtime.record import seal
from dimr.sampling.model import load_network

from .conftest import DITS, HEADS, VECTORS, WEIGHTS, assert_same, load, weights_of

CASES = {
    "dimr_2r_tdrms": ("dimr", "latent", "latent"),
    "dimr_2r_tdln": ("dimr", "latent", "latent"),
    "dimr_3r_tdrms": ("dimr", "pixel", "pixel"),
    "uvit_latent": ("uvit", "latent", "latent"),
    "uvit_pixel": ("uvit", "pixel", "pixel"),
    "dit": ("dit", "latent", "linear"),
}


def told(name):
    return DITS if name == "dit" else HEADS


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_published_to_ours_and_back(name, imported, exported):
    weights = weights_of(name)
    first = next(iter(weights.values()))
    first.view(-1)[:2] = torch.tensor([-0.0, 1e-42])  # what arithmetic would lose
    model, report = imported(weights, *told(name))
    config = load_network_config(model / "config.json")
    assert (config.family, config.time_map, config.schedule) == CASES[name]
    assert config.heads == 4
    assert getattr(config, "learn_sigma", True) is True
    assert f"{len(weights)} tensors, all matched" in report
    assert "no listed variant" in report
    for file in ("back.pth", "back.safetensors"):
        assert_same(load(exported(model, file)), weights)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dimr_2r_tdrms", "uvit_pixel", "dit"])
def test_what_is_loaded_computes_what_the_authors_network_does(name, imported):
    tensors = load_file(VECTORS / f"{name}.safetensors")
    model, _ = imported(weights_of(name), *told(name), name="theirs.safetensors")
    network, _ = read_model(model)
    step = tensors["timestep"]
    t = {"dimr_2r_tdrms": step / 1000, "uvit_pixel": step / 999, "dit": (step + 1) / 1000}[name]
    with torch.no_grad():
        outputs = network(tensors["x"], t, tensors["y"])
    expected = tensors["output" if "output" in tensors else f"output.{len(outputs) - 1}"]
    assert (outputs[-1] - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_precision_is_kept_and_sampling_is_in_float32(dtype, imported, exported):
    weights = {name: tensor.to(dtype) for name, tensor in weights_of("dit").items()}
    model, _ = imported(weights, *DITS)
    assert {tensor.dtype for tensor in load(model / WEIGHTS).values()} == {dtype}
    assert_same(load(exported(model)), weights)
    network, _ = load_network(model)
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}


@pytest.fixture(scope="module")
def diffusers_folder(tmp_path_factory):
    """A DiT of diffusers, saved by diffusers, whose blocks have equal embedders; and the network.

    Its own blocks draw embedders of their own: DiT has one for all.
    """
    from diffusers import DiTTransformer2DModel

    torch.manual_seed(0)
    theirs = DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=3,
        sample_size=8, patch_size=2, num_embeds_ada_norm=10,
    ).eval()  # fmt: skip
    for block in theirs.transformer_blocks[1:]:
        first = theirs.transformer_blocks[0].norm1.emb.state_dict()
        block.norm1.emb.load_state_dict(first)
    for block in theirs.transformer_blocks:  # DiT's own frequencies; see checkpoints/formats/dit
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    folder = tmp_path_factory.mktemp("pipeline")
    theirs.save_pretrained(folder / "transformer")
    return folder, theirs


@pytest.mark.parametrize("part", [".", "transformer", "transformer/*.safetensors"])
def test_diffusers_folder(part, diffusers_folder, imported, exported):
    folder, theirs = diffusers_folder
    model, report = imported(next(folder.glob(part)) if "*" in part else folder / part)
    assert "4 heads (config.json: num_attention_heads)" in report
    network, config = read_model(model)
    assert (config.input_size, config.learn_sigma, config.schedule) == (8, True, "linear")
    x, y, step = torch.randn(3, 4, 8, 8), torch.tensor([1, 9, 10]), torch.tensor([0, 500, 999])
    with torch.no_grad():
        ours = network(x, (step + 1) / 1000, y)[0]
        expected = theirs(x, timestep=step, class_labels=y).sample
    assert (ours - expected).norm() / expected.norm() < 1e-5

    published = exported(model)
    again, _ = imported(published, *HEADS, out="again")
    assert_same(load(again / WEIGHTS), load(model / WEIGHTS))
    assert load(published).keys() == weights_of("dit").keys()


def test_old_diffusers_folder_with_bin(diffusers_folder, imported, tmp_path):
    transformer = diffusers_folder[0] / "transformer"
    config = json.loads((transformer / "config.json").read_text())
    old = tmp_path / "old"
    old.mkdir()
    torch.save(load(transformer / WEIGHTS), old / "diffusion_pytorch_model.bin")
    (old / "config.json").write_text(json.dumps({**config, "_class_name": "Transformer2DModel"}))
    model, _ = imported(old)
    assert load_network_config(model / "config.json").heads == 4


def test_a_prefix_that_is_removed_is_reported(imported, exported):
    weights = weights_of("uvit_latent")
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in weights.items()}
    model, report = imported({"nnet_ema": wrapped}, *HEADS)
    assert "tensors under 'nnet_ema', prefix 'module._orig_mod.' removed" in report
    assert_same(load(exported(model)), weights)


def test_files_of_old_torch(tmp_path, imported):
    torch.save(weights_of("dit"), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    model, _ = imported(tmp_path / "old.pth", *DITS)
    assert (model / "record.json").exists()


def test_views_of_one_storage_are_written_apart(file_of, imported, exported):
    weights = weights_of("uvit_latent")
    flat = torch.cat([tensor.flatten() for tensor in weights.values()])
    parts = flat.split([tensor.numel() for tensor in weights.values()])
    views = {n: p.view(w.shape) for (n, w), p in zip(weights.items(), parts, strict=True)}
    path = file_of(views)
    back = exported(imported(path, *HEADS)[0])
    assert_same(load(back), weights)
    assert back.stat().st_size < 1.5 * path.stat().st_size


def test_tensors_that_are_tied_are_written_apart(imported, exported):
    weights = weights_of("dit")
    weights["blocks.1.attn.qkv.weight"] = weights["blocks.0.attn.qkv.weight"]
    model, _ = imported(weights, *DITS)
    assert_same(load(exported(model, "back.safetensors")), weights)


def test_record_and_provenance_say_what_was_read(file_of, imported):
    path = file_of({"ema": weights_of("dit")})
    model, _ = imported(path, *DITS)
    record, provenance = (
        json.loads((model / f"{name}.json").read_text()) for name in ("record", "provenance")
    )
    assert provenance["source"]["sha256"] == sha256(path)
    assert provenance["source"]["taken"] == "ema"
    matched = record["matched"]
    assert (matched["format"], matched["tensors"]) == ("dit", len(weights_of("dit")))
    assert matched["parameters"] == 70592 - 16 * 32  # the position embedding is fixed
    assert matched["precision"] == {"float32": len(weights_of("dit"))}
    other, _ = imported(path, "--heads", 2, "--schedule", "linear", out="other")
    assert json.loads((other / "record.json").read_text())["key"] != record["key"]


def test_exports_of_equal_models_are_equal_files(imported, exported):
    model, _ = imported(weights_of("dit"), *DITS)
    assert sha256(exported(model, "a.pth")) == sha256(exported(model, "b.pth"))


@pytest.mark.parametrize("name", ["adaln-2r", "last-2r", "convnext-2r", "concat-2r", "skips-2r"])
def test_a_model_folder_of_the_papers_other_networks(name, tmp_path):
    """Those that are trained here and have no published form."""
    config = PROJECT.run(f"digits/dimr-xs-{name}/0").network
    network = build(config.sizes)
    write_model(tmp_path, config, network.state_dict())
    seal(tmp_path, "model", {"key": "k"})
    again, read = read_model(tmp_path)
    assert (read, again.sizes) == (config, network.sizes)
    assert_same(again.state_dict(), network.state_dict())


def test_cost_of_a_model_that_was_not_trained_here(imported):
    cost = cost_of(imported(weights_of("dit"), *DITS)[0])
    assert cost.keys() == {"parameters_m", "gmacs"}
    assert cost["parameters_m"] == pytest.approx(0.07008)
