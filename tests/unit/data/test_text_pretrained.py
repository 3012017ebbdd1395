"""Published text models as encoders, beside transformers itself on the same tokens."""

import importlib.util
import logging
import shutil

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors
from tests.support.text_models import END, START, write_clip, write_t5
from tokenizers import Tokenizer

from dimr.config.schema import PretrainedText
from dimr.data.text.encoders import DESCRIPTION, encoder_of_model, open_text_encoder, same_encoder
from dimr.data.text.pretrained import fetch_pretrained, save_pretrained
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, write_json

TEXTS = ["two one", "", "a b c two", "onetwo"]
COMMIT = "32bd64288804d66eefd0ccbe215aa642df71cc41"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Folder and model of both kinds."""
    base = tmp_path_factory.mktemp("published")
    made = {"clip": write_clip(base / "clip" / COMMIT), "t5": write_t5(base / "t5" / COMMIT)}
    return {kind: (base / kind / COMMIT, model) for kind, model in made.items()}


def section(folder, kind="clip", **changes):
    given = {"kind": kind, "repo": str(folder), "width": 16, "tokens": 77, "padding": "seen"}
    return PretrainedText(**{**given, **changes})


def refused(function, *arguments, **named):
    with pytest.raises(DimrError, match=r"^[^\n]*$") as caught:
        function(*arguments, **named)
    return str(caught.value)


PIECES = [
    ["two</w>", "one</w>"],
    [],
    ["a</w>", "b</w>", "c</w>", "two</w>"],
    ["on", "e", "two</w>"],
]
"""What the merges of the tiny CLIP make of ``TEXTS``, by hand."""


def own_tokens(folder, kind):
    """Numbers of the tokens of each of ``TEXTS``, and of the padding, by nothing of ours."""
    if kind == "t5":
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return [tokenizer.encode(text).ids for text in TEXTS], tokenizer.token_to_id("<pad>")
    number = read_json(folder / "vocab.json")
    found = [[START, *pieces, END] for pieces in PIECES]
    return [[number[piece] for piece in pieces] for pieces in found], number[END]


def test_clip_as_in_the_protocol_of_u_vit(published):
    """77 tokens, filled up with the tokenizer's padding, all of them seen by model and network."""
    folder, model = published["clip"]
    found = fetch_pretrained(section(folder)).encode(TEXTS)
    numbers, padding = own_tokens(folder, "clip")
    filled = torch.tensor([one + [padding] * (77 - len(one)) for one in numbers])
    assert filled.shape == (4, 77)
    assert filled[1].tolist() == [filled[0, 0], *[padding] * 76]  # start, end, and padding as end
    with torch.no_grad():
        wanted = model(input_ids=filled).last_hidden_state
    assert found.tokens.dtype == torch.float32
    torch.testing.assert_close(found.tokens, wanted, rtol=0, atol=1e-6)
    assert found.mask.all()


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_hidden_padding_changes_nothing(published, kind):
    """Each text's tokens are those that it has alone, without any padding."""
    folder, model = published[kind]
    found = fetch_pretrained(section(folder, kind, padding="hidden", tokens=20)).encode(TEXTS)
    numbers, _ = own_tokens(folder, kind)
    assert found.mask.sum(1).tolist() == list(map(len, numbers))
    network = model.encoder if kind == "t5" else model
    for row, mask, own in zip(found.tokens, found.mask, numbers, strict=True):
        assert mask[: len(own)].all()
        with torch.no_grad():
            wanted = network(input_ids=torch.tensor([own])).last_hidden_state[0]
        torch.testing.assert_close(row[: len(own)], wanted, rtol=0, atol=2e-6)


def test_t5_may_see_padding(published):
    folder, model = published["t5"]
    found = fetch_pretrained(section(folder, "t5", tokens=20)).encode(TEXTS)
    numbers, padding = own_tokens(folder, "t5")
    filled = torch.tensor([one + [padding] * (20 - len(one)) for one in numbers])
    with torch.no_grad():
        wanted = model.encoder(input_ids=filled).last_hidden_state
    torch.testing.assert_close(found.tokens, wanted, rtol=0, atol=2e-6)
    assert found.mask.all()


def test_batches_change_nothing(published):
    encoder = fetch_pretrained(section(published["clip"][0]))
    whole, parts = encoder.encode(TEXTS), encoder.encode(TEXTS, batch=1)
    torch.testing.assert_close(whole.tokens, parts.tokens, rtol=0, atol=1e-6)


def test_a_cut_names_the_word(published, caplog):
    """Of 6 tokens two are the ends: 'two', 'one', 'a', 'b' are seen, and 'two' is not."""
    encoder = fetch_pretrained(section(published["clip"][0], tokens=6))
    with caplog.at_level(logging.WARNING):
        encoder.encode(["two one a b", "two one a b two one"])
    (message,) = [one.getMessage() for one in caplog.records]
    assert "1 of 2 texts longer than the encoder's 6 tokens" in message
    assert "'two one a b two one' at its word 5 (two)" in message


