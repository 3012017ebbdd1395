"""What trainers save: the averaged weights are taken, all else is passed over and said to be."""

import argparse
import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from dimr.checkpoints import read_checkpoint
from dimr.runtime.errors import DimrError

from .conftest import DITS, weights_of
from .test_round_trips import assert_same

EMA = weights_of("dit")
RAW = {name: tensor + 1 for name, tensor in EMA.items()}  # what must not be taken
ADAM = {"state": {0: {"exp_avg": torch.zeros(2), "step": torch.tensor(1.0)}}, "param_groups": []}


def under(prefix, weights):
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


def squashed(prefix, weights, *left_out):
    """As latent diffusion's average calls them."""
    return {
        prefix + name.replace(".", ""): tensor
        for name, tensor in weights.items()
        if name not in left_out
    }


WRAPPED = {
    "DiT, fast-DiT": (
        {"model": RAW, "ema": EMA, "opt": ADAM, "args": argparse.Namespace(model="DiT-XL/2")},
        "ema",
        "",
        ("model", "opt", "args"),
    ),
    "DDP": ({"epoch": 3, "model": under("module.", EMA)}, "model", "module.", ()),
    "compiled": (under("module._orig_mod.", EMA), None, "module._orig_mod.", ()),
    "AveragedModel": (
        {"n_averaged": torch.tensor(5), **under("module.", EMA)},
        None,
        "module.",
        ("n_averaged",),
    ),
    "AveragedModel beside the model": (
        {"net": RAW, "average": {"n_averaged": torch.tensor(5), **under("module.", EMA)}},
        "average",
        "module.",
        ("net", "n_averaged"),
    ),
    "ema-pytorch": (
        {
            "step": 7,
            "model": RAW,
            "ema": {
                "initted": torch.tensor(True),
                "step": torch.tensor(7),
                **under("online_model.", RAW),
                **under("ema_model.", EMA),
            },
        },
        "ema",
        "ema_model.",
        ("model", "initted", "step", "online_model.*"),
    ),
    "Lightning": (
        {
            "epoch": 9,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": {**under("model.", EMA), "vae.conv.weight": torch.zeros(1)},
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(1.0)}},
            "optimizer_states": [ADAM],
            "hyper_parameters": {"lr": 1e-4, "sizes": [1, 2]},
        },
        "state_dict",
        "model.",
        ("loops", "callbacks", "optimizer_states", "hyper_parameters", "vae.*"),
    ),
    "Lightning with an average": (
        {"state_dict": {**under("net.", RAW), **under("ema.module.", EMA)}},
        "state_dict",
        "ema.module.",
        ("net.*",),
    ),
    "Lightning with two groups": (
        {"state_dict": {**under("model.", RAW), **under("ema_model.", EMA)}},
        "state_dict",
        "ema_model.",
        ("model.*",),
    ),
    "Lightning that is the network itself": (
        {"state_dict": {**RAW, **under("ema.", EMA)}},
        "state_dict",
        "ema.",
        None,
    ),
    "Lightning's averaging callback": (
        {"state_dict": under("model.", EMA), "current_model_state": under("model.", RAW)},
        "state_dict",
        "model.",
        ("current_model_state",),
    ),
    "latent diffusion": (
        {
            "state_dict": {
                **under("model.diffusion_model.", {**RAW, "pos_embed": EMA["pos_embed"]}),
                "model_ema.decay": torch.tensor(0.9999),
                "model_ema.num_updates": torch.tensor(9),
                **squashed(
                    "model_ema.", under("diffusion_model.", EMA), "diffusion_model.pos_embed"
                ),
            }
        },
        "state_dict",
        "model_ema.",
        ("model.diffusion_model.*",),
    ),
    "timm": (
        {"state_dict": RAW, "state_dict_ema": EMA, "args": argparse.Namespace(lr=1e-3)},
        "state_dict_ema",
        "",
        ("state_dict", "args"),
    ),
    "MAE": ({"model": RAW, "model_ema": EMA, "scaler": {}}, "model_ema", "", ("model", "scaler")),
    "in capitals": ({"model": RAW, "modelEMA": EMA}, "modelEMA", "", ("model",)),
    "a callback's average": (
        {
            "state_dict": under("net.", RAW),
            "callbacks": {"EMACallback": {"weights": under("net.", EMA)}},
        },
        "callbacks.EMACallback.weights",
        "net.",
        ("state_dict",),
    ),
    "moments of Adam by name": (
        {"net": EMA, "exp_avg": RAW, "exp_avg_sq": RAW},
        "net",
        "",
        ("exp_avg", "exp_avg_sq"),
    ),
    "ema_state_dict": ({"state_dict": RAW, "ema_state_dict": EMA}, "ema_state_dict", "", None),
    "DeepSpeed": ({"module": EMA, "optimizer": ADAM}, "module", "", ("optimizer",)),
    "sharded optimizer": (
        {"app": {**under("model.", EMA), **under("optimizer.state.", RAW)}},
        "app",
        "model.",
        ("optimizer.*",),
    ),
    "blocks compiled one by one": (
        {n.replace("blocks.0.", "blocks.0._orig_mod."): t for n, t in EMA.items()},
        None,
        "",
        (),
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_the_averaged_weights_are_found(name, tmp_path):
    content, taken, prefix, passed_over = WRAPPED[name]
    torch.save(content, tmp_path / "checkpoint.pt")
    tensors, facts = read_checkpoint(tmp_path / "checkpoint.pt")
    assert_same(tensors, EMA)
    assert (facts.taken, facts.prefix) == (taken, prefix)
    if passed_over is not None:
        assert facts.passed_over == passed_over


def as_module(weights):
    """A module with these names."""
    root = nn.Module()
    for name, tensor in weights.items():
        module, *parts = root, *name.split(".")
        for part in parts[:-1]:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        module.register_parameter(parts[-1], nn.Parameter(tensor.clone()))
    return root


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda network: network])
def test_torchs_own_average(wrap, tmp_path):
    """As torch itself saves it beside the network."""
    average = AveragedModel(wrap(as_module(EMA)))
    average.update_parameters(wrap(as_module(EMA)))
    content = {"net": as_module(RAW).state_dict(), "averaged": average.state_dict()}
    torch.save(content, tmp_path / "both.pt")
    torch.save(average.state_dict(), tmp_path / "one.pt")
    for file in ("both.pt", "one.pt"):
        assert_same(read_checkpoint(tmp_path / file)[0], EMA)


