"""What every text encoder is: texts in, tokens of one width and a mask out, frozen."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dimr.models.conditioning import Condition, TextCondition

log = logging.getLogger(__name__)

BATCH = 64
"""Texts at a time, by default: the number changes only speed and memory."""
SHOWN = 60
"""Characters of a text that a message shows at most."""


@dataclass(frozen=True)
class Cut:
    """A text that was too long: the first word that was cut, and its number, from 1."""

    text: str
    word: str
    number: int


class TextEncoder(ABC):
    """A frozen encoder of texts.

    Attributes:
        description: what identifies it, plain JSON: the keys of its section, and for ``words`` its
            ``vocabulary``, for pretrained ones the ``revision`` and a ``sha256`` of the weights.
        width: D of a token.
        tokens: L of a text; longer ones are cut.
    """

    description: dict[str, Any]
    width: int
    tokens: int

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, list[Cut]]:
        """Tokens (N, L, D) float32 and mask (N, L) of N texts, and which of them were cut.

        Raises:
            DimrError: one line that names the text, if there is one that it cannot embed.
        """

    def encode(self, texts: Sequence[str], batch: int = BATCH) -> TextCondition:
        """Tokens (N, L, D) float32 and mask (N, L) of N texts, 1 or more, on its own device.

        One warning names the first text that was cut, and at which word.

        Raises:
            DimrError: as ``embed``.
        """
        parts = list(self.encode_parts(texts, batch))
        if cuts := [one for *_, cut in parts for one in cut]:
            self.tell_cut(len(cuts), cuts[0], len(texts))
        found: Condition = TextCondition.cat([condition for _, condition, _ in parts])
        assert isinstance(found, TextCondition)
        return found

    def encode_parts(
        self, texts: Sequence[str], batch: int = BATCH
    ) -> Iterator[tuple[Sequence[str], TextCondition, list[Cut]]]:
        """For each ``batch`` texts: these, their condition, and which of them were cut."""
        for start in range(0, len(texts), batch):
            part = texts[start : start + batch]
            with torch.no_grad():
                tokens, mask, cut = self.embed(part)
            yield part, TextCondition(tokens, mask), cut

    def tell_cut(self, cut: int, first: Cut, count: int) -> None:
        """Warn that ``cut`` of ``count`` texts were cut, and name the first."""
        log.warning(
            "%d of %d texts longer than the encoder's %d tokens: cut, %r at its word %d (%s)",
            cut, count, self.tokens, shortened(first.text), first.number, first.word,
        )  # fmt: skip


def shortened(text: str) -> str:
    """A text for a message."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
