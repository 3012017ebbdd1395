"""A dataset's captions, embedded once: a folder of memory-mapped shards.

``00000.npy``, ``00001.npy``, ... hold the tokens (n, L, D) float16 of distinct texts, ``masks.npy``
(N, L) bool which of them there are, and ``texts.json`` the texts. Number 0 is the empty caption.
``<split>_numbers.npy`` (M,) int64 are the texts of all images of a split, in their order, and
``<split>_offsets.npy`` (images + 1,) int64 where those of each begin; ``prompts.npy`` (P,) int64
are the texts of prompts. ``manifest.json`` has the checksums, and what describes the encoder.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator

from dimr.data.image_arrays import SPLITS
from dimr.data.shards import (
    MANIFEST,
    Checksum,
    Filled,
    Manifest,
    MappedRows,
    ShardEntry,
    map_array,
)
from dimr.data.text.encoders import check_description
from dimr.models.conditioning import TextCondition
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json
from dimr.runtime.randomness import numpy_generator
from dimr.runtime.record import compare_files
from dimr.runtime.record import verify as verify_files

Numbers = NDArray[np.int64]

TEXTS, MASKS, PROMPTS = "texts.json", "masks.npy", "prompts.npy"
DTYPE = np.dtype(np.float16)


class CaptionsManifest(Manifest):
    """``manifest.json`` of a folder of embedded captions.

    ``count`` is that of distinct texts; ``images`` and ``numbers`` (of texts, one for each caption)
    are by split. ``files`` are all but the ``shards``, by name.
    """

    format: Literal["dimr-captions-1"]
    count: Filled
    tokens: Filled
    width: Filled
    images: dict[str, Filled]
    numbers: dict[str, Filled]
    prompts: Filled
    encoder: dict[str, Any]
    key: str
    shards: list[ShardEntry]
    files: dict[str, Checksum]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        held = sum(shard.count for shard in self.shards)
        if held != self.count:
            raise ValueError(f"shards hold {held} texts, count is {self.count}")
        for name, found in (("images", self.images), ("numbers", self.numbers)):
            if found.keys() != set(SPLITS):
                raise ValueError(f"{name} are of {', '.join(found)}, not of {', '.join(SPLITS)}")
        if missing := named_files() - self.files.keys():
            raise ValueError(f"files lack {min(missing)}")
        try:
            encoder = check_description(self.encoder, "encoder")
        except DimrError as error:
            raise ValueError(str(error)) from None
        for size in ("tokens", "width"):
            if (wanted := encoder[size]) != (found := getattr(self, size)):
                raise ValueError(f"{size} is {found}, of the encoder {wanted}")
        return self

    def checksums(self) -> dict[str, str]:
        """SHA-256 of every file by its name."""
        shards = {shard.file: shard.sha256 for shard in self.shards}
        return shards | {name: entry.sha256 for name, entry in self.files.items()}


def named_files() -> set[str]:
    """All files but the shards, manifest and records."""
    of_splits = (f"{split}_{what}.npy" for split in SPLITS for what in ("offsets", "numbers"))
    return {TEXTS, MASKS, PROMPTS, *of_splits}


class OpenCaptions:
    """A folder opened for reading; its shards stay on disk.

    Attributes:
        manifest: of the folder.
        texts: every distinct text by number; number 0 is the empty caption.
        prompts: (P,) numbers of the prompts' texts.
        encoder: the description of the encoder.
        count: how many texts there are.
    """

    def __init__(self, folder: Path) -> None:
        folder = Path(folder)
        self.folder = folder
        self.manifest = CaptionsManifest.read(folder)
        self.encoder, self.count = self.manifest.encoder, self.manifest.count
        sizes = (self.manifest.tokens, self.manifest.width)
        shards = self.manifest.shards
        self._rows = MappedRows(
            [map_array(folder / one.file, (one.count, *sizes), DTYPE) for one in shards]
        )
        self._masks = map_array(folder / MASKS, (self.count, sizes[0]), "bool")
        self.texts = self._read_texts()
        self.prompts = self._numbers(PROMPTS, self.manifest.prompts)
        self._splits = {split: self._open_split(split) for split in SPLITS}

    def condition(self, numbers: Numbers | Sequence[int]) -> TextCondition:
        """The condition (n, L, D) float16 of texts by their numbers, in any order.

        Its ``empty`` is the empty caption.
        """
        return TextCondition(*self._of(numbers), empty=self._empty)

    def images(self, split: str) -> int:
        """How many images a split has."""
        return self.manifest.images[split]

    def of_image(self, split: str, image: int) -> Numbers:
        """Numbers of the texts of an image, one or more."""
        offsets, numbers = self._splits[split]
        if not 0 <= image < self.images(split):
            raise IndexError(f"{self.folder}: {split} has {self.images(split)} images")
        return numbers[offsets[image] : offsets[image + 1]]

    def draw(self, split: str, images: Numbers, seed: int, step: int) -> Numbers:
        """One text (B,) for each of images (B,), all texts of an image alike.

        A pure function of (seed, step) and of the place in the batch.
        """
        offsets, numbers = self._splits[split]
        share = numpy_generator(seed, "captions", step).random(len(images))
        first, end = offsets[images], offsets[images + 1]
        return numbers[first + (share * (end - first)).astype(np.int64)]

    @cached_property
    def _empty(self) -> TextCondition:
        return TextCondition(*self._of([0]))

    def _of(self, numbers: Numbers | Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = np.asarray(numbers, np.int64)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < self.count:
            raise IndexError(f"{self.folder}: holds {self.count} texts")
        tokens = torch.from_numpy(self._rows.take(numbers))
        return tokens, torch.from_numpy(self._masks[numbers])

    def _read_texts(self) -> list[str]:
        texts = read_json(self.folder / TEXTS)
        whole = isinstance(texts, list) and len(texts) == self.count and texts[0] == ""
        if not whole or not all(isinstance(text, str) for text in texts):
            raise DimrError(
                f"{self.folder / TEXTS}: should hold {self.count} texts, the first one empty"
            )
        return texts

    def _open_split(self, split: str) -> tuple[Numbers, Numbers]:
        """Where each image's texts begin (images + 1,), and the texts (M,)."""
        numbers = self._numbers(f"{split}_numbers.npy", self.manifest.numbers[split])
        path = self.folder / f"{split}_offsets.npy"
        offsets = map_array(path, (self.manifest.images[split] + 1,), "int64")
        if offsets[0] != 0 or offsets[-1] != len(numbers) or (np.diff(offsets) < 1).any():
            raise DimrError(f"{path}: should rise from 0 to {len(numbers)}: an image has a text")
        return offsets, numbers

    def _numbers(self, name: str, count: int) -> Numbers:
        numbers = map_array(self.folder / name, (count,), "int64")
        if numbers.min() < 0 or numbers.max() >= self.count:
            raise DimrError(f"{self.folder / name}: texts are numbered 0 to {self.count - 1}")
        return numbers


def open_captions(folder: Path) -> OpenCaptions:
    """Open a folder, comparing headers and file sizes with its manifest; no shard is read.

    ``DimrError`` names the file that is missing, truncated, or does not fit the others.
    """
    return OpenCaptions(folder)


def verify_captions(folder: Path, share: slice = slice(None)) -> CaptionsManifest:
    """Check all that ``open_captions`` does, and every checksum.

    Args:
        folder: as for ``open_captions``.
        share: of the shards: processes that work together each check a part.

    Raises:
        DimrError: names the file that differs, is missing, or does not belong there.
    """
    folder = Path(folder)
    manifest = open_captions(folder).manifest
    extra = {path.name for path in folder.glob("*.npy")} - manifest.checksums().keys()
    if extra:
        raise DimrError(f"{folder / min(extra)}: not listed in {MANIFEST}")
    verify_files(folder, MANIFEST)
    shards = {shard.file: shard.sha256 for shard in manifest.shards[share]}
    compare_files(folder, {name: one.sha256 for name, one in manifest.files.items()} | shards)
    return manifest
