"""Open every image of a place once: what the place holds, and a checksum of its content."""

import hashlib
import io
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dimr.data.imagenet.source import FORMATS, FORMATS_TEXT
from dimr.data.own.folder import FolderListing
from dimr.data.own.listing import Item, Listing, composed, counted, listed
from dimr.data.own.parquet import ParquetListing, parquet_files
from dimr.data.pictures import as_rgb
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.runtime.progress import progress_bar
from dimr.runtime.threads import in_threads

STEP = 16
"""Distance of the pixels that are compared first to find colour."""


@dataclass(frozen=True)
class FoundCaptions:
    """How many captions there are, how many words the longest has, and the first one."""

    count: int
    longest: int
    first: str


@dataclass(frozen=True)
class Found:
    """What ``look`` found.

    Attributes:
        form: what the place is, in words: ``3 class folders``.
        classes: number of images by name of the class, in the order of the labels.
        images: how many there are.
        nbytes: of their files together.
        least_side: the smallest of all images' sides, in pixels.
        is_grey: whether all images are.
        sha256: of the content: order and names of the classes, names of the files (relative to the
            place) and their bytes, and captions. The location and file times do not matter.
        folder: the place, absolute.
        notes: what a person should know, such as what was left out.
        captions: of the images; None: they have none. With captions, ``classes`` are parts.
    """

    form: str
    classes: dict[str, int]
    images: int
    nbytes: int
    least_side: int
    is_grey: bool
    sha256: str
    folder: str
    notes: tuple[str, ...] = ()
    captions: FoundCaptions | None = None


@dataclass(frozen=True)
class Seen:
    """An image's file, and, if it was decoded, its shorter side and whether it is grey."""

    sha256: str
    nbytes: int
    side: int = 0
    is_grey: bool = False


def look(place: str | Path, progress: bool = True) -> Found:
    """Recognise a set of images, and decode every one of them.

    Args:
        place: a folder of class folders, a flat one (one class), one with a ``labels.csv`` or with
            captions, or one of parquet files; or such a file. Transparent images will be put on
            white; of animated ones the first frame is taken.
        progress: whether to show a progress bar.

    Returns:
        What is there.

    Raises:
        DimrError: one line that names what is missing, damaged or ambiguous.
    """
    listing = list_images(place)
    if few := [name for name, images in listing.classes.items() if len(images) < 2]:
        raise DimrError(
            f"{listing.where}: {counted(len(few), 'class')} with one image ({listed(few)}): one is "
            "held out, so at least two are needed"
        )
    seen = scan(listing, decode=True, progress=progress)
    every = [one for images in seen for one in images]
    return Found(
        form=listing.form,
        classes={name: len(images) for name, images in listing.classes.items()},
        images=len(every),
        nbytes=sum(one.nbytes for one in every),
        least_side=min(one.side for one in every),
        is_grey=all(one.is_grey for one in every),
        sha256=digest(listing, seen),
        folder=listing.where,
        notes=tuple(listing.notes),
        captions=_captions(listing),
    )


def _captions(listing: Listing) -> FoundCaptions | None:
    if listing.captions is None:
        return None
    from dimr.data.text.words import words_of  # torch, only for captions

    texts = [text for part in listing.captions.values() for some in part for text in some]
    return FoundCaptions(len(texts), max(len(words_of(text)) for text in texts), texts[0])


def list_images(place: str | Path) -> Listing:
    """Which images are at a place; none is opened. ``DimrError`` as in ``look``."""
    text = str(place)
    try:
        path = Path(text).expanduser()
        if not path.exists():
            raise DimrError(f"{text[:200]}: no such folder")
        path = path.resolve()
        if parquet := parquet_files(path):
            return ParquetListing(path, parquet)
        if not path.is_dir():
            raise DimrError(f"{path}: not a folder of images, nor a .parquet file")
        return FolderListing(path)
    except (OSError, RuntimeError) as error:  # the latter for a user without a home folder
        raise DimrError(f"{text[:200]}: not readable ({single_line(error)})") from None


def scan(listing: Listing, decode: bool, progress: bool = True) -> list[list[Seen]]:
    """Read every image; return what was seen of each, by label and number in its class.

    With ``decode``, ``DimrError`` names the first image that does not decode.
    """
    found: list[list[Seen]] = [[Seen("", 0)] * len(names) for names in listing.classes.values()]
    with progress_bar(
        total=listing.images,
        description="look at images" if decode else "compare images",
        unit="image",
        shown=progress,
    ) as bar:
        for item, seen in in_threads(partial(_see, decode=decode), listing.items()):
            found[item.label][item.number] = seen
            bar.update()
    return found


def _see(item: Item, decode: bool) -> Seen:
    data = item.read()
    checksum = hashlib.sha256(data).hexdigest()
    if not decode:
        return Seen(checksum, len(data))
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            rgb = as_rgb(opened)
    except DimrError as error:
        raise DimrError(f"{item.where}: {error}") from None
    except UnidentifiedImageError:
        raise DimrError(f"{item.where}: not {FORMATS_TEXT}, or damaged") from None
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise DimrError(f"{item.where}: does not decode ({single_line(error)})") from None
    return Seen(checksum, len(data), min(rgb.size), _is_grey(np.asarray(rgb)))


def _is_grey(pixels: np.ndarray) -> bool:
    """Whether the channels of (H, W, 3) are equal; for most images a few pixels tell."""
    return all((part == part[..., :1]).all() for part in (pixels[::STEP, ::STEP], pixels))


def digest(listing: Listing, seen: list[list[Seen]]) -> str:
    """SHA-256 of the content, as ``Found`` has it."""
    found = hashlib.sha256()
    for (name, files), images in zip(listing.classes.items(), seen, strict=True):
        captions = listing.captions[name] if listing.captions else [[]] * len(files)
        pairs = (
            [composed(file), one.sha256, *some]
            for file, one, some in zip(files, images, captions, strict=True)
        )
        for value in ({"class": name}, *pairs):
            found.update(json.dumps(value).encode() + b"\n")
    return found.hexdigest()
