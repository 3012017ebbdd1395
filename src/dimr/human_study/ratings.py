"""What human raters said: the CSV files that a rating page exports, checked against its key.

A CSV has the columns ``image,rating,rater,number,time``: the image's id on the page, one of
``RATINGS``, a name, the rater's number on the page, and when it was rated (ISO 8601). The key
(``key.json``, which is not part of the page) says which model each image is from, and which numbers
are shown it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimr.config.validation import did_you_mean
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, require_file, single_line

if TYPE_CHECKING:
    import pandas as pd

DISTORTED, INTACT, UNSURE = RATINGS = ("distorted", "not distorted", "unsure")
COLUMNS = ("image", "rating", "rater", "number", "time")
KEY_FORMAT = "dimr-rating-key-2"


@dataclass(frozen=True)
class Key:
    """Which model each image of a page is from, and who is shown it.

    Attributes:
        file: for messages.
        models: the page's models: ``name``, ``run``, ``setting``, ``published``, ``confidence``
            (``dimr.human_study.confidence.Summary``).
        images: index into ``models``, by the image's id.
        shown_to: numbers of the raters, by the image's id.
        per_image: how many raters that is.
        title: of the study.
    """

    file: Path
    models: list[dict[str, Any]]
    images: dict[str, int]
    shown_to: dict[str, list[int]]
    per_image: int
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
        shown_to = {image: list(entry["raters"]) for image, entry in value["images"].items()}
        return Key(path, models, images, shown_to, value["per_image"], value["title"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DimrError(f"{path}: not the key of a rating page ({single_line(error)})") from None


def read_ratings(paths: Iterable[Path], key: Key) -> "pd.DataFrame":
    """All ratings of some CSVs, each by one rater or several.

    Returns:
        A row per rating: ``image``, ``rating``, ``rater``, ``number``, ``time``, and ``where`` it
        was read (file and line).

    Raises:
        DimrError: names file, line and value: an image that the page does not have or does not show
            to that number, an unknown rating, an empty rater, a second rating of an image by the
            same rater, two raters with one number, an empty file.
    """
    import pandas as pd

    read = [_checked(path, _read_csv(path), key) for path in paths]
    ratings = pd.concat([pd.DataFrame(columns=[*COLUMNS, "where"]), *read], ignore_index=True)
    for _, same in ratings.groupby(["rater", "image"], sort=False):
        if len(same) > 1:
            first, second, *_ = same.itertuples()
            raise DimrError(
                f"{second.where}: rater {second.rater!r} has already rated image "
                f"{second.image!r} ({first.where})"
            )
    for number, same in ratings.groupby("number", sort=False):
        others = same[same["rater"] != same["rater"].iloc[0]]
        if len(others):
            first, other = same.iloc[0], others.iloc[0]
            raise DimrError(
                f"{other['where']}: rater {other['rater']!r} has the number {number} of "
                f"{first['rater']!r} ({first['where']})"
            )
    return ratings


def _read_csv(path: Path) -> "pd.DataFrame":
    """The lines of a CSV as text, without white space around values, with where each was read."""
    import pandas as pd

    require_file(path)
    try:
        # Without a header, so that pandas refuses lines that are longer than the first.
        cells = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, skip_blank_lines=False,
            encoding="utf-8-sig",
        ).apply(lambda column: column.str.strip())  # fmt: skip
    except pd.errors.EmptyDataError:
        raise DimrError(f"{path}: an empty file; expected a line {','.join(COLUMNS)}") from None
    except (OSError, ValueError) as error:
        raise DimrError(f"{path}: not readable as CSV ({single_line(error)})") from None
    names = list(cells.iloc[0])
    if sorted(names) != sorted(COLUMNS):
        raise DimrError(
            f"{path}: line 1: columns {','.join(names)!r}; expected {','.join(COLUMNS)}"
        )
    frame = cells.iloc[1:].set_axis(names, axis=1)
    frame = frame[(frame != "").any(axis=1)]
    return frame.assign(where=[f"{path}: line {index + 1}" for index in frame.index])


def _checked(path: Path, ratings: "pd.DataFrame", key: Key) -> "pd.DataFrame":
    """The same ratings; ``DimrError`` names the first line that is wrong."""
    if ratings.empty:
        raise DimrError(f"{path}: no ratings in it")
    if not ratings["image"].isin(key.images.keys()).any():
        first = ratings.iloc[0]
        raise DimrError(
            f"{first['where']}: image {first['image']!r}, as all of the file's, is not in "
            f"{key.file}: ratings of another page"
        )
    for row in ratings.itertuples():
        if row.image not in key.images:
            raise DimrError(f"{row.where}: image {row.image!r} is not in {key.file}")
        if row.rating not in RATINGS:
            hint = did_you_mean(row.rating, [*RATINGS])
            raise DimrError(f"{row.where}: rating {row.rating!r} {hint}")
        if not row.rater:
            raise DimrError(f"{row.where}: rater is empty")
        if row.number not in map(str, key.shown_to[row.image]):
            what = f"image {row.image!r}"
            raise DimrError(f"{row.where}: {what} is not shown to number {row.number!r}")
        try:
            datetime.fromisoformat(row.time)
        except ValueError:
            raise DimrError(
                f"{row.where}: time {row.time!r} is not as in 2024-06-13T12:00:00Z"
            ) from None
    return ratings
