"""Images with captions: in every form that is taken, and what is refused."""

import json

import numpy as np
import pyarrow as pa
import pytest
from tests.support.captions import annotations_of, coco, coco_captions, coco_name
from tests.support.own_images import fill, parquet, rows, section

from dimr.config.schema import Images, Source
from dimr.config.validation import validate
from dimr.data.image_arrays import ImagesManifest, load_images
from dimr.data.imagenet import ImageStore, center_crop, verify
from dimr.data.imagenet.acquire import acquire
from dimr.data.own import look
from dimr.data.own.crop import crop_images
from dimr.data.own.look import list_images
from dimr.data.text.image_captions import read_image_captions
from dimr.runtime.errors import DimrError

KEY = "0123456789abcdef"
FILES = ["a.png", "b 1.jpg", "sub/c.png", "ü.webp"]
LINES = {
    "a.png": ["a cat", "a grey cat"], "b 1.jpg": ["two dogs, one of them black"],
    "sub/c.png": ["Größe"], "ü.webp": ["a cat"],
}  # fmt: skip
"""Captions by file."""


@pytest.fixture
def place(tmp_path):
    """Images in a folder and in one in it."""
    return fill(tmp_path / "set", {"": [FILES[0], FILES[1], FILES[3]], "sub": ["c.png"]})


def jsonl(place, *lines):
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    (place / "captions.jsonl").write_text(text)
    return place


def captions_of(place):
    """By file, part after part."""
    listing = list_images(place)
    assert listing.captions is not None
    return {
        part: dict(zip(files, listing.captions[part], strict=True))
        for part, files in listing.classes.items()
    }


# --- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_key", ["file", "file_name"])
@pytest.mark.parametrize("form", ["list", "caption", "text", "one of each"])
def test_json_lines(form, file_key, place):
    whole = [{file_key: file, "captions": texts} for file, texts in LINES.items()]
    key = form if form in ("caption", "text") else "caption"
    single = [{file_key: f, key: text, "id": 3} for f, texts in LINES.items() for text in texts]
    mixed = [*whole[:1], "", *single[2:]]
    jsonl(place, *{"list": whole, "one of each": mixed}.get(form, single))
    assert captions_of(place) == {"captioned": LINES}
    found = look(place, progress=False)
    assert (found.form, found.classes, found.images) == ("captions.jsonl", {"captioned": 4}, 4)
    assert (found.captions.count, found.captions.longest) == (5, 6)
    assert found.captions.first == "a cat"
    assert found.notes == ()


@pytest.mark.parametrize("head", ["file,caption", "file_name;text;more", "", "ID\tCaption\tPath"])
def test_csv(head, place):
    separator = next((one for one in ";\t" if one in head), ",")
    quoted = [(f, f'"{text}"') for f, texts in LINES.items() for text in texts]
    if separator == "\t":
        quoted = [("7", text, file.replace("/", "\\")) for file, text in quoted]
    lines = [separator.join(one) for one in quoted]
    (place / "captions.csv").write_text("\n".join([head, *lines] if head else lines))
    assert captions_of(place) == {"captioned": LINES}
    assert look(place, progress=False).form == "captions.csv"


def test_class_folders_with_captions_are_no_classes(tmp_path):
    place = fill(tmp_path / "set", {"x": ["1.png", "10.png", "2.png"], "y": ["1.png"]})
    names = [f"x/{n}.png" for n in (1, 2, 10)] + ["y/1.png"]
    (place / "labels.csv").write_text("x/1.png,a")
    jsonl(place, *({"file": name, "text": f"this is {name}"} for name in reversed(names)))
    assert list(captions_of(place)["captioned"]) == names  # as a store has them
    assert look(place).notes == ("1 other file left out (labels.csv)",)


