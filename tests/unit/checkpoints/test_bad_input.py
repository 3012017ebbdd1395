"""Files that are not what they should be: one line that names them, and nothing is written."""

import argparse
import fractions
import json
import os
import pathlib
import pickle

import pytest
import torch
from safetensors.torch import save_file

from dimr import build
from dimr.runtime.errors import DimrError
from dimr.sampling.generate import load_network

from .conftest import DITS, SAVE_WEIGHTS_ONLY, weights_of


class Code:
    """What a hostile file holds: a command that runs when it is unpickled naively."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("save", [torch.save, lambda v, p: p.write_bytes(pickle.dumps(v, 2))])
def test_code_in_a_pickle_is_named_and_not_run(save, tmp_path, error_of):
    path = tmp_path / "evil.pth"
    save({"stages.0.x": Code(tmp_path / "ran")}, path)
    refused = error_of("import", path, "--out", tmp_path / "model")
    said = (
        f"holds code or objects (posix.system), not only weights: not loaded; {SAVE_WEIGHTS_ONLY}"
    )
    assert refused == f"{path}: {said}"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        (pathlib.PurePosixPath("x"), "pathlib.PurePosixPath"),
        (argparse.Namespace(out=pathlib.PurePosixPath("x")), "pathlib.PurePosixPath"),
        (fractions.Fraction(1, 2), "fractions.Fraction"),
    ],
)
def test_objects_beside_the_weights(beside, named, tmp_path, error_of):
    path = tmp_path / "dit.pt"
    torch.save({"ema": weights_of("dit"), "hyper_parameters": {"out": beside}}, path)
    refused = error_of("import", path, "--out", tmp_path / "model")
    assert f"holds code or objects ({named}), not only weights" in refused
    assert refused.endswith(SAVE_WEIGHTS_ONLY)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["a.pth", "legacy.pth", "a.safetensors", "tail.pth"])
def test_truncated_files(name, tmp_path, error_of):
    path, weights = tmp_path / name, weights_of("dit")
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=name != "legacy.pth")
    if name == "tail.pth":  # a byte less
        path.write_bytes(path.read_bytes()[:-1])
    else:
        truncated(path)
    refused = error_of("import", path, "--out", tmp_path / "model")
    assert refused == f"{path}: truncated or damaged: fetch it again"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("page.pth", b"<!doctype html><p>404", "not readable as a PyTorch file of weights"),
        ("text.pth", b"hello world\n", "not readable as a PyTorch file of weights"),
        ("empty.pth", b"", "truncated or damaged"),
        ("text.safetensors", b"hello world, this is no header", "not readable as safetensors"),
        ("weights.npz", b"", "'.npz' is not of weights (.pth, .pt, .bin, .ckpt, .safetensors)"),
        ("weights", b"", "'no suffix' is not of weights"),
    ],
)
def test_files_of_another_kind(name, content, message, tmp_path, error_of):
    (tmp_path / name).write_bytes(content)
    refused = error_of("import", tmp_path / name, "--out", tmp_path / "model")
    assert refused.startswith(f"{tmp_path / name}: ")
    assert message in refused


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "holds a list, not tensors by name"),
        ({"weights": {"a": torch.zeros(1)}, "epoch": 3}, "(it holds: weights, epoch)"),
        ({}, "no tensors at all"),
        ({"lowest.input.patch.weight": torch.zeros(1)}, "'lowest.input.patch.weight': of no known"),
    ],
)
def test_files_without_weights(value, message, tmp_path, error_of):
    torch.save(value, tmp_path / "x.pth")
    assert message in error_of("import", tmp_path / "x.pth", "--out", tmp_path / "model")


def test_missing_paths(tmp_path, error_of):
    out = tmp_path / "model"
    assert "x.pth: no such file" in error_of("import", tmp_path / "x.pth", "--out", out)
    assert "no config.json" in error_of("import", tmp_path, "--out", out)
    assert "needs PATH" in error_of("import", "--out", out)
    assert "needs --out" in error_of("import", tmp_path / "x.pth")


# --- diffusers folders ----------------------------------------------------------------------------

DIT = {
    "_class_name": "DiTTransformer2DModel", "num_attention_heads": 4, "attention_head_dim": 8,
    "sample_size": 8, "num_layers": 3, "patch_size": 2, "in_channels": 4, "num_embeds_ada_norm": 10,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A diffusers folder of the small DiT, and a function that writes it with changes."""
    weights = weights_of("dit")
    plain = {
        "pos_embed.proj": "x_embedder.proj", "proj_out_1": "final_layer.adaLN_modulation.1",
        "proj_out_2": "final_layer.linear",
    }  # fmt: skip
    parts = {
        "norm1.linear": "adaLN_modulation.1", "attn1.to_out.0": "attn.proj",
        "ff.net.0.proj": "mlp.fc1", "ff.net.2": "mlp.fc2",
    }  # fmt: skip
    embedders = {
        "timestep_embedder.linear_1": "t_embedder.mlp.0",
        "timestep_embedder.linear_2": "t_embedder.mlp.2",
        "class_embedder.embedding_table": "y_embedder.embedding_table",
    }
    names = dict(plain)
    for i in range(3):
        block = f"transformer_blocks.{i}"
        names |= {f"{block}.{a}": f"blocks.{i}.{b}" for a, b in parts.items()}
        names |= {f"{block}.norm1.emb.{a}": b for a, b in embedders.items()}
    tensors = {}
    for kind in ("weight", "bias"):
        for theirs, dit in names.items():
            if f"{dit}.{kind}" in weights:
                tensors[f"{theirs}.{kind}"] = weights[f"{dit}.{kind}"].clone()
        for i in range(3):
            for part, chunk in zip(
                "qkv", weights[f"blocks.{i}.attn.qkv.{kind}"].chunk(3), strict=True
            ):
                tensors[f"transformer_blocks.{i}.attn1.to_{part}.{kind}"] = chunk.clone()
    path = tmp_path / "transformer"
    path.mkdir()

    def write(change=lambda _: None, **config):
        change(tensors)
        save_file(tensors, path / "diffusion_pytorch_model.safetensors")
        (path / "config.json").write_text(json.dumps({**DIT, **config}))
        return path

    return write


