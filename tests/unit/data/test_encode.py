"""``dimr encode`` of a source's images: what is stored, resuming, parts, errors."""

import functools
import io
import logging
import shutil
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tests.support.messages import error_in

from dimr.cli import main
from dimr.config.phases import section_key
from dimr.config.schema import Latents, SourceLatents
from dimr.data.autoencoder import encode_moments, load_autoencoder
from dimr.data.digits import make_digits
from dimr.data.encode import Encoder, encode_images, encode_missing
from dimr.data.image_arrays import load_images, write_images
from dimr.data.imagenet import center_crop
from dimr.data.imagenet.resumable_store import StoreWork
from dimr.data.imagenet.store import ImageStore
from dimr.data.resumable_shards import Assembly
from dimr.data.shards import open_shards, verify
from dimr.runtime.files import read_json, write_json
from dimr.runtime.record import seal

COUNTS = {"n01440764": 4, "n01443537": 6, "n02102040": 3}
IMAGES = sum(COUNTS.values())
CONFIG = {
    "image_size": 32,
    "mirror": True,
    "dtype": "float32",
    "shard_size": 8,
}  # 26 latents: shards of 8, 8, 8 and 2
KEYS = {"source": "0" * 16, "autoencoder": "1" * 16}


def jpeg(seed):
    """A soft picture of a random size."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (4, 4, 3), np.uint8)
    width, height = generator.integers(36, 90, 2).tolist()
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def make_store(folder, bad=frozenset()):
    """A source folder; images of ``bad`` do not decode."""
    work = StoreWork(folder, KEYS["source"])
    for label, (wnid, count) in enumerate(COUNTS.items()):
        files = {f"{wnid}_{i}.JPEG": jpeg(100 * label + i) for i in range(count)}
        for name in bad & files.keys():
            files[name] = files[name][:3] + bytes(len(files[name]) - 3)
        work.write_class(wnid, files.items(), count)
    work.finish(list(COUNTS), ["tench", "fish", "dog"], {"kind": "folder"}, ())
    write_json(folder / "record.json", {"key": KEYS["source"]})


def make_vae(folder, scale=1.0):
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 16), layers_per_block=1, norm_num_groups=4, sample_size=32,
        )  # fmt: skip
    with torch.no_grad():
        vae.quant_conv.weight[:4] *= scale
    vae.save_pretrained(folder)
    write_json(folder / "record.json", {"key": KEYS["autoencoder"], "kind": "pretrained"})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A source and an autoencoder, which tests do not change."""
    folder = tmp_path_factory.mktemp("made")
    make_store(folder / "source")
    make_vae(folder / "vae")
    return folder


def run_encode(made, folder, *options, out="latents", source=None, vae=None, **config):
    """The command's exit code."""
    path = folder / "latents.yaml"
    path.write_text(yaml.safe_dump(CONFIG | config))
    arguments = ["encode", "--config", path, "--images", source or made / "source",
                 "--autoencoder", vae or made / "vae", "--out", folder / out, "--device", "cpu",
                 "--batch", 3, *options]  # fmt: skip
    return main([str(argument) for argument in arguments])


