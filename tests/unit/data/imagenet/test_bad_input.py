"""What no source may hold: one line that names it, nothing at the result's name."""

import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.miniature import ARCHIVE, DEVKIT, Miniature, tar_of, tar_with, write_parquet

WNID = "n01440764"


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def first(miniature):
    return next(iter(miniature.files[WNID].items()))


# --- archives -------------------------------------------------------------------------------------

MEMBERS = {
    "../evil.JPEG": "'../evil.JPEG' is not a plain file name",
    "/etc/evil.JPEG": "'/etc/evil.JPEG' is not a plain file name",
    "a/b.JPEG": "'a/b.JPEG' is not a plain file name",
    "-rf.JPEG": "'-rf.JPEG' is not a plain file name",
    "x" * 60 + ".JPEG": "is not a plain file name",
    "line\nbreak.JPEG": r"'line\nbreak.JPEG' is not a plain file name",
    "notes.txt": "'notes.txt' is not an image file",
}


def with_members(miniature, folder, extra, inner=True):
    """The archive with members added to the first class's tar, or to the outer one."""
    path = miniature.archive(folder)
    tars = {f"{wnid}.tar": tar_of(files) for wnid, files in miniature.files.items()}
    if inner:
        kept = [(member(name), data) for name, data in miniature.files[WNID].items()]
        tars[f"{WNID}.tar"] = tar_with([*kept, *extra])
        path.write_bytes(tar_of(tars))
    else:
        path.write_bytes(tar_with([*((member(n), d) for n, d in tars.items()), *extra]))
    return path


@pytest.mark.parametrize("name", MEMBERS)
def test_names_of_members(name, miniature, refused, tmp_path):
    data = first(miniature)[1]
    message = refused(with_members(miniature, tmp_path / "a", [(member(name), data)]))
    assert message.startswith(f"a/{ARCHIVE}: {WNID}.tar: ")
    assert MEMBERS[name] in message


@pytest.mark.parametrize(
    ("kind", "called"),
    [(tarfile.SYMTYPE, "a link"), (tarfile.LNKTYPE, "a link"), (tarfile.CHRTYPE, "a device"),
     (tarfile.BLKTYPE, "a device"), (tarfile.FIFOTYPE, "a pipe"), (tarfile.DIRTYPE, "a folder"),
     (tarfile.CONTTYPE, "of type b'7'")],
)  # fmt: skip
@pytest.mark.parametrize("inner", [True, False])
def test_kinds_of_members(kind, called, inner, miniature, refused, tmp_path):
    name = "n1_1.JPEG" if inner else "n00000001.tar"
    extra = [(member(name, kind, "/etc/passwd"), b"")]
    message = refused(with_members(miniature, tmp_path / "a", extra, inner))
    where = f"a/{ARCHIVE}: {WNID}.tar" if inner else f"a/{ARCHIVE}"
    assert message == f"{where}: {name!r} is {called}, not a plain file"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../n00000001.tar", "'../n00000001.tar' is not the tar of a class"),
        ("readme", "'readme' is not the tar of a class"),
        (f"{WNID}.tar", f"{WNID}.tar is in it twice"),
        ("n00000001.tar", f"class n00000001 is not in {DEVKIT}"),
    ],
)
def test_members_of_the_outer_tar(name, message, miniature, refused, tmp_path):
    path = with_members(miniature, tmp_path / "a", [(member(name), b"x")], inner=False)
    assert refused(path) == f"a/{ARCHIVE}: {message}"


def test_a_class_that_the_archive_lacks(miniature, refused, tmp_path):
    path = miniature.archive(tmp_path / "a")
    less = {f"{w}.tar": tar_of(files) for w, files in list(miniature.files.items())[1:]}
    path.write_bytes(tar_of(less))
    assert refused(path) == f"a/{ARCHIVE}: class {WNID} of {DEVKIT} is missing"


def test_images_twice_and_images_that_are_none(miniature, refused, tmp_path):
    name, data = first(miniature)
    twice = with_members(miniature, tmp_path / "a", [(member(name), data)])
    assert refused(twice) == f"a/{ARCHIVE}: {WNID}.tar: {name} is in it twice"
    for number, (content, problem) in enumerate(
        [(b"", "0 bytes"), (b"GIF89a", "not JPEG, PNG or WebP (begins with 47494638)")]
    ):
        extra = [(member("n1_1.JPEG"), content)]
        assert problem in refused(with_members(miniature, tmp_path / str(number), extra))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.97])
def test_a_truncated_archive(share, miniature, refused, tmp_path):
    path = miniature.archive(tmp_path / "a")
    content = path.read_bytes()
    end = len(content) - 10240  # blocks of zeros, which may be missing
    path.write_bytes(content[: int(end * share)])
    message = refused(path)
    assert message.startswith(f"a/{ARCHIVE}: ")
    assert "truncated" in message or "is missing" in message


