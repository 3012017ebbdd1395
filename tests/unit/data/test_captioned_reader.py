"""Batches of images with captions: which caption an image has, and when."""

from collections import Counter

import numpy as np
import pytest
import torch
from tests.support.shards import write_shards

from dimr.config.schema import Words
from dimr.data.captioned_reader import CaptionedReader, open_fitting, prompts_of
from dimr.data.reader import ShardReader
from dimr.data.text.captions_work import write_captions
from dimr.data.text.folder import open_captions
from dimr.data.text.image_captions import ImageCaptions
from dimr.data.text.words import WordsEncoder, describe
from dimr.models import DiMR
from dimr.models.conditioning import TextCondition
from dimr.runtime.errors import DimrError

IMAGES = 6
TEXTS = [[f"image {n} so", f"image {n} or so", f"image {n}"][: 1 + n % 3] for n in range(IMAGES)]
CAPTIONS = ImageCaptions(TEXTS, [["image 0"]], ["image 4", "image 0", "image 5 so"])


@pytest.fixture
def captions(tmp_path):
    section = Words(kind="words", width=16, tokens=4)
    folder = tmp_path / "captions"
    encoder = WordsEncoder(describe(section, CAPTIONS.texts()))
    write_captions(folder, encoder, CAPTIONS, shard_size=4, key="k")
    return open_captions(folder)


def reader_of(tmp_path, copies=1, batch=5, seed=0):
    """Pixels of sample i are all i."""
    data = np.arange(IMAGES * copies, dtype=np.uint8)[:, None, None, None] + np.zeros(
        (1, 4, 4, 3), np.uint8
    )
    out = tmp_path / f"shards{copies}"
    if not out.exists():
        write_shards(out, [data], np.zeros(len(data), np.int64), kind="pixels",
                     class_names=["captioned"], shard_size=4)  # fmt: skip
    return ShardReader(out, batch, seed)


def told(captions, condition):
    """The text of each row, found by its tokens."""
    whole = captions.condition(range(captions.count))
    rows = [(whole.tokens == row).all(dim=(1, 2)).nonzero()[0].item() for row in condition.tokens]
    return [captions.texts[row] for row in rows]


@pytest.mark.parametrize("copies", [1, 2])
def test_every_image_has_one_of_its_own_captions(tmp_path, captions, copies):
    reader = CaptionedReader(reader_of(tmp_path, copies), captions)
    seen = Counter()
    for step in range(120):
        x, condition = reader.batch(step)
        assert condition.tokens.shape == (5, 4, 16)
        assert condition.empty is not None
        images = ((x[:, 0, 0, 0] + 1) * 127.5).round().long() // copies
        for image, text in zip(images.tolist(), told(captions, condition), strict=True):
            assert text in TEXTS[image]
            seen[image, text] += 1
    for image, texts in enumerate(TEXTS):  # 100 draws of each image, all captions alike
        expected = 100 / len(texts)
        assert all(abs(seen[image, text] - expected) < 5 * expected**0.5 for text in texts)


def test_a_step_is_the_same_whenever_it_is_read(tmp_path, captions):
    running = CaptionedReader(reader_of(tmp_path), captions)
    batches = [running.batch(step)[1] for step in range(20)]
    for step in (19, 0, 7):
        again = CaptionedReader(reader_of(tmp_path), captions).batch(step)[1]
        assert torch.equal(again.tokens, batches[step].tokens)
    other = CaptionedReader(reader_of(tmp_path, seed=1), captions)
    assert any(
        not torch.equal(other.batch(step)[1].tokens, batches[step].tokens) for step in range(20)
    )


def test_captions_of_other_images(tmp_path, captions):
    captions.manifest.images["train"] = 4
    with pytest.raises(DimrError, match="captions of 4 training images; there are 6"):
        CaptionedReader(reader_of(tmp_path), captions)


def test_what_is_asked_for(captions):
    texts, prompts = prompts_of(captions, 2)
    assert texts == ["image 4", "image 0"]
    assert len(prompts) == 2
    condition = prompts[:]
    assert told(captions, prompts[torch.tensor([1, 0, 1])]) == ["image 0", "image 4", "image 0"]
    assert told(captions, condition) == texts
    assert len(prompts_of(captions)[0]) == 3
    empty = condition.null()
    assert torch.equal(empty.tokens[0], captions.condition([0]).tokens[0])
    assert captions.texts[0] == ""


def test_a_network_of_other_texts(captions):
    from dimr.config.variants import check_network

    network = check_network(
        {"family": "dimr", "layers": [1, 1], "dims": [32, 16], "heads": 2, "input_size": 8,
         "channels": 4, "num_classes": 0, "time_map": "latent", "schedule": "latent",
         "text_dim": 32, "text_tokens": 4}, "x")  # fmt: skip
    with pytest.raises(DimrError, match="4 tokens of width 16; the network takes 4 of 32"):
        open_fitting(captions.folder, network)


def test_stored_tokens_are_what_the_encoder_gives(captions):
    """Half precision on disk; a network casts them."""
    encoder = WordsEncoder(captions.encoder)
    texts = captions.texts[1:]
    stored, fresh = captions.condition(range(1, captions.count)), encoder.encode(texts)
    assert stored.tokens.dtype == torch.float16
    assert torch.equal(stored.tokens.float(), fresh.tokens)
    assert torch.equal(stored.mask, fresh.mask)
    network = DiMR(layers=(1, 1), dims=(32, 16), heads=2, input_size=8, channels=4,
                   text_dim=16, text_tokens=4)  # fmt: skip
    x, t = torch.randn(len(texts), 4, 8, 8), torch.tensor(0.5)
    half, full = network(x, t, stored)[-1], network(x, t, fresh)[-1]
    assert torch.equal(half, full)
    assert isinstance(stored, TextCondition)
