"""Damaged weights are refused, of others and of ours; what is written can be compared again."""

import json
import zipfile

import pytest
import torch
from safetensors import safe_open

from dimr import build
from dimr.checkpoints import read_model, write_model
from dimr.config.variants import check_network
from dimr.runtime.errors import DimrError
from dimr.runtime.tensors import MAX_VALUES

from .conftest import DITS, HEADS, SAVE_WEIGHTS_ONLY, WEIGHTS, assert_same, weights_of

QKV = "blocks.0.attn.qkv.weight"


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def members(path):
    """Name and place of the first byte of each member of a zip that holds any."""
    content = path.read_bytes()
    for member in zipfile.ZipFile(path).infolist():
        header = member.header_offset
        lengths = [int.from_bytes(content[header + i : header + i + 2], "little") for i in (26, 28)]
        if member.file_size:
            yield member.filename, header + 30 + sum(lengths)


def test_every_member_of_a_zip_is_compared_with_its_checksum(file_of, refusal):
    path = file_of(weights_of("dit"), "dit.pth")
    whole, found = path.read_bytes(), dict(members(path))
    assert sum(name.startswith("dit/data/") for name in found) == len(weights_of("dit"))
    for name, start in found.items():
        path.write_bytes(whole)
        flip(path, start)
        message = f"damaged: the checksum of {name} in it differs: download it again"
        assert refusal(path, *DITS) == message


def test_a_zip_without_checksums_is_taken_as_it_is(file_of, dimr):
    with_checksums = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = file_of(weights_of("dit"))
    finally:
        torch.serialization.set_crc32_options(with_checksums)
    assert zipfile.ZipFile(path).testzip() is not None
    dimr("import", path, *DITS, "--dry-run")


def test_a_zip_that_was_compressed_is_not_read_as_it_lies(tmp_path, file_of, refusal):
    """torch maps the bytes of a member into memory: compressed ones would become other values."""
    path = tmp_path / "packed.pth"
    with (
        zipfile.ZipFile(file_of(weights_of("dit"), "dit.pth")) as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    message = "dit/data.pkl in it is compressed: not as torch.save writes it"
    assert refusal(path, *DITS) == message


@pytest.mark.parametrize("name", ["dit.pth", "dit.safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite(value, dtype, name, refusal):
    weights = weights_of("dit")
    weights[QKV][-1, -1] = value
    weights = {name: tensor.to(dtype) for name, tensor in weights.items()}
    problem = f"tensor {QKV!r} holds values that are not finite (NaN or infinity)"
    assert refusal(weights, *DITS, name=name) == problem


@pytest.mark.filterwarnings("ignore")  # torch's own, of the layouts
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.to_sparse(), "is sparse_coo, not dense"),
        (lambda t: t.to_sparse_csr(), "is sparse_csr, not dense"),
        (lambda t: t.to("meta"), "has no values (it was saved on the meta device)"),
        (lambda t: t.to(torch.complex64), "is torch.complex64, not floating point"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
         "is torch.qint8, not floating point"),
        (lambda t: t.int(), "is torch.int32, not floating point"),
        (lambda t: t[:1, :1].expand(10**7, 10**6),
         f"claims 10,000,000,000,000 values (at most {MAX_VALUES:,})"),
    ],
)  # fmt: skip
def test_tensors_that_are_no_weights(change, problem, refusal):
    weights = weights_of("dit")
    weights[QKV] = change(weights[QKV])
    assert refusal(weights, *DITS) == f"tensor {QKV!r} {problem}"


@pytest.mark.parametrize(
    ("weights", "name", "shape", "problem"),
    [
        ("dit", "pos_embed", (1, 2048**2, 32), "input size 4096 (at most 1024)"),
        ("dit", "x_embedder.proj.weight", (1 << 20, 4, 2, 2), "width 1048576 (at most 65536)"),
        ("dit", "x" * 1000, (1,), "has a name of 1,000 characters"),
        ("dimr_2r_tdrms", "stages.999999999999.x", (1,), "'stages.999999999999.x' is one too many"),
    ],
)
def test_sizes_that_no_network_has(weights, name, shape, problem, refusal):
    """Small files can claim large sizes; what is computed from these must stay small."""
    told = DITS if weights == "dit" else HEADS
    assert problem in refusal({**weights_of(weights), name: torch.zeros(1).expand(shape)}, *told)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/readme.txt"], "is a zip without data.pkl, so not a file of torch.save"),
        (["b/data.pkl", "b/constants.pkl"],
         f"is a TorchScript program, not weights: {SAVE_WEIGHTS_ONLY}"),
    ],
)  # fmt: skip
def test_zips_that_are_no_weights(names, message, tmp_path, refusal):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    assert refusal(tmp_path / "a.pth") == message


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x10\0\0\0\0\0\0\0{}"])
def test_damaged_headers_of_safetensors(content, refusal):
    assert refusal(content, name="a.safetensors").startswith("not readable as safetensors")


# --- ours -----------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    """An empty folder, and a model for it."""
    sizes = {"layers": [2, 2], "dims": [32, 16], "heads": 4, "input_size": 8}
    network = build("dimr", **sizes, channels=4, num_classes=10)
    (tmp_path / "model").mkdir()
    value = {"family": "dimr", "schedule": "latent", **network.sizes.arguments()}
    return tmp_path / "model", check_network(value, "test"), network.state_dict()


def test_weights_that_are_not_finite_are_not_written(small):
    folder, config, tensors = small
    tensors["higher.0.output.conv.bias"][1] = float("nan")
    with pytest.raises(DimrError, match=r"^tensor 'higher\.0\.output\.conv\.bias' holds values"):
        write_model(folder, config, tensors)
    assert list(folder.iterdir()) == []


def test_a_model_says_what_no_tensor_tells(small):
    folder, config, tensors = small
    said = {
        "format": "pt", "family": "dimr", "schedule": "latent", "time_map": "latent", "heads": "4",
        "layers": "[2, 2]",
    }  # fmt: skip
    for objective in ({}, {"objective": "noise"}):
        write_model(folder, config, tensors, **objective)
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            assert file.metadata() == {**said, **objective}
    network, read = read_model(folder)
    assert read == config
    assert_same(network.state_dict(), tensors)


def test_equal_models_are_equal_files(small):
    """safetensors puts metadata into an order of chance, a new one each time."""
    folder, config, tensors = small
    contents = set()
    for _ in range(10):
        write_model(folder, config, tensors, objective="noise")
        contents.add((folder / WEIGHTS).read_bytes())
    assert len(contents) == 1


def test_a_model_is_compared_with_its_record(imported):
    model, _ = imported(weights_of("dit"), *DITS)
    read_model(model)
    weights = model / WEIGHTS
    whole = weights.read_bytes()
    flip(weights, len(whole) - 1)
    with pytest.raises(DimrError, match=rf"{weights}: .*damaged"):
        read_model(model)
    weights.write_bytes(whole)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "schedule": "latent"}))
    with pytest.raises(DimrError, match=r"config\.json: .*damaged"):
        read_model(model)
