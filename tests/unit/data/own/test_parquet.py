"""Parquet files as ``datasets``, pandas and others write them."""

import numpy as np
import pyarrow as pa
import pytest
from tests.support.own_images import fill, parquet, rows

from dimr.data.own import look


def test_numbers_without_names_are_sorted_as_numbers(tmp_path):
    labels = [10, 2, 10, 2, -1, -1]
    found = look(parquet(tmp_path / "any name.parquet", {"image": rows(6), "label": labels}))
    assert list(found.classes.items()) == [("-1", 2), ("2", 2), ("10", 2)]
    assert (found.form, found.images, found.least_side) == ("1 parquet file", 6, 9)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary("int8", "string")])
def test_strings_are_names(kind, tmp_path):
    labels = pa.array(["c 10", "c 9", "c 10", "c 9"], pa.string()).cast(kind)
    found = look(parquet(tmp_path / "a.parquet", {"image": rows(4), "class": labels}))
    assert list(found.classes.items()) == [("c 9", 2), ("c 10", 2)]


@pytest.mark.parametrize("label", ["label", "breed"])
def test_names_that_datasets_noted_keep_their_labels(label, tmp_path):
    names = ["zebra", "ant", "none", "big cat"]
    columns = {"image": rows(6), label: [3, 0, 1, 3, 0, 1]}
    found = look(parquet(tmp_path / "a.parquet", columns, names, label))
    assert list(found.classes) == ["zebra", "ant", "big cat"]
    assert found.notes == ("1 class without images left out (none)",)


def test_without_labels_there_is_one_class(tmp_path):
    columns = {"image": rows(3), "breed": ["a", "b", "a"]}
    found = look(parquet(tmp_path / "Meine Bilder.parquet", columns))
    assert found.classes == {"Meine Bilder": 3}
    assert found.notes == ("no column of labels (label, class, ...); not used: breed",)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("labels", [True, False])
def test_images_may_be_bytes(kind, labels, tmp_path):
    images = pa.array([one["bytes"] for one in rows(70)], kind)
    columns = {"img": images, **({"label": [0, 1] * 35} if labels else {})}
    found = look(parquet(tmp_path / "a.parquet", columns, row_group_size=9))
    assert found.classes == ({"0": 35, "1": 35} if labels else {"a": 70})


def test_names_of_columns_may_have_dots(tmp_path):
    columns = {"my.image": rows(2), "label": ["a", "a"]}
    assert look(parquet(tmp_path / "a.parquet", columns)).classes == {"a": 2}
    columns = {"my.image": [one["bytes"] for one in rows(2)]}
    assert look(parquet(tmp_path / "b.parquet", columns)).classes == {"b": 2}


def test_names_that_are_not_unicode(refused, tmp_path):
    path = parquet(
        tmp_path / "a.parquet", FOUR | {"label": ["weiß", "rot"] * 2}, compression="none"
    )
    data = path.read_bytes()
    path.write_bytes(data.replace("weiß".encode(), b"wei\xff\xff"))
    assert refused(path).startswith("a.parquet: ")


@pytest.mark.parametrize("below", ["", "data"])
def test_a_folder_of_files_of_any_names(below, tmp_path):
    whole = {"image": rows(8), "label": [0, 1] * 4}
    for number, part in enumerate((slice(0, 2), slice(2, 8))):
        columns = {name: values[part] for name, values in whole.items()}
        parquet(tmp_path / "set" / below / f"part {number + 9}.parquet", columns)
    found = look(tmp_path / "set")
    assert (found.form, found.classes) == ("2 parquet files", {"0": 4, "1": 4})
    assert found.sha256 == look(parquet(tmp_path / "one.parquet", whole)).sha256


