"""The folder of embedded captions: written once, read by memory map, drawn from by step."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dimr.config.schema import Words
from dimr.data.text.captions_work import write_captions
from dimr.data.text.encoders import same_encoder
from dimr.data.text.folder import open_captions, verify_captions
from dimr.data.text.image_captions import ImageCaptions
from dimr.data.text.words import WordsEncoder, describe
from dimr.models.conditioning import TextCondition
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, write_json

CAPTIONS = ImageCaptions(
    train=[["a dog", "a dog runs", "the dog"], ["a cat"], ["two cats", "a cat"]],
    heldout=[["a bird"], ["the dog", "a dog"]],
    prompts=["a bird", "a fish swims"],
)
TEXTS = ["", "a dog", "a dog runs", "the dog", "a cat", "two cats", "a bird", "a fish swims"]
FILES = ("texts.json", "masks.npy", "prompts.npy", "train_offsets.npy", "train_numbers.npy",
         "heldout_offsets.npy", "heldout_numbers.npy", "00000.npy", "00002.npy")  # fmt: skip


def encoder(width=16, tokens=4):
    section = Words(kind="words", width=width, tokens=tokens)
    return WordsEncoder(describe(section, CAPTIONS.texts()))


def write(folder: Path, shard_size=3, batch=64, by=None) -> Path:
    write_captions(folder, by or encoder(), CAPTIONS, shard_size, "key", batch=batch)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "captions")


def refused(function, *arguments):
    with pytest.raises(DimrError, match=r"^[^\n]*$") as caught:
        function(*arguments)
    return str(caught.value)


def test_every_distinct_text_is_embedded_once(folder):
    captions = open_captions(folder)
    assert captions.texts == TEXTS
    assert [captions.texts[number] for number in captions.prompts] == CAPTIONS.prompts
    assert [shard.count for shard in captions.manifest.shards] == [3, 3, 2]
    for split in ("train", "heldout"):
        wanted = getattr(CAPTIONS, split)
        assert captions.images(split) == len(wanted)
        found = [captions.of_image(split, image) for image in range(len(wanted))]
        assert [[captions.texts[number] for number in own] for own in found] == wanted
    assert same_encoder(captions.encoder, encoder().description) is None
    assert verify_captions(folder) == captions.manifest


@pytest.mark.parametrize("numbers", [[0], [7, 0, 3, 3, 5], []])
def test_a_condition_is_what_the_encoder_gives(folder, numbers):
    found = open_captions(folder).condition(numbers)
    assert found.tokens.dtype == torch.float16
    assert found.tokens.shape == (len(numbers), 4, 16)
    null = found.null()
    if numbers:
        wanted = encoder().encode([TEXTS[number] for number in numbers])
        assert torch.equal(found.tokens.float(), wanted.tokens)
        assert torch.equal(found.mask, wanted.mask)
        empty = encoder().encode([""] * len(numbers))
        assert torch.equal(null.tokens.float(), empty.tokens)
        assert torch.equal(null.mask, empty.mask)


@pytest.mark.parametrize(("shard_size", "batch"), [(1, 64), (3, 2), (5, 3), (100, 1)])
def test_shards_and_batches_change_nothing(folder, tmp_path, shard_size, batch):
    other = open_captions(write(tmp_path / "other", shard_size, batch))
    everything = np.arange(len(TEXTS))
    wanted, found = open_captions(folder).condition(everything), other.condition(everything)
    assert torch.equal(found.tokens, wanted.tokens)
    assert torch.equal(found.mask, wanted.mask)


def test_opening_reads_no_shard(folder):
    """They are memory maps: no array of a shard's size is made until its rows are asked for."""
    captions = open_captions(folder)
    ours = {folder / shard.file for shard in captions.manifest.shards}
    maps = Path("/proc/self/maps").read_text()
    assert all(str(path) in maps for path in ours)
    (folder / "00001.npy").write_bytes(b"")  # gone under the map: only its rows are lost
    assert captions.condition([0, 7]).tokens.isfinite().all()


