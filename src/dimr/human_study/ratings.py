"""What human raters said: the CSV files that a rating page exports, checked against its key.

A CSV has the columns ``image,rating,rater,time``: the image's id on the page, one of ``RATINGS``, a
name, and when it was rated (ISO 8601). The key (``key.json``, which is no part of the page) says
which model an image is of.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dimr.config.validation import did_you_mean
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, single_line

DISTORTED, INTACT, UNSURE = RATINGS = ("distorted", "not distorted", "unsure")
COLUMNS = ("image", "rating", "rater", "time")
KEY_FORMAT = "dimr-rating-key-1"


@dataclass(frozen=True)
class Rating:
    """What a rater said of an image; ``rating`` is one of ``RATINGS``."""

    image: str
    rating: str
    rater: str
    where: str  # file and line, for messages


@dataclass(frozen=True)
class Key:
    """Which model each image of a page is of.

    Attributes:
        file: for messages.
        models: what the page's models are: ``name``, ``run``, ``setting``, ``published``,
            ``confidence`` (``dimr.human_study.confidence.Summary``).
        images: ids and the places of their models in ``models``.
        title: of the study.
    """

    file: Path
    models: list[dict[str, Any]]
    images: dict[str, int]
    title: str


def read_key(path: Path) -> Key:
    """Read a page's key; ``DimrError`` names the file and what is wrong."""
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != KEY_FORMAT:
        raise DimrError(f"{path}: not the key of a rating page (format: {KEY_FORMAT})")
    try:
        models = list(value["models"])
        names = [model["name"] for model in models]
        images = {image: names.index(entry["model"]) for image, entry in value["images"].items()}
        return Key(path, models, images, value["title"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DimrError(f"{path}: not the key of a rating page ({single_line(error)})") from None


def read_ratings(paths: Iterable[Path], key: Key) -> list[Rating]:
    """All ratings of some CSVs, which may be of one rater or of several.

    Raises:
        DimrError: names file, line and value: an image that the page does not have, a rating that
            is none, a rater without a name, a second rating of an image by a rater, an empty file.
    """
    ratings: list[Rating] = []
    seen: dict[tuple[str, str], str] = {}
    for path in paths:
        own = list(_rows(path))
        if not own:
            raise DimrError(f"{path}: no ratings in it")
        if not any(row["image"] in key.images for _, row in own):
            raise DimrError(
                f"{path}: line {own[0][0]}: image {own[0][1]['image']!r}, as all of the file's, is "
                f"not in {key.file}: ratings of another page"
            )
        for line, row in own:
            rating = _checked(path, line, row, key)
            earlier = seen.setdefault((rating.rater, rating.image), rating.where)
            if earlier != rating.where:
                raise DimrError(
                    f"{rating.where}: rater {rating.rater!r} has rated image {rating.image!r} "
                    f"already ({earlier})"
                )
            ratings.append(rating)
    return ratings


def _checked(path: Path, line: int, row: dict[str, str], key: Key) -> Rating:
    where = f"{path}: line {line}"
    rating = Rating(row["image"], row["rating"], row["rater"], where)
    if rating.image not in key.images:
        raise DimrError(f"{where}: image {rating.image!r} is not in {key.file}")
    if rating.rating not in RATINGS:
        raise DimrError(
            f"{where}: rating {rating.rating!r} {did_you_mean(rating.rating, [*RATINGS])}"
        )
    if not rating.rater:
        raise DimrError(f"{where}: rater '' is no name")
    try:
        datetime.fromisoformat(row["time"])
    except ValueError:
        raise DimrError(
            f"{where}: time {row['time']!r} is not as in 2024-06-13T12:00:00Z"
        ) from None
    return rating


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and columns of each rating, without white space around them."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, None)
            if header is None:
                raise DimrError(f"{path}: an empty file; expected a line {','.join(COLUMNS)}")
            names = _header(path, header)
            for row in filter(None, reader):
                if len(row) != len(names):
                    raise DimrError(
                        f"{path}: line {reader.line_num}: {len(row)} values; "
                        f"expected {len(names)} ({','.join(names)})"
                    )
                yield reader.line_num, {n: v.strip() for n, v in zip(names, row, strict=True)}
    except FileNotFoundError:
        raise DimrError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DimrError(f"{path}: not readable as CSV ({single_line(error)})") from None


def _header(path: Path, header: Sequence[str]) -> list[str]:
    names = [name.strip() for name in header]
    if sorted(names) != sorted(COLUMNS):
        raise DimrError(
            f"{path}: line 1: columns {','.join(names)!r}; expected {','.join(COLUMNS)}"
        )
    return names
