"""The sanity rows: a dataset's own images in the form of samples, from an array or a store."""

import json
import logging

import numpy as np
import pytest
import yaml
from tests.support.messages import error_in

from dimr.cli import main
from dimr.config.schema import Source
from dimr.data.autoencoder import load_autoencoder, reconstruct
from dimr.data.digits import make_digits
from dimr.data.image_arrays import load_images
from dimr.data.imagenet import ImageStore
from dimr.data.imagenet.acquire import acquire
from dimr.data.shards import open_shards
from dimr.runtime.record import read_record, seal
from dimr.sampling import folder as samples
from dimr.sampling import own_images
from dimr.sampling.folder import read_samples
from dimr.sampling.own_images import in_turn

SIZE, COUNT = 16, 14  # of the miniature's 18 images in 3 classes


def test_classes_take_turns_until_they_are_used_up():
    labels = np.array([0, 0, 0, 0, 1, 2, 2])
    assert in_turn(labels, 7, shuffled=False).tolist() == [0, 4, 5, 1, 6, 2, 3]
    drawn = in_turn(labels, 7, shuffled=True)
    assert labels[drawn].tolist() == [0, 1, 2, 0, 2, 0, 0]
    assert sorted(drawn) == list(range(7))
    assert (in_turn(labels, 4, shuffled=True) == drawn[:4]).all()
    interleaved = np.arange(60) % 10
    assert (in_turn(interleaved, 25, shuffled=False) == np.arange(25)).all()
    many = in_turn(np.arange(600) // 200, 60, shuffled=True)
    assert len(set(many)) == 60
    assert 60 < np.median(many % 200) < 140  # of the whole of a class, not its first ones


@pytest.fixture(scope="module")
def made(tmp_path_factory, miniature, vae):
    """A source, its autoencoder, and that of pixels."""
    folder = tmp_path_factory.mktemp("made")
    images = miniature.class_folders(folder / "images")
    acquire(Source.model_validate(miniature.section()), str(images), folder / "source", "k" * 16)
    seal(folder / "source", "source", {"key": "k" * 16})
    vae.save_pretrained(folder / "autoencoder")
    seal(folder / "autoencoder", "autoencoder", {"key": "vae"})
    seal(folder / "pixels", "autoencoder", {"key": "px", "kind": "identity", "channels": 3})
    return folder


def baseline(made, out, source, *more, images="source", **changes):
    config = out.with_suffix(".yaml")
    value = {"source": source, "count": COUNT, "image_size": SIZE, **changes}
    config.write_text(yaml.safe_dump({k: v for k, v in value.items() if v is not None}))
    return main(["baseline", "--config", str(config), "--images", str(made / images), "--out",
                 str(out), "--device=cpu", "--threads=2", *map(str, more)])  # fmt: skip


def test_real_images_of_a_source(made, tmp_path):
    """Drawn from each class, cropped; the same whoever draws them, and another size of shard."""
    out = tmp_path / "real"
    assert baseline(made, out, "real") == 0
    images, labels = read_samples(out)
    assert labels.tolist() == [i % 3 for i in range(COUNT)]
    store = ImageStore(made / "source")
    numbers = in_turn(store.labels, COUNT, shuffled=True)
    assert (images == np.stack([store.crop(n, SIZE) for n in numbers])).all()
    assert open_shards(out).manifest.class_names == store.class_names
    record = read_record(out)
    assert record["config"] == {"source": "real", "count": COUNT, "image_size": SIZE}
    assert record.keys() >= {"key", "files"}
    with np.load(out / "samples.npz") as archive:
        assert (archive["arr_0"] == images).all()
    assert (out / "grid.png").is_file()


def test_reconstructions_are_of_the_same_images(made, tmp_path):
    """A pixel dataset's are the images themselves."""
    assert baseline(made, tmp_path / "real", "real") == 0
    real, labels = read_samples(tmp_path / "real")
    assert (
        baseline(made, tmp_path / "same", "reconstruction", "--autoencoder", made / "pixels") == 0
    )
    assert (read_samples(tmp_path / "same")[0] == real).all()
    assert (
        baseline(made, tmp_path / "vae", "reconstruction", "--autoencoder", made / "autoencoder")
        == 0
    )
    found, again = read_samples(tmp_path / "vae")
    wanted = reconstruct(load_autoencoder(made / "autoencoder"), real)
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert (again == labels).all()
    keys = {read_record(tmp_path / name)["key"] for name in ("real", "same", "vae")}
    assert len(keys) == 3


def test_interrupted_work_resumes(made, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(samples, "SHARD_SIZE", 4)
    caplog.set_level(logging.INFO)
    assert baseline(made, tmp_path / "whole", "real") == 0
    crop, left = ImageStore.crop, [9]

    def interrupted(store, number, size):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return crop(store, number, size)

    monkeypatch.setattr(own_images.StoredImages, "batch", 4)
    monkeypatch.setattr(ImageStore, "crop", interrupted)
    assert baseline(made, tmp_path / "parts", "real") == 130
    assert not (tmp_path / "parts").exists()
    (work,) = tmp_path.glob(".parts.part-*")
    kept = len(list(work.glob("store/*.npy")))
    assert 1 <= kept <= 2
    left[0] = COUNT - 4 * kept
    assert baseline(made, tmp_path / "parts", "real") == 0  # and crops no other
    assert left[0] == 0
    for file in (tmp_path / "whole").glob("*.npy"):
        assert file.read_bytes() == (tmp_path / "parts" / file.name).read_bytes()
    assert baseline(made, tmp_path / "parts", "real") == 0
    assert "complete, with all of its images: nothing to do" in caplog.text


def test_what_is_wrong_is_one_line(made, tmp_path, caplog):
    assert baseline(made, tmp_path / "many", "real", count=19) == 2
    assert error_in(caplog).endswith("many.yaml: count 19 is more than the 18 training images")
    caplog.clear()
    assert baseline(made, tmp_path / "none", "reconstruction") == 2
    assert error_in(caplog) == "dimr: baseline: reconstructions need --autoencoder"


def test_a_damaged_tar_is_named(tmp_path, caplog, miniature):
    images = miniature.class_folders(tmp_path / "images")
    acquire(Source.model_validate(miniature.section()), str(images), tmp_path / "source", "k" * 16)
    seal(tmp_path / "source", "source", {"key": "k" * 16})
    tar = min((tmp_path / "source").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[1000] ^= 1
    tar.write_bytes(data)
    assert baseline(tmp_path, tmp_path / "real", "real") == 2
    assert f"{tar}: checksum differs from the recorded one" in error_in(caplog)
    assert not (tmp_path / "real").exists()


def test_digits_are_as_they_were(tmp_path, vae):
    """The first of the array, which is interleaved: these rows stand in committed tables."""
    make_digits(tmp_path / "images", SIZE, 20)
    seal(tmp_path / "images", "images", {"key": "i"})
    vae.save_pretrained(tmp_path / "autoencoder")
    seal(tmp_path / "autoencoder", "autoencoder", {"key": "vae"})
    images, labels = load_images(tmp_path / "images", "train")
    plain = {"images": "images", "image_size": None, "count": 30}
    assert baseline(tmp_path, tmp_path / "real", "real", **plain) == 0
    found, own = read_samples(tmp_path / "real")
    assert (found == images[:30]).all()
    assert (own == labels[:30]).all()
    record = json.loads((tmp_path / "real/record.json").read_text())
    assert record["config"] == {"source": "real", "count": 30}
    options = ["--autoencoder", tmp_path / "autoencoder"]
    assert baseline(tmp_path, tmp_path / "vae", "reconstruction", *options, **plain) == 0
    wanted = reconstruct(load_autoencoder(tmp_path / "autoencoder"), np.array(images[:30]))
    assert (read_samples(tmp_path / "vae")[0] == wanted).all()
