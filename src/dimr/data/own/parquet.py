"""Images in parquet files of any names, as ``datasets``, pandas or others write them."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dimr.data.imagenet.parquet import BATCH, BELOW, open_parquet
from dimr.data.imagenet.source import SUFFIXES, check_size
from dimr.data.own.captions import COLUMNS, PART
from dimr.data.own.folder import LABEL_COLUMNS
from dimr.data.own.listing import Item, Listing, check_apart, class_name, counted, listed, natural
from dimr.data.text.image_captions import clean_caption
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

NAMED = (*LABEL_COLUMNS, "labels", "classes", "target")
"""Columns that hold labels, where the file does not say which one does."""
IMAGE = "image"
"""The column that is taken where several hold images."""
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?\.parquet", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """Columns of the images and labels; ``names`` of the classes by label, if the file has them.

    If an image has parts, ``part`` is the one with its bytes; ``path``: whether one has its path.
    ``caption`` is the column of captions, if there are no labels.
    """

    image: str
    part: str
    path: bool
    label: str | None
    names: tuple[str, ...] | None
    others: tuple[str, ...]
    caption: str | None


class ParquetListing(Listing):
    """Rows of parquet files. Classes are numbered as the files do, or by their sorted names.

    Rows with captions and without labels are one part.
    """

    kind = "parquet"

    def __init__(self, place: Path, files: Sequence[Path]) -> None:
        super().__init__(str(place))
        self.files, left = _one_split(files, self.where)
        if left:
            self.notes.append(f"files of other splits left out ({listed(left)})")
        self.form = counted(len(self.files), "parquet file")
        self._columns = _columns(self.files[0])
        for file in self.files[1:]:
            if _columns(file) != self._columns:
                raise DimrError(f"{file}: its columns or classes are not those of {self.files[0]}")
        values, paths = zip(*map(self._facts, self.files), strict=True)
        self._number(values, paths, place)
        captions = [name for name in self._columns.others if name.lower() in COLUMNS]
        if captions and self._columns.label is not None:
            self.notes.append(
                f"{listed(captions)} not used: the labels are (drop column "
                f"{self._columns.label} to learn captions)"
            )
        if self._columns.caption is not None:
            of_files = map(self._captions_of, self.files)
            self.captions = {PART: list(itertools.chain.from_iterable(of_files))}

    def _number(self, values: Sequence[list[Any]], paths: Sequence[list[str]], place: Path) -> None:
        """Find the classes; the label of every row of every file."""
        names = self._names(values, place)
        self.classes: dict[str, list[str]] = {name: [] for name in dict.fromkeys(names.values())}
        numbers = {name: label for label, name in enumerate(self.classes)}
        self._labels: list[list[int]] = []
        for found, files in zip(values, paths, strict=True):
            labels = [numbers[names[value]] for value in found]
            self._labels.append(labels)
            chosen = list(self.classes.values())
            for label, path in zip(labels, files, strict=True):
                chosen[label].append(path)

    def _names(self, values: Sequence[list[Any]], place: Path) -> dict[Any, str]:
        """The class's name by the value in the column, in the order of the labels."""
        columns, found = self._columns, Counter(itertools.chain.from_iterable(values))
        if not found:
            raise DimrError(f"{self.where}: no images in it: {self.form} without rows")
        if columns.caption is not None:
            return {None: PART}
        if columns.label is None:
            self.is_unlabelled = True
            unused = f"; not used: {', '.join(columns.others)}" if columns.others else ""
            self.notes.append(f"no column of labels ({', '.join(NAMED[:2])}, ...){unused}")
            return {None: class_name(place.name.removesuffix(".parquet"), self.where)}
        where = f"{self.where}: column {columns.label}"
        if columns.names is None:
            names = {value: class_name(str(value), where) for value in found}
            check_apart(names.values(), where, "classes")
            by_number = all(isinstance(value, int) for value in names)
            key: Any = None if by_number else lambda value: natural(names[value])
            return {value: names[value] for value in sorted(names, key=key)}
        if len(set(columns.names)) != len(columns.names):
            raise DimrError(f"{where}: two of its classes have one name")
        check_apart(columns.names, where, "classes")
        if wrong := [value for value in found if not 0 <= value < len(columns.names)]:
            raise DimrError(f"{where}: label {wrong[0]} (allowed: 0 to {len(columns.names) - 1})")
        if empty := [name for value, name in enumerate(columns.names) if value not in found]:
            self.notes.append(f"{counted(len(empty), 'class')} without images left out "
                              f"({listed(empty)})")  # fmt: skip
        names = dict(enumerate(columns.names))
        return {value: class_name(names[value], where) for value in sorted(found)}

    def _facts(self, file: Path) -> tuple[list[Any], list[str]]:
        """Label and path of every row (None and empty where there are none)."""
        columns = self._columns
        paths = _values(file, columns.image, "path") if columns.path else itertools.repeat("")
        count = open_parquet(file).metadata.num_rows
        values = list(_values(file, columns.label)) if columns.label else [None] * count
        names = [path or "" for path, _ in zip(paths, values, strict=False)]
        if len(names) != len(values):
            raise DimrError(f"{file}: damaged ({len(names)} paths for {len(values)} labels)")
        if columns.label and None in values:
            raise DimrError(f"{file}: row {values.index(None)}: no {columns.label}")
        return values, names

    def _captions_of(self, file: Path) -> list[list[str]]:
        """Captions of every row."""
        assert self._columns.caption is not None
        found, bare = [], []
        for row, value in enumerate(_values(file, self._columns.caption)):
            texts = [value] if isinstance(value, str) else value or []
            if not texts or None in texts:
                bare.append(f"row {row}")
            else:
                found.append([clean_caption(text, f"{file}: row {row}") for text in texts])
        if bare:
            raise DimrError(f"{file}: {counted(len(bare), 'image')} of {len(bare) + len(found):,} "
                            f"without a caption ({listed(bare)})")  # fmt: skip
        return found

    def items(self) -> Iterator[Item]:
        """File by file; only rows whose items are in use are in memory."""
        numbers = [0] * len(self.classes)
        for file, labels in zip(self.files, self._labels, strict=True):
            images = _values(file, self._columns.image, self._columns.part)
            for row, label in enumerate(labels):
                where, data = f"{file}: row {row}", next(images, None)
                if data is None:
                    raise DimrError(f"{where}: the image has no bytes")
                yield Item(label, numbers[label], where, partial(_given, data, where))
                numbers[label] += 1


