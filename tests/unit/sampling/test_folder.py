"""A folder of images in pieces: shares, restarts, what is beside the shards, and bad input."""

import errno
import json
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dimr.data.npz import write_npz
from dimr.data.resumable_shards import Assembly, Part
from dimr.data.shards import open_shards, verify
from dimr.runtime.errors import DimrError
from dimr.sampling import folder as folder_module
from dimr.sampling.folder import (
    complete,
    fill,
    is_complete,
    plan,
    read_samples,
    write_samples,
)
from dimr.sampling.grid import (
    BESIDE,
    CAPTION_LINE,
    WIDEST,
    caption_grid,
    class_grid,
    heading,
    overview,
)
from dimr.sampling.sampler import labels_in_order

COUNT, CLASSES, SHARD = 28, 4, 8  # 4 shards, the last of 4
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 5, 6, 3), dtype=np.uint8)
NAMES = list("abcd")
LABELS = labels_in_order(COUNT, CLASSES)


class Draws:
    """Takes the images from ``IMAGES``; remembers the batches, and fails where it is told."""

    def __init__(self, fail_after=None):
        self.batches, self.fail_after = [], fail_after

    def __call__(self, batches, **_):
        for numbers in batches:
            if self.fail_after is not None and len(self.batches) >= self.fail_after:
                raise KeyboardInterrupt
            self.batches.append(list(numbers))
            yield IMAGES[list(numbers)]


def work(path, key="k"):
    return plan(path, key, IMAGES.shape[1:3], COUNT, SHARD)


def interrupted(path, after):
    with pytest.raises(KeyboardInterrupt):
        fill(work(path), Draws(fail_after=after), 3)
    return work(path)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def make(path, batch=3):
    draws = Draws()
    fill(work(path), draws, batch)
    complete(work(path), LABELS, NAMES)
    return draws


