"""The authors' vectors (tests/parity/vectors) on any device, with torch and NumPy only."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import torch

from dimr.checkpoints.formats import from_published
from dimr.checkpoints.formats.dimr import published_name
from dimr.diffusion.loss import multi_scale_loss
from dimr.diffusion.schedule import SCHEDULES
from dimr.models.conditioning import TextCondition
from dimr.runtime.compute import autocast
from dimr.training import Batch, TrainState, make_ema, make_optimizer, train_step
from dimr.training.distributed import World
from dimr.training.train_state import prepare

FOLDER = Path(__file__).parents[1] / "tests/parity/vectors"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "I64": torch.int64, "BOOL": torch.bool}
TIMES = {
    **dict.fromkeys(("dimr_2r_tdrms", "dimr_2r_tdln", "dimr_3r_tdrms", "dimr_text_2r",
                     "uvit_latent", "uvit_text"), lambda step: step / 1000),
    "uvit_pixel": lambda step: step / 999,
    "dit": lambda step: (step + 1) / 1000,
}  # fmt: skip
"""Files of networks, and t by the authors' time step."""
TRAINING = "training_dimr_2r"
STEPS, BATCH, DECAY = 12, 8, 0.9


def read_vectors(name, device="cpu"):
    """Tensors of a file by name. The safetensors layout: a header in JSON, then plain values."""
    data = bytearray((FOLDER / f"{name}.safetensors").read_bytes())
    length = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for key, one in json.loads(data[8:length]).items():
        if key != "__metadata__":
            dtype, start = DTYPES[one["dtype"]], length + one["data_offsets"][0]
            count = torch.Size(one["shape"]).numel()
            values = torch.frombuffer(data, dtype=dtype, count=count, offset=start)
            tensors[key] = values.reshape(one["shape"]).clone().to(device)
    return tensors


def part(tensors, prefix):
    """The tensors whose names begin with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def difference(ours, theirs):
    """Relative error, in the norm."""
    ours, theirs = ours.detach().double(), theirs.double()
    return ((ours - theirs).norm() / theirs.norm()).item()


def largest(values):
    """The largest; NaN if there is one, which ``max`` may pass over."""
    values = list(values)
    return math.nan if any(map(math.isnan, values)) else max(values)


def case(name, device):
    """The network of a file, its inputs and what it should predict, on a device."""
    tensors = read_vectors(name)
    time_map = "latent" if name.startswith("dimr_") else None
    network = from_published(part(tensors, "weights."), 4, time_map).to(device)
    condition = tensors.get("y")
    if condition is None:
        text = tensors["text"]
        mask = tensors.get("mask", torch.ones(text.shape[:2], dtype=torch.bool))
        condition = TextCondition(text, mask)
    inputs = tensors["x"], TIMES[name](tensors["timestep"]), condition
    branches = part(tensors, "output.")
    expected = [branches[r] for r in sorted(branches)] or [tensors["output"]]
    moved = {key: tensor.to(device) for key, tensor in tensors.items()}
    return network, [one.to(device) for one in inputs], [one.to(device) for one in expected], moved


def predictions(device, dtype):
    """Largest relative error of all predictions of a file's network, by file."""
    found = {}
    for name in TIMES:
        network, inputs, expected, _ = case(name, device)
        with torch.no_grad(), autocast(device, dtype):
            outputs = network(*inputs)
        found[name] = largest(difference(*pair) for pair in zip(outputs, expected, strict=True))
    return found


def gradients(device, dtype):
    """Largest relative error of a parameter's gradient, by file of a DiMR with labels."""
    found = {}
    for name in (one for one in TIMES if one.startswith("dimr_") and "text" not in one):
        network, inputs, _, tensors = case(name, device)
        with autocast(device, dtype):
            outputs = network(*inputs)
        multi_scale_loss([one.float() for one in outputs], tensors["eps"]).mean().backward()
        own = {published_name(n, network.sizes): p for n, p in network.named_parameters()}
        pairs = ((own[n].grad, g) for n, g in part(tensors, "grads.").items())
        found[name] = largest(difference(ours.reshape(g.shape), g) for ours, g in pairs)
    return found


def training(device, dtype, engine):
    """Twelve steps of the authors' trainer.

    Returns:
        Largest relative errors of the losses and of the final weights and EMA, and whether the
        steps were compiled.
    """
    theirs = read_vectors(TRAINING)
    network = from_published(part(theirs, "weights."), 4, "latent").to(device)
    settings = SimpleNamespace(
        batch=BATCH, lr=2e-3, betas=(0.99, 0.99), weight_decay=0.03, warmup_steps=4,
        ema_decay=DECAY, grad_clip=None, objective="noise", compile=engine.compile,
    )  # fmt: skip
    state = TrainState(
        network, network, make_ema(network, DECAY), make_optimizer(network, settings, engine.fused),
        SCHEDULES["latent"](), settings, engine, dtype,
    )  # fmt: skip
    prepare(state, World(device))
    losses = []
    for step in range(STEPS):
        x, noise, n, labels = (theirs[name][step] for name in ("x", "noise", "n", "y"))
        batch = Batch(x, noise, n / 1000, labels).to(device)
        losses.append(train_step(state, batch, step)[0])
    of_losses = torch.stack(losses).cpu().double() / theirs["loss"].double() - 1
    errors = []
    for prefix, module in (("final.", state.network), ("ema.", state.ema.module)):
        own = {published_name(n, network.sizes): p for n, p in module.named_parameters()}
        for name, tensor in part(theirs, prefix).items():
            errors.append(difference(own[name].cpu().reshape(tensor.shape), tensor))
    return of_losses.abs().max().item(), largest(errors), state.forward is not state.network