def test_a_checkpoint_of_dits_trainer_is_imported(tmp_path, dimr, capsys):
    content, *_ = WRAPPED["DiT, fast-DiT"]
    torch.save(content, tmp_path / "0050000.pt")
    dimr("import", tmp_path / "0050000.pt", "--out", tmp_path / "model", "--heads", 4)
    report = capsys.readouterr().out
    assert "tensors under 'ema' (passed over: model, opt, args)" in report
    assert "noise schedule linear (DiT's trainer has no other), objective hybrid" in report
    dimr("export", "--model", tmp_path / "model", "--out", tmp_path / "back.pt")
    assert_same(torch.load(tmp_path / "back.pt"), EMA)
    record = json.loads((tmp_path / "model/record.json").read_text())
    assert record["matched"]["objective"] == "hybrid"


def test_names_of_the_same_group_must_belong(tmp_path, error_of):
    for content in (
        {**EMA, "extra": torch.zeros(1)},
        {"state_dict": {**under("ema.", {**EMA, "extra": torch.zeros(1)}), **under("net.", RAW)}},
    ):
        torch.save(content, tmp_path / "dit.pt")
        refused = error_of("import", tmp_path / "dit.pt", *DITS, "--out", tmp_path / "model")
        assert "tensor 'extra' is one too many" in refused
    torch.save(
        {"ema": under("ema_model.", {**EMA, "pos_embed": torch.zeros(0)})}, tmp_path / "x.pt"
    )
    refused = error_of("import", tmp_path / "x.pt", *DITS, "--out", tmp_path / "model")
    assert "tensor 'pos_embed' has shape (0,)" in refused


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"model": EMA, "state_dict": RAW}, "model, state_dict"),
        ({"ema_0.999": EMA, "ema_0.9999": RAW}, "ema_0.999, ema_0.9999"),
        ({**under("student.", EMA), **under("teacher.", RAW)}, "student, teacher"),
        ({**EMA, **under("copy.", RAW)}, "names without a prefix, copy"),
    ],
)
def test_two_networks_are_not_guessed_between(content, names, tmp_path, error_of):
    torch.save(content, tmp_path / "two.pt")
    refused = error_of("import", tmp_path / "two.pt", *DITS, "--out", tmp_path / "model")
    assert refused == (
        f"{tmp_path / 'two.pt'}: holds several networks: {names}: which? "
        "Save the wanted one in a file of its own"
    )


def test_a_damaged_average_is_not_replaced_by_the_last_step(tmp_path, error_of):
    damaged = {name: tensor for name, tensor in EMA.items() if not name.startswith("x_embedder.")}
    torch.save({"model": RAW, "ema": damaged}, tmp_path / "dit.pt")
    refused = error_of("import", tmp_path / "dit.pt", *DITS, "--out", tmp_path / "model")
    assert "of no known network" in refused


@pytest.mark.parametrize(
    ("beside", "name"),
    [
        ({"ema": {"decay": 0.9999, "shadow_params": list(EMA.values())}}, "ema.shadow_params"),
        ({"ema_params": [list(EMA.values())]}, "ema_params"),
        ({"ema_rates": [0.99, 0.9999], "avg_loss": [torch.zeros(())]}, None),
    ],
)
def test_an_average_without_names_is_not_replaced_by_the_last_step(
    beside, name, tmp_path, error_of
):
    torch.save({"model": RAW, **beside}, tmp_path / "dit.pt")
    if name is None:
        assert_same(read_checkpoint(tmp_path / "dit.pt")[0], RAW)
        return
    refused = error_of("import", tmp_path / "dit.pt", *DITS, "--out", tmp_path / "model")
    assert refused.startswith(f"{tmp_path / 'dit.pt'}: {name}, an average, is a list of tensors")


