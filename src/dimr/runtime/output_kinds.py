"""What outputs of each kind look like: how a file or folder is recognised as dimr's own.

Folders say what they are in their record (``dimr.runtime.record``); files are recognised by content
that nobody else writes. Nothing is kept beside them.
"""

import csv
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dimr.runtime.record import DIGEST, RECORD
from dimr.runtime.signed import is_signed
from dimr.runtime.weight_notes import is_dimr_export, read_notes

FOLDERS = (
    "images", "autoencoder", "latents", "classifier", "model", "samples", "source", "reference",
    "text encoder", "captions",
)  # fmt: skip
"""Kinds of results that are folders with a record."""
OWN_SIGNS = {
    "dimr-shards-1": ("latents", "samples"), "dimr-images-1": ("images",),
    "dimr-captions-1": ("captions",), "dimr-source-1": ("source",),
    "DigitClassifier": ("classifier",),
    "ImageClassifier": ("classifier",),
}  # fmt: skip
"""Kinds of folders whose record is damaged or gone, by what only dimr writes in a manifest."""
GROWING = {
    "training states": ".*",
    "previews": r"step-\d{9}\.png",
    "TensorBoard log": r"events\.out\.tfevents\..*",
    "DVCLive log": r"(metrics|params|dvc|report)\.\w+|plots|static|artifacts|\.gitignore",
}
"""Kinds of folders to which files are added, and the names of everything in them."""
BESIDE = {"scores": (".npz", ".npy"), "weights": (".md",)}
"""Suffixes of files that are written beside an output of a kind, with the same stem."""
CHOSEN = ("images", "labels", "confidence", "index")
"""Arrays of the images that raters are shown."""
LARGEST = 64 << 20
"""Most bytes of a file that is inspected; larger ones were not written by dimr."""


def kinds_of_folder(folder: Path, record: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds of result that a folder may be: as its record says, else by other descriptions.

    Without a record a folder is dimr's only if it has what nobody else writes: names like
    config.json and the content of a diffusers or transformers folder could be anybody's.
    """
    if record.get("result") in FOLDERS:
        return (str(record["result"]),)
    manifest, config = described(folder / "manifest.json"), described(folder / "config.json")
    signs = (manifest.get("format"), config.get("model"))
    found = [kind for sign in signs for kind in OWN_SIGNS.get(str(sign), ())]
    if (folder / RECORD).is_file():  # damaged
        found += ["model"] * ("family" in config)
        found += ["autoencoder"] * (config.get("_class_name") == "AutoencoderKL")
        is_text = "family" not in config and "kind" in described(folder / "text_encoder.json")
        found += ["text encoder"] * is_text
        found += ["reference"] * bool(described(folder / "reference.json"))
    return tuple(found)


def described(file: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty if there is none."""
    try:
        return _mapping(file)
    except (OSError, ValueError, RecursionError):
        return {}


def holds(file: Path, kind: str) -> bool:
    """Whether a file is an earlier output of a kind of ``FILES``."""
    try:
        return FILES[kind](file)
    except Exception:  # whatever a library raises on content that is not its own
        return False


def _text(file: Path) -> str:
    if file.stat().st_size > LARGEST:
        raise ValueError("too large")
    return file.read_text(encoding="utf-8")


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
        with open(file, encoding="utf-8") as opened:  # a log may be long
            header = next(csv.reader([opened.readline(LARGEST)]), [])
        return bool(header) and header[0] in first and bool(set(others) & set(header[1:]))

    return holds


def _begins(*patterns: str) -> Callable[[Path], bool]:
    return lambda file: any(re.match(pattern, _text(file), re.DOTALL) for pattern in patterns)


def _picture(file: Path) -> bool:
    from PIL import Image

    with Image.open(file, formats=["PNG"]) as opened:
        return opened.info.get("Software") == "dimr"


def _weights_named_by_digest(file: Path) -> bool:
    """A file whose name ends in the first digits of its SHA-256: what is fetched is the same."""
    from dimr.runtime.files import sha256

    found = re.fullmatch(r".*-([0-9a-f]{8})\.pth", file.name)
    return found is not None and sha256(file).startswith(found[1])


def _chosen(file: Path) -> bool:
    with zipfile.ZipFile(file) as opened:
        return {Path(name).stem for name in opened.namelist()} == set(CHOSEN)


def _beside_chosen(file: Path) -> bool:
    """Confidences are known by the chosen images beside them, which are written first."""
    return _chosen(file.with_suffix(".npz"))


FILES: dict[str, Callable[[Path], bool]] = {
    "metrics": _numbers,
    "provenance": _json_with(DIGEST, "metrics_sha256"),
    "training log": lambda file: (
        _csv_with(["step"], ["loss"])(file)
        or _text(file) == "step\n"  # from a state that had lost its log
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
    "weights": is_dimr_export,
    "weights .md": lambda file: is_signed(_text(file)),
    "model card": lambda file: is_signed(_text(file)),
    "extractor": _weights_named_by_digest,
    "classifier weights": lambda file: "timm" in read_notes(file),
    "scores": _json_with("key", "config", "classifier", "inputs"),
    "scores .npz": _chosen,
    "scores .npy": _beside_chosen,
    "facts of the study": _json_with("datasets", "times", "git_revisions"),
    "key of a rating page": _json_with("page", "models", "images"),
    "trace": _json_with("traceEvents", "schemaVersion"),
}
"""Whether a file is an earlier output of a kind, by that kind."""
