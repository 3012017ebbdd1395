"""Training batches of images with captions, as a pure function of (seed, step)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dimr.config.schema import NetworkConfig
from dimr.data.reader import ShardReader
from dimr.data.text.encoders import DESCRIPTION, read_description, same_encoder
from dimr.data.text.folder import OpenCaptions, open_captions
from dimr.models.conditioning import TextCondition
from dimr.runtime.errors import DimrError
from dimr.runtime.record import verify


class CaptionedReader:
    """The batches of a reader, each image with one of its captions in place of its label.

    Which caption an image has at a step is drawn from (seed, step); images keep their order.

    Args:
        images: reads the training images.
        captions: of the same images; a mirror image has the same as its original.

    Raises:
        DimrError: the captions are for another number of images.
    """

    def __init__(self, images: ShardReader, captions: OpenCaptions) -> None:
        self.images, self.captions = images, captions
        captioned = captions.images("train")
        if images.count % captioned:
            raise DimrError(
                f"{captions.folder}: captions of {captioned} training images; there are "
                f"{images.count}"
            )
        self._copies = images.count // captioned

    def batch(self, step: int) -> tuple[torch.Tensor, TextCondition]:
        """Samples (B, C, h, w) float32 and their captions (B, L, D) float16 of step 0, 1, 2, ..."""
        samples, _ = self.images.batch(step)
        numbers = self.images.indices(step) // self._copies
        drawn = self.captions.draw("train", numbers, self.images.seed, step)
        return samples, self.captions.condition(drawn)


def open_fitting(folder: Path, network: NetworkConfig) -> OpenCaptions:
    """A folder of captions; ``DimrError`` if a network does not take texts of their shape."""
    captions = open_captions(folder)
    width, tokens = (captions.encoder[key] for key in ("width", "tokens"))
    if (width, tokens) != (network.text_dim, network.text_tokens):
        raise DimrError(
            f"{folder}: texts of {tokens} tokens of width {width}; the network takes "
            f"{network.text_tokens} of {network.text_dim}"
        )
    return captions


class StoredPrompts:
    """Prompts whose tokens stay on disk until asked for, by row as in a ``TextCondition``.

    Args:
        captions: the folder.
        numbers: of the texts, (P,).
    """

    def __init__(self, captions: OpenCaptions, numbers: NDArray[np.int64]) -> None:
        self._captions, self._numbers = captions, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, rows: Any) -> TextCondition:
        """The condition (n, L, D) float16 of some rows: a slice, or numbers (n,) int64."""
        chosen = rows if isinstance(rows, slice) else np.asarray(rows)
        return self._captions.condition(self._numbers[chosen])


def prompts_of(captions: OpenCaptions, most: int | None = None) -> tuple[list[str], StoredPrompts]:
    """What networks are asked to draw: the first ``most`` prompts (None: all), and their tokens."""
    numbers = captions.prompts[:most]
    return [captions.texts[number] for number in numbers], StoredPrompts(captions, numbers)


def check_encoder(captions: OpenCaptions, model: Path) -> None:
    """Refuse captions made by another encoder than those that a model has learned from.

    A model that names no encoder, such as a published one, is not checked.
    """
    verify(model, DESCRIPTION)
    if not (model / DESCRIPTION).exists():
        return
    if problem := same_encoder(read_description(model), captions.encoder):
        raise DimrError(f"{captions.folder}: of another text encoder than {model}: {problem}")
