"""What trainers save: the averaged weights are taken, all else is passed over and said to be."""

import argparse
import json
import os

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from dimr.checkpoints import read_checkpoint

from .conftest import DITS, HEADS, assert_same, load, weights_of

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


WRAPPED = {  # what a trainer saves: the place of the average, the prefix, what is passed over
    "DiT, fast-DiT": (
        {"model": RAW, "ema": EMA, "opt": ADAM, "args": argparse.Namespace(model="DiT-XL/2")},
        "ema", "", ("model", "opt", "args"),
    ),
    "DDP": ({"epoch": 3, "model": under("module.", EMA)}, "model", "module.", ()),
    "compiled": (under("module._orig_mod.", EMA), None, "module._orig_mod.", ()),
    "AveragedModel": (
        {"n_averaged": torch.tensor(5), **under("module.", EMA)}, None, "module.", ("n_averaged",),
    ),
    "AveragedModel beside the model": (
        {"net": RAW, "average": {"n_averaged": torch.tensor(5), **under("module.", EMA)}},
        "average", "module.", ("net", "n_averaged"),
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
        "ema", "ema_model.", ("model", "initted", "step", "online_model.*"),
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
        "state_dict", "model.",
        ("loops", "callbacks", "optimizer_states", "hyper_parameters", "vae.*"),
    ),
    "Lightning with an average": (
        {"state_dict": {**under("net.", RAW), **under("ema.module.", EMA)}},
        "state_dict", "ema.module.", ("net.*",),
    ),
    "Lightning with two groups": (
        {"state_dict": {**under("model.", RAW), **under("ema_model.", EMA)}},
        "state_dict", "ema_model.", ("model.*",),
    ),
    "Lightning that is the network itself": (
        {"state_dict": {**RAW, **under("ema.", EMA)}}, "state_dict", "ema.", None,
    ),
    "Lightning's averaging callback": (
        {"state_dict": under("model.", EMA), "current_model_state": under("model.", RAW)},
        "state_dict", "model.", ("current_model_state",),
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
        "state_dict", "model_ema.", ("model.diffusion_model.*",),
    ),
    "timm": (
        {"state_dict": RAW, "state_dict_ema": EMA, "args": argparse.Namespace(lr=1e-3)},
        "state_dict_ema", "", ("state_dict", "args"),
    ),
    "MAE": ({"model": RAW, "model_ema": EMA, "scaler": {}}, "model_ema", "", ("model", "scaler")),
    "in capitals": ({"model": RAW, "modelEMA": EMA}, "modelEMA", "", ("model",)),
    "a callback's average": (
        {
            "state_dict": under("net.", RAW),
            "callbacks": {"EMACallback": {"weights": under("net.", EMA)}},
        },
        "callbacks.EMACallback.weights", "net.", ("state_dict",),
    ),
    "moments of Adam by name": (
        {"net": EMA, "exp_avg": RAW, "exp_avg_sq": RAW}, "net", "", ("exp_avg", "exp_avg_sq"),
    ),
    "ema_state_dict": ({"state_dict": RAW, "ema_state_dict": EMA}, "ema_state_dict", "", None),
    "DeepSpeed": ({"module": EMA, "optimizer": ADAM}, "module", "", ("optimizer",)),
    "sharded optimizer": (
        {"app": {**under("model.", EMA), **under("optimizer.state.", RAW)}},
        "app", "model.", ("optimizer.*",),
    ),
    "blocks compiled one by one": (
        {n.replace("blocks.0.", "blocks.0._orig_mod."): t for n, t in EMA.items()}, None, "", (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
def test_the_averaged_weights_are_found(name, file_of):
    content, taken, prefix, passed_over = WRAPPED[name]
    tensors, info = read_checkpoint(file_of(content))
    assert_same(tensors, EMA)
    assert (info.taken, info.prefix) == (taken, prefix)
    if passed_over is not None:
        assert info.passed_over == passed_over


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
def test_torchs_own_average(wrap, file_of):
    """As torch itself saves it, also beside the network."""
    average = AveragedModel(wrap(as_module(EMA)))
    average.update_parameters(wrap(as_module(EMA)))
    both = {"net": as_module(RAW).state_dict(), "averaged": average.state_dict()}
    for content in (both, average.state_dict()):
        assert_same(read_checkpoint(file_of(content))[0], EMA)


def test_wrapped_safetensors(file_of):
    content = {**under("ema.", EMA), **under("model.", RAW)}
    tensors, info = read_checkpoint(file_of(content, "a.safetensors"))
    assert_same(tensors, EMA)
    assert info.passed_over == ("model.*",)


def test_a_checkpoint_of_dits_trainer_is_imported(imported, exported):
    model, report = imported(WRAPPED["DiT, fast-DiT"][0], *HEADS)
    assert "tensors under 'ema' (passed over: model, opt, args)" in report
    assert "noise schedule linear (DiT's trainer has no other), objective hybrid" in report
    assert_same(load(exported(model)), EMA)
    record = json.loads((model / "record.json").read_text())
    assert record["matched"]["objective"] == "hybrid"


EXTRA = {**EMA, "extra": torch.zeros(1)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (EXTRA, "tensor 'extra' is one too many"),
        ({"state_dict": {**under("ema.", EXTRA), **under("net.", RAW)}},
         "tensor 'extra' is one too many"),
        ({"ema": under("ema_model.", {**EMA, "pos_embed": torch.zeros(0)})},
         "tensor 'pos_embed' has shape (0,)"),
        ({"model": RAW,  # a damaged average is not replaced by the last step
          "ema": {name: t for name, t in EMA.items() if not name.startswith("x_embedder.")}},
         "tensor 'x_embedder.proj.weight' is missing"),
        ({**under("model.", RAW), **squashed("model_ema.", EMA, "final_layer.linear.bias")},
         "the average under 'model_ema.' lacks 'model.final_layer.linear.bias'"),
        ({"a\nb\x1b[31m": {"c": 1}},
         "no tensors by name of a known network, nor under ema, model_ema, state_dict_ema, "
         r"ema_state_dict, model, state_dict (it holds: a\nb\x1b[31m)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_group_is_named(content, message, refusal):
    assert refusal(content, *DITS).startswith(message)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"model": EMA, "state_dict": RAW}, "model, state_dict"),
        ({"ema_0.999": EMA, "ema_0.9999": RAW}, "ema_0.999, ema_0.9999"),
        ({**under("student.", EMA), **under("teacher.", RAW)}, "student, teacher"),
        ({**EMA, **under("copy.", RAW)}, "names without a prefix, copy"),
    ],
)
def test_two_networks_are_not_guessed_between(content, names, refusal):
    assert refusal(content, *DITS) == (
        f"holds several networks: {names}: which? Save the wanted one in a file of its own"
    )


@pytest.mark.parametrize(
    ("beside", "name"),
    [
        ({"ema": {"decay": 0.9999, "shadow_params": list(EMA.values())}}, "ema.shadow_params"),
        ({"ema_params": [list(EMA.values())]}, "ema_params"),
    ],
)
def test_an_average_without_names_is_not_replaced_by_the_last_step(beside, name, refusal):
    message = refusal({"model": RAW, **beside}, *DITS)
    assert message.startswith(f"{name}, an average, is a list of tensors")


def test_short_lists_are_no_average(file_of):
    beside = {"ema_rates": [0.99, 0.9999], "avg_loss": [torch.zeros(())]}
    assert_same(read_checkpoint(file_of({"model": RAW, **beside}))[0], RAW)


def test_mappings_that_never_end(refusal):
    wide = {f"key{i}": {} for i in range(300)}
    for name in wide:
        wide[name] = wide  # 300^n mappings, and within themselves
    message = refusal(wide)
    assert message.startswith("no tensors by name of a known network")
    assert message.endswith("(it holds: " + ", ".join(list(wide)[:8]) + " and 292 more)")


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
def test_a_training_folder(place, tmp_path, imported, exported):
    checkpoint(tmp_path / "run/ckpts", 500)
    model, report = imported(tmp_path / place, *HEADS)
    assert "(training folder, PyTorch file (passed over: lr_scheduler.pth, nnet.pth, " in report
    assert "optimizer.pth, step.pth))" in report
    assert_same(load(exported(model)), weights_of("uvit_latent"))
    provenance = json.loads((model / "provenance.json").read_text())
    assert provenance["source"]["file"] == "nnet_ema.pth"


def test_a_training_folder_without_an_average(tmp_path):
    tensors, info = read_checkpoint(checkpoint(tmp_path, 500, "nnet", "step"))
    assert info.file.name == "nnet.pth"
    assert info.passed_over == ("step.pth",)
    assert torch.equal(tensors["pos_embed"], weights_of("uvit_latent")["pos_embed"] + 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkdir, "not a file, but a folder"),
        (os.mkfifo, "not a file"),
        (lambda path: path.symlink_to("x"), "no such file"),
    ],
)
def test_an_average_that_is_no_file_is_not_replaced(make, message, tmp_path, refusal):
    torch.save(RAW, tmp_path / "nnet.pth")
    make(tmp_path / "nnet_ema.pth")
    assert refusal(tmp_path, *DITS, begins=tmp_path / "nnet_ema.pth") == message


@pytest.mark.parametrize("place", ["run", "run/ckpts"])
def test_of_several_checkpoints_one_must_be_named(place, tmp_path, refusal):
    for step in (50000, 500000, 100000):
        checkpoint(tmp_path / "run/ckpts", step)
    inside = "" if place.endswith("ckpts") else "ckpts/"
    names = ", ".join(f"{inside}{step}.ckpt" for step in (500000, 100000, 50000))
    message = f"holds several checkpoints: name one of {names}"
    assert refusal(tmp_path / place, *HEADS) == message


def test_folders_without_a_network(tmp_path, refusal):
    none = "no config.json (a diffusers folder) and no nnet_ema.pth (a trainer's)"
    assert refusal(tmp_path) == f"{none}: no weights"
    path = checkpoint(tmp_path, 500, "optimizer", "step")
    assert refusal(path) == f"{none}: name one of its files (optimizer.pth, step.pth)"
    assert refusal(path / "optimizer.pth").endswith("(it holds: state, param_groups)")