@pytest.fixture
def encode(made, tmp_path):
    """Run the command; return its exit code."""
    return functools.partial(run_encode, made, tmp_path)


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """What one undisturbed process makes."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_encode(made, folder) == 0
    return folder / "latents"


def stored(folder):
    return np.concatenate(open_shards(folder).arrays)


def shard_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.npy"))}


def crops_of(folder, size=32):
    store = ImageStore(folder)
    return np.stack([center_crop(store.image(i), size) for i in range(len(store))])


def test_latents_are_those_of_each_image_and_its_mirror_image(made, whole):
    crops, vae = crops_of(made / "source"), load_autoencoder(made / "vae")
    both = np.stack([crops, crops[:, :, ::-1]], axis=1).reshape(-1, 32, 32, 3)
    expected = encode_moments(vae, both)
    assert np.abs(expected[0] - expected[1]).max() > 0.1  # mirrored is something else
    np.testing.assert_allclose(stored(whole), expected, rtol=2e-3, atol=2e-3)
    manifest = verify(whole)
    assert [shard.count for shard in manifest.shards] == [8, 8, 8, 2]
    assert manifest.scaling_factor == pytest.approx(0.18215)
    assert manifest.class_names == ["tench", "fish", "dog"]
    labels = np.load(whole / "labels.npy")
    assert labels.tolist() == [0] * 8 + [1] * 12 + [2] * 6


def test_the_folder_is_complete_and_nothing_else_is_left(whole):
    names = {path.name for path in whole.iterdir()}
    shards = {f"{i:05d}.npy" for i in range(4)}
    assert names == shards | {"labels.npy", "manifest.json", "record.json", "check.json",
                              "check.png", "provenance.json"}  # fmt: skip
    assert {path.name for path in whole.parent.iterdir()} == {"latents", "latents.yaml"}
    record = read_json(whole / "record.json")
    config = SourceLatents(**CONFIG)
    assert record["key"] == section_key(config, KEYS["source"], KEYS["autoencoder"])
    assert record["images"] == IMAGES
    check = read_json(whole / "check.json")
    assert record["check"] == {name: check[name] for name in ("psnr_mean", "psnr_min")}


@pytest.mark.parametrize(
    ("options", "config", "taken"),
    [
        (("--batch", 1), {}, slice(None)),
        (("--batch", 4), {}, slice(None)),
        (("--batch", 100), {}, slice(None)),
        ((), {"shard_size": 5}, slice(None)),  # ends between an image and its mirror image
        ((), {"mirror": False}, slice(None, None, 2)),
    ],
)
def test_batches_and_shards_change_rounding_only(encode, whole, tmp_path, options, config, taken):
    assert encode(*options, **config) == 0
    found, expected = stored(tmp_path / "latents"), stored(whole)[taken]
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)  # a step of float16


def test_workers_change_nothing(encode, whole, tmp_path):
    assert encode("--workers", 2) == 0
    assert shard_bytes(tmp_path / "latents") == shard_bytes(whole)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near(encode, whole, tmp_path, dtype):
    assert encode(dtype=dtype) == 0
    found, exact = stored(tmp_path / "latents").astype(np.float32), stored(whole)
    error = np.sqrt(np.square(found - exact).mean() / np.square(exact.astype(np.float32)).mean())
    assert 1e-5 < error < {"bfloat16": 2e-2, "float16": 3e-3}[dtype]


def test_parts_make_the_same(encode, whole, tmp_path):
    for part in ("3/3", "1/3", "2/3"):
        assert encode("--shard", part) == 0
        assert not (tmp_path / "latents").exists()
    assert encode() == 0
    assert shard_bytes(tmp_path / "latents") == shard_bytes(whole)
    assert {path.name for path in tmp_path.iterdir()} == {"latents", "latents.yaml"}


def test_what_is_complete_is_not_made_again(encode, monkeypatch, caplog):
    assert encode() == 0
    monkeypatch.setattr(ImageStore, "image", None)
    with caplog.at_level(logging.INFO, "dimr"):
        assert encode() == 0
        assert encode("--shard", "1/2") == 0
    assert "already complete" in caplog.text


def test_a_damaged_folder_is_not_complete(encode, whole, tmp_path):
    assert encode() == 0
    for name in ("00001.npy", "manifest.json", "record.json"):
        (tmp_path / "latents" / name).unlink()
        assert encode() == 0
        assert shard_bytes(tmp_path / "latents") == shard_bytes(whole)
        assert (tmp_path / "latents/record.json").is_file()


def test_work_with_other_weights_is_not_continued(encode, whole, tmp_path):
    """They may have the same key: a repository's revision is not always said."""
    make_vae(tmp_path / "vae", scale=2.0)
    assert encode("--shard", "1/2", vae=tmp_path / "vae") == 0
    assert encode() == 0
    assert shard_bytes(tmp_path / "latents") == shard_bytes(whole)
    assert encode(vae=tmp_path / "vae") == 0  # nor is what is complete taken for it
    assert shard_bytes(tmp_path / "latents") != shard_bytes(whole)
    records = [read_json(folder / "record.json") for folder in (whole, tmp_path / "latents")]
    assert records[0]["key"] == records[1]["key"]


