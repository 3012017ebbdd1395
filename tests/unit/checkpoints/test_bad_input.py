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
from tests.support.diffusers_names import as_diffusers

from dimr import build
from dimr.checkpoints import read_model
from dimr.runtime.errors import DimrError

from .conftest import DITS, SAVE_WEIGHTS_ONLY, WEIGHTS, assert_same, load, weights_of


class Code:
    """What a hostile file holds: a command that runs when it is unpickled naively."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("save", [torch.save, lambda v, p: p.write_bytes(pickle.dumps(v, 2))])
def test_code_in_a_pickle_is_named_and_not_run(save, tmp_path, refusal):
    path = tmp_path / "evil.pth"
    save({"stages.0.x": Code(tmp_path / "ran")}, path)
    assert refusal(path) == (
        f"holds code or objects (posix.system), not only weights: not loaded; {SAVE_WEIGHTS_ONLY}"
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("beside", "named"),
    [
        (pathlib.PurePosixPath("x"), "pathlib.PurePosixPath"),
        (argparse.Namespace(out=pathlib.PurePosixPath("x")), "pathlib.PurePosixPath"),
        (fractions.Fraction(1, 2), "fractions.Fraction"),
    ],
)
def test_objects_beside_the_weights(beside, named, refusal):
    message = refusal({"ema": weights_of("dit"), "hyper_parameters": {"out": beside}})
    assert f"holds code or objects ({named}), not only weights" in message
    assert message.endswith(SAVE_WEIGHTS_ONLY)


@pytest.mark.parametrize("name", ["a.pth", "legacy.pth", "a.safetensors", "tail.pth"])
def test_truncated_files(name, file_of, refusal):
    path, weights = file_of(weights_of("dit"), name), weights_of("dit")
    if name == "legacy.pth":
        torch.save(weights, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    path.write_bytes(content[: -1 if name == "tail.pth" else len(content) // 2])
    assert refusal(path) == "truncated or damaged: download it again"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("page.pth", b"<!doctype html><p>404", "not readable as a PyTorch file of weights"),
        ("text.pth", b"hello world\n", "not readable as a PyTorch file of weights"),
        ("empty.pth", b"", "truncated or damaged"),
        ("text.safetensors", b"hello world, this is no header", "not readable as safetensors"),
        ("weights.npz", b"", "'.npz' is not of weights (.pth, .pt, .bin, .ckpt, .safetensors)"),
        ("weights", b"", "'no suffix' is not of weights"),
        ("a.pth", [1, 2], "holds a list, not tensors by name"),
        ("a.pth", {"weights": {"a": torch.zeros(1)}, "epoch": 3}, "(it holds: weights, epoch)"),
        ("a.pth", {}, "no tensors at all"),
        ("a.pth", {"lowest.input.patch.weight": torch.zeros(1)},
         "'lowest.input.patch.weight': of no known network"),
    ],
)  # fmt: skip
def test_files_without_weights(name, content, message, refusal):
    assert message in refusal(content, name=name)


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
    tensors, path = as_diffusers(weights_of("dit"), depth=3), tmp_path / "transformer"
    path.mkdir()

    def write(change=lambda _: None, **config):
        change(tensors)
        save_file(tensors, path / WEIGHTS)
        (path / "config.json").write_text(json.dumps({**DIT, **config}))
        return path

    return write


def test_the_folder_itself_is_right(folder, imported, exported):
    back, weights = load(exported(imported(folder())[0])), weights_of("dit")
    assert_same({name: back[name] for name in weights}, weights)


BLOCK = "transformer_blocks.{}.{}".format
TABLE = BLOCK(2, "norm1.emb.class_embedder.embedding_table.weight")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (BLOCK(1, "ff.net.2.bias"), None, "is missing"),
        (BLOCK(2, "attn1.to_k.weight"), None, "is missing"),
        (BLOCK(1, "norm1.emb.timestep_embedder.linear_1.bias"), None, "is missing"),
        (TABLE, lambda t: t + 1, "differs from that of block 0"),
        (BLOCK(0, "ff.net.2.bias"), torch.zeros(5), "has shape (5,), not (32,)"),
        (BLOCK(0, "attn1.qkv.bias"), {BLOCK(0, "attn1.to_v.bias"): torch.zeros(5)},
         "q, k and v differ in shape ((32,), (32,), (5,))"),
        ("proj_out_2.scale", torch.zeros(5),
         "is one too many (nearest that belongs: 'proj_out_2."),
        ("caption_projection.weight", torch.zeros(5), "is not of diffusers' DiT"),
        ("pos_embed.proj.weight", None, "is missing"),
        ("pos_embed.proj.weight", torch.zeros(32, 16), "has shape (32, 16)"),
    ],
)  # fmt: skip
def test_tensors_of_a_folder_are_named_as_there(name, change, message, folder, refusal):
    def apply(tensors):
        if change is None:
            del tensors[name]
        elif isinstance(change, dict):
            tensors.update(change)
        else:
            tensors[name] = change if isinstance(change, torch.Tensor) else change(tensors[name])

    path = folder(apply)
    assert f"tensor {name!r}" in (refused := refusal(path, begins=path / WEIGHTS))
    assert message in refused


@pytest.mark.parametrize(
    ("config", "file", "message"),
    [
        ({"_class_name": "DiTTransformer"}, "config.json",
         "_class_name: 'DiTTransformer' (did you mean DiTTransformer2DModel? allowed: DiTT"),
        ({"_class_name": "UNet2DModel"}, "config.json", "_class_name: 'UNet2DModel' ("),
        ({"_class_name": None}, "config.json", "_class_name: None (allowed: DiTTransformer2DModel"),
        ({"num_attention_heads": "4"}, "config.json",
         "num_attention_heads: '4' should be a whole number"),
        ({"num_layers": 28}, WEIGHTS, "depth 3, not 28 (config.json: num_layers)"),
        ({"num_embeds_ada_norm": 1000}, WEIGHTS, "num_classes 10, not 1000 (config.json: num_emb"),
        ({"num_attention_heads": 2}, WEIGHTS, "dim 32, not 16 (config.json: 2 heads of 8)"),
        ({"sample_size": 7}, WEIGHTS, "the shapes make no network (input_size 7 is no multiple"),
        ({"sample_size": 2048}, WEIGHTS, "input size 2048 (at most 1024)"),
    ],
)  # fmt: skip
def test_the_configuration_of_a_folder(config, file, message, folder, refusal):
    path = folder(**config)
    assert refusal(path, begins=path / file).startswith(message)


def test_a_folder_without_weights(folder, refusal):
    (path := folder()).joinpath(WEIGHTS).unlink()
    assert f"holds none of {WEIGHTS}, diffusion" in refusal(path)


# --- what is there is not lost --------------------------------------------------------------------


def test_only_a_model_is_replaced(tmp_path, file_of, error_of, imported):
    file, thesis = file_of(weights_of("dit")), tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.tex").write_text("...")
    command = ["import", file, *DITS, "--out"]
    assert "thesis: already exists and was not created by dimr" in error_of(*command, thesis)
    assert "weights.pth" in error_of(*command, file)  # its own input
    assert_same(load(file), weights_of("dit"))
    assert (thesis / "chapter1.tex").exists()
    model, _ = imported(file, *DITS)
    first = (model / "config.json").read_text()
    error_of("import", file_of(b"PK", "bad.pth"), "--out", model)
    assert (model / "config.json").read_text() == first
    imported(file, *DITS)  # a model may be replaced
    assert "is a run's model already" in error_of("import", model, "--dry-run")


def test_exports_that_cannot_be(tmp_path, error_of, imported):
    model, _ = imported(weights_of("dit"), *DITS)
    export = ["export", "--model", model, "--out"]
    assert "suffix '.npz' (allowed: .pth, .pt, .safetensors)" in error_of(*export, "a.npz")
    assert "refusing to overwrite" in error_of(*export, model / WEIGHTS)
    assert "outside the model's own folder" in error_of(*export, model / "new.safetensors")
    read_model(model)
    (tmp_path / "folder.pth").mkdir()
    assert "folder.pth: is a folder" in error_of(*export, tmp_path / "folder.pth")
    none = ["export", "--model", tmp_path / "none", "--out", tmp_path / "a.pth"]
    assert "config.json: no such file" in error_of(*none)
    assert not (tmp_path / "a.pth").exists()


def model_folder(folder, network, **changes):
    """A model's two files as they come."""
    folder.mkdir(exist_ok=True)
    schedule = {"family": network.family, "schedule": network.sizes.time_map}
    config = {**schedule, **network.sizes.arguments(), **changes}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / WEIGHTS)
    return folder