def parquet_files(place: Path) -> list[Path]:
    """The parquet files at a place, sorted: itself, or those in it; none if there are none.

    ``DimrError`` if image files are there too.
    """
    if place.is_file() and place.suffix.lower() == ".parquet":
        return [place]
    for folder in (place / below for below in BELOW if place.is_dir()):
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        shown = [path for path in inside if path.name[:1] != "."]
        if files := [path for path in shown if path.suffix.lower() == ".parquet"]:
            if images := [path.name for path in shown if path.suffix.lower() in SUFFIXES]:
                raise DimrError(
                    f"{folder}: holds parquet files and images ({listed(images)}): give a folder "
                    "of one kind"
                )
            return sorted(files, key=lambda path: natural(path.name))
    return []


def _one_split(files: Sequence[Path], where: str) -> tuple[list[Path], list[str]]:
    """The files to take, and names of those of other splits; of several it is ``train``.

    ``DimrError`` if one of them is missing, or none is called so.
    """
    matches = {file: match for file in files if (match := _SPLIT.fullmatch(file.name))}
    splits = dict.fromkeys(match[1] for match in matches.values())
    if not splits:
        return list(files), []
    if len(splits) > 1 and "train" not in splits:
        raise DimrError(f"{where}: files of several splits ({listed(splits)}): give those of one")
    split = "train" if "train" in splits else next(iter(splits))
    taken = [file for file in files if file in matches and matches[file][1] == split]
    there = {int(matches[file][2]) for file in taken}
    total = int(matches[taken[0]][3])
    if missing := set(range(total)) - there:
        raise DimrError(f"{where}: {split}-{min(missing):05d}-of-{total:05d}.parquet is missing")
    return taken, [file.name for file in files if file not in taken]


