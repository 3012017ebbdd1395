"""Damaged weights are refused, of others and of ours; what is written can be compared again."""

import json
import zipfile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dimr import build
from dimr.checkpoints import read_model, write_model
from dimr.checkpoints.values import MAX_VALUES, PIECE, first_unsound
from dimr.config.variants import check_network
from dimr.runtime.errors import DimrError

from .conftest import DITS, SAVE_WEIGHTS_ONLY, weights_of

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


def test_every_member_of_a_zip_is_compared_with_its_checksum(tmp_path, error_of):
    path = tmp_path / "dit.pth"
    torch.save(weights_of("dit"), path)
    whole = path.read_bytes()
    found = dict(members(path))
    assert sum(name.startswith("dit/data/") for name in found) == len(weights_of("dit"))
    for name, start in found.items():
        path.write_bytes(whole)
        flip(path, start)
        refused = error_of("import", path, *DITS, "--out", tmp_path / "model")
        assert refused == (f"{path}: damaged: the checksum of {name} in it differs: fetch it again")
    assert list(tmp_path.iterdir()) == [path]


def test_a_zip_without_checksums_is_taken_as_it_is(tmp_path, dimr):
    with_checksums = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(weights_of("dit"), tmp_path / "dit.pth")
    finally:
        torch.serialization.set_crc32_options(with_checksums)
    assert zipfile.ZipFile(tmp_path / "dit.pth").testzip() is not None
    dimr("import", tmp_path / "dit.pth", *DITS, "--dry-run")


def test_a_zip_that_was_compressed_is_not_read_as_it_lies(tmp_path, error_of):
    """torch maps the bytes of a member into memory: compressed ones would become other values."""
    torch.save(weights_of("dit"), tmp_path / "dit.pth")
    path = tmp_path / "packed.pth"
    with (
        zipfile.ZipFile(tmp_path / "dit.pth") as source,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in source.namelist():
            packed.writestr(name, source.read(name))
    refused = error_of("import", path, *DITS, "--out", tmp_path / "model")
    assert refused == f"{path}: dit/data.pkl in it is compressed: not as torch.save writes it"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite(value, dtype, suffix, tmp_path, error_of):
    weights = {name: tensor.to(dtype) for name, tensor in weights_of("dit").items()}
    wrong = weights[QKV].float()
    wrong[-1, -1] = value
    weights[QKV] = wrong.to(dtype)
    path = tmp_path / f"dit{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(weights, path)
    refused = error_of("import", path, *DITS, "--out", tmp_path / "model")
    problem = f"tensor {QKV!r} holds values that are not finite (NaN or infinity)"
    assert refused == f"{path}: {problem}"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_anywhere_is_found(value):
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        for size in (1, 7, 1000, PIECE + 3 if dtype == torch.bfloat16 else 4099):
            for at in {0, size // 2, size - 1}:
                tensor = torch.ones(size, dtype=dtype)
                assert first_unsound({"a": tensor}) is None
                tensor[at] = value
                assert "'a' holds values that are not finite" in first_unsound({"a": tensor})
    square = torch.zeros(40, 40)
    square[3, 5] = value
    for view in (square.t(), square[:, 5:6].expand(40, 40), square[3:4].expand(40, 40)):
        assert first_unsound({"a": view}) is not None
    for view in (square[:3], square[:, 6:], square[4:].t()):
        assert first_unsound({"a": view}) is None
    assert first_unsound({"a": torch.full((2,), 1e300, dtype=torch.float64)}) is None


@pytest.mark.filterwarnings("ignore")  # torch's own, of the layouts
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.to_sparse(), "is sparse_coo, not dense"),
        (lambda t: t.to_sparse_csr(), "is sparse_csr, not dense"),
        (lambda t: t.to("meta"), "has no values (it was saved on the meta device)"),
        (lambda t: t.to(torch.complex64), "is torch.complex64, no floating point"),
        (
            lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
            "is torch.qint8, no floating point",
        ),
        (lambda t: t.int(), "is torch.int32, no floating point"),
        (
            lambda t: t[:1, :1].expand(10**7, 10**6),
            f"claims 10,000,000,000,000 values (at most {MAX_VALUES:,})",
        ),
    ],
)
def test_tensors_that_are_no_weights(change, problem, tmp_path, error_of):
    weights = weights_of("dit")
    weights[QKV] = change(weights[QKV])
    torch.save(weights, tmp_path / "dit.pth")
    refused = error_of("import", tmp_path / "dit.pth", *DITS, "--out", tmp_path / "model")
    assert refused == f"{tmp_path / 'dit.pth'}: tensor {QKV!r} {problem}"
    assert not (tmp_path / "model").exists()