def test_an_interrupted_start_is_resumed(encode, whole, tmp_path, monkeypatch):
    read, asked = ImageStore.image, []

    def image(store, number):
        asked.append(number)
        if len(asked) == 9:
            raise KeyboardInterrupt
        return read(store, number)

    monkeypatch.setattr(ImageStore, "image", image)
    assert encode() == 130
    assert not (tmp_path / "latents").exists()
    again = []
    monkeypatch.setattr(ImageStore, "image", lambda store, n: again.append(n) or read(store, n))
    assert encode() == 0
    encoded = again[: IMAGES - 4]
    assert encoded == list(range(4, IMAGES))  # the first shard was there; then the check reads
    assert shard_bytes(tmp_path / "latents") == shard_bytes(whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_does_not_decode_is_named(encode, tmp_path, caplog, workers):
    source = tmp_path / "source"
    make_store(source, bad={"n01443537_0.JPEG"})  # the first of the second shard
    for _ in range(2):
        caplog.clear()
        assert encode("--workers", workers, source=source) == 2
        message = error_in(caplog)
        assert f"{source}/n01443537.tar: n01443537_0.JPEG: does not decode" in message
        assert not (tmp_path / "latents").exists()
        (work,) = tmp_path.glob(".latents.part-*/store")
        assert [path.name for path in work.glob("*.npy")] == ["00000.npy"]  # finished: kept


def test_a_tar_that_is_damaged_is_found_before_it_is_encoded(encode, whole, made, tmp_path, caplog):
    """A picture with other pixels decodes as well as the right one."""
    source = tmp_path / "source"
    shutil.copytree(made / "source", source)
    tar = source / "n01443537.tar"
    original = tar.read_bytes()
    tar.write_bytes(original[:-1] + b"x")
    assert encode(source=source) == 2
    assert f"{tar}: checksum differs" in error_in(caplog)
    assert not list(tmp_path.glob(".latents.part-*/store/*.npy"))
    tar.write_bytes(original)
    assert encode(source=source) == 0
    assert shard_bytes(tmp_path / "latents") == shard_bytes(whole)


def test_a_latent_that_is_not_finite_names_its_image(encode, tmp_path, caplog):
    make_vae(tmp_path / "vae", scale=1e7)
    assert encode(vae=tmp_path / "vae") == 2
    assert "latent of n01440764_0.JPEG is not finite in float16" in error_in(caplog)
    assert not list(tmp_path.glob(".latents.part-*/store/*.npy"))


def identity(folder, channels=3):
    folder.mkdir()
    facts = {"key": KEYS["autoencoder"], "kind": "identity", "channels": channels}
    write_json(folder / "record.json", facts)
    return folder


@pytest.mark.parametrize("mirror", [False, True])
def test_pixels_are_the_crops(encode, made, tmp_path, mirror):
    vae = identity(tmp_path / "none")
    assert encode(vae=vae, image_size=48, mirror=mirror) == 0
    crops, found = crops_of(made / "source", 48), stored(tmp_path / "latents")
    assert (found.dtype, found.shape) == (np.uint8, ((1 + mirror) * IMAGES, 48, 48, 3))
    assert np.array_equal(found[:: 1 + mirror], crops)
    if mirror:
        assert np.array_equal(found[1::2], crops[:, :, ::-1])
    assert read_json(tmp_path / "latents/check.json")["equal"] is True
    assert verify(tmp_path / "latents").scaling_factor is None


def test_colours_are_not_made_grey(encode, tmp_path, caplog):
    assert encode(vae=identity(tmp_path / "none", channels=1)) == 2
    assert "channels: 1 is for grey images" in error_in(caplog)


def test_a_crop_that_the_autoencoder_cannot_halve_is_refused(encode, caplog):
    assert encode(image_size=30) == 2
    assert "image_size: 30 is not a multiple of 4" in error_in(caplog)


def test_a_disk_without_room_is_refused_before_a_byte(encode, tmp_path, caplog, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(26 * 1024 - 1))
    assert encode() == 3
    assert "latents" in error_in(caplog)
    assert {path.name for path in tmp_path.iterdir()} == {"latents.yaml"}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(26 * 1024))
    assert encode() == 0


