"""Weights in the authors' own format: small ones with values, and XL's names at true shapes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dimr.cli import main

SAVE_WEIGHTS_ONLY = (
    "in the program that wrote it save only the weights: torch.save(model.state_dict(), 'w.pth')"
)
DITS = ("--heads", 4, "--schedule", "linear")
"""What has to be told of the small weights under DiT's names."""
VECTORS = Path(__file__).parents[2] / "parity/vectors"


def weights_of(name):
    """The authors' state dict of a small network (see tests/parity)."""
    tensors = load_file(VECTORS / f"{name}.safetensors")
    return {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}


def dimr_shapes(layers, dims, *, side, channels=4, labels=1001):
    """Names and shapes of the authors' DiMR checkpoints (RMS norms in blocks), written by hand."""
    shapes = {}
    four = ("param0", "param1", "nodecay_weight", "nodecay_bias")

    def linear(name, outputs, inputs, *kernel, bias=True):
        shapes[f"{name}.weight"] = (outputs, inputs, *kernel)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def norm(name, width, *parts):
        for part in parts:
            shapes.update({f"{name}.{part}.{p}": (width,) for p in four})

    below = 0
    for r, (n, d) in enumerate(zip(layers, dims, strict=True)):
        stage, patch = f"stages.{r}", 2 ** (len(layers) - 1 - r)
        blocks = n // 2 * 2 + 1
        linear(f"{stage}.input_layer.1", d, channels, patch, patch)
        position = f"{stage}.input_layer.3.position_embeddings.weight"
        shapes[position] = ((side // patch) ** 2, d)
        if r == 0:
            shapes[f"{stage}.class_embeds.weight"] = (labels, d)
        else:
            norm(f"{stage}.upsample.0", below, "weight", "bias")
            linear(f"{stage}.upsample.1.kernel", 4 * d, below)
            norm(f"{stage}.upsample.2", d, "weight", "bias")
        for i in range(blocks):
            block = f"{stage}.blocks.{i}"
            if r == 0:
                norm(f"{block}.block1.norm", d, "scale")
                linear(f"{block}.block1.query_key_value", 3 * d, d, bias=False)
                linear(f"{block}.block1.dense", d, d)
            else:
                linear(f"{block}.block1.1", d, 1, 7, 7)
            norm(f"{block}.block2.norm", d, "scale")
            for name, outputs, inputs in (("w0", 2 * d, d), ("w1", 2 * d, d), ("w2", d, 2 * d)):
                linear(f"{block}.block2.{name}", outputs, inputs)
        for i in range(n // 2):
            linear(f"{stage}.skip_denses.{i}", d, 2 * d)
        norm(f"{stage}.output_layer.0", d, "weight", "bias")
        linear(f"{stage}.output_layer.2", channels, d, 3, 3)
        below = (blocks + 1) * d
    return shapes


XL_2R = {"layers": [39, 20], "dims": [960, 480], "side": 32}


def without_memory(shapes):
    """Tensors of these shapes that share one value: gigabytes in name only, in memory and file."""
    one = torch.full((1,), 0.5)
    return {name: one.expand(shape) for name, shape in shapes.items()}


@pytest.fixture
def xl():
    return without_memory(dimr_shapes(**XL_2R))


@pytest.fixture
def error_of(caplog):
    """Run a command that fails for the user's fault; return its line."""

    def run(*arguments):
        caplog.clear()
        assert main([str(a) for a in arguments]) == 2
        (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
        message = record.getMessage()
        assert "\n" not in message
        return message.removeprefix("dimr: ")

    return run


@pytest.fixture
def dimr():
    """Run a command that succeeds."""

    def run(*arguments):
        assert main([str(a) for a in arguments]) == 0

    return run