def test_sizes_that_no_network_has(tmp_path, error_of):
    """Small files can claim large sizes; what is computed from these must stay small."""
    one = torch.zeros(1)
    for name, shape, problem in (
        ("pos_embed", (1, 2048**2, 32), "input size 4096 (at most 1024)"),
        ("x_embedder.proj.weight", (1 << 20, 4, 2, 2), "width 1048576 (at most 65536)"),
        ("x" * 1000, (1,), "has a name of 1,000 characters"),
    ):
        torch.save({**weights_of("dit"), name: one.expand(shape)}, tmp_path / "dit.pth")
        assert problem in error_of("import", tmp_path / "dit.pth", *DITS, "--dry-run")
    weights = {**weights_of("dimr_2r_tdrms"), "stages.999999999999.x": one}
    torch.save(weights, tmp_path / "dimr.pth")
    refused = error_of("import", tmp_path / "dimr.pth", "--heads", 4, "--dry-run")
    assert "'stages.999999999999.x' is one too many" in refused


def test_zips_that_are_no_weights(tmp_path, error_of):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/readme.txt", "hello")
    assert error_of("import", tmp_path / "a.pth", "--dry-run").endswith(
        "is a zip without data.pkl, so no file of torch.save"
    )
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("b/data.pkl", "x")
        archive.writestr("b/constants.pkl", "x")
    assert error_of("import", tmp_path / "b.pth", "--dry-run").endswith(
        f"is a TorchScript program, not weights: {SAVE_WEIGHTS_ONLY}"
    )


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x10\0\0\0\0\0\0\0{}"])
def test_damaged_headers_of_safetensors(content, tmp_path, error_of):
    path = tmp_path / "dit.safetensors"
    path.write_bytes(content)
    assert error_of("import", path, "--dry-run").startswith(f"{path}: not readable as safetensors")


# --- ours -----------------------------------------------------------------------------------------


def small(tmp_path, **sizes):
    sizes = {"layers": [2, 2], "dims": [32, 16], "heads": 4, "input_size": 8, **sizes}
    network = build("dimr", **sizes, channels=4, num_classes=10)
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    config = check_network(
        {"family": "dimr", "schedule": "latent", **network.sizes.arguments()}, "test"
    )
    return folder, config, network.state_dict()


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    folder, sizes, tensors = small(tmp_path)
    tensors["higher.0.output.conv.bias"][1] = float("nan")
    with pytest.raises(DimrError, match=r"^tensor 'higher\.0\.output\.conv\.bias' holds values"):
        write_model(folder, sizes, tensors)
    assert list(folder.iterdir()) == []


def test_a_model_says_what_no_tensor_tells(tmp_path):
    folder, sizes, tensors = small(tmp_path)
    path = folder / "diffusion_pytorch_model.safetensors"
    write_model(folder, sizes, tensors)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {
            "format": "pt", "family": "dimr", "schedule": "latent", "time_map": "latent",
            "heads": "4", "layers": "[2, 2]",
        }  # fmt: skip
    write_model(folder, sizes, tensors, objective="noise")
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["objective"] == "noise"
    network, read = read_model(folder)
    assert read == sizes
    assert all(torch.equal(network.state_dict()[name], tensors[name]) for name in tensors)


def test_equal_models_are_equal_files(tmp_path):
    """safetensors puts metadata into an order of chance, a new one each time."""
    folder, sizes, tensors = small(tmp_path)
    contents = set()
    for _ in range(10):
        write_model(folder, sizes, tensors, objective="noise")
        contents.add((folder / "diffusion_pytorch_model.safetensors").read_bytes())
    assert len(contents) == 1


def test_a_model_is_compared_with_its_record(tmp_path, dimr):
    torch.save(weights_of("dit"), tmp_path / "dit.pth")
    model = tmp_path / "model"
    dimr("import", tmp_path / "dit.pth", *DITS, "--out", model)
    read_model(model)
    weights = model / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    flip(weights, len(whole) - 1)
    with pytest.raises(DimrError, match=rf"{weights}: .*damaged"):
        read_model(model)
    weights.write_bytes(whole)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "schedule": "latent"}))
    with pytest.raises(DimrError, match=r"config\.json: .*damaged"):
        read_model(model)
