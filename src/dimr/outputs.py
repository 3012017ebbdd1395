"""What an output may take the place of: a result of its own kind that dimr wrote, and nothing else.

A command declares the kind of each of its outputs (``dimr.cli.common``); the check is made for all
commands here, before any work. Folders say what they are in their record (``dimr.record``), files
by their content: nothing is kept beside them.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dimr.errors import DimrError
from dimr.files import followed, remove_leftovers, resolved
from dimr.record import DIGEST, RECORD

FOLDERS = (
    "images", "autoencoder", "latents", "classifier", "model", "samples", "source", "reference",
)  # fmt: skip
"""Kinds of results that are folders with a record."""
SIGNS = {
    "dimr-shards-1": ("latents", "samples"), "dimr-images-1": ("images",),
    "dimr-source-1": ("source",), "AutoencoderKL": ("autoencoder",),
    "DigitClassifier": ("classifier",),
}  # fmt: skip
"""What a folder is whose record is damaged, by what its manifest or config.json says."""
LOG_MARK = "# dimr log"
"""First line of a file that ``--log`` begins."""
SHOWN = 300
"""Characters of a path that a message shows at most."""
LARGEST = 64 << 20
"""Bytes of a file that is looked into; what is larger was not written by dimr."""


def check_places(outputs: Mapping[str, tuple[Path, str]], inputs: Mapping[str, Path]) -> None:
    """Refuse outputs that would replace, or lie in, what they must not.

    Args:
        outputs: place and kind (of ``FOLDERS`` or ``FILES``) of each, by the option that names it.
        inputs: files and folders that the command reads or resumes from, likewise.

    Raises:
        DimrError: names the option and what is in its way.
    """
    places = {option: place for option, (place, _) in outputs.items()}
    for option, (place, kind) in outputs.items():
        claim(place, kind, option)
        for other, path in {**inputs, **places}.items():
            if other != option:
                _check_apart(option, place, other, path)


def _check_apart(option: str, place: Path, other: str, path: Path) -> None:
    own, its = resolved(place), resolved(path)
    if own == its:
        raise DimrError(f"{option} {place}: is {other} too: each needs a place of its own")
    if its.is_relative_to(own):
        raise DimrError(f"{other} {path}: lies in {option} {place}, which would be replaced")


def claim(place: Path, kind: str, option: str = "") -> None:
    """Refuse a place that holds anything but an earlier result of this kind.

    Leftovers of killed processes are removed.

    Raises:
        DimrError: with ``option`` in front, if it is given.
    """
    named = f"{option} {place}".strip()
    target = followed(place)
    if not target.parent.is_dir() and target.parent.exists():
        raise DimrError(f"{named}: {target.parent} is a file, not a folder")
    if target.parent.is_dir():
        remove_leftovers(target)
    if not target.exists():
        return
    if kind in FOLDERS:
        if (reason := _why_not(target, kind)) is not None:
            raise DimrError(f"{named}: {reason}; refusing to overwrite")
    elif target.is_dir():
        raise DimrError(f"{named}: is a folder; a file is to be written there")
    elif not (target.is_file() and _holds(target, kind)):
        raise DimrError(
            f"{named}: already exists and was not created by dimr as {kind}; refusing to overwrite"
        )


def _why_not(folder: Path, kind: str) -> str | None:
    """Why a result of a kind may not take the place of a folder; None: it may."""
    if folder.is_dir() and not any(folder.iterdir()):
        return None
    kinds = _kinds_of_folder(folder) if folder.is_dir() else ()
    if kind in kinds:
        return None
    if kinds:
        return f"holds {kinds[0]}, and {kind} would be written"
    return "already exists and was not created by dimr"


def _kinds_of_folder(folder: Path) -> tuple[str, ...]:
    """What a folder may be a result of: as its record says, else by what else describes it."""
    result = _described(folder / RECORD).get("result")
    if result in FOLDERS:
        return (result,)
    manifest, config = _described(folder / "manifest.json"), _described(folder / "config.json")
    signs = (manifest.get("format"), config.get("_class_name"), config.get("model"))
    found = [kind for sign in signs for kind in SIGNS.get(str(sign), ())]
    if "family" in config:
        found.append("model")
    if _described(folder / "reference.json"):
        found.append("reference")
    return tuple(found)


def _described(file: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty if there is none."""
    try:
        return _mapping(file)
    except (OSError, ValueError, RecursionError):
        return {}


def _holds(file: Path, kind: str) -> bool:
    try:
        return FILES[kind](file)
    except Exception:  # whatever a library raises on content that is not its own
        return False


