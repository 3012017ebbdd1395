"""The encoder of words; what describes encoders, of datasets and of models; prompts."""

import hashlib
import logging

import numpy as np
import pytest
import torch

from dimr.config.schema import PretrainedText, Words
from dimr.data.digit_pairs import COMBINATIONS
from dimr.data.text.encoders import (
    DESCRIPTION,
    encoder_of_model,
    open_text_encoder,
    prompt_condition,
    read_description,
    same_encoder,
)
from dimr.data.text.words import NORM, WordsEncoder, describe, embed, signs, words_of
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_json
from dimr.runtime.record import seal

CAPTIONS = [caption for one in COMBINATIONS for caption in one.captions]


def make(width=64, tokens=8, texts=CAPTIONS):
    return WordsEncoder(describe(Words(kind="words", width=width, tokens=tokens), texts))


def refused(function, *arguments):
    with pytest.raises(DimrError, match=r"^[^\n]*$") as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A three, to the LEFT of a seven!", "a three to the left of a seven"),
        ("the dog’s 2 bowls (one's full)", "the dog's 2 bowls one's full"),
        ("Ein schöner Tag — ÉTÉ", "ein schöner tag été"),
        ("'quoted' snake_case", "quoted snake case"),
    ],
)
def test_words_of_a_text(text, words):
    assert words_of(text) == words.split()


@pytest.mark.parametrize("text", ["", " ", "?!"])
def test_a_text_without_words_has_one_token(text):
    """So that a network that attends to tokens has something to attend to."""
    found = make().encode([text, "a"])
    assert found.mask.sum(1).tolist() == [1, 1]
    assert torch.equal(found.tokens[0], make().encode([""]).tokens[0])
    assert not torch.equal(found.tokens[0], found.tokens[1])


def test_a_words_vector_is_the_bits_of_its_hash():
    """Also beyond the 256 bits of one hash."""
    bits = [hashlib.sha256(f"three\0{block}".encode()).digest() for block in (0, 1)]
    wanted = [1 if byte >> (7 - k) & 1 else -1 for byte in b"".join(bits) for k in range(8)]
    assert signs("three", 300).tolist() == wanted[:300]


def test_tokens_depend_on_the_text_only():
    """Not on other texts beside it, the vocabulary or the encoder that is asked."""
    one, other = make(), make(texts=["unlike", *CAPTIONS])
    alone = one.encode(CAPTIONS[7:8])
    beside = other.encode(CAPTIONS[:20], batch=3)
    assert torch.equal(alone.tokens[0], beside.tokens[7])
    assert torch.equal(alone.mask[0], beside.mask[7])
    assert alone.tokens.dtype == torch.float32
    assert not alone.tokens[~alone.mask].any()


@pytest.mark.parametrize("width", [16, 64, 200])
def test_tokens_are_of_one_scale_and_float16s(width):
    tokens = embed(words_of(CAPTIONS[0]), width)
    assert np.array_equal(tokens, tokens.astype(np.float16))  # as stored, bit by bit
    np.testing.assert_allclose(np.square(tokens).mean(axis=1), (NORM / width) ** 2, rtol=1e-3)


def test_every_caption_has_tokens_of_its_own():
    """Where the same words stand in another order, too: a zero above a one, a one above a zero."""
    tokens = make().encode(CAPTIONS).tokens.flatten(1)
    distance = torch.cdist(tokens, tokens) + torch.diag(torch.full((len(tokens),), torch.inf))
    assert distance.min() > 0.1 * tokens.norm(dim=1).mean()


def test_unseen_combinations_are_linear_in_the_sum_of_tokens():
    """What each digit is, and how they lie: fitted to 80% of the combinations, read off others."""
    encoder = make(width=256)
    order = np.random.default_rng(0).permutation(len(COMBINATIONS))
    x, y = {"fit": [], "read": []}, {"fit": [], "read": []}
    for position, number in enumerate(order):
        one, part = COMBINATIONS[number], "read" if position < 40 else "fit"
        for caption in one.captions:
            x[part].append(np.append(encoder.encode([caption]).tokens[0].sum(0).numpy(), 1))
            y[part].append((one.first, one.second, one.layout == "above"))
    rows, told = np.array(x["fit"]), np.array(y["fit"])
    wanted = np.concatenate(
        [np.eye(10)[told[:, 0]], np.eye(10)[told[:, 1]], np.eye(2)[told[:, 2]]], 1
    )
    weights = np.linalg.solve(rows.T @ rows + np.eye(rows.shape[1]), rows.T @ wanted)
    parts = np.split(np.array(x["read"]) @ weights, [10, 20], axis=1)
    found = np.stack([part.argmax(axis=1) for part in parts], axis=1)
    assert (found == np.array(y["read"])).all(axis=1).mean() > 0.85