def test_what_is_in_the_folder(tmp_path):
    draws = make(tmp_path / "s")
    assert [len(b) for b in draws.batches] == [3, 3, 2] * 3 + [3, 1]  # batches end with shards
    assert np.concatenate(draws.batches).tolist() == list(range(COUNT))
    manifest = verify(tmp_path / "s")
    assert (manifest.key, manifest.count, manifest.shape) == ("k", COUNT, (5, 6, 3))
    shards = open_shards(tmp_path / "s")
    assert [len(array) for array in shards.arrays] == [8, 8, 8, 4]
    images, labels = read_samples(tmp_path / "s")
    assert np.array_equal(images, IMAGES)
    assert labels.tolist() == [0, 1, 2, 3] * 7
    assert {path.name for path in (tmp_path / "s").iterdir()} == {
        *(f"0000{n}.npy" for n in range(4)), "labels.npy", "manifest.json", "samples.npz",
        "grid.png",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize(("cut", "full"), [(0, 0), (1, 0), (4, 8), (10, 24)])
def test_an_interrupted_start_resumes_to_the_same_folder(cut, full, tmp_path):
    make(tmp_path / "whole")
    torn = interrupted(tmp_path / "s", cut).store / ".00003.npy.dimr-tmp-00000000-4711.npy"
    assert not (tmp_path / "s").exists()
    torn.parent.mkdir(parents=True, exist_ok=True)
    torn.write_bytes(b"half")
    assert make(tmp_path / "s").batches[0][0] == full  # images of the shards that were full
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_shares_in_any_order_make_the_same_folder(tmp_path):
    make(tmp_path / "whole")
    drawn = []
    for share in (Part(2, 3), Part(0, 3), Part(1, 3), Part(0, 3), Part(6, 7)):
        draws = Draws()
        fill(work(tmp_path / "s"), draws, 3, share)
        drawn.append(sorted({numbers[0] // SHARD for numbers in draws.batches}))
        if share == Part(0, 3) and len(drawn) == 2:
            with pytest.raises(DimrError, match="1 of 4 shards are missing"):
                complete(work(tmp_path / "s"), LABELS, NAMES)
    assert drawn == [[2], [0, 3], [1], [], []]
    complete(work(tmp_path / "s"), LABELS, NAMES)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_progress_counts_what_exists(tmp_path, monkeypatch):
    seen = {}

    class Bar:
        def __init__(self, **options):
            seen.update(options, done=0)

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda *_: None  # noqa: E731

        def update(self, count):
            seen["done"] += count

    interrupted(tmp_path / "s", 6)
    monkeypatch.setattr(folder_module, "progress_bar", Bar)
    fill(work(tmp_path / "s"), Draws(), 3)
    assert (seen["total"], seen["initial"], seen["done"]) == (COUNT, 16, 12)
    fill(work(tmp_path / "t"), Draws(), 3, Part(1, 3))
    assert (seen["total"], seen["initial"], seen["done"]) == (8, 0, 8)


def test_it_says_what_it_does_and_how_fast(tmp_path, caplog):
    caplog.set_level("INFO")
    work(tmp_path / "s", "other").write(0, IMAGES[:8])
    make(tmp_path / "s")
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith(f"{tmp_path}/s: 28 images in 4 shards of 2.5e-06 GB together, and")
    assert "4 shards to do" in said[0]
    assert said[1] == (
        f"{tmp_path}/.s.part-other: made with other weights, settings or code; not resumed"
    )
    assert "28 images in " in said[2]
    assert " images/s; waited for write " in said[2]
    assert not (tmp_path / ".s.part-other").exists()  # nobody needs it any more


def test_a_damaged_shard_of_an_earlier_start_is_named_and_made_again(tmp_path, caplog):
    unfinished = interrupted(tmp_path / "s", 9)
    shard = unfinished.store / "00001.npy"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    fill(unfinished, Draws(), 3)
    assert f"{shard}: has " in caplog.text
    assert shard.read_bytes() == whole
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # one bit: only its checksum tells
    fill(unfinished, Draws(), 3)
    with pytest.raises(DimrError, match=r"00001\.npy: checksum differs") as caught:
        complete(unfinished, LABELS, NAMES)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "s").exists()
    assert not (unfinished.store / "samples.npz").exists()
    assert np.concatenate(make(tmp_path / "s").batches).tolist() == list(range(8, 16))
    assert np.array_equal(read_samples(tmp_path / "s")[0], IMAGES)


def test_a_full_disk_is_an_error_of_the_system_and_keeps_what_is_there(tmp_path, monkeypatch):
    write = Assembly.write

    def full(self, number, samples):
        if number == 2:
            raise OSError(errno.ENOSPC, "No space left on device", "00002.npy")
        write(self, number, samples)

    monkeypatch.setattr(Assembly, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        fill(work(tmp_path / "s"), Draws(), 3)
    assert caught.value.errno == errno.ENOSPC
    assert work(tmp_path / "s").missing() == [2, 3]


def test_space_is_asked_for_before_the_first_image(tmp_path, monkeypatch):
    size = IMAGES.nbytes
    work(tmp_path / "s").write(0, IMAGES[:8])
    rest = size - IMAGES[:8].nbytes

    def disk(free):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

    draws = Draws()
    disk(rest + size - 1)
    with pytest.raises(DimrError, match="make room"):
        fill(work(tmp_path / "s"), draws, 3)
    assert draws.batches == []
    disk(rest)
    fill(work(tmp_path / "s"), draws, 3, Part(1, 2))  # the archive is not a part's
    disk(rest + size)
    fill(work(tmp_path / "s"), draws, 3)


def test_images_of_another_size_than_planned(tmp_path):
    wrong = plan(tmp_path / "s", "k", (6, 6), COUNT, SHARD)
    with pytest.raises(DimrError, match=r"images of \(5, 6, 3\), not \(6, 6, 3\)"):
        fill(wrong, Draws(), 3)


def test_a_failure_at_the_end_leaves_the_old_folder_and_the_work(tmp_path):
    make(tmp_path / "s")
    before = contents(tmp_path / "s")
    other = work(tmp_path / "s", "other")
    fill(other, Draws(), 3)

    def refuse(folder):
        assert (folder / "samples.npz").is_file()
        raise DimrError("changed while this step ran")

    with pytest.raises(DimrError, match="changed"):
        complete(other, LABELS, NAMES, add=refuse)
    assert contents(tmp_path / "s") == before
    assert other.missing() == []


def test_what_counts_as_complete(tmp_path):
    assert not is_complete(work(tmp_path / "s"))
    make(tmp_path / "s")
    assert is_complete(work(tmp_path / "s"))
    assert not is_complete(work(tmp_path / "s", "other"))
    (tmp_path / "s/samples.npz").unlink()
    assert not is_complete(work(tmp_path / "s"))
    make(tmp_path / "s")
    (tmp_path / "s/00002.npy").unlink()
    assert not is_complete(work(tmp_path / "s"))


def test_given_images_are_not_mixed_with_those_of_an_interrupted_try(tmp_path):
    plan(tmp_path / "s", "k", (5, 6), COUNT).write(0, 255 - IMAGES)
    write_samples(tmp_path / "s", IMAGES, LABELS, NAMES, "k")
    assert np.array_equal(read_samples(tmp_path / "s")[0], IMAGES)


# --- samples.npz ----------------------------------------------------------------------------------


def test_the_archive_is_what_numpy_writes(tmp_path):
    make(tmp_path / "s")
    archive = tmp_path / "s/samples.npz"
    with np.load(archive) as opened:
        assert opened.files == ["arr_0", "arr_1"]
        assert np.array_equal(opened["arr_1"], LABELS)
        assert opened["arr_0"].dtype == np.uint8
        assert np.array_equal(opened["arr_0"], IMAGES)
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert opened.getinfo("arr_0.npy").compress_type == zipfile.ZIP_STORED
    np.savez(tmp_path / "numpy.npz", IMAGES, np.asarray(LABELS, np.int64))
    with zipfile.ZipFile(tmp_path / "numpy.npz") as a, zipfile.ZipFile(archive) as b:
        for name in ("arr_0.npy", "arr_1.npy"):
            assert a.read(name) == b.read(name)


SPARSE = """
import hashlib, json, resource, sys
from pathlib import Path
import numpy as np
from dimr.data.shards import complete
from dimr.data.npz import write_npz
folder, shards, each, side = Path(sys.argv[1]), *map(int, sys.argv[2:])
entries = []
for number in range(shards):
    path = folder / f"{number:05d}.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (each, side, side, 3)).flush()
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    entries.append({"file": path.name, "count": each, "sha256": digest})
complete(folder, entries, np.zeros(shards * each, np.int64), kind="pixels", shape=(side, side, 3),
         class_names=["0"], key="k")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_npz(folder, folder / "samples.npz")
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([before, after]))
"""


@pytest.mark.slow
def test_the_archive_takes_no_memory(tmp_path):
    """300 MB of images; the process may grow by a tenth of that."""
    done = subprocess.run(
        [sys.executable, "-c", SPARSE, str(tmp_path), "4", "400", "250"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    before, after = json.loads(done.stdout)
    assert (tmp_path / "samples.npz").stat().st_size > 300_000_000
    assert (after - before) * 1024 < 30_000_000
    with np.load(tmp_path / "samples.npz") as opened, opened.zip.open("arr_0.npy") as entry:
        assert np.lib.format.read_magic(entry) == (1, 0)
        assert np.lib.format.read_array_header_1_0(entry) == ((1600, 250, 250, 3), False, np.uint8)


def test_the_archive_of_a_damaged_folder_is_not_written(tmp_path):
    make(tmp_path / "s")
    shard = tmp_path / "s/00003.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    before = (tmp_path / "s/samples.npz").read_bytes()
    with pytest.raises(DimrError, match=r"00003\.npy: checksum differs"):
        write_npz(tmp_path / "s", tmp_path / "s/samples.npz")
    assert (tmp_path / "s/samples.npz").read_bytes() == before


# --- grid.png -------------------------------------------------------------------------------------


class Shards:
    """Image i has the colour of its label and its number."""

    def __init__(self, count, classes, side):
        self.labels, self.side, self.reads = labels_in_order(count, classes), side, 0
        self.manifest = SimpleNamespace(class_names=[f"class {label}" for label in range(classes)])

    def take(self, indices, compare):
        assert not compare  # they were written just now
        self.reads += len(indices)
        labels, round_ = self.labels[indices], indices // len(self.manifest.class_names)
        colours = np.stack([labels // 4, labels % 4, round_], axis=-1).astype(np.uint8)
        return np.broadcast_to(colours[:, None, None], (len(indices), self.side, self.side, 3))


@pytest.mark.parametrize(
    ("side", "shown"), [(256, 128), (512, 128), (64, 64), (32, 64), (100, 100)]
)
def test_the_grid_of_a_thousand_classes(side, shown):
    shards = Shards(20_000, 1000, side)
    picture = overview(shards)
    assert shards.reads == 20 * 12
    assert picture.height == 20 * (shown + 2)
    margin = picture.width - 12 * (shown + 2)
    assert 24 <= margin < 250
    pixels = np.asarray(picture)
    for row in range(20):
        for column in (0, 5, 11):
            tile = pixels[row * (shown + 2) + 1, margin + column * (shown + 2) + 1]
            assert tile.tolist() == [row * 50 // 4, row * 50 % 4, column]


def test_a_large_image_is_reduced_by_averaging():
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    shards = Shards(1, 1, 256)
    shards.take = lambda *_, **__: np.repeat(board[None, :, :, None], 3, axis=3).astype(np.uint8)
    tile = np.asarray(overview(shards))[:128, -130:-2]
    assert set(np.unique(tile)) <= {127, 128}


def test_few_images_have_few_columns_and_no_empty_rows():
    shards = Shards(7, 5, 64)
    picture = overview(shards)
    assert picture.height == 5 * 66
    assert picture.width < 24 + 7 * 7 + 3 * 66
    assert overview(Shards(3, 1000, 64)).height == 3 * 66


def test_images_without_a_class_have_no_names():
    named, nameless = (overview(Shards(50, 5, 64), named=named) for named in (True, False))
    text = np.asarray(named)[:, : named.width - 10 * 66]
    none = np.asarray(nameless)[:, : nameless.width - 10 * 66]
    assert (text != 255).any()
    assert (none == 255).all()


def test_the_grid_of_the_folder_is_that_of_its_images(tmp_path):
    make(tmp_path / "s")
    picture = np.asarray(Image.open(tmp_path / "s/grid.png"))
    assert picture.shape[0] == 4 * 52  # images 5 high, ten times enlarged
    row = picture[52 : 52 + 50, picture.shape[1] - 7 * 62 :]  # class b
    for column in range(7):
        tile = row[:, 62 * column : 62 * column + 60]
        assert np.array_equal(tile[::10, ::10], IMAGES[1 + 4 * column])


@pytest.mark.parametrize(("prompts", "shown", "each"), [(400, 40, 1), (15, 15, 2), (3, 3, 13)])
def test_prompts_stand_below_the_images_of_a_folder(prompts, shown, each):
    """Those of evenly spaced prompts, in the order in which they were drawn."""
    shards = Shards(20 * prompts, prompts, 32)
    picture = overview(shards, captioned=True)
    assert shards.reads == shown * each
    assert picture.width == 8 * (128 + BESIDE)  # 32 x 32, four times enlarged
    row = 128 + 2 + CAPTION_LINE + BESIDE
    assert picture.height == -(-shown * each // 8) * row
    for number in range(shown * each):
        down, across = divmod(number, 8)
        left = BESIDE // 2 + across * (128 + BESIDE)
        label, round_ = number // each * prompts // shown, number % each
        assert picture.getpixel((left, down * row)) == (label // 4, label % 4, round_)
        below = np.asarray(picture)[down * row + 128 : (down + 1) * row, left : left + 128]
        assert (below != 255).any()  # the caption
    nameless = overview(shards, named=False, captioned=True)
    assert nameless.size == overview(shards, named=False).size


def test_a_folder_of_prompts_has_such_a_grid(tmp_path):
    assembly = plan(tmp_path / "s", "k", (8, 8), 4)
    images = np.zeros((4, 8, 8, 3), np.uint8)
    fill(assembly, lambda batches, **_: (images[list(some)] for some in batches), 4)
    complete(assembly, labels_in_order(4, 2), ["a one", "a two"], captioned=True)
    wanted = caption_grid(images, ["a one", "a one", "a two", "a two"], columns=4)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "s/grid.png")), np.asarray(wanted))


@pytest.mark.parametrize("side", [8, 64, 200])
def test_captions_keep_to_their_images(side):
    """Letters stay within their image's column, and off the images; five lines at most."""
    captions = ["one", "Zw\u00f6lf blaue Quadrate, cafe", "a word of many " * 90, 200 * "x"]
    images = np.zeros((4, side, side, 3), np.uint8)
    picture = np.asarray(caption_grid(images, captions, columns=2, max_side=100)).min(axis=-1)
    tile = picture.shape[1] // 2 - BESIDE
    columns = picture.reshape(len(picture), 2, tile + BESIDE)
    edge = BESIDE // 2 - 2
    assert (columns[..., :edge] == 255).all()
    assert (columns[..., -edge:] == 255).all()
    tops = [0, len(picture) - (tile + 2 + 5 * CAPTION_LINE + BESIDE)]
    for top in tops:
        pictures = columns[top : top + tile, :, BESIDE // 2 : -BESIDE // 2]
        assert pictures.max() == 0
    for end in (tops[1], len(picture)):
        assert (picture[end - BESIDE : end] == 255).all()


LONG = "a name of very many words, " * 7


@pytest.mark.parametrize("side", [8, 64, 200])
@pytest.mark.parametrize(
    "names",
    [["one"], [*"0123456789"], ["Zw\u00f6lf blaue Quadrate", "cafe\u0301", LONG, 200 * "x"]],
)
def test_names_stand_beside_their_rows_and_break_nothing(names, side):
    """Nothing is drawn beyond the margin, and nothing at its edge, where it would be cut off."""
    images = np.zeros((len(names), side, side, 3), np.uint8)
    headings = [heading(names, label) for label in range(len(names))]
    picture = class_grid(images, np.arange(len(names)), headings, columns=1, max_side=128)
    height = picture.height // len(names)
    margin = picture.width - height
    assert 24 <= margin <= 24 + WIDEST + 7 * 5
    ink = np.asarray(picture)[:, :margin].min(axis=(1, 2)) < 128  # by line of pixels
    for row in range(len(names)):
        inked = np.flatnonzero(ink[row * height : (row + 1) * height])
        assert 0 < inked.min() <= inked.max() < height - 3
    assert np.asarray(picture)[:, :2].min() == 255
    assert np.asarray(picture)[:, margin - 6 : margin].min() == 255


def test_letters_that_no_font_has_are_a_number():
    names = ["caf\u00e9", "\u0441\u0438\u043d\u0438\u0435", "\u9752\u3044", "a \U0001f436"]
    assert [heading(names, n) for n in range(4)] == [*names[:2], "class 2", "class 3"]