@pytest.mark.parametrize("kind", ["folder", "pipe", "gone"])
def test_an_average_that_is_no_file_is_not_replaced_by_the_last_step(kind, tmp_path, error_of):
    torch.save(RAW, tmp_path / "nnet.pth")
    path = tmp_path / "nnet_ema.pth"
    {"pipe": os.mkfifo, "folder": os.mkdir, "gone": lambda p: p.symlink_to("x")}[kind](path)
    assert error_of("import", tmp_path, *DITS, "--dry-run") == f"{path}: not a file"


def test_an_average_that_lacks_a_tensor(tmp_path):
    content = {**under("model.", RAW), **squashed("model_ema.", EMA, "final_layer.linear.bias")}
    torch.save(content, tmp_path / "ldm.ckpt")
    with pytest.raises(DimrError, match=r"'model_ema\.' lacks 'model\.final_layer\.linear\.bias'"):
        read_checkpoint(tmp_path / "ldm.ckpt")


def test_mappings_that_never_end(tmp_path, error_of):
    wide = {f"key{i}": {} for i in range(300)}
    for name in wide:
        wide[name] = wide  # 300^n mappings, and within themselves
    torch.save(wide, tmp_path / "wide.pt")
    refused = error_of("import", tmp_path / "wide.pt", "--dry-run")
    assert "no tensors by name of a known network" in refused
    assert refused.endswith(
        "(it holds: key0, key1, key2, key3, key4, key5, key6, key7 and 292 more)"
    )


def test_names_in_messages_are_one_line(tmp_path, error_of):
    torch.save({"a\nb\x1b[31m": {"c": 1}}, tmp_path / "x.pt")
    assert error_of("import", tmp_path / "x.pt", "--dry-run").endswith(r"(it holds: a\nb\x1b[31m)")


def test_wrapped_safetensors(tmp_path):
    save_file({**under("ema.", EMA), **under("model.", RAW)}, tmp_path / "a.safetensors")
    tensors, facts = read_checkpoint(tmp_path / "a.safetensors")
    assert_same(tensors, EMA)
    assert facts.passed_over == ("model.*",)


# --- folders of U-ViT's and DiMR's trainers -------------------------------------------------------


def checkpoint(folder, step, *names):
    """As their ``TrainState`` saves it."""
    weights = weights_of("uvit_latent")
    content = {
        "nnet_ema": weights,
        "nnet": {name: tensor + 1 for name, tensor in weights.items()},
        "optimizer": ADAM,
        "lr_scheduler": {"last_epoch": step},
        "step": step,
    }
    path = folder / f"{step}.ckpt"
    path.mkdir(parents=True)
    for name in names or content:
        torch.save(content[name], path / f"{name}.pth")
    return path


@pytest.mark.parametrize("place", ["run/ckpts/500.ckpt", "run/ckpts", "run"])
def test_a_training_folder(place, tmp_path, dimr, capsys):
    checkpoint(tmp_path / "run/ckpts", 500)
    dimr("import", tmp_path / place, "--heads", 4, "--out", tmp_path / "model")
    report = capsys.readouterr().out
    assert "(training folder, PyTorch file (passed over: lr_scheduler.pth, nnet.pth, " in report
    assert "optimizer.pth, step.pth))" in report
    dimr("export", "--model", tmp_path / "model", "--out", tmp_path / "back.safetensors")
    assert_same(load_file(tmp_path / "back.safetensors"), weights_of("uvit_latent"))
    record = json.loads((tmp_path / "model/record.json").read_text())
    assert record["source"]["file"] == "nnet_ema.pth"


def test_a_training_folder_without_an_average(tmp_path):
    tensors, facts = read_checkpoint(checkpoint(tmp_path, 500, "nnet", "step"))
    assert facts.file.name == "nnet.pth"
    assert facts.passed_over == ("step.pth",)
    assert torch.equal(tensors["pos_embed"], weights_of("uvit_latent")["pos_embed"] + 1)


@pytest.mark.parametrize("place", ["run", "run/ckpts"])
def test_of_several_checkpoints_one_must_be_named(place, tmp_path, error_of):
    for step in (50000, 500000, 100000):
        checkpoint(tmp_path / "run/ckpts", step)
    inside = "" if place.endswith("ckpts") else "ckpts/"
    refused = error_of("import", tmp_path / place, "--heads", 4, "--out", tmp_path / "model")
    names = ", ".join(f"{inside}{step}.ckpt" for step in (500000, 100000, 50000))
    assert refused == f"{tmp_path / place}: holds several checkpoints: name one of {names}"


def test_folders_without_a_network(tmp_path, error_of):
    refused = error_of("import", tmp_path, "--dry-run")
    assert refused.startswith(
        f"{tmp_path}: no config.json, so no diffusers folder, and no nnet_ema"
    )
    checkpoint(tmp_path, 500, "optimizer", "step")
    refused = error_of("import", tmp_path / "500.ckpt", "--dry-run")
    assert refused.endswith("name one of its files (optimizer.pth, step.pth)")
    refused = error_of("import", tmp_path / "500.ckpt/optimizer.pth", "--dry-run")
    assert refused.endswith("(it holds: state, param_groups)")