def _columns(file: Path) -> Columns:
    """Which columns hold what; ``DimrError`` names the file in which that cannot be told."""
    import pyarrow as pa  # slow to import

    schema = open_parquet(file).schema_arrow
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)

    def inner(column: Any, name: str) -> bool:
        return pa.types.is_struct(column.type) and column.type.get_field_index(name) >= 0

    def holds_bytes(column: Any) -> bool:
        kind = column.type.field("bytes").type if inner(column, "bytes") else column.type
        return any(is_kind(kind) for is_kind in binary)

    images = [column for column in schema if holds_bytes(column)]
    if len(images) > 1:
        images = [column for column in images if column.name == IMAGE] or images
    if len(images) != 1:
        several = f"several columns of images ({', '.join(column.name for column in images)})"
        raise DimrError(
            f"{file}: {several if images else 'no column of images (their bytes)'}: the one called "
            f"{IMAGE} would be taken"
        )
    image, features = images[0], _features(schema)
    others = [column for column in schema if column.name != image.name]
    label = _label(others, features, file)
    captions = [column.name for column in others if _is_caption(column)]
    if len(captions) > 1 and label is None:
        named = ", ".join(captions)
        raise DimrError(
            f"{file}: several columns of captions ({named}): keep the one that is meant"
        )
    names = features.get(label or "", {}).get("names")
    return Columns(
        image=image.name,
        part="bytes" if inner(image, "bytes") else "",
        path=inner(image, "path"),
        label=label,
        names=tuple(map(str, names)) if names else None,
        others=tuple(column.name for column in others if column.name != label),
        caption=captions[0] if captions and label is None else None,
    )


def _label(columns: Sequence[Any], features: dict[str, Any], file: Path) -> str | None:
    """The column of labels, if there is one."""
    import pyarrow as pa  # slow to import

    labels = {name for name, one in features.items() if one.get("_type") == "ClassLabel"}
    named = [c for c in columns if c.name.lower() in NAMED]
    chosen = named or [c for c in columns if c.name in labels]
    if len(chosen) > 1:
        names = ", ".join(column.name for column in chosen)
        raise DimrError(f"{file}: several columns of labels ({names}): keep the one that is meant")
    if not chosen:
        return None
    kind = chosen[0].type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (_is_text(kind) or pa.types.is_integer(kind)):
        raise DimrError(f"{file}: column {chosen[0].name} is {kind}, should be numbers or strings")
    return chosen[0].name


def _is_text(kind: Any) -> bool:
    import pyarrow as pa  # slow to import

    return any(
        is_kind(kind)
        for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    )


def _is_caption(column: Any) -> bool:
    """Whether it may hold captions: texts, or lists of them."""
    import pyarrow as pa  # slow to import

    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    kind = column.type.value_type if is_list else column.type
    return column.name.lower() in COLUMNS and _is_text(kind)


def _features(schema: Any) -> dict[str, Any]:
    """What ``datasets`` notes about each column; empty if it did not write the file."""
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: one for name, one in noted.items() if isinstance(one, dict)}
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _values(file: Path, column: str, part: str = "") -> Iterator[Any]:
    """What a column has, or that part of it, row by row."""
    leaf = f"{column}.{part}" if part else column
    try:
        for rows in open_parquet(file).iter_batches(BATCH, columns=[leaf]):
            values = rows.column(column)
            yield from (values.field(part) if part else values).to_pylist()
    except DimrError:
        raise
    except Exception as error:  # arrow's errors have no common base
        raise DimrError(f"{file}: damaged ({single_line(error)})") from None


def _given(data: bytes, where: str) -> bytes:
    check_size("the image", len(data), where)
    return data