def test_what_it_takes_is_announced(tmp_path):
    def size(side, mirror=True):
        images = 1281167
        shape = (8, side, side)
        return Assembly(tmp_path / "z", "k", "posterior", shape, images * (1 + mirror), 10000)

    assert (size(32).count, size(64).count) == (2562334, 2562334)
    assert f"{size(32).nbytes / 1e9:.1f} {size(64).nbytes / 1e9:.1f}" == "42.0 167.9"


def test_progress_counts_what_was_there(encode, capsys):
    assert encode("--shard", "1/2") == 0
    capsys.readouterr()
    assert encode() == 0
    shown = capsys.readouterr().err
    assert "encode: 13/13 images" in shown  # 8 of them, of shards 0 and 2, were there


class FakeStore:
    """Grey crops of known values."""

    def crop(self, number, size):
        return np.full((size, size, 3), number, np.uint8)


def test_errors_of_writing_are_raised(made, tmp_path, monkeypatch):
    work = Assembly(tmp_path / "z", "k", "posterior", (8, 8, 8), 40, 4)
    encoder = Encoder(made / "vae", 32, torch.device("cpu"))
    assert (encoder.kind, encoder.shape, encoder.copies) == ("posterior", (8, 8, 8), 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Assembly, "write", full)
    with pytest.raises(OSError, match="No space left"):
        encode_missing(FakeStore(), encoder, work, batch=4)


def test_images_of_one_array(made, tmp_path):
    """``dimr encode`` of the digits: batches and shards change nothing but rounding."""
    make_digits(tmp_path / "images", 16, 30)
    images, labels = load_images(tmp_path / "images", "train")
    expected = encode_moments(load_autoencoder(made / "vae"), np.array(images))
    for shard_size in (290, 300, 1000):
        out = tmp_path / str(shard_size)
        out.mkdir()
        manifest = encode_images(
            tmp_path / "images", made / "vae", out, Latents(shard_size=shard_size),
            torch.device("cpu"), "k",
        )  # fmt: skip
        np.testing.assert_allclose(stored(out), expected, rtol=2e-3, atol=2e-3)
        assert manifest == verify(out)
        assert (manifest.key, manifest.class_names) == ("k", list("0123456789"))
        assert np.array_equal(open_shards(out).labels, labels)
        assert manifest.shards[0].count == min(shard_size, 300)
    out = tmp_path / "pixels"
    out.mkdir()
    grey = identity(tmp_path / "none", channels=1)
    encode_images(tmp_path / "images", grey, out, Latents(shard_size=100), torch.device("cpu"), "k")
    assert np.array_equal(stored(out), images[..., :1])


def write_own(folder, size=16):
    """The arrays of two classes of one's own, whose images come in turn while both have some."""
    generator, labels = np.random.default_rng(0), np.array([0, 1, 0, 1, 0, 0, 0])
    pixels = generator.integers(0, 256, (7, size, size, 3), np.uint8)
    write_images(
        folder,
        {"train": pixels, "heldout": pixels[:2]},
        {"train": labels, "heldout": labels[:2]},
        dataset="mine", size=size, class_names=["blue squares", "é"], split="as given", key="k",
    )  # fmt: skip
    seal(folder, "images", {"key": "k"})
    return pixels, labels


