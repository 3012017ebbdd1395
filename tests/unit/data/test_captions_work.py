"""Captions whose embedding was interrupted: finished shards are kept, the folder is the same."""

import logging
import multiprocessing
import os
import signal

import pytest

from dimr.config.schema import Words
from dimr.data.text.captions_work import write_captions
from dimr.data.text.folder import verify_captions
from dimr.data.text.image_captions import ImageCaptions
from dimr.data.text.words import WordsEncoder, describe
from dimr.runtime.errors import DimrError

TEXTS = [f"{color} {animal}" for color in ("red", "blue") for animal in ("dog", "cat", "bird")]
CAPTIONS = ImageCaptions(train=[[text] for text in TEXTS[:5]], heldout=[TEXTS[5:]], prompts=TEXTS)
SHARD = 2  # of 7 texts, the empty one first: four shards


class Encoder(WordsEncoder):
    """Notes what it embeds; is interrupted when it comes to a text."""

    def __init__(self, until=None, width=16, tokens=3):
        section = Words(kind="words", width=width, tokens=tokens)
        super().__init__(describe(section, CAPTIONS.texts()))
        self.until, self.seen = until, []

    def embed(self, texts):
        if self.until in texts:
            raise KeyboardInterrupt
        self.seen += texts
        return super().embed(texts)


def write(out, encoder, key="key", code="code", **options):
    return write_captions(out, encoder, CAPTIONS, SHARD, key, code=code, batch=1, **options)


def interrupted(out, **options):
    with pytest.raises(KeyboardInterrupt):
        write(out, Encoder(until=TEXTS[4]), **options)
    assert not out.exists()


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def work_of(out):
    (folder,) = out.parent.glob(f".{out.name}.part-*")
    return folder


def test_finished_shards_are_kept(tmp_path):
    """Of the shard in which it was interrupted both texts are embedded again, of others none."""
    write(tmp_path / "whole", Encoder())
    out = tmp_path / "captions"
    interrupted(out)
    encoder = Encoder()
    manifest = write(out, encoder)
    assert encoder.seen == TEXTS[3:]
    assert content(out) == content(tmp_path / "whole")
    assert verify_captions(out) == manifest
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_killed_process_leaves_finished_shards_and_nothing_torn(tmp_path):
    class Killed(Encoder):
        def embed(self, texts):
            if self.until in texts:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().embed(texts)

    write(tmp_path / "whole", Encoder())
    out = tmp_path / "captions"
    process = multiprocessing.get_context("fork").Process(
        target=write, args=(out, Killed(until=TEXTS[4]))
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in work_of(out).rglob(".*dimr-tmp*")]  # the shard in progress
    encoder = Encoder()
    write(out, encoder)
    assert encoder.seen == TEXTS[3:]
    assert content(out) == content(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("what", ["store/00000.npy", "masks/00000.npy"])
def test_a_damaged_shard_is_named_and_embedded_again(tmp_path, what, caplog):
    out = tmp_path / "captions"
    interrupted(out)
    path = work_of(out) / what
    path.write_bytes(path.read_bytes()[:-1])
    encoder = Encoder()
    write(out, encoder)
    assert encoder.seen == ["", TEXTS[0], *TEXTS[3:]]
    (message,) = [one.getMessage() for one in caplog.records]
    assert message.startswith(f"{path}: has ")
    verify_captions(out)


def test_a_shard_whose_bytes_changed_is_found_at_the_end(tmp_path):
    out = tmp_path / "captions"
    interrupted(out)
    path = work_of(out) / "store/00001.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DimrError, match=r"00001\.npy: checksum differs .* 1 of 4 shards"):
        write(out, Encoder())
    encoder = Encoder()
    write(out, encoder)
    assert encoder.seen == TEXTS[1:3]
    verify_captions(out)


@pytest.mark.parametrize("other", [{"key": "other"}, {"code": "edited"}, {"width": 8}])
def test_work_of_another_kind_is_not_mixed_in(tmp_path, other):
    out = tmp_path / "captions"
    interrupted(out)
    encoder = Encoder(width=other.pop("width", 16))
    write(out, encoder, **other)
    assert encoder.seen == ["", *TEXTS]


def test_one_warning_names_the_first_cut_of_all_starts(tmp_path, caplog):
    out = tmp_path / "captions"
    with pytest.raises(KeyboardInterrupt):
        write(out, Encoder(until=TEXTS[4], tokens=1))
    with caplog.at_level(logging.WARNING):
        write(out, Encoder(tokens=1))
    (message,) = [one.getMessage() for one in caplog.records]
    assert message == (
        "6 of 7 texts longer than the encoder's 1 tokens: cut, 'red dog' at its word 2 (dog)"
    )


def test_what_is_added_is_there_when_the_folder_appears(tmp_path):
    def add(folder, manifest):
        (folder / "more").write_text(str(manifest.count))
        assert not (tmp_path / "captions").exists()

    write(tmp_path / "captions", Encoder(), add=add)
    assert (tmp_path / "captions/more").read_text() == "7"