# --- kinds of files -------------------------------------------------------------------------------


def _text(file: Path) -> str:
    if file.stat().st_size > LARGEST:
        raise ValueError("too large")
    return file.read_text()


def _mapping(file: Path) -> dict[str, Any]:
    value = json.loads(_text(file))
    if not isinstance(value, dict):
        raise ValueError("no names and values")
    return value


def _numbers(file: Path) -> bool:
    """Metrics: numbers by name, the number of images among them."""
    values = _mapping(file)
    return "images" in values and all(type(value) in (int, float) for value in values.values())


def _json_with(*keys: str) -> Callable[[Path], bool]:
    return lambda file: set(keys) <= _mapping(file).keys()


def _csv_with(first: Iterable[str], others: Iterable[str]) -> Callable[[Path], bool]:
    """A CSV whose first column is one of ``first``, and that has some of ``others`` besides."""

    def holds(file: Path) -> bool:
        with open(file) as opened:  # a log may be long
            header = next(csv.reader([opened.readline(LARGEST)]), [])
        return bool(header) and header[0] in first and bool(set(others) & set(header[1:]))

    return holds


def _begins(*patterns: str) -> Callable[[Path], bool]:
    return lambda file: any(re.match(pattern, _text(file), re.DOTALL) for pattern in patterns)


def _picture(file: Path) -> bool:
    from PIL import Image

    with Image.open(file, formats=["PNG"]) as opened:
        return opened.info.get("Software") == "dimr"


def _export(file: Path) -> bool:
    from dimr.weights.export import is_dimr_export

    return is_dimr_export(file)


def _weights_named_by_digest(file: Path) -> bool:
    """A file whose name ends in the first digits of its SHA-256: what is fetched is the same."""
    from dimr.files import sha256

    found = re.fullmatch(r".*-([0-9a-f]{8})\.pth", file.name)
    return found is not None and sha256(file).startswith(found[1])


def _timm(file: Path) -> bool:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as opened:
        return "timm" in (opened.metadata() or {})


FILES: dict[str, Callable[[Path], bool]] = {
    "metrics": _numbers,
    "provenance": _json_with(DIGEST, "metrics_sha256"),
    "training log": lambda file: (
        _csv_with(["step"], ["loss"])(file)
        or file.read_bytes() == b"step\r\n"  # of a state that had lost its own
    ),
    "table": _csv_with(
        ["model", "block", "setting", "variant", "row", "dataset"],
        [
            "setting",
            "seeds",
            "model",
            "variant",
            "parameters",
            "digits",
            "seed",
            "shown",
            "imagenet64",
            "imagenet256",
            "imagenet512",
        ],
    ),
    "Markdown table": _begins(r"\*\*[^\n]+\*\*\n.*\n\|"),
    "LaTeX table": _begins(r"% \\usepackage\{booktabs"),
    "study page": _begins(r"<!-- Made by `make study`"),
    "page": _begins(r"<!doctype html>.*<meta name=\"generator\" content=\"dimr\">"),
    "rating page": _begins(r"<!doctype html>.*<title>Rate images</title>"),
    "picture": _picture,
    "figure": lambda file: b"/Creator (dimr)" in file.read_bytes()[-LARGEST:],
    "weights": _export,
    "extractor": _weights_named_by_digest,
    "classifier weights": _timm,
    "scores": _json_with("key", "config", "classifier", "inputs"),
    "facts of the study": _json_with("datasets", "times", "git_revisions"),
    "key of a rating page": _json_with("page", "models", "images"),
    "trace": _json_with("traceEvents", "schemaVersion"),
}
"""Whether a file is an earlier output of a kind, by that kind."""


def check_log(path: Path) -> None:
    """Refuse a ``--log`` that would add lines to what is no log of dimr's; begin a new one.

    Raises:
        DimrError: a folder, a file of other content, or a place that cannot be written.
    """
    try:
        if path.is_char_device():  # /dev/null, a terminal
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            file.seek(0)
            begun = file.read(len(LOG_MARK))
            if not begun:
                file.write(f"{LOG_MARK}\n".encode())
    except IsADirectoryError:
        raise DimrError(f"--log {path}: is a folder; it names a file") from None
    except OSError as error:
        shown = str(path)[:SHOWN]
        raise DimrError(f"--log {shown}: cannot be written ({error.strerror})") from None
    if begun not in (b"", LOG_MARK.encode()):
        raise DimrError(f"--log {path}: already exists and is no log of dimr; refusing to append")
