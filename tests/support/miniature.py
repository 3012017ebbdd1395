"""A miniature ImageNet: generated images in each form that the real set is published in.

Classes have real WordNet ids. As in the real set, sizes vary, some images are grey, one is CMYK and
one is a PNG named .JPEG; some are much wider or taller than others, or smaller than a crop.
"""

import gzip
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.io import savemat

WNIDS = ("n01440764", "n02123045", "n02980441", "n03792782", "n04285008", "n07753592")
WORDS = ("tench", "tabby, tabby cat", "castle", "mountain bike, all-terrain bike", "sports car",
         "banana")  # fmt: skip
SIZES = ((96, 72), (75, 90), (160, 48), (40, 30), (48, 170), (130, 97))

ARCHIVE = "ILSVRC2012_img_train.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"


@dataclass(frozen=True)
class Miniature:
    """The images: ``files[wnid][name]`` are their bytes, sorted."""

    files: dict[str, dict[str, bytes]]

    @property
    def wnids(self) -> list[str]:
        return list(self.files)

    @property
    def count(self) -> int:
        return sum(map(len, self.files.values()))

    def section(self, **changes: Any) -> dict[str, Any]:
        """What sources.yaml would say about it."""
        size = sum(len(data) for _, _, data in self.images())
        section = {"classes": len(self.files), "images": self.count, "gigabytes": size / 1e9}
        return {**section, "repo": "who/miniature", **changes}

    def images(self) -> Iterator[tuple[int, str, bytes]]:
        """Label, name and bytes of every image, in the order of a store."""
        for label, files in enumerate(self.files.values()):
            for name, data in files.items():
                yield label, name, data

    def class_folders(self, folder: Path) -> Path:
        """Write one folder per class."""
        for wnid, files in self.files.items():
            (folder / wnid).mkdir(parents=True)
            for name, data in files.items():
                (folder / wnid / name).write_bytes(data)
        return folder

    def archive(self, folder: Path, **words: Any) -> Path:
        """Write the tar of tars and, beside it, the devkit; return the archive's path.

        ``words`` are passed on to ``write_devkit``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        inner = {f"{wnid}.tar": tar_of(files) for wnid, files in self.files.items()}
        (folder / ARCHIVE).write_bytes(tar_of(inner))
        self.write_devkit(folder / DEVKIT, **words)
        return folder / ARCHIVE

    def write_devkit(
        self,
        path: Path,
        counts: dict[str, int] | None = None,
        table: str = "ILSVRC2012_devkit_t12/data/meta.mat",
    ) -> None:
        """Write the devkit with its table of synsets, whose classes are not sorted."""
        synsets = np.empty((len(self.files) + 1, 1), _SYNSET)
        for row, (wnid, files) in enumerate(reversed(self.files.items())):
            words = WORDS[WNIDS.index(wnid)]
            number = (counts or {}).get(wnid, len(files))
            synsets[row, 0] = _synset(row + 1, wnid, words, np.zeros((1, 0), np.uint8), number)
        children = np.arange(1, len(self.files) + 1, dtype=np.uint16)[None]
        synsets[-1, 0] = _synset(len(self.files) + 1, "n00001740", "entity", children, 0)
        content = io.BytesIO()
        savemat(content, {"synsets": synsets})
        readme = f"{table.split('/')[0]}/readme.txt"
        packed = tar_of({readme: b"Development kit\n", table: content.getvalue()})
        path.write_bytes(gzip.compress(packed, mtime=0))

    def md5(self, folder: Path) -> dict[str, str]:
        """MD5 of archive and devkit in ``folder``."""
        return {name: md5((folder / name).read_bytes()).hexdigest() for name in (ARCHIVE, DEVKIT)}

    def shards(self, folder: Path, number: int = 2, paths: str = "repeated") -> Path:
        """Write shuffled parquet shards.

        ``paths``: ``repeated`` (n01440764_1_n01440764.JPEG), ``official`` (n01440764_1.JPEG), or
        ``none`` (null).
        """
        folder.mkdir(parents=True, exist_ok=True)
        rows = list(self.images())
        order = np.random.default_rng(0).permutation(len(rows))
        for shard, chosen in enumerate(np.array_split(order, number)):
            images = []
            for row in chosen:
                _, name, data = rows[row]
                stem, suffix = name.rsplit(".", 1)
                path = {
                    "repeated": f"{stem}_{name[:9]}.{suffix}", "official": name, "none": None,
                }[paths]  # fmt: skip
                images.append({"bytes": data, "path": path})
            labels = [rows[row][0] for row in chosen]
            write_parquet(folder / f"train-{shard:05d}-of-{number:05d}.parquet", images, labels)
        return folder


def make_miniature(classes: int = 3, per_class: int = 6) -> Miniature:
    """Images from a fixed seed; each class has its own colour."""
    generator = np.random.default_rng(0)
    files: dict[str, dict[str, bytes]] = {}
    for label, wnid in enumerate(WNIDS[:classes]):
        made = {}
        for number in range(per_class):
            image = _image(generator, SIZES[(label + number) % len(SIZES)], label)
            if number == 1:
                image = image.convert("L")
            if (label, number) == (0, 2):
                image = image.convert("CMYK")
            kind = "PNG" if (label, number) == (0, 3) else "JPEG"
            made[f"{wnid}_{int(generator.integers(10, 99999))}.JPEG"] = encoded(image, kind)
        files[wnid] = dict(sorted(made.items()))
    return Miniature(files)


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    """The bytes of an image's file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def tar_of(files: dict[str, bytes]) -> bytes:
    """An uncompressed tar with times and owners, as people make them; unsorted."""
    return tar_with([(_member(name), data) for name, data in reversed(files.items())])


def tar_with(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A tar of any members."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def write_parquet(path: Path, images: list[dict[str, Any]], labels: list[Any]) -> None:
    """One shard, with columns like those of the hub's datasets, in several row groups."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "label": pa.array(labels, pa.int64())})
    pq.write_table(table, path, row_group_size=4)


def _image(generator: np.random.Generator, size: tuple[int, int], label: int) -> Image.Image:
    """Soft blobs in a class's colour."""
    coarse = generator.uniform(0, 255, (5, 5, 3))
    coarse[..., label % 3] = 0.5 * coarse[..., label % 3] + 127
    return Image.fromarray(coarse.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)


_SYNSET = [
    (name, object)
    for name in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children",
                 "wordnet_height", "num_train_images")
]  # fmt: skip


def _synset(number: int, wnid: str, words: str, children: np.ndarray, images: int) -> tuple:
    counts = [np.array([[n]], np.uint16) for n in (number, children.size, 0, images)]
    return counts[0], wnid, words, "a gloss", counts[1], children, counts[2], counts[3]


def _member(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mtime, info.uid, info.uname = 1_300_000_000, 1000, "someone"
    return info


def random_autoencoder(folder: Path, size: int) -> str:
    """Write a three-level autoencoder with random weights in diffusers' format; its place."""
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    AutoencoderKL(
        block_out_channels=(8, 8, 8), layers_per_block=1, norm_num_groups=4, sample_size=size,
        down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3,
    ).save_pretrained(folder)  # fmt: skip
    return str(folder)