def test_a_truncated_inner_tar(miniature, refused, tmp_path):
    path = miniature.archive(tmp_path / "a")
    tars = {f"{wnid}.tar": tar_of(files) for wnid, files in miniature.files.items()}
    whole = tars[f"{WNID}.tar"]
    for cut in (700, 1024, len(whole) // 2, len(whole) // 2 // 512 * 512):
        tars[f"{WNID}.tar"] = whole[:cut]
        path.write_bytes(tar_of(tars))
        message = refused(path)
        assert WNID in message
        assert "truncated" in message or "images, should hold 6" in message


def test_counts_are_the_devkits(miniature, refused, tmp_path):
    path = miniature.archive(tmp_path / "a", counts={"n02123045": 7})
    assert refused(path, images=19) == "n02123045: holds 6 images, should hold 7"
    assert "19 images, should be 18 (the fewest, 6, are in n01440764)" in refused(path)


def test_the_devkit(miniature, refused, tmp_path):
    path = miniature.archive(tmp_path / "a")
    devkit = path.with_name(DEVKIT)
    whole = devkit.read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "truncated or not a .tar.gz"),
        (b"not an archive", "truncated or not a .tar.gz"),
    ):
        devkit.write_bytes(content)
        assert refused(path).startswith(f"a/{DEVKIT}: {message}")
    miniature.write_devkit(devkit, table="devkit/data/other.mat")
    assert refused(path) == f"a/{DEVKIT}: holds no data/meta.mat"
    import gzip

    devkit.write_bytes(gzip.compress(tar_of({"devkit/data/meta.mat": b"MATLAB 5.0"})))
    assert "data/meta.mat: not the table of synsets" in refused(path)
    devkit.unlink()
    assert "no such file: the devkit must lie beside the archive" in refused(path)


def test_compressed_and_other_files(miniature, refused, tmp_path):
    path = miniature.archive(tmp_path / "a")
    path.write_bytes(b"\x1f\x8b" + bytes(2000))
    assert "truncated or not an uncompressed tar" in refused(path)
    other = tmp_path / "images.zip"
    other.write_bytes(b"PK")
    assert refused(other).startswith("images.zip: not a source of images; give ILSVRC2012")


# --- folders --------------------------------------------------------------------------------------


def test_what_class_folders_may_hold(miniature, refused, tmp_path):
    source = miniature.class_folders(tmp_path / "i")
    stray = source / WNID / "notes.txt"
    stray.write_text("x")
    assert refused(source).startswith(f"i/{WNID}: 'notes.txt' is not an image file")
    stray.unlink()
    stray = source / WNID / "below"
    stray.mkdir()
    assert refused(source) == f"i/{WNID}/below: not a file"
    stray.rmdir()
    stray = source / WNID / "with\ttab.jpg"
    stray.write_bytes(b"x")
    assert r"'with\ttab.jpg' is not a plain file name" in refused(source)
    stray.unlink()
    (source / "dogs").mkdir()
    assert refused(source).startswith("i/dogs: not a class folder")


def test_counts_of_class_folders(miniature, refused, tmp_path):
    source = miniature.class_folders(tmp_path / "i")
    assert "3 classes, should be 4 (n01440764, n02123045, n02980441)" in refused(source, classes=4)
    next((source / WNID).iterdir()).unlink()
    assert refused(source) == "i: 17 images, should be 18 (the fewest, 5, are in n01440764)"
    for path in (source / WNID).iterdir():
        path.unlink()
    assert refused(source, images=12) == f"i: no images in class {WNID}"
    message = refused(source, classes=1000)
    assert message.startswith("i: 997 classes are missing: n01443537, n01484850, n01491361, ...")


def test_a_file_that_is_no_image(miniature, refused, tmp_path):
    source = miniature.class_folders(tmp_path / "i")
    path = sorted((source / WNID).iterdir())[3]
    path.write_bytes(b"<html>not found</html>")
    assert refused(source).startswith(f"{WNID}: {path.name}: not JPEG, PNG or WebP")
    path.write_bytes(b"")
    assert refused(source).startswith(f"i/{WNID}: {path.name}: 0 bytes")


