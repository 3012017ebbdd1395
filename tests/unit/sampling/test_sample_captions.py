"""``dimr sample --config`` of a network of text: image i is of prompt i mod P."""

import json
import logging
import re

import numpy as np
import pytest

from dimr.cli import main
from dimr.data.shards import open_shards
from dimr.data.text.captions_work import write_captions
from dimr.data.text.image_captions import ImageCaptions
from dimr.runtime.record import seal
from dimr.sampling.folder import read_samples

from .conftest import TEXTS, WORDS, sampling_of, words_encoder

RECORD = {"key": "k", "config": {"dataset": "pairs"}}


@pytest.fixture
def captions(tmp_path):
    def make(name="captions", section=WORDS, prompts=TEXTS):
        folder = tmp_path / name
        own = ImageCaptions([[text] for text in TEXTS], [[TEXTS[0]]], list(prompts))
        write_captions(folder, words_encoder(section=section), own, shard_size=2, key=name)
        seal(folder, "captions", {"key": name})
        return folder

    return make


@pytest.fixture
def sample(tmp_path):
    def run(model, name, *more, **changes):
        config = tmp_path / f"{name}.yaml"
        config.write_text(
            sampling_of(**{"seed": 1, "steps": 3, "count": 9, **changes}).model_dump_json()
        )
        words = ["sample", "--config", config, "--model", model, "--threads", 1, "--batch", 4,
                 "--out", tmp_path / name, *more]  # fmt: skip
        return main(list(map(str, words)))

    return run


def test_labels_are_prompts_in_turn(text_folder, captions, sample, tmp_path):
    model = text_folder(record=RECORD)
    assert sample(model, "out", "--captions", captions()) == 0
    images, labels = read_samples(tmp_path / "out")
    assert labels.tolist() == [0, 1, 2] * 3
    assert open_shards(tmp_path / "out").manifest.class_names == list(TEXTS)
    # the same images whatever the batch, and prompts matter
    assert sample(model, "again", "--captions", captions("same"), "--batch", 9) == 0
    again = read_samples(tmp_path / "again")[0]
    assert np.abs(again.astype(int) - images).max() <= 1
    assert sample(model, "other", "--captions", captions("turned", prompts=TEXTS[::-1])) == 0
    other = read_samples(tmp_path / "other")[0].astype(int)
    assert np.abs(other[1] - images[1]).max() <= 1  # the prompt in the middle
    assert np.abs(other[0] - images[0]).max() > 1


def test_of_more_prompts_than_images_the_first_are_drawn(text_folder, captions, sample, tmp_path):
    assert sample(text_folder(record=RECORD), "out", "--captions", captions(), count=2) == 0
    assert read_samples(tmp_path / "out")[1].tolist() == [0, 1]
    assert open_shards(tmp_path / "out").manifest.class_names == list(TEXTS[:2])


def test_the_key_tells_the_captions(text_folder, captions, sample, tmp_path):
    model = text_folder(record=RECORD)
    for name in ("one", "two"):
        assert sample(model, f"of-{name}", "--captions", captions(name)) == 0
    keys = {json.loads((tmp_path / f"of-{name}/record.json").read_text())["key"]
            for name in ("one", "two")}  # fmt: skip
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("kind", "given", "changes", "message"),
    [
        ("text", None, {}, "--captions: missing: .* has learned from text"),
        ("class", {}, {"count": 10}, "not taken: .* has learned from classes"),
        ("text", {}, {"count": 10}, "count: 10 is no multiple of the 3 prompts"),
        ("text", {"section": WORDS.model_copy(update={"width": 16})}, {},
         "tokens of width 16; the network takes 9 of 8"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(
    kind, given, changes, message, text_folder, model_folder, captions, sample, caplog
):
    model = text_folder(record=RECORD) if kind == "text" else model_folder(record=RECORD)
    more = [] if given is None else ["--captions", captions(**given)]
    caplog.clear()
    assert sample(model, "out", *more, **changes) == 2
    (error,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "\n" not in error
    assert re.search(message, error)


def test_captions_of_another_encoder_are_refused(text_folder, captions, sample, caplog):
    model = text_folder(record=RECORD)
    folder = captions()
    described = json.loads((model / "text_encoder.json").read_text())
    (model / "text_encoder.json").write_text(json.dumps({**described, "tokens": 8}))
    assert sample(model, "out", "--captions", folder) == 2
    (error,) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "of another text encoder than" in error
    assert "tokens is 8, not 9" in error
