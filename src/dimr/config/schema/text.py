"""Sections about text: the frozen encoder of captions, and how what it gives is stored."""

from typing import Annotated, Literal

from pydantic import Field

from dimr.config.schema.base import ConfigModel, Count, Width

Tokens = Annotated[int, Field(gt=0, le=4096)]
"""L: tokens of a text, at most."""


class Words(ConfigModel):
    """The encoder that needs no download: a token for each word, made from its letters by hashing.

    ``width`` is that of a token, ``tokens`` how many there may be.
    """

    kind: Literal["words"]
    width: Width
    tokens: Tokens


class PretrainedText(ConfigModel):
    """A text model of the hub (``owner/name``), or in a folder, at a commit.

    ``clip`` is CLIP's text model, ``t5`` the encoder of a T5; both through transformers. ``width``
    and ``tokens`` are what networks are built for; ``subfolder`` is where a repository of several
    models has it. ``padding``: whether networks see the tokens behind a text's end, as they do in
    U-ViT's protocol with CLIP.
    """

    kind: Literal["clip", "t5"]
    repo: str
    revision: str | None = None  # null: its newest
    subfolder: str | None = None
    width: Width
    tokens: Tokens
    padding: Literal["seen", "hidden"]


TEXT_ENCODERS: dict[str, type[ConfigModel]] = {
    "words": Words,
    "clip": PretrainedText,
    "t5": PretrainedText,
}
"""The section of a text encoder by its kind."""
AnyTextEncoder = Annotated[Words | PretrainedText, Field(discriminator="kind")]


class Captions(ConfigModel):
    """How embeddings of captions are stored: distinct captions per shard."""

    shard_size: Count