def test_a_long_text_is_cut_and_one_warning_says_where(caplog):
    with caplog.at_level(logging.WARNING):
        found = make(tokens=5).encode(["a two", *CAPTIONS[:2] * 2, "a one"], batch=2)
    (message,) = [one.getMessage() for one in caplog.records]
    assert message == (
        "4 of 6 texts longer than the encoder's 5 tokens: cut, 'a zero to the left of a zero' at "
        "its word 6 (of)"
    )
    assert found.mask.sum(1).tolist() == [2, 5, 5, 5, 5, 2]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a thre above a two", "'thre' is in no caption of the images (did you mean three"),
        ("a xylophone", "'xylophone' is in no caption of the images (known: a, above, an"),
    ],
)
def test_an_unknown_word_is_named_with_those_that_are_close(prompt, said):
    message = refused(make().encode, ["a two", prompt])
    assert message.startswith(f"text {prompt!r}: the word {said}")


# --- descriptions ---------------------------------------------------------------------------------


def test_a_vocabulary_is_sorted_words():
    description = make().description
    assert description["vocabulary"] == sorted({w for text in CAPTIONS for w in text.split()})
    assert {key: description[key] for key in Words.model_fields} == {
        "kind": "words", "width": 64, "tokens": 8,
    }  # fmt: skip


def test_a_folders_encoder_and_a_models_are_what_was_described(tmp_path):
    description = make().description
    write_json(tmp_path / DESCRIPTION, description)
    seal(tmp_path, "text encoder", {"key": "k"})
    wanted = make().encode(CAPTIONS[:3]).tokens
    for encoder in (open_text_encoder(tmp_path), encoder_of_model(tmp_path)):
        assert encoder.description == description
        assert torch.equal(encoder.encode(CAPTIONS[:3]).tokens, wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "sounds"}, "kind: 'sounds'"),
        ({"width": 0}, "width: 0"),
        ({"vocabulary": "a"}, "vocabulary: should be of type list"),
        ({"vocabulary": [1]}, "vocabulary: should be a list of words"),
        ({"embedding": 99}, "embedding: 99; this version of dimr has 1"),
    ],
)
def test_a_description_that_is_none_is_one_line(tmp_path, changes, message):
    write_json(tmp_path / DESCRIPTION, {**make().description, **changes})
    found = refused(read_description, tmp_path)
    assert found.startswith(f"{tmp_path / DESCRIPTION}: {message}")


def test_damage_is_one_line(tmp_path):
    assert "no such file" in refused(read_description, tmp_path / "none")
    write_json(tmp_path / DESCRIPTION, make().description)
    seal(tmp_path, "text encoder", {"key": "k"})
    text = (tmp_path / DESCRIPTION).read_text()
    (tmp_path / DESCRIPTION).write_text(text.replace("three", "threa"))
    for function in (read_description, open_text_encoder, encoder_of_model):
        assert f"{DESCRIPTION}: checksum differs" in refused(function, tmp_path)


def described(**changes):
    section = PretrainedText(kind="clip", repo="a/b", width=768, tokens=77, padding="seen")
    facts = {"revision": "123", "sha256": "1" * 64}
    return {**section.model_dump(mode="json"), **facts, **changes}


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        (make().description, make(texts=["a"]).description, None),
        (make().description, make(width=32).description, "width is 64, not 32"),
        (make().description, make(tokens=9).description, "tokens is 8, not 9"),
        (make().description, described(), "kind is words, not clip"),
        (described(), described(repo="c/d", revision=None, subfolder="x"), None),
        (described(), described(padding="hidden"), "padding is seen, not hidden"),
        (
            described(),
            described(repo="c/d", sha256="2" * 64),
            "the weights differ (a/b and c/d; sha256 11111111, not 22222222)",
        ),
    ],
)
def test_whether_two_encoders_are_the_same(a, b, why):
    assert same_encoder(a, b) == why


# --- prompts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("negative", ["", "a two"])
def test_no_text_is_the_negative_prompt(negative):
    encoder = make()
    found = prompt_condition(encoder, CAPTIONS[:3], negative)
    null, wanted = found.null(), encoder.encode([negative] * 3)
    assert torch.equal(found.tokens, encoder.encode(CAPTIONS[:3]).tokens)
    assert torch.equal(null.tokens, wanted.tokens)
    assert torch.equal(null.mask, wanted.mask)