def test_a_cut_within_a_word_names_that_word(published, caplog):
    encoder = fetch_pretrained(section(published["t5"][0], "t5", tokens=5))
    with caplog.at_level(logging.WARNING):
        encoder.encode(["two abcdef one"])
    (message,) = [one.getMessage() for one in caplog.records]
    assert "at its word 2 (abcdef)" in message


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_what_is_kept_is_the_same_encoder(published, kind, tmp_path):
    """Without the decoder, in one file; a model knows it by the weights, wherever they are."""
    folder, _ = published[kind]
    encoder = fetch_pretrained(section(folder, kind))
    kept = tmp_path / "kept"
    kept.mkdir()
    save_pretrained(encoder, kept)
    assert not [path for path in kept.iterdir() if path.suffix in (".bin", ".pt", ".pth")]
    write_json(kept / DESCRIPTION, encoder.description)
    again = open_text_encoder(kept)
    assert again.description == encoder.description
    assert torch.equal(again.encode(TEXTS).tokens, encoder.encode(TEXTS).tokens)
    model = tmp_path / "model"
    model.mkdir()
    write_json(model / DESCRIPTION, encoder.description)
    for given in (kept, folder):
        found = encoder_of_model(model, given)
        assert same_encoder(found.description, encoder.description) is None
    hub = {**encoder.description, "repo": "who/what", "revision": COMMIT, "subfolder": "text"}
    write_json(model / DESCRIPTION, hub)
    assert encoder_of_model(model, folder).description["revision"] is None  # no commit of a folder
    message = refused(encoder_of_model, model)
    assert message.startswith(f"{model}: a model of text: give its encoder")


def test_other_weights_are_another_encoder(published, tmp_path):
    write_clip(tmp_path / "other", seed=1)
    model = tmp_path / "model"
    model.mkdir()
    write_json(model / DESCRIPTION, fetch_pretrained(section(published["clip"][0])).description)
    message = refused(encoder_of_model, model, tmp_path / "other")
    assert "not the text encoder that" in message
    assert "the weights differ" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 32}, "its tokens have a width of 16; text_encoder.width is 32"),
        ({"tokens": 78}, "it takes 77 tokens at most; text_encoder.tokens is 78"),
        ({"tokens": 2}, "leaves no room"),
        ({"revision": "main"}, "is a folder: revision 'main' is for the hub"),
        ({"kind": "t5"}, "config.json: model_type is 'clip_text_model'; text_encoder.kind is t5"),
        ({"subfolder": "none"}, "none/config.json: no such file"),
        ({"repo": "none"}, "none: no such folder, and not a hub name (owner/name)"),
    ],
)
def test_what_does_not_fit_is_one_line(published, changes, message):
    given = section(published["clip"][0], **changes)
    assert message in refused(fetch_pretrained, given)


def test_only_safetensors_are_read(published, tmp_path):
    shutil.copytree(published["clip"][0], tmp_path / "own")
    (tmp_path / "own/model.safetensors").unlink()
    torch.save(published["clip"][1].state_dict(), tmp_path / "own/pytorch_model.bin")
    assert "not a loadable text model of kind clip" in refused(
        fetch_pretrained, section(tmp_path / "own")
    )


def test_damaged_weights_are_named(published, tmp_path):
    shutil.copytree(published["clip"][0], tmp_path / "own")
    weights = tmp_path / "own/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    message = refused(fetch_pretrained, section(tmp_path / "own"))
    assert message.startswith(f"{tmp_path / 'own'}: not a loadable text model")


def test_the_hub_is_asked_for_what_is_needed(published, tmp_path, monkeypatch):
    """A pipeline's repository has the tokenizer beside the text model."""
    folder, _ = published["clip"]
    top = tmp_path / COMMIT
    shutil.copytree(folder, top / "text_encoder_2")
    (top / "tokenizer_2").mkdir()
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.move(top / "text_encoder_2" / name, top / "tokenizer_2" / name)
    asked = []

    def download(repo, **arguments):
        asked.append((repo, arguments["revision"], arguments["allow_patterns"]))
        return str(top)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    given = section("who/what", revision="main", subfolder="text_encoder_2")
    encoder = fetch_pretrained(given)
    assert encoder.description["revision"] == COMMIT
    ((repo, revision, patterns),) = asked
    assert (repo, revision) == ("who/what", "main")
    assert {"text_encoder_2/model.safetensors", "tokenizer_2/merges.txt"} <= set(patterns)
    assert not any(pattern.endswith((".bin", ".pt")) for pattern in patterns)
    wanted = fetch_pretrained(section(folder)).encode(TEXTS)
    assert torch.equal(encoder.encode(TEXTS).tokens, wanted.tokens)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise errors.LocalEntryNotFoundError("x")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    message = refused(fetch_pretrained, section("who/what"))
    assert message.startswith("hub: who/what: the hub cannot be reached")


def test_without_transformers_one_line_says_how_to_install(published, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    message = refused(fetch_pretrained, section(published["clip"][0]))
    assert 'pip install "dimr[text]"' in message
