"""In and out again: bitwise the same under the same names; and the network is the authors'."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from dimr.config.runs import load_network_config
from dimr.runtime.files import sha256
from dimr.sampling.generate import load_network

from .conftest import DITS, VECTORS, weights_of

CASES = {
    "dimr_2r_tdrms": ("dimr", "latent", "latent"),
    "dimr_2r_tdln": ("dimr", "latent", "latent"),
    "dimr_3r_tdrms": ("dimr", "pixel", "pixel"),
    "uvit_latent": ("uvit", "latent", "latent"),
    "uvit_pixel": ("uvit", "pixel", "pixel"),
    "dit": ("dit", "latent", "linear"),
}


def same_bits(a, b):
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
    )


def assert_same(back, weights):
    assert back.keys() == weights.keys()
    assert [name for name in weights if not same_bits(back[name], weights[name])] == []


@pytest.mark.parametrize("name", CASES)
def test_published_to_ours_and_back(name, dimr, tmp_path, capsys):
    weights = weights_of(name)
    first = next(iter(weights.values()))
    first.view(-1)[:2] = torch.tensor([-0.0, 1e-42])  # what arithmetic would lose
    source, model = tmp_path / "theirs.pth", tmp_path / "model"
    torch.save(weights, source)
    family, time_map, schedule = CASES[name]
    dimr("import", source, "--out", model, *(DITS if name == "dit" else DITS[:2]))
    config = load_network_config(model / "config.json")
    assert (config.family, config.heads) == (family, 4)
    assert (config.time_map, config.schedule) == (time_map, schedule)
    assert getattr(config, "learn_sigma", True) is True
    report = capsys.readouterr().out
    assert f"{len(weights)} tensors, all matched" in report
    assert "no listed variant" in report

    for suffix, load in ((".pth", torch.load), (".safetensors", load_file)):
        dimr("export", "--model", model, "--out", tmp_path / f"back{suffix}")
        assert_same(load(tmp_path / f"back{suffix}"), weights)


@pytest.mark.parametrize("name", ["dimr_2r_tdrms", "uvit_pixel", "dit"])
def test_what_is_loaded_computes_what_the_authors_network_does(name, dimr, tmp_path):
    tensors = load_file(VECTORS / f"{name}.safetensors")
    save_file(weights_of(name), tmp_path / "theirs.safetensors")
    told = DITS if name == "dit" else DITS[:2]
    dimr("import", tmp_path / "theirs.safetensors", "--out", tmp_path / "model", *told)
    network, _ = load_network(tmp_path / "model")
    step = tensors["timestep"]
    t = {"dimr_2r_tdrms": step / 1000, "uvit_pixel": step / 999, "dit": (step + 1) / 1000}[name]
    with torch.no_grad():
        outputs = network(tensors["x"], t, tensors["y"])
    expected = tensors["output" if "output" in tensors else f"output.{len(outputs) - 1}"]
    assert (outputs[-1] - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_precision_is_kept_and_sampling_is_in_float32(dtype, dimr, tmp_path):
    weights = {name: tensor.to(dtype) for name, tensor in weights_of("dit").items()}
    torch.save(weights, tmp_path / "half.pth")
    dimr("import", tmp_path / "half.pth", "--out", tmp_path / "model", *DITS)
    kept = load_file(tmp_path / "model/diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {dtype}
    dimr("export", "--model", tmp_path / "model", "--out", tmp_path / "back.pth")
    assert_same(torch.load(tmp_path / "back.pth"), weights)
    network, _ = load_network(tmp_path / "model")
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
    for block in theirs.transformer_blocks:  # DiT's own frequencies; see models/convert
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    folder = tmp_path_factory.mktemp("pipeline")
    theirs.save_pretrained(folder / "transformer")
    return folder, theirs


@pytest.mark.parametrize("part", [".", "transformer", "transformer/*.safetensors"])
def test_diffusers_folder(part, diffusers_folder, dimr, tmp_path, capsys):
    folder, theirs = diffusers_folder
    path = next(folder.glob(part)) if "*" in part else folder / part
    dimr("import", path, "--out", tmp_path / "model")
    assert "4 heads (config.json)" in capsys.readouterr().out
    network, sizes = load_network(tmp_path / "model")
    assert (sizes.input_size, sizes.learn_sigma, sizes.schedule) == (8, True, "linear")
    x, y, step = torch.randn(3, 4, 8, 8), torch.tensor([1, 9, 10]), torch.tensor([0, 500, 999])
    with torch.no_grad():
        ours = network(x, (step + 1) / 1000, y)[0]
        expected = theirs(x, timestep=step, class_labels=y).sample
    assert (ours - expected).norm() / expected.norm() < 1e-5

    dimr("export", "--model", tmp_path / "model", "--out", tmp_path / "dit.pth")
    dimr("import", tmp_path / "dit.pth", "--heads", 4, "--out", tmp_path / "again")
    assert_same(
        load_file(tmp_path / "again/diffusion_pytorch_model.safetensors"),
        load_file(tmp_path / "model/diffusion_pytorch_model.safetensors"),
    )
    published = torch.load(tmp_path / "dit.pth")
    assert_same({k: published[k] for k in weights_of("dit")}, published)


def test_old_diffusers_folder_with_bin(diffusers_folder, dimr, tmp_path):
    weights = load_file(next(diffusers_folder[0].glob("transformer/*.safetensors")))
    config = json.loads((diffusers_folder[0] / "transformer/config.json").read_text())
    old = tmp_path / "old"
    old.mkdir()
    torch.save(weights, old / "diffusion_pytorch_model.bin")
    (old / "config.json").write_text(json.dumps({**config, "_class_name": "Transformer2DModel"}))
    dimr("import", old, "--out", tmp_path / "model")
    assert load_network_config(tmp_path / "model/config.json").heads == 4


@pytest.mark.parametrize(
    ("wrapped", "told"),
    [
        (lambda w: {"step": 7, "model": w, "ema": w}, "'ema' (passed over: model)"),
        (lambda w: {"nnet_ema": w}, "'nnet_ema'"),
        (lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}}, "'module.' removed"),
        (lambda w: {f"module._orig_mod.{k}": v for k, v in w.items()}, "'module._orig_mod.'"),
    ],
)
def test_checkpoints_of_a_whole_training(wrapped, told, dimr, tmp_path, capsys):
    weights = weights_of("uvit_latent")
    torch.save(wrapped(weights), tmp_path / "checkpoint.pt")
    dimr("import", tmp_path / "checkpoint.pt", "--out", tmp_path / "model", "--heads", 4)
    assert told in capsys.readouterr().out
    dimr("export", "--model", tmp_path / "model", "--out", tmp_path / "back.pt")
    assert_same(torch.load(tmp_path / "back.pt"), weights)


def test_files_of_old_torch(dimr, tmp_path):
    torch.save(weights_of("dit"), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    dimr("import", tmp_path / "old.pth", "--out", tmp_path / "model", *DITS)
    assert (tmp_path / "model/record.json").exists()


def test_views_of_one_storage_are_written_apart(dimr, tmp_path):
    weights = weights_of("uvit_latent")
    flat = torch.cat([tensor.flatten() for tensor in weights.values()])
    parts = flat.split([tensor.numel() for tensor in weights.values()])
    views = {n: p.view(w.shape) for (n, w), p in zip(weights.items(), parts, strict=True)}
    torch.save(views, tmp_path / "views.pth")
    dimr("import", tmp_path / "views.pth", "--out", tmp_path / "model", "--heads", 4)
    dimr("export", "--model", tmp_path / "model", "--out", tmp_path / "back.pth")
    assert_same(torch.load(tmp_path / "back.pth"), weights)
    assert (tmp_path / "back.pth").stat().st_size < 1.5 * (tmp_path / "views.pth").stat().st_size


def test_tensors_that_are_tied_are_written_apart(dimr, tmp_path):
    weights = weights_of("dit")
    weights["blocks.1.attn.qkv.weight"] = weights["blocks.0.attn.qkv.weight"]
    torch.save(weights, tmp_path / "tied.pth")
    dimr("import", tmp_path / "tied.pth", "--out", tmp_path / "model", *DITS)
    dimr("export", "--model", tmp_path / "model", "--out", tmp_path / "back.safetensors")
    assert_same(load_file(tmp_path / "back.safetensors"), weights)


def test_the_record_says_what_was_read(dimr, tmp_path):
    torch.save({"ema": weights_of("dit")}, tmp_path / "dit.pth")
    dimr("import", tmp_path / "dit.pth", "--out", tmp_path / "model", *DITS)
    record = json.loads((tmp_path / "model/record.json").read_text())
    assert record["source"]["sha256"] == sha256(tmp_path / "dit.pth")
    assert record["source"]["taken"] == "ema"
    assert record["matched"]["format"] == "dit"
    assert record["matched"]["tensors"] == len(weights_of("dit"))
    assert record["matched"]["parameters"] == 70592 - 16 * 32  # the position embedding is fixed
    assert record["matched"]["precision"] == {"float32": len(weights_of("dit"))}
    before = record["key"]
    command = ("--heads", 2, "--schedule", "linear")
    dimr("import", tmp_path / "dit.pth", "--out", tmp_path / "model", *command)
    assert json.loads((tmp_path / "model/record.json").read_text())["key"] != before


def test_exports_of_equal_models_are_equal_files(dimr, tmp_path):
    torch.save(weights_of("dit"), tmp_path / "dit.pth")
    dimr("import", tmp_path / "dit.pth", "--out", tmp_path / "model", *DITS)
    for name in ("a.pth", "b.pth"):
        dimr("export", "--model", tmp_path / "model", "--out", tmp_path / name)
    assert sha256(tmp_path / "a.pth") == sha256(tmp_path / "b.pth")


def test_cost_of_a_model_that_was_not_trained_here(dimr, tmp_path):
    from dimr.cli.evaluation import _cost

    torch.save(weights_of("dit"), tmp_path / "dit.pth")
    dimr("import", tmp_path / "dit.pth", "--out", tmp_path / "model", *DITS)
    cost = _cost(tmp_path / "model")
    assert cost.keys() == {"parameters_m", "gmacs"}
    assert cost["parameters_m"] == pytest.approx(0.07008)