def test_the_layout_of_coco(tmp_path):
    place = coco(tmp_path / "coco")
    (place / "annotations/instances_val2014.json").write_text("{}")
    fill(place, {"test2014": ["1.png"]})
    wanted = {
        part: {f"{folder}/{coco_name(folder, n)}": coco_captions(folder, n) for n in range(count)}
        for part, folder, count in (("train", "train2014", 8), ("val", "val2014", 4))
    }
    assert captions_of(place) == wanted
    found = look(place, progress=False)
    assert (found.form, found.classes) == ("MS-COCO's layout", {"train": 8, "val": 4})
    assert found.captions.count == 30
    assert set(found.notes) == {
        "1 image of neither part left out",
        "1 other file left out (annotations/instances_val2014.json)",
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [("caption", pa.string()), ("text", pa.large_string()), ("Captions", pa.list_(pa.string())),
     ("texts", pa.large_list(pa.large_string()))],
)  # fmt: skip
def test_parquet(name, kind, tmp_path):
    is_list = not (pa.types.is_string(kind) or pa.types.is_large_string(kind))
    texts = [["a  cat", "cat"], ["dog"], ["a bird "], ["two"]] if is_list else list("abcd")
    column = pa.array(texts, kind)
    parquet(tmp_path / "set/1.parquet", {"image": rows(2), name: column[:2]})
    parquet(tmp_path / "set/2.parquet", {"image": rows(2, 2), name: column[2:]})
    listing = list_images(tmp_path / "set")
    assert list(listing.classes) == ["captioned"]
    assert listing.captions["captioned"] == (
        [["a cat", "cat"], ["dog"], ["a bird"], ["two"]] if is_list else [[one] for one in "abcd"]
    )
    assert look(tmp_path / "set").captions.count == (5 if is_list else 4)


def test_labels_of_parquet_files_come_before_captions(tmp_path):
    columns = {
        "image": rows(4),
        "label": ["x", "y"] * 2,
        "text": list("abcd"),
        "caption": ["e"] * 4,
    }
    found = look(parquet(tmp_path / "a.parquet", columns))
    assert (found.captions, list(found.classes)) == (None, ["x", "y"])
    (note,) = found.notes
    assert note == "caption, text not used: the labels are (drop column label to learn captions)"


def test_captions_belong_to_the_content(place):
    whole = [{"file": file, "captions": texts} for file, texts in LINES.items()]
    first = look(jsonl(place, *whole)).sha256
    assert look(jsonl(place, *reversed(whole))).sha256 == first
    whole[0]["captions"] = ["a cat", "a green cat"]
    assert look(jsonl(place, *whole)).sha256 != first
    (place / "captions.jsonl").unlink()


# --- what is refused ------------------------------------------------------------------------------

GOOD = [{"file": file, "captions": texts} for file, texts in LINES.items()]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (GOOD[:1], ": 3 images of 4 without a caption (b 1.jpg, sub/c.png, ü.webp)"),
        ([*GOOD, {"file": "no.png", "text": "x"}], ": line 5: a caption of no.png: no such file"),
        ([*GOOD, {"file": "/x.png", "text": "x"}, {"file": "y.png", "text": "x"}],
         ": line 5: a caption of '/x.png' leads out of the folder (and so of 1 other file)"),
        ([*GOOD, {"file": "a.txt", "text": "x"}], ": line 5: a caption of a.txt: not an image f"),
        ([*GOOD, '{"file": "a.png"'], ": line 5: not JSON ("),
        ([*GOOD, "[" * 10**5], ": line 5: not JSON ("),
        ([*GOOD, {"file": "a.png"}], ': line 5: should be {"file": "a.png", "captions": ["...'),
        ([*GOOD, {"caption": "x"}], ": line 5: should be {"),
        ([*GOOD, ["a.png", "x"]], ": line 5: should be {"),
        ([*GOOD, {"file": "a.png", "captions": []}], ": line 5: should be {"),
        ([*GOOD, {"file": "a.png", "captions": ["x", 3]}], ": line 5: 3 is no caption"),
        ([*GOOD, {"file": "a.png", "caption": " "}], ": line 5: ' ' is no caption (1 to 2,000"),
        ([*GOOD, {"file": "a.png", "caption": "x" * 2001}], "is no caption (1 to 2,000"),
    ],
)  # fmt: skip
def test_json_lines_that_are_wrong(lines, message, place, refused):
    (place / "a.txt").write_text("x")
    found = refused(jsonl(place, *lines))
    assert found.startswith("set/captions.jsonl: ")
    assert message in found


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.png,x", "a.png"], ": line 2: 1 columns, should be file,caption"),
        (["a.png,x", "a.png,"], ": line 2: no caption"),
        (["a.png,x"], ": 3 images of 4 without a caption"),
        (['a.png,"x'], ": not readable as CSV"),
    ],
)
def test_csv_that_is_wrong(lines, message, place, refused):
    (place / "captions.csv").write_text("\n".join(lines))
    assert message in refused(place)


def test_captions_in_two_forms(place, refused):
    (place / "captions.csv").write_text("a.png,x")
    assert refused(jsonl(place, *GOOD)) == (
        "set: captions in several forms (captions.csv, captions.jsonl): keep one"
    )