@pytest.mark.parametrize("kind", ["pretrained", "identity"])
@pytest.mark.parametrize("shard_size", [2, 3, 100])
@pytest.mark.parametrize("batch", [1, 2, 250])
def test_the_mirror_image_after_each_image(kind, shard_size, batch, made, tmp_path, monkeypatch):
    monkeypatch.setattr("dimr.data.encode.BATCH", batch)
    (tmp_path / "images").mkdir()
    pixels, labels = write_own(tmp_path / "images")
    both = np.stack([pixels, pixels[:, :, ::-1]], axis=1).reshape(-1, 16, 16, 3)
    vae = made / "vae" if kind == "pretrained" else identity(tmp_path / "none")
    config = tmp_path / "latents.yaml"
    config.write_text(yaml.safe_dump({"shard_size": shard_size, "mirror": True}))
    arguments = ["encode", "--config", config, "--images", tmp_path / "images",
                 "--autoencoder", vae, "--out", tmp_path / "out", "--device", "cpu"]  # fmt: skip
    assert main(list(map(str, arguments))) == 0
    if kind == "identity":
        assert np.array_equal(stored(tmp_path / "out"), both)
    else:
        expected = encode_moments(load_autoencoder(vae), both)
        np.testing.assert_allclose(stored(tmp_path / "out"), expected, rtol=2e-3, atol=2e-3)
    opened = open_shards(tmp_path / "out")
    assert opened.labels.tolist() == np.repeat(labels, 2).tolist()
    assert opened.manifest.class_names == ["blue squares", "é"]
    assert {len(array) for array in opened.arrays[:-1]} <= {2 * shard_size}
    verify(tmp_path / "out")


def test_large_images_of_an_array_are_encoded_few_at_a_time(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    (tmp_path / "out").mkdir()
    write_own(tmp_path / "images", 256)
    seen, encode = [], Encoder.__call__

    def noted(self, images):
        seen.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(Encoder, "__call__", noted)
    place, device = identity(tmp_path / "none"), torch.device("cpu")
    encode_images(
        tmp_path / "images", place, tmp_path / "out", Latents(shard_size=100), device, "k"
    )
    assert seen == [4, 3]


def command(tmp_path, made, *options):
    """The command line in pixels, which needs no diffusers (slow to import)."""
    vae = identity(tmp_path / "none")
    (tmp_path / "latents.yaml").write_text(yaml.safe_dump(CONFIG))
    return [sys.executable, "-m", "dimr", "encode", "--config", tmp_path / "latents.yaml",
            "--images", made / "source", "--autoencoder", vae, "--device", "cpu",
            "--out", tmp_path / "latents", "--batch", "3", *options]  # fmt: skip


def assert_complete(made, tmp_path):
    crops = crops_of(made / "source")
    both = np.stack([crops, crops[:, :, ::-1]], axis=1).reshape(-1, 32, 32, 3)
    assert np.array_equal(stored(tmp_path / "latents"), both)
    verify(tmp_path / "latents")
    assert not list(tmp_path.glob(".latents*"))


@pytest.mark.slow
def test_processes_make_the_same(made, tmp_path):
    done = subprocess.run(
        command(tmp_path, made, "--processes", "2"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "[1/2] " in done.stderr
    assert "[2/2] " in done.stderr
    assert_complete(made, tmp_path)


@pytest.mark.slow
def test_a_killed_process_leaves_whole_shards(made, tmp_path):
    """SIGKILL while the second shard is read: the first is whole, the rest is made later."""
    script = (
        "import os, signal, sys; from dimr.cli import main;"
        "from dimr.data.imagenet.store import ImageStore; read = ImageStore.image\n"
        "def image(self, number):\n"
        "    if number == 11: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return read(self, number)\n"
        "ImageStore.image = image; sys.exit(main(sys.argv[1:]))"
    )
    arguments = command(tmp_path, made)
    killed = subprocess.run(
        [sys.executable, "-c", script, *arguments[3:]], capture_output=True, check=False
    )
    assert killed.returncode == -9
    assert not (tmp_path / "latents").exists()
    (work,) = tmp_path.glob(".latents.part-*/store")
    there = {path.name for path in work.glob("0*.npy")}
    assert "00000.npy" in there
    assert "00003.npy" not in there
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_complete(made, tmp_path)
