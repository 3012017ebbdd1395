"""Weights in the authors' own format: small ones with values, and XL's names at true shapes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support.messages import error_in

from dimr.cli import main

SAVE_WEIGHTS_ONLY = (
    "in the program that wrote it save only the weights: torch.save(model.state_dict(), 'w.pth')"
)
HEADS = ("--heads", 4)
DITS = (*HEADS, "--schedule", "linear")
"""What has to be told of the small weights, under DiT's names the schedule, too."""
VECTORS = Path(__file__).parents[2] / "parity/vectors"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def weights_of(name):
    """The authors' state dict of a small network (see tests/parity)."""
    tensors = load_file(VECTORS / f"{name}.safetensors")
    return {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}


def load(path):
    """Tensors of a file of either kind."""
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path)


def assert_same(back, weights):
    """The same names, and under each the same bits."""
    assert back.keys() == weights.keys()
    for name, tensor in weights.items():
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape), name
        bits = (one.contiguous().view(torch.uint8) for one in (back[name], tensor))
        assert torch.equal(*bits), name


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
def file_of(tmp_path):
    """A file with this content, written as its name says; paths are taken as they are."""

    def write(content, name="weights.pth"):
        if isinstance(content, Path):
            return content
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            (save_file if path.suffix == ".safetensors" else torch.save)(content, path)
        return path

    return write


@pytest.fixture
def error_of(caplog):
    """Run a command that fails for the user's fault; return its line."""

    def run(*arguments):
        caplog.clear()
        assert main([str(a) for a in arguments]) == 2
        return error_in(caplog).removeprefix("dimr: ")

    return run


@pytest.fixture
def refusal(tmp_path, file_of, error_of):
    """Import what is refused; return why: the line without the path with which it begins."""

    def run(content, *told, name="weights.pth", begins=None):
        path, before = file_of(content, name), set(tmp_path.iterdir())
        message = error_of("import", path, *told, "--out", tmp_path / "model")
        assert message.startswith(f"{begins or path}: ")
        assert set(tmp_path.iterdir()) == before
        return message.removeprefix(f"{begins or path}: ")

    return run


@pytest.fixture
def dimr(capsys):
    """Run a command that succeeds; return what it prints."""

    def run(*arguments):
        assert main([str(a) for a in arguments]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def imported(tmp_path, file_of, dimr):
    """Import; return the model's folder and the report."""

    def run(content, *told, name="weights.pth", out="model"):
        report = dimr("import", file_of(content, name), *told, "--out", tmp_path / out)
        return tmp_path / out, report

    return run


@pytest.fixture
def exported(tmp_path, dimr):
    """Export a model folder; return the file."""

    def run(model, name="back.pth"):
        dimr("export", "--model", model, "--out", tmp_path / name)
        return tmp_path / name

    return run
