"""Training on captions: resumed, by several processes, and what is refused."""

import pytest
import torch

from dimr.config.schema import Words
from dimr.data.text.captions_work import write_captions
from dimr.data.text.image_captions import ImageCaptions
from dimr.data.text.words import WordsEncoder, describe
from dimr.runtime.files import read_json
from dimr.runtime.record import seal

from .conftest import same_run, weights_of

OF_TEXT = {"num_classes": 0, "text_dim": 16, "text_tokens": 4}
TEXTS = [[f"image {n}", f"an image {n}"][: 1 + n % 2] for n in range(40)]


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """Of the 40 images of ``latents``."""
    return make(tmp_path_factory.mktemp("text") / "captions", TEXTS)


def make(folder, texts):
    own = ImageCaptions(texts, [["an image"]], ["image 3", "an image 7"])
    encoder = WordsEncoder(describe(Words(kind="words", width=16, tokens=4), own.texts()))
    write_captions(folder, encoder, own, shard_size=25, key="texts")
    seal(folder, "captions", {"key": "texts"})
    return folder


@pytest.mark.parametrize("family", ["dimr", "uvit"])
def test_a_resumed_training_is_bitwise_the_whole_one(family, commands, captions, tmp_path):
    network = OF_TEXT
    if family == "uvit":
        sizes = {"family": "uvit", "depth": 3, "dim": 16, "heads": 2, "patch": 2}
        network = OF_TEXT | sizes
    config = commands(network=network)
    given = ("--captions", captions)
    assert config.run("whole", *given) == [0]
    for _ in range(3):
        assert config.run("parts", *given, "--stop-after", 0) == [75]
    assert config.run("parts", *given) == [0]
    assert same_run(tmp_path / "whole", tmp_path / "parts")
    said = read_json(tmp_path / "whole/model/text_encoder.json")
    assert said == read_json(captions / "manifest.json")["encoder"]
    assert not (tmp_path / "whole/model/class_names.json").exists()


def test_two_processes_learn_the_same(commands, captions, tmp_path):
    config = commands(network=OF_TEXT)
    assert config.run("one", "--captions", captions) == [0]
    assert config.run("two", "--captions", captions, size=2) == [0, 0]
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    assert all(torch.allclose(one[name], two[name], rtol=1e-3, atol=1e-5) for name in one)


def test_captions_make_a_difference(commands, captions, tmp_path):
    """Of other captions there is another state, and other weights."""
    config = commands(network=OF_TEXT)
    others = make(tmp_path / "others", TEXTS[::-1])
    assert config.run("a", "--captions", captions) == [0]
    assert config.run("b", "--captions", others) == [0]
    one, other = weights_of(tmp_path / "a"), weights_of(tmp_path / "b")
    assert any(not torch.equal(one[name], other[name]) for name in one)
    states = [next((tmp_path / name / "state").glob("*[!k]")).name for name in "ab"]
    assert states[0] != states[1]


@pytest.mark.parametrize(
    ("network", "given", "message"),
    [
        (OF_TEXT, False, "--captions: missing, and the network is one of text"),
        ({}, True, "and the network is one of classes"),
        ({**OF_TEXT, "text_dim": 8}, True, "4 tokens of width 16; the network takes 4 of 8"),
    ],
)
def test_what_does_not_fit_is_one_line(network, given, message, commands, captions):
    config = commands(network=network)
    assert config.run("a", *(["--captions", captions] if given else [])) == [2]
    lines = [line for line in config.messages("a").splitlines() if line.startswith("dimr: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_captions_of_other_images(commands, tmp_path):
    config = commands(network=OF_TEXT)
    few = make(tmp_path / "few", TEXTS[:7])
    assert config.run("a", "--captions", few) == [2]
    assert "captions of 7 training images; there are 40" in config.messages("a")


def test_damaged_captions_are_named_before_training(commands, tmp_path):
    config = commands(network=OF_TEXT)
    folder = make(tmp_path / "damaged", TEXTS)
    shard = folder / "00001.npy"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert config.run("a", "--captions", folder) == [2]
    assert "00001.npy" in config.messages("a")
