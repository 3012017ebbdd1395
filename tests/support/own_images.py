"""Generated sets of images with awkward names and formats, in every form that is taken."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dimr.config.schema import Source

AWKWARD = {
    "2": ["a.png", "b 1.jpg"],
    "10": ["1.PNG", "2.jpeg", "10.webp"],
    "blue squares": ["ü ß.png", "-rf.png", "n01440764_1.JPEG"],
    "Größe & Maß": ["x" * 120 + ".png", "two\u3000wide.webp"],
    "z" * 150: ["1.png", "1.jpg"],
}
"""File names by class, in the order of labels; suffixes tell the formats."""
SHORT = {
    "data.classifier.steps": 10,
    "data.autoencoder.steps": 10,
    "train.steps": 6,
    "train.log_every": 3,
    "train.warmup_steps": 2,
    "train.compile": False,
    "sample.steps": 3,
}
"""What a test shortens in a chosen recipe, so that it takes a minute."""
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def picture(seed, size=(12, 9)):
    """An image of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    return Image.fromarray(pixels)


def encoded(image, kind="PNG", **options):
    """The bytes of an image in a format; WebP without loss."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}), **options)
    return buffer.getvalue()


def fill(folder: Path, files) -> Path:
    """Write pictures, each another one: names by class folder ("": the folder itself)."""
    numbers = iter(range(10**6))
    for name, images in files.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for image in images:
            kind = FORMATS[Path(image).suffix.lower()]
            (folder / name / image).write_bytes(encoded(picture(next(numbers)), kind))
    return folder


def parquet(path: Path, columns, names=None, label="label", **options) -> Path:
    """Write a table; ``names`` of classes as ``datasets`` notes them."""
    table = pa.table(columns)
    if names:
        features = {"image": {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
        noted = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": noted})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def rows(count, first=0):
    """Images as the hub has them."""
    return [{"bytes": encoded(picture(first + i)), "path": f"{i}.png"} for i in range(count)]


def section(found, **changes) -> Source:
    """What sources.yaml says about what was found."""
    values = {
        "classes": found.classes,
        "images": found.images,
        "gigabytes": found.nbytes / 1e9,
        "sha256": found.sha256,
        "folder": found.folder,
        **({"captions": found.captions.count} if found.captions else {}),
    }
    return Source.model_validate_json(json.dumps({**values, **changes}))