def test_one_warning_says_what_was_cut(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        write(tmp_path / "short", shard_size=2, batch=1, by=encoder(tokens=2))
    (message,) = [one.getMessage() for one in caplog.records if "cut" in one.getMessage()]
    assert message == (
        "2 of 8 texts longer than the encoder's 2 tokens: cut, 'a dog runs' at its word 3 (runs)"
    )


def test_tokens_that_float16_cannot_hold_name_their_text(tmp_path):
    class Large(WordsEncoder):
        def embed(self, texts):
            tokens, mask, cuts = super().embed(texts)
            tokens[[text == "two cats" for text in texts]] *= 1e6
            return tokens, mask, cuts

    message = refused(write, tmp_path / "large", 3, 2, Large(encoder().description))
    assert message == "captions: tokens of 'two cats' are not finite in float16"


# --- drawing --------------------------------------------------------------------------------------


def test_drawing_depends_on_seed_step_and_place_only(folder, tmp_path):
    images = np.array([0, 2, 1, 0, 2, 0, 0])
    draws = {
        (seed, step): open_captions(folder).draw("train", images, seed, step).tolist()
        for seed in (0, 1)
        for step in range(20)
    }
    captions = open_captions(write(tmp_path / "again", shard_size=8))
    for (seed, step), drawn in reversed(draws.items()):
        assert captions.draw("train", images, seed, step).tolist() == drawn
        for image, number in zip(images, drawn, strict=True):
            assert number in captions.of_image("train", image)
        part = captions.draw("train", images[:3], seed, step).tolist()
        assert part == drawn[:3]  # a place's draw is the same whatever is drawn behind it
    assert len({tuple(drawn) for drawn in draws.values()}) > 20


def test_each_caption_of_an_image_is_drawn_in_its_share(folder):
    """Of N draws from k captions each is drawn N / k times: within 5 standard deviations."""
    captions, steps, count = open_captions(folder), 50, 400
    images = np.tile([0, 1, 2], count)
    drawn = np.concatenate([captions.draw("train", images, 3, step) for step in range(steps)])
    of_image = np.tile(images, steps)
    for image in range(3):
        texts = captions.of_image("train", image)
        share, total = 1 / len(texts), steps * count
        margin = 5 * math.sqrt(total * share * (1 - share))
        for number in texts:
            found = np.count_nonzero(drawn[of_image == image] == number)
            assert abs(found - total * share) <= margin


def test_numbers_that_there_are_not_are_refused(folder):
    captions = open_captions(folder)
    for numbers in ([8], [-1]):
        with pytest.raises(IndexError, match="holds 8 texts"):
            captions.condition(numbers)
    with pytest.raises(IndexError, match="train has 3 images"):
        captions.of_image("train", 3)


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert refused(open_captions, folder) == f"{folder / name}: no such file"


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-3])
    assert refused(open_captions, folder).startswith(f"{path}: ")


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".npy")])
def test_a_changed_byte_is_found(folder, name):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert refused(verify_captions, folder).startswith(f"{path}: ")


def test_a_changed_text_is_found(folder):
    path = folder / "texts.json"
    path.write_text(path.read_text().replace("fish", "wish"))
    assert refused(verify_captions, folder).startswith(f"{path}: checksum differs")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("masks.npy", np.ones((8, 5), bool), "holds bool (8, 5), should hold bool (8, 4)"),
        ("masks.npy", np.ones((8, 4), np.uint8), "holds uint8 (8, 4), should hold bool (8, 4)"),
        ("00000.npy", np.zeros((3, 4, 15), np.float16), "should hold float16 (3, 4, 16)"),
        ("prompts.npy", np.array([0, 8]), "texts are numbered 0 to 7"),
        ("train_offsets.npy", np.array([0, 3, 3, 6]), "should rise from 0 to 6"),
        ("train_offsets.npy", np.array([0, 3, 4, 5]), "should rise from 0 to 6"),
    ],
)
def test_a_file_that_does_not_fit_is_named(folder, name, array, message):
    np.save(folder / name, array)
    found = refused(open_captions, folder)
    assert found.startswith(f"{folder / name}: ")
    assert message in found


@pytest.mark.parametrize("texts", [["a"] * 8, [""], ["", *range(7)], {}])
def test_texts_that_do_not_fit_are_named(folder, texts):
    write_json(folder / "texts.json", texts)
    found = refused(open_captions, folder)
    assert found == f"{folder / 'texts.json'}: should hold 8 texts, the first one empty"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 9}, "shards hold 8 texts, count is 9"),
        ({"width": 17}, "width is 17, of the encoder 16"),
        ({"encoder": {"kind": "words"}}, "encoder: width: is missing"),
        ({"files": {}}, "files lack heldout_numbers.npy"),
        ({"images": {"train": 3}}, "images are of train, not of train, heldout"),
    ],
)
def test_a_manifest_that_does_not_agree_is_named(folder, changes, message):
    path = folder / "manifest.json"
    write_json(path, {**read_json(path), **changes})
    found = refused(open_captions, folder)
    assert found.startswith(f"{path}: ")
    assert message in found


def test_an_array_that_is_not_listed_is_named(folder):
    np.save(folder / "00003.npy", np.zeros(3))
    assert (
        refused(verify_captions, folder) == f"{folder / '00003.npy'}: not listed in manifest.json"
    )


def test_a_network_reads_it(folder):
    """Half precision, from memory maps that may not be written to, through a network's checks."""
    found = open_captions(folder).condition([1, 2])
    assert isinstance(found, TextCondition)
    dropped = found.drop(torch.tensor([True, False]))
    assert torch.equal(dropped.tokens[0], open_captions(folder).condition([0]).tokens[0])
    assert torch.equal(dropped.tokens[1], found.tokens[1])