def test_the_folder_itself_is_right(folder, tmp_path, dimr):
    dimr("import", folder(), "--out", tmp_path / "model")
    dimr("export", "--model", tmp_path / "model", "--out", tmp_path / "dit.pth")
    back, weights = torch.load(tmp_path / "dit.pth"), weights_of("dit")
    assert all(torch.equal(back[name], weights[name]) for name in weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("transformer_blocks.1.ff.net.2.bias"),
            "tensor 'transformer_blocks.1.ff.net.2.bias' is missing",
        ),
        (
            lambda w: w.pop("transformer_blocks.2.attn1.to_k.weight"),
            "tensor 'transformer_blocks.2.attn1.to_k.weight' is missing",
        ),
        (
            lambda w: w.pop("transformer_blocks.1.norm1.emb.timestep_embedder.linear_1.bias"),
            "'transformer_blocks.1.norm1.emb.timestep_embedder.linear_1.bias' is missing",
        ),
        (
            lambda w: w[
                "transformer_blocks.2.norm1.emb.class_embedder.embedding_table.weight"
            ].add_(1),
            "embedding_table.weight' differs from that of block 0",
        ),
        (
            lambda w: w.update({"transformer_blocks.0.ff.net.2.bias": torch.zeros(5)}),
            "tensor 'transformer_blocks.0.ff.net.2.bias' has shape (5,), not (32,)",
        ),
        (
            lambda w: w.update({"transformer_blocks.0.attn1.to_v.bias": torch.zeros(5)}),
            "q, k and v differ in shape ((32,), (32,), (5,))",
        ),
        (
            lambda w: w.update({"proj_out_2.scale": torch.zeros(5)}),
            "'proj_out_2.scale' is one too many (nearest that belongs: 'proj_out_2.",
        ),
        (
            lambda w: w.update({"caption_projection.weight": torch.zeros(5)}),
            "'caption_projection.weight' is not of diffusers' DiT",
        ),
        (lambda w: w.pop("pos_embed.proj.weight"), "'pos_embed.proj.weight' is missing"),
        (
            lambda w: w.update({"pos_embed.proj.weight": torch.zeros(32, 16)}),
            "'pos_embed.proj.weight' has shape (32, 16)",
        ),
    ],
)
def test_tensors_of_a_folder_are_named_as_there(change, message, folder, tmp_path, error_of):
    assert message in error_of("import", folder(change), "--out", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_class_name": "DiTTransformer"}, "(did you mean DiTTransformer2DModel? allowed: DiTT"),
        ({"_class_name": "UNet2DModel"}, "_class_name: 'UNet2DModel' ("),
        ({"_class_name": None}, "_class_name: None (allowed: DiTTransformer2DModel, "),
        ({"num_layers": 28}, "has depth 3; config.json: num_layers 28"),
        ({"num_embeds_ada_norm": 1000}, "has num_classes 10; config.json: num_embeds_ada_norm"),
        ({"num_attention_heads": 2}, "is 32 wide; config.json: 2 heads of 8"),
        ({"num_attention_heads": "4"}, "num_attention_heads: '4' should be a whole number"),
        ({"sample_size": 7}, "input size 7 cannot be cut into patches of 2"),
    ],
)
def test_the_configuration_of_a_folder(config, message, folder, tmp_path, error_of):
    assert message in error_of("import", folder(**config), "--out", tmp_path / "model")


