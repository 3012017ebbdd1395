"""Generated images with captions, in the supported forms."""

import json
from pathlib import Path

from tests.support.own_images import encoded, picture

PARTS = {"train2014": 8, "val2014": 4}
"""Number of images by folder of MS-COCO's layout."""
THINGS = ("cat", "red bus", "plate of food", "man on a horse")


def coco_name(part: str, number: int) -> str:
    """A file name as in MS-COCO."""
    return f"COCO_{part}_{number:012d}.jpg"


def coco_captions(part: str, number: int) -> list[str]:
    """Two or three captions of an image."""
    thing = THINGS[number % len(THINGS)]
    return [f"A {thing} in {part}, seen {how}." for how in ("twice", "often", "by day")][
        : 2 + number % 2
    ]


def coco(folder: Path, size: int = 40, parts: dict[str, int] = PARTS) -> Path:
    """Write images of size x (size - 4) pixels and annotations in MS-COCO 2014's own layout."""
    (folder / "annotations").mkdir(parents=True)
    for part, count in parts.items():
        (folder / part).mkdir()
        images, annotations = [], []
        for number in range(count):
            name = coco_name(part, number)
            seed = number + 100 * (part == "val2014")
            data = encoded(picture(seed, (size, size - 4)), "JPEG")
            (folder / part / name).write_bytes(data)
            images.append({"id": 7 * number, "file_name": name, "license": 1})
            annotations += [
                {"image_id": 7 * number, "id": len(annotations) + n, "caption": text}
                for n, text in enumerate(coco_captions(part, number))
            ]
        write_annotations(folder, part, images, annotations)
    return folder


def annotations_of(folder: Path, part: str) -> Path:
    """The file of a part's captions."""
    return folder / f"annotations/captions_{part}.json"


def write_annotations(folder: Path, part: str, images: list, annotations: list) -> None:
    """Write MS-COCO's file of captions, with its other content."""
    content = {"info": {"year": 2014}, "images": images, "annotations": annotations}
    annotations_of(folder, part).write_text(json.dumps(content))
