"""The entries in ``experiments/`` for a set of one's own images: text that people edit later.

What others wrote in the files stays as it is, comments included: an entry is added at the end, or
replaces the one of its name.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dimr.config.project import Project
from dimr.config.variants import Variant
from dimr.data.own.recipe import Choice
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_text, write_text
from dimr.runtime.strict_yaml import dump

NAME = re.compile(r"[a-zA-Z0-9][\w-]{0,39}", re.ASCII)
RESERVED = {
    "workspace": "the run of params.yaml",
    "reference": "what dimr data calls reference batches",
    "extractor": "what dimr data calls Inception's weights",
    "classifier": "what dimr data calls a classifier's weights",
    "extractors": "the folder of Inception's weights in data/",
    **{
        name: f"a folder of results/{name}"
        for name in ("demo", "partial", "recorded", "figures", "distortion")
    },
}
"""Names that mean something else in ``data/``, ``runs/`` or ``results/``, and what."""
NOTES = (
    "Real images: training images. Reconstructions: the same through the autoencoder, if there is "
    "one: the floor for a latent model.",
    "Nearest ratio: median distance to the nearest training image, over the same for held-out "
    "images; 1 for new images, 0 for copies. Near copies: share nearer than the nearest 1% of "
    "held-out images.",
)
"""Columns of the table."""
TABLE = "table1"
"""Name of the table that a new dataset gets."""


def check_name(name: str, project: Project, replace: bool) -> None:
    """Refuse a name that cannot be a dataset's, or is taken.

    Args:
        name: of the dataset, and of its source.
        project: where it must be new.
        replace: whether it may be one that ``dimr dataset new`` made before.
    """
    if not NAME.fullmatch(name):
        raise DimrError(
            f"dataset name {name[:60]!r} is not allowed (up to 40 letters without accents, digits, "
            "- and _)"
        )
    if name in RESERVED:
        raise DimrError(f"dataset name {name!r} is taken: it is {RESERVED[name]}")
    existing = {"sources.yaml": project.sources, "recipes.yaml": project.recipes}
    taken = [file for file, names in existing.items() if name in names]
    if not taken:
        return
    made = name in project.sources and project.source(name).folder is not None
    if not made:
        raise DimrError(f"dataset name {name!r} is taken (experiments/{taken[0]})")
    if not replace and len(taken) == len(existing):  # fewer: an earlier command was interrupted
        raise DimrError(
            f"dataset {name!r} exists (experiments/{taken[0]}): --replace looks at its images "
            "again and rewrites its entries"
        )


def source_entry(found: Any) -> dict[str, Any]:
    """The entry of sources.yaml of what ``dimr.data.own.look`` found."""
    return {
        "classes": dict(found.classes),
        "images": found.images,
        **({"captions": found.captions.count} if found.captions else {}),
        "gigabytes": max(0.001, round(found.nbytes / 1e9, 3)),
        "folder": found.folder,
        "sha256": found.sha256,
    }


def write_entries(name: str, source: Mapping[str, Any], choice: Choice, project: Project) -> None:
    """Add the dataset to sources.yaml and recipes.yaml, and define its table.

    The recipe is written last: a dataset exists once it has one. An existing table is kept: a
    person may have edited its rows.
    """
    folder, form = project.experiments, f"`dimr dataset new {name}`"
    why = [f"# {what}: {value} ({reason})" for what, value, reason in choice.reasons]
    table = folder / f"tables/{name}/{TABLE}.yaml"
    if not table.exists():
        write_text(table, table_text(name, choice, project.variants[choice.network]))
    notes = [f"# Made by {form}; experiments/recipes.yaml says what is made of it."]
    _put(folder / "sources.yaml", name, notes, dict(source))
    _put(folder / "recipes.yaml", name, [f"# Made by {form}.", *why], choice.recipe)


def _put(path: Path, name: str, comments: list[str], section: dict[str, Any]) -> None:
    """Put an entry at the end of a file, or replace the one with its name."""
    lines = read_text(path, "YAML").splitlines()
    start, end = _find(lines, name)
    text = "\n".join([*comments, dump({name: section}, compact=True).rstrip()])
    before, after = "\n".join(lines[:start]).rstrip(), "\n".join(lines[end:]).strip("\n")
    parts = [part for part in (before, text, after) if part]
    write_text(path, "\n".join(parts) + "\n")


def _find(lines: list[str], name: str) -> tuple[int, int]:
    """First line of the entry and its comments, and the line after it; twice the end: none."""
    key = re.compile(rf"""(["']?){re.escape(name)}\1\s*:""")
    found = next((i for i, line in enumerate(lines) if key.match(line)), None)
    if found is None:
        return len(lines), len(lines)
    end = next(
        (i for i in range(found + 1, len(lines)) if lines[i][:1] not in ("", " ", "\t")), len(lines)
    )
    start = found
    while start > 0 and lines[start - 1].startswith("#"):
        start -= 1
    return start, end


def table_text(name: str, choice: Choice, network: Variant) -> str:
    """The definition of a dataset's table: its sanity rows, and the network."""
    own = choice.recipe["evaluate"]["extractor"] == "classifier"
    fid = ("fid_own", "FID-own") if own else ("fid", "FID")
    columns = [
        ("parameters_m", "Params (M)", "{:.2f}"), ("gmacs", "GMACs", "{:.3f}"),
        ("train_seconds", "Training (s)", "{:.0f}"), (*fid, "{:.2f}"),
        ("inception_score", "IS", "{:.2f}"), ("precision", "Precision", None),
        ("recall", "Recall", None), ("class_accuracy", "Own class", "{:.1%}"),
        ("nearest_ratio", "Nearest ratio", "{:.2f}"),
        ("near_copy_share", "Near copies", "{:.1%}"),
    ]  # fmt: skip
    classes = choice.recipe["network"].get("num_classes", 0)
    left_out = set() if own and classes > 1 else {"class_accuracy"}
    if own and classes < 2:
        left_out.add("inception_score")
    settings = list(choice.recipe["sample"]["settings"])
    count = choice.recipe["sample"]["count"]
    features = "FID, IS, precision and recall use Inception's features."
    if own:
        whose = "the set's own classifier" if classes > 1 else (
            "a classifier that tells the images' quarter turns, as there are no classes to tell"
        )  # fmt: skip
        features = (
            f"FID-own, precision and recall use the features of {whose}, not Inception's: never "
            "compare them with an Inception FID."
        )
    rows: list[dict[str, Any]] = [
        {"name": "Real images", "run": f"{name}/real"},
        {"name": "Reconstructions", "run": f"{name}/reconstruction"},
        {"name": network.title, "run": f"{name}/{network.name}", "settings": settings},
    ]
    shown = [
        {"key": key, "title": title, **({"format": form} if form else {})}
        for key, title, form in columns
        if key not in left_out
    ]
    return "\n".join([
        f"# Made by `dimr dataset new {name}`. Another network is another row.",
        f'title: "{name}: {count:,} images per row against the same held-out images"',
        "seeds: 1 # trained rows are averaged over seeds 0..seeds-1",
        "columns:",
        *(f"  - {_line(column)}" for column in shown),
        "rows:",
        *(f"  - {_line(row)}" for row in rows),
        "notes:",
        *(f'  - "{note}"' for note in (features, *NOTES)),
        "",
    ])  # fmt: skip


def _line(value: Mapping[str, Any]) -> str:
    """A mapping on one line: JSON is YAML."""
    return f"{{{', '.join(f'{key}: {json.dumps(one)}' for key, one in value.items())}}}"