def test_what_is_recognised(miniature, refused, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    message = refused(empty)
    for part in ("class folders", "train/", ARCHIVE, "train-00000-of-NNNNN.parquet", "data/"):
        assert part in message
    both = miniature.class_folders(tmp_path / "both")
    miniature.shards(both / "data")
    assert refused(both) == "both: holds several sources; give both or both/data"
    assert "no such folder or file, and not an owner/name" in refused("./not/here")


# --- parquet --------------------------------------------------------------------------------------


def one_shard(folder, miniature, change):
    """A shard of all images, and ``change`` made to its rows."""
    rows = [({"bytes": d, "path": name}, label) for label, name, d in miniature.images()]
    change(rows)
    folder.mkdir()
    path = folder / "train-00000-of-00001.parquet"
    write_parquet(path, [image for image, _ in rows], [label for _, label in rows])
    return folder


def replaced(row, label=None, **image):
    def change(rows):
        old, old_label = rows[row]
        rows[row] = ({**old, **image}, old_label if label is None else label)

    return change


ROWS = {
    "label -1 (allowed: 0 to 2)": replaced(4, label=-1),
    "label 3 (allowed: 0 to 2)": replaced(4, label=3),
    "has no bytes": replaced(4, bytes=None),
    "0 bytes": replaced(4, bytes=b""),
    "not JPEG, PNG or WebP": replaced(4, bytes=b"RIFF"),
    "leads out of its folder": replaced(4, path="../../n01440764_1.JPEG"),
    "'/n1.JPEG' leads out": replaced(4, path="/n1.JPEG"),
    "is not an image file (allowed": replaced(4, path="n01440764_1.gif"),
    "has label 0, which is n01440764": replaced(4, path="n02123045_1.JPEG"),
}


@pytest.mark.parametrize("problem", ROWS)
def test_rows(problem, miniature, refused, tmp_path):
    message = refused(one_shard(tmp_path / "p", miniature, ROWS[problem]))
    assert message.startswith("p/train-00000-of-00001.parquet: row 4: ")
    assert problem in message


def test_an_image_in_two_shards(miniature, refused, tmp_path):
    name = list(miniature.files[WNID])[2]
    folder = one_shard(tmp_path / "p", miniature, replaced(0, path=name))
    assert refused(folder) == f"{WNID}: {name} is in it twice"


def test_labels_in_another_order(miniature, refused, tmp_path):
    def swap(rows):
        rows[:] = [(image, {0: 1, 1: 0}.get(label, label)) for image, label in rows]

    message = refused(one_shard(tmp_path / "p", miniature, swap))
    assert "not the places of the sorted WordNet ids: n01440764 follows n02123045" in message


def test_classes_that_cannot_be_known(miniature, refused, tmp_path):
    message = refused(miniature.shards(tmp_path / "p", 2, "none"))
    assert message.startswith("p: the WordNet id of label 0 cannot be known")


def test_sets_of_shards(miniature, refused, tmp_path):
    folder = miniature.shards(tmp_path / "p", 3)
    (folder / "train-00000-of-00004.parquet").write_bytes(b"x")
    assert "are the same shard" in refused(folder)
    (folder / "train-00000-of-00004.parquet").rename(folder / "train-00003-of-00004.parquet")
    assert refused(folder) == "p: shards of 2 sets, should be the shards of one set"
    (folder / "train-00003-of-00004.parquet").unlink()
    (folder / "train-00001-of-00003.parquet").unlink()
    assert refused(folder) == "p: train-00001-of-00003.parquet is missing"


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_shard(share, miniature, refused, tmp_path):
    folder = miniature.shards(tmp_path / "p")
    path = folder / "train-00001-of-00002.parquet"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert refused(folder).startswith(f"p/{path.name}: truncated or not a parquet file")
    assert not list(tmp_path.glob(".source*"))  # found before anything is written


def test_a_damaged_shard(miniature, refused, tmp_path):
    folder = miniature.shards(tmp_path / "p")
    path = folder / "train-00001-of-00002.parquet"
    content = bytearray(path.read_bytes())
    content[4:2000] = bytes(1996)
    path.write_bytes(content)
    assert refused(folder).startswith(f"p/{path.name}: ")


def test_columns_and_rows(miniature, refused, tmp_path):
    folder = miniature.shards(tmp_path / "p", 1)
    path = folder / "train-00000-of-00001.parquet"
    assert refused(folder, images=20) == "p: 18 images, should be 20"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns("label"), path)
    assert refused(folder).endswith("column label is missing, should be INT64")
    names = pa.array(["tench"] * len(table))
    pq.write_table(table.set_column(1, "label", names), path)
    assert refused(folder).endswith("column label is BYTE_ARRAY, should be INT64")


def test_images_of_another_count(miniature, refused, tmp_path):
    """Known-bad images that are not there do not make up for others that are missing."""
    less = {w: dict(list(f.items())[1:]) if w == WNID else f for w, f in miniature.files.items()}
    folder = Miniature(less).shards(tmp_path / "p")
    bad = next(iter(miniature.files["n02123045"]))
    assert "16 images, should be 17" in refused(folder, known_bad=(bad,))
