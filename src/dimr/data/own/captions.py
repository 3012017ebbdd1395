"""Captions in a folder of images: ``captions.jsonl``, ``captions.csv``, or MS-COCO's own layout.

Images with captions have no classes: they form one part, ``captioned``, or, in MS-COCO's layout,
the parts ``train`` and ``val``.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dimr.data.own.listing import composed, counted, listed
from dimr.data.own.lists import FILE_COLUMNS, csv_rows, place_in, why_missing
from dimr.data.text.image_captions import clean_caption
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, read_text, single_line

FILES = ("captions.jsonl", "captions.csv")
"""Names of a folder's list of captions."""
COCO = {
    "train": ("train2014", "annotations/captions_train2014.json"),
    "val": ("val2014", "annotations/captions_val2014.json"),
}
"""MS-COCO's layout: folder of images and file of captions by part."""
COLUMNS = ("caption", "captions", "text", "texts")
"""Keys or column headers of captions."""
PART = "captioned"
"""The only part of other sets."""

Captions = dict[str, list[str]]
"""Captions of each image, by its path in the folder."""


def has_coco(names: Iterable[str]) -> bool:
    """Whether a folder with files of these names (paths in it) has MS-COCO's layout."""
    return any(annotations in names for _, annotations in COCO.values())


def read_coco(folder: Path, images: Mapping[str, Sequence[str]]) -> dict[str, Captions]:
    """Captions by part.

    Args:
        folder: of MS-COCO's layout.
        images: paths of the images, by the first part of the path.

    Raises:
        DimrError: a file that is missing or damaged; an image without a caption, a caption without
            an image.
    """
    found = {}
    for part, (name, annotations) in COCO.items():
        if not images.get(name):
            raise DimrError(f"{folder}: MS-COCO's layout, but no images in {name}/")
        path = folder / annotations
        if not path.is_file():
            raise DimrError(f"{folder}: MS-COCO's layout, but {annotations} is missing")
        found[part] = _complete(_coco_pairs(path, name), images[name], path)
    return found


def _coco_pairs(path: Path, folder: str) -> Iterator[tuple[str, str, str]]:
    content = read_json(path)
    try:
        names = [(json.dumps(one["id"]), one["file_name"]) for one in content["images"]]
        texts = [(json.dumps(one["image_id"]), one["caption"]) for one in content["annotations"]]
    except (KeyError, TypeError) as error:
        raise DimrError(
            f"{path}: not MS-COCO's captions: images of id and file_name, annotations of image_id "
            f"and caption ({single_line(error)})"
        ) from None
    files: dict[str, str] = {}
    for number, name in names:
        if number in files:
            raise DimrError(f"{path}: image {number} is in it twice")
        files[number] = str(name)
    for at, (number, text) in enumerate(texts):
        where = f"{path}: annotation {at}"
        if number not in files:
            raise DimrError(f"{where}: image {number} is not among its images")
        yield where, f"{folder}/{files[number]}", text


def read_captions(folder: Path, name: str, images: Sequence[str]) -> Captions:
    """The captions of a folder's images.

    Args:
        folder: that has the images anywhere below it.
        name: of the list in it, one of ``FILES``.
        images: their paths in it.

    Raises:
        DimrError: a line that is damaged or names no image; an image without a caption.
    """
    path = folder / name
    pairs = _json_pairs(path) if name.endswith(".jsonl") else _csv_pairs(path)
    return _complete(pairs, images, path)


def _json_pairs(path: Path) -> Iterator[tuple[str, str, Any]]:
    text = read_text(path, "JSON lines").removeprefix("\ufeff")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DimrError(f"{where}: not JSON ({single_line(error)})") from None
        keys = value.keys() if isinstance(value, dict) else ()
        file = next((value[key] for key in FILE_COLUMNS if key in keys), None)
        texts = next((value[key] for key in COLUMNS if key in keys), None)
        if not isinstance(file, str) or texts in (None, []):
            raise DimrError(f'{where}: should be {{"file": "a.png", "captions": ["...", ...]}}')
        for text in texts if isinstance(texts, list) else [texts]:
            yield where, file, text


def _csv_pairs(path: Path) -> Iterator[tuple[str, str, str]]:
    for number, (file, text) in csv_rows(path, COLUMNS, "caption"):
        yield f"{path}: line {number}", file, text


def _complete(pairs: Iterable[tuple[str, str, Any]], images: Sequence[str], path: Path) -> Captions:
    """The captions by image, in the order of ``images``.

    ``pairs`` are (where, file, caption). ``DimrError`` names a file that is none of the images, and
    images that have no caption.
    """
    there = {composed(image): image for image in images}
    found: Captions = {image: [] for image in images}
    missing: dict[str, str] = {}
    for where, file, text in pairs:
        if not isinstance(text, str):
            raise DimrError(f"{where}: {json.dumps(text)[:60]} is no caption")
        caption = clean_caption(text, where)
        if (inside := place_in(there, file)) in there:
            found[there[inside]].append(caption)
        else:
            missing.setdefault(file, where)
    folder = path.parent.parent if path.suffix == ".json" else path.parent
    if missing:
        file, where = next(iter(missing.items()))
        more = f" (and so of {counted(len(missing) - 1, 'other file')})" if len(missing) > 1 else ""
        raise DimrError(f"{where}: a caption of {why_missing(folder, file)}{more}")
    if bare := [image for image, captions in found.items() if not captions]:
        raise DimrError(
            f"{path}: {counted(len(bare), 'image')} of {len(images):,} without a caption "
            f"({listed(bare)})"
        )
    return found
