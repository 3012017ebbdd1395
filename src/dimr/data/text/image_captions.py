"""The captions of a folder of images (``dimr.data.image_arrays``): ``captions.json`` beside them.

Every image has one or more captions. ``prompts`` are what networks are asked to draw for their
metrics.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dimr.data.shards import MANIFEST
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, write_json
from dimr.runtime.record import compare_files, verify
from dimr.runtime.text import tidy

CAPTIONS = "captions.json"
LONGEST = 2000
"""Characters of a caption, at most."""


@dataclass(frozen=True)
class ImageCaptions:
    """Captions of each training image and of each held-out one, in their order, and prompts."""

    train: list[list[str]]
    heldout: list[list[str]]
    prompts: list[str]

    def texts(self) -> Iterator[str]:
        """Every caption and every prompt, as often as it occurs."""
        for split in (self.train, self.heldout):
            for captions in split:
                yield from captions
        yield from self.prompts


def clean_caption(text: str, where: str) -> str:
    """A caption as it is kept: composed accents, single blanks.

    ``DimrError`` begins with ``where`` if it is empty, too long, or holds control characters.
    """
    if (caption := tidy(text, LONGEST)) is None:
        raise DimrError(
            f"{where}: {text[:60]!r} is no caption (1 to {LONGEST:,} characters, none of them "
            "control characters or outside Unicode)"
        )
    return caption


def write_image_captions(folder: Path, captions: ImageCaptions) -> None:
    """Write them into a folder of images, before its manifest is written."""
    write_json(folder / CAPTIONS, asdict(captions))


def read_image_captions(folder: Path) -> ImageCaptions:
    """The captions of a folder of images.

    Raises:
        DimrError: the images have none, or another number of them; the file is damaged.
    """
    from dimr.data.image_arrays import ImagesManifest  # here, as it imports this module

    path = folder / CAPTIONS
    verify(folder, MANIFEST)
    manifest = ImagesManifest.read(folder)
    if CAPTIONS not in manifest.files:
        raise DimrError(f"{folder}: its images have no captions ({CAPTIONS})")
    compare_files(folder, {CAPTIONS: manifest.files[CAPTIONS].sha256})
    value = read_json(path)
    try:
        captions = ImageCaptions(**value)
        lengths = {"train": len(captions.train), "heldout": len(captions.heldout)}
        whole = lengths == manifest.counts and all(captions.train) and all(captions.heldout)
        whole = whole and bool(captions.prompts)
        whole = whole and all(isinstance(text, str) and text for text in captions.texts())
    except TypeError:
        whole = False
    if not whole:
        raise DimrError(f"{path}: should hold captions of each image, and prompts")
    return captions