def test_of_several_splits_train_is_taken(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        parquet(tmp_path / f"set/{name}.parquet", {"image": rows(2), "label": [0, 0]})
    found = look(tmp_path / "set")
    assert found.images == 4
    assert found.notes == ("files of other splits left out (test-00000-of-00001.parquet)",)
    only = look(tmp_path / "set/test-00000-of-00001.parquet")
    assert (only.images, only.notes) == (2, ())


def test_content_is_that_of_the_rows(tmp_path):
    columns = {"image": rows(4), "label": [0, 1, 0, 1]}
    found = look(parquet(tmp_path / "a.parquet", columns)).sha256
    again = parquet(tmp_path / "b.parquet", columns, compression="none", row_group_size=1)
    assert look(again).sha256 == found
    swapped = columns | {"image": [columns["image"][i] for i in (2, 1, 0, 3)]}
    assert look(parquet(tmp_path / "c.parquet", swapped)).sha256 != found


# --- what is refused ------------------------------------------------------------------------------

FOUR = {"image": rows(4), "label": [0, 1, 0, 1]}
TABLES = {
    "no rows": ({"image": pa.array([], pa.struct({"bytes": pa.binary()}))}, "no images in it"),
    "no images": ({"label": [0]}, "no column of images (their bytes): the one called image would"),
    "paths only": ({"image": [{"path": "a.png"}]}, "no column of images (their bytes)"),
    "two images": ({"a": [b"x"], "b": [b"x"]}, "several columns of images (a, b): the one called"),
    "two labels": (FOUR | {"class": [0] * 4}, "several columns of labels (label, class): keep"),
    "floats": (FOUR | {"label": [0.5] * 4}, "column label is double, should be numbers or strings"),
    "no label": (FOUR | {"label": [0, None, 0, 0]}, "row 1: no label"),
    "no image": (FOUR | {"image": [*FOUR["image"][:3], None]}, "row 3: the image has no bytes"),
    "no bytes": (FOUR | {"image": [{"bytes": b""}] * 4}, "the image: 0 bytes"),
    "one image": (FOUR | {"label": [0, 0, 0, 7]}, "1 class with one image (7)"),
    "case": (FOUR | {"label": ["a", "A"] * 2}, "column label: classes 'a' and 'A' differ only in"),
}  # fmt: skip


@pytest.mark.parametrize("problem", TABLES)
def test_tables_that_are_refused(problem, refused, tmp_path):
    columns, message = TABLES[problem]
    found = refused(parquet(tmp_path / "a.parquet", columns))
    assert found.startswith("a.parquet: ")
    assert message in found


def test_a_row_that_does_not_decode(refused, tmp_path):
    images = rows(80)
    images[70]["bytes"] = images[70]["bytes"][:-300]
    path = parquet(tmp_path / "a.parquet", {"image": images}, row_group_size=7)
    assert refused(path).startswith("a.parquet: row 70: does not decode")


@pytest.mark.parametrize(("label", "shown"), [(-1, "-1"), (2, "2")])
def test_labels_without_a_name(label, shown, refused, tmp_path):
    path = parquet(tmp_path / "a.parquet", FOUR | {"label": [0, 1, 0, label]}, ["a", "b"])
    assert refused(path) == f"a.parquet: column label: label {shown} (allowed: 0 to 1)"


def test_names_that_are_one(refused, tmp_path):
    path = parquet(tmp_path / "a.parquet", FOUR, ["a", "a"])
    assert refused(path) == "a.parquet: column label: two of its classes have one name"


def test_files_that_are_not_of_one_set(refused, tmp_path):
    parquet(tmp_path / "set/1.parquet", FOUR)
    parquet(tmp_path / "set/2.parquet", FOUR, ["a", "b"])
    assert refused(tmp_path / "set") == (
        "set/2.parquet: its columns or classes are not those of set/1.parquet"
    )


def test_a_shard_that_is_missing(refused, tmp_path):
    parquet(tmp_path / "set/train-00001-of-00002.parquet", FOUR)
    assert refused(tmp_path / "set") == "set: train-00000-of-00002.parquet is missing"


def test_splits_of_which_none_is_for_training(refused, tmp_path):
    for name in ("a", "b"):
        parquet(tmp_path / f"set/{name}-00000-of-00001.parquet", FOUR)
    assert refused(tmp_path / "set") == "set: files of several splits (a, b): give those of one"


def test_parquet_and_images_in_one_folder(refused, tmp_path):
    parquet(fill(tmp_path / "set", {"": ["a.png"]}) / "x.parquet", FOUR)
    assert refused(tmp_path / "set") == (
        "set: holds parquet files and images (a.png): give a folder of one kind"
    )


@pytest.mark.parametrize("kept", [0, 30, -10])
def test_damaged_files(kept, refused, tmp_path):
    path = parquet(tmp_path / "a.parquet", FOUR)
    path.write_bytes(path.read_bytes()[:kept])
    assert refused(path).startswith("a.parquet: truncated or not a parquet file")


def test_damage_within_a_file(refused, tmp_path):
    path = parquet(tmp_path / "a.parquet", FOUR, compression="gzip")
    data = bytearray(path.read_bytes())
    data[8:600] = np.random.default_rng(0).bytes(592)
    path.write_bytes(data)
    assert refused(path).startswith("a.parquet: ")


def test_a_folder_called_as_a_file(tmp_path):
    folder = fill(tmp_path / "x.parquet", {"": ["a.png", "b.png"]})
    assert look(folder).classes == {"x.parquet": 2}