def test_captions_without_images(tmp_path, refused):
    (tmp_path / "set").mkdir()
    assert refused(jsonl(tmp_path / "set")) == "set: no images in it, but captions.jsonl"


@pytest.fixture
def layout(tmp_path):
    return coco(tmp_path / "coco")


def edit(layout, change, part="val2014"):
    path = annotations_of(layout, part)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _forget(content):
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] > 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_forget, ": 2 images of 4 without a caption (val2014/COCO_val2014_000000000000.jpg, "),
        (lambda content: content["annotations"][2].update(image_id=999),
         ": annotation 2: image 999 is not among its images"),
        (lambda content: content["images"].append(content["images"][1]),
         ": image 7 is in it twice"),
        (lambda content: content["images"][0].update(file_name="no.jpg"),
         ": annotation 0: a caption of val2014/no.jpg: no such file"),
        (lambda content: content["annotations"][1].pop("caption"), ": not MS-COCO's captions: "),
        (lambda content: content.update(images=3), ": not MS-COCO's captions: "),
        (lambda content: content["annotations"][0].update(image_id=[7]),
         ": annotation 0: image [7] is not among its images"),
        (lambda content: content["annotations"][3].update(caption=5), ": 5 is no caption"),
        (lambda content: content["annotations"][3].update(caption=""), ": '' is no caption"),
    ],
)  # fmt: skip
def test_annotations_that_are_wrong(change, message, layout, refused):
    edit(layout, change)
    found = refused(layout)
    assert found.startswith("coco/annotations/captions_val2014.json: ")
    assert message in found


def test_a_layout_with_gaps(layout, refused):
    path = annotations_of(layout, "train2014")
    text = path.read_text()
    path.write_text(text[:-9])
    assert refused(layout).startswith("coco/annotations/captions_train2014.json: ")
    path.unlink()
    assert refused(layout) == (
        "coco: MS-COCO's layout, but annotations/captions_train2014.json is missing"
    )
    path.write_text(text)
    (layout / "val2014").rename(layout / "test2014")
    assert refused(layout) == "coco: MS-COCO's layout, but no images in val2014/"


@pytest.mark.parametrize("column", [["a", None, "", "d"], [["a"], [], ["c"], None]])
def test_rows_without_a_caption(column, tmp_path, refused):
    parquet(tmp_path / "a.parquet", {"image": rows(4), "caption": column})
    found = refused(tmp_path / "a.parquet")
    assert found.startswith("a.parquet: ")
    assert ("2 images of 4 without a caption (row 1, row 3)" in found) or ("is no caption" in found)


def test_several_columns_of_captions(tmp_path, refused):
    path = parquet(
        tmp_path / "a.parquet", {"image": rows(2), "text": ["a"] * 2, "caption": ["b"] * 2}
    )
    assert refused(path) == (
        "a.parquet: several columns of captions (text, caption): keep the one that is meant"
    )


# --- the store ------------------------------------------------------------------------------------


@pytest.fixture
def take(tmp_path):
    """Take a place in as it was when it was ``found`` (now)."""

    def run(place, found=None, **changes):
        config = section(found or look(place, progress=False), **changes)
        acquire(config, str(place), tmp_path / "store", KEY, name="mine")
        return ImageStore(tmp_path / "store")

    return run


def test_a_store_keeps_captions_and_their_checksum(place, take):
    store = take(jsonl(place, *GOOD))
    assert store.captions() == list(LINES.values())
    line = (store.folder / "captions.jsonl").read_text().splitlines()[1]
    assert json.loads(line) == {"file": "class00000/000001.jpg", "captions": LINES["b 1.jpg"]}
    verify(store.folder)
    path = store.folder / "captions.jsonl"
    path.write_text(path.read_text().replace("grey", "green"))
    for check in (store.captions, lambda: verify(store.folder)):
        with pytest.raises(DimrError, match=r"captions\.jsonl: checksum differs"):
            check()


def test_rows_and_parts_keep_their_order(tmp_path, take, layout):
    store = take(layout)
    assert (store.class_names, store.manifest.counts) == (["train", "val"], [8, 4])
    assert store.captions()[9] == coco_captions("val2014", 1)
    (tmp_path / "store").rename(tmp_path / "other")
    place = parquet(tmp_path / "a.parquet", {"image": rows(5), "text": list("abcde")})
    assert take(place).captions() == [[one] for one in "abcde"]


