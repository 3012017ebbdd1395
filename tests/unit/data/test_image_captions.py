"""Captions beside images: whole, or refused in one line."""

import json

import numpy as np
import pytest

from dimr.data.image_arrays import write_images
from dimr.data.text.image_captions import (
    CAPTIONS,
    ImageCaptions,
    clean_caption,
    read_image_captions,
)
from dimr.runtime.errors import DimrError

OWN = ImageCaptions([["a cat", "the cat"], ["a dog"]], [["an owl"]], ["an owl", "a cat"])


def write(folder, captions):
    images = {"train": np.zeros((2, 16, 16, 3), np.uint8), "heldout": np.ones((1, 16, 16, 3), "u1")}
    labels = {"train": np.zeros(2, np.int64), "heldout": np.zeros(1, np.int64)}
    folder.mkdir()
    write_images(folder, images, labels, dataset="own", size=16, class_names=["captioned"],
                 split="", key="k", captions=captions)  # fmt: skip
    return folder


def test_they_come_back(tmp_path):
    folder = write(tmp_path / "images", OWN)
    assert read_image_captions(folder) == OWN
    assert list(OWN.texts()) == ["a cat", "the cat", "a dog", "an owl", "an owl", "a cat"]


def test_images_without_captions(tmp_path):
    folder = write(tmp_path / "images", None)
    assert not (folder / CAPTIONS).exists()
    with pytest.raises(DimrError, match="its images have no captions"):
        read_image_captions(folder)


def test_a_changed_file(tmp_path):
    folder = write(tmp_path / "images", OWN)
    (folder / CAPTIONS).write_text((folder / CAPTIONS).read_text().replace("dog", "cow"))
    with pytest.raises(DimrError, match=r"captions\.json: checksum differs"):
        read_image_captions(folder)
    (folder / CAPTIONS).unlink()
    with pytest.raises(DimrError, match=r"captions\.json: no such file"):
        read_image_captions(folder)


@pytest.mark.parametrize(
    "captions",
    [
        ImageCaptions([["a cat"]], [["an owl"]], ["an owl"]),  # one image has none
        ImageCaptions([["a cat"], []], [["an owl"]], ["an owl"]),
        ImageCaptions([["a cat"], ["a dog"]], [["an owl"]], []),
        ImageCaptions([["a cat"], ["a dog"]], [[""]], ["an owl"]),
    ],
)
def test_captions_that_do_not_fit(tmp_path, captions):
    folder = write(tmp_path / "images", captions)
    with pytest.raises(DimrError, match="should hold captions of each image, and prompts"):
        read_image_captions(folder)


def test_another_form(tmp_path):
    folder = write(tmp_path / "images", OWN)
    text = json.dumps(["a cat"])
    (folder / CAPTIONS).write_text(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    from dimr.runtime.files import sha256

    manifest["files"][CAPTIONS]["sha256"] = sha256(folder / CAPTIONS)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DimrError, match="should hold captions"):
        read_image_captions(folder)


def test_clean():
    assert clean_caption("  a  cat\n on a mat ", "x") == "a cat on a mat"
    assert clean_caption("cafe\u0301", "x") == "caf\u00e9"
    for text in ("", "   ", "a\x00b", "x" * 2001):
        with pytest.raises(DimrError, match=r"^line 3: .* is no caption"):
            clean_caption(text, "line 3")
