"""The encoder that needs no download: a token for each word, a fixed function of its letters.

Nothing is learned: vectors are the bits of SHA-256, as signs. A token holds its word, its place,
and the phrases around it, as bags of n-grams do.
"""

import difflib
import functools
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dimr.config.schema import Words
from dimr.data.text.base import Cut, TextEncoder, shortened
from dimr.runtime.errors import DimrError

Vectors = NDArray[np.float64]

EMBEDDING = 1
"""Version of ``embed``: networks that learned from one do not know another."""
LONGEST = 5
"""Words of a phrase, at most."""
NORM = 128.0
"""Root mean square of a token times its width. A step of Adam moves what a network reads off a
token by up to the learning rate times the sum of its magnitudes: here as much as what it reads off
128 features of its own. Measured with the digits' learning rate, an EMA of 0.999, guidance 2: like
this 22% of the pictures show their captions after 2,000 steps, and 93% after 3,000; with 4 times as
much (and the digits at random places in their squares) 1% after 2,000, which is chance."""
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
EMPTY = ""
"""The one word of a text without words, so that its mask is not all False."""
LISTED = 8
"""Known words that a message lists."""


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case: letters, digits and apostrophes; the rest is dropped."""
    return WORD.findall(text.replace("’", "'").lower()) or [EMPTY]


def vocabulary_of(texts: Iterable[str]) -> list[str]:
    """All words of texts, sorted."""
    return sorted({word for text in texts for word in words_of(text)} - {EMPTY})


# --- tokens of words ------------------------------------------------------------------------------


def embed(words: Sequence[str], width: int) -> NDArray[np.float32]:
    """Tokens (L, D) of a text's words, of root mean square ``NORM`` / D.

    A token is the sum of fixed vectors: of its word, its place, and the phrases of 2 to ``LONGEST``
    words that begin or end with it. So what a word does in its text (the three that is "to the left
    of") can be read off linearly, even off the sum of all tokens: a linear probe of the digits'
    captions finds 95% of combinations that it has not seen, and 25% without phrases.

    Values are rounded to float16: stored ones are the same bit for bit, and so are those of
    another machine, whose last digits may differ before rounding.
    """
    tokens = np.empty((len(words), width))
    for number, word in enumerate(words):
        names = [f"word {word}", f"place {number}"]
        for length in range(2, LONGEST + 1):
            names += [f"from {' '.join(words[number : number + length])}"] * (
                number + length <= len(words)
            )
            names += [f"to {' '.join(words[number - length + 1 : number + 1])}"] * (
                number + 1 >= length
            )
        tokens[number] = np.sum([signs(name, width) for name in names], axis=0)
    tokens *= NORM / width / np.sqrt(np.square(tokens).mean(axis=1, keepdims=True))
    return tokens.astype(np.float16).astype(np.float32)


@functools.lru_cache(maxsize=1 << 15)
def signs(name: str, width: int) -> Vectors:
    """``width`` numbers -1 or 1: bits of the SHA-256 of a name, and of the name plus a number."""
    blocks = range(-(-width // 256))
    digests = (hashlib.sha256(f"{name}\0{block}".encode()).digest() for block in blocks)
    bits = np.unpackbits(np.frombuffer(b"".join(digests), np.uint8))[:width]
    return 2 * bits.astype(np.float64) - 1


# --- the encoder ----------------------------------------------------------------------------------


class WordsEncoder(TextEncoder):
    """The encoder ``words`` with a vocabulary.

    Args:
        description: as ``describe`` made it.
        device: where tokens are wanted; they are computed on the CPU.
    """

    def __init__(self, description: Mapping[str, Any], device: torch.device | str = "cpu") -> None:
        self.description = dict(description)
        self.width, self.tokens = description["width"], description["tokens"]
        self.device = device
        self._known = set(description["vocabulary"]) | {EMPTY}

    def embed(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, list[Cut]]:
        """As in ``TextEncoder``; ``DimrError`` names a word that is in no caption."""
        tokens = np.zeros((len(texts), self.tokens, self.width), np.float32)
        mask = np.zeros(tokens.shape[:2], bool)
        cuts = []
        for number, text in enumerate(texts):
            words = words_of(text)
            self._check(words, text)
            if len(words) > self.tokens:
                cuts.append(Cut(text, words[self.tokens], self.tokens + 1))
                words = words[: self.tokens]
            tokens[number, : len(words)] = embed(words, self.width)
            mask[number, : len(words)] = True
        return (
            torch.from_numpy(tokens).to(self.device),
            torch.from_numpy(mask).to(self.device),
            cuts,
        )

    def _check(self, words: Sequence[str], text: str) -> None:
        unknown = next((word for word in words if word not in self._known), None)
        if unknown is None:
            return
        vocabulary = self.description["vocabulary"]
        close = difflib.get_close_matches(unknown, vocabulary, LISTED)
        more = ", ..." if len(vocabulary) > LISTED else ""
        known = f"known: {', '.join(vocabulary[:LISTED])}{more}"
        hint = f"did you mean {' or '.join(close)}?" if close else known
        raise DimrError(
            f"text {shortened(text)!r}: the word {unknown!r} is in no caption of the images "
            f"({hint})"
        )


def describe(section: Words, texts: Iterable[str]) -> dict[str, Any]:
    """The description of a section's encoder that knows the words of ``texts``."""
    known = {"embedding": EMBEDDING, "vocabulary": vocabulary_of(texts)}
    return {**section.model_dump(mode="json"), **known}