@pytest.mark.parametrize("name", ["uvit-xs-td-2", "uvit-xs-adaln-2", "dimr-xs-mlp-last-2r"])
def test_ablations_have_no_published_form(name, tmp_path, error_of):
    network = build(name, input_size=16, channels=3, num_classes=10, time_map="pixel")
    command = ["export", "--model", model_folder(tmp_path / "model", network)]
    assert "not the authors'" in error_of(*command, "--out", tmp_path / "a.pth")
    assert not (tmp_path / "a.pth").exists()


@pytest.mark.slow
def test_a_model_of_other_weights_names_tensor_and_variant(tmp_path):
    inputs = {"input_size": 8, "channels": 4, "num_classes": 10}
    network = build("dimr-xs-2r", **inputs)

    def refused(tensors, **changes):
        model = model_folder(tmp_path / "model", network, **changes)
        save_file(tensors, model / WEIGHTS)
        with pytest.raises(DimrError, match=r"weights of another network \(.*\)$") as caught:
            read_model(model)
        return str(caught.value)

    tensors = network.state_dict()
    message = refused(tensors, dims=[128, 32])
    assert "tensor 'higher.0.input.position' has shape (8, 8, 64), not (8, 8, 32)" in message
    assert message.endswith("; it holds dimr-xs-2r)")
    assert "it holds uvit-xs-2)" in refused(build("uvit-xs-2", **inputs).state_dict())
    name = "higher.0.output.conv.weight"
    tensors[name.replace("weight", "weihgt")] = tensors.pop(name)
    message = refused(tensors)
    assert f"{name!r} is missing (nearest: 'higher.0.output.conv.weihgt')" in message
    assert "it holds" not in message