def test_a_folder_without_weights(folder, tmp_path, error_of):
    path = folder()
    (path / "diffusion_pytorch_model.safetensors").unlink()
    assert "holds none of diffusion_pytorch_model.safetensors, diffusion" in error_of(
        "import", path, "--out", tmp_path / "model"
    )


# --- what is there is not lost --------------------------------------------------------------------


def test_only_a_model_is_replaced(tmp_path, error_of, dimr):
    torch.save(weights_of("dit"), tmp_path / "dit.pth")
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.tex").write_text("...")
    command = ["import", tmp_path / "dit.pth", *DITS, "--out"]
    assert "thesis: already exists and was not created by dimr" in error_of(*command, thesis)
    assert "dit.pth" in error_of(*command, tmp_path / "dit.pth")  # its own input
    assert torch.load(tmp_path / "dit.pth").keys() == weights_of("dit").keys()
    assert (thesis / "chapter1.tex").exists()
    dimr(*command, tmp_path / "model")
    first = (tmp_path / "model/config.json").read_text()
    (tmp_path / "bad.pth").write_bytes(b"PK")
    error_of("import", tmp_path / "bad.pth", "--out", tmp_path / "model")
    assert (tmp_path / "model/config.json").read_text() == first
    dimr(*command, tmp_path / "model")  # a model may be made again
    assert "is a run's model already" in error_of("import", tmp_path / "model", "--dry-run")


def test_exports_that_cannot_be(tmp_path, error_of, dimr):
    torch.save(weights_of("dit"), tmp_path / "dit.pth")
    model = tmp_path / "model"
    dimr("import", tmp_path / "dit.pth", *DITS, "--out", model)
    export = ["export", "--model", model, "--out"]
    assert "suffix '.npz' (allowed: .pth, .pt, .safetensors)" in error_of(
        *export, tmp_path / "a.npz"
    )
    inside = model / "diffusion_pytorch_model.safetensors"
    assert "refusing to overwrite" in error_of(*export, inside)
    assert "outside the model's own folder" in error_of(*export, model / "new.safetensors")
    load_network(model)
    (tmp_path / "folder.pth").mkdir()
    assert "folder.pth: is a folder" in error_of(*export, tmp_path / "folder.pth")
    assert "config.json: no such file" in error_of(
        "export", "--model", tmp_path / "none", "--out", tmp_path / "a.pth"
    )
    assert not (tmp_path / "a.pth").exists()


@pytest.mark.parametrize("name", ["uvit-xs-td-4", "uvit-xs-adaln-4", "dimr-xs-mlp-last-3r"])
def test_ablations_have_no_published_form(name, tmp_path, error_of):
    network = build(name, input_size=16, channels=3, num_classes=10, time_map="pixel")
    model = tmp_path / "model"
    model.mkdir()
    save_file(network.state_dict(), model / "diffusion_pytorch_model.safetensors")
    config = {"family": network.family, "schedule": "pixel", **network.sizes.arguments()}
    (model / "config.json").write_text(json.dumps(config))
    assert "not the authors'" in error_of("export", "--model", model, "--out", tmp_path / "a.pth")
    assert not (tmp_path / "a.pth").exists()


def test_a_model_of_other_weights_names_tensor_and_variant(tmp_path):
    inputs = {"input_size": 8, "channels": 4, "num_classes": 10}
    network = build("dimr-xs-2r", **inputs)
    config = {"family": "dimr", "schedule": "latent", **network.sizes.arguments()}
    model = tmp_path / "model"
    model.mkdir()

    def refused(tensors, **changes):
        save_file(tensors, model / "diffusion_pytorch_model.safetensors")
        (model / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(DimrError, match="weights of another network") as caught:
            load_network(model)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    tensors = network.state_dict()
    message = refused(tensors, dims=[128, 32])
    assert "tensor 'higher.0.input.position' has shape (8, 8, 64), not (8, 8, 32)" in message
    assert message.endswith("; it holds dimr-xs-2r)")
    assert "it holds uvit-xs-2)" in refused(build("uvit-xs-2", **inputs).state_dict())
    tensors["higher.0.output.conv.weihgt"] = tensors.pop("higher.0.output.conv.weight")
    message = refused(tensors)
    assert (
        "'higher.0.output.conv.weight' is missing (nearest: 'higher.0.output.conv.weihgt')"
        in message
    )
    assert "it holds" not in message