def test_a_store_without_captions_says_so(tmp_path, take):
    store = take(fill(tmp_path / "flat", {"": ["1.png", "2.png"]}))
    with pytest.raises(DimrError, match="store: its images have no captions"):
        store.captions()
    assert not (store.folder / "captions.jsonl").exists()


def test_another_caption_is_a_change(place, take, tmp_path):
    found = look(jsonl(place, *GOOD))
    jsonl(place, *GOOD[:-1], {"file": "ü.webp", "text": "a dog"})
    with pytest.raises(DimrError, match="its files, names or captions are others") as caught:
        take(place, found)
    assert "dimr dataset new mine --images" in str(caught.value)
    assert not (tmp_path / "store").exists()
    jsonl(place, *GOOD, {"file": "ü.webp", "text": "a dog"})
    with pytest.raises(DimrError, match=r"changed .* \(it has 6 captions, had 5\)"):
        take(place, found)


def published(**changes):
    """As sources.yaml would say of the layout."""
    values = {"classes": {"train": 8, "val": 4}, "images": 12, "captions": 30, "gigabytes": 1e-4}
    return validate(Source, {**values, **changes}, "sources.yaml")


def test_a_published_set_is_known_by_its_numbers(layout, tmp_path):
    acquire(published(), str(layout), tmp_path / "store", KEY, name="coco")
    assert ImageStore(tmp_path / "store").manifest.source.model_dump(exclude_defaults=True) == {
        "kind": "folder"
    }
    for problem, changes in (
        ("part 'train' has 8 images, had 7", {"classes": {"train": 7, "val": 4}, "images": 11}),
        ("it has 30 captions, had 31", {"captions": 31}),
    ):
        with pytest.raises(DimrError) as caught:
            acquire(published(**changes), str(layout), tmp_path / "other", KEY, name="coco")
        assert str(caught.value) == f"{layout}: not coco as it was published ({problem})"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"captions": 11}, "captions: 11 for 12 images"),
        ({"classes": 12}, "captions: in place of classes there are parts"),
        ({"captions": None}, "has a sha256"),
        ({"folder": "/somewhere"}, "has a sha256"),
    ],
)
def test_sources_that_do_not_agree(changes, problem):
    with pytest.raises(DimrError, match=problem):
        published(**changes)


# --- the arrays -----------------------------------------------------------------------------------


def crop(store, tmp_path, heldout):
    (tmp_path / "images").mkdir()
    config = Images(source="mine", image_size=16, heldout=heldout, split_seed=3)
    crop_images(store.folder, tmp_path / "images", config, KEY)
    return tmp_path / "images"


def by_pixels(store):
    """What is in the store: captions by the bytes of the crop."""
    crops = (center_crop(store.image(n), 16).tobytes() for n in range(len(store)))
    return dict(zip(crops, store.captions(), strict=True))


@pytest.mark.parametrize("heldout", ["val", 0.25])
def test_captions_stand_in_the_order_of_the_arrays(heldout, layout, take, tmp_path):
    store = take(layout)
    folder, wanted = crop(store, tmp_path, heldout), by_pixels(store)
    captions = read_image_captions(folder)
    manifest = ImagesManifest.read(folder)
    assert (manifest.classes, manifest.class_names) == (1, ["captioned"])
    held = 4 if heldout == "val" else 3
    assert manifest.counts == {"train": 12 - held, "heldout": held}
    for split in ("train", "heldout"):
        images, labels = load_images(folder, split)
        assert not labels.any()
        assert [wanted[image.tobytes()] for image in images] == getattr(captions, split)
    assert captions.prompts == [some[0] for some in captions.heldout]
    if heldout == "val":
        assert all("val2014" in text for text in captions.prompts)
        assert captions.prompts != [coco_captions("val2014", n)[0] for n in range(4)]  # drawn
        assert manifest.split.startswith("heldout: val, as the set says")
    else:
        assert manifest.split.startswith("heldout: 0.25 of the images, at least one")


def test_a_share_of_captioned_images(place, take, tmp_path):
    folder = crop(take(jsonl(place, *GOOD)), tmp_path, 0.5)
    captions = read_image_captions(folder)
    every = [*captions.train, *captions.heldout]
    assert sorted(every) == sorted(LINES.values())
    assert len(captions.heldout) == 2
    assert np.load(folder / "train_labels.npy").tolist() == [0, 0]
