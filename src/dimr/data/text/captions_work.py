"""Embedding captions shard by shard: an interruption keeps the finished shards."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimr.data.image_arrays import SPLITS
from dimr.data.resumable_shards import ShardWork, note_of
from dimr.data.shards import shard_name
from dimr.data.text.base import BATCH, Cut, TextEncoder, shortened
from dimr.data.text.folder import DTYPE, MASKS, PROMPTS, TEXTS, CaptionsManifest, named_files
from dimr.data.text.image_captions import ImageCaptions
from dimr.models.conditioning import TextCondition
from dimr.runtime.atomic import atomic_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import key_of, save_array, sha256, write_json
from dimr.runtime.progress import progress_bar


@dataclass(frozen=True)
class CaptionsWork(ShardWork):
    """Work on a folder of captions ``out``.

    Args:
        out: as in ``WorkFolder``.
        key: likewise.
        encoder: embeds the texts.
        texts: all distinct ones, the first one empty.
        shard_size: texts in a shard.
    """

    encoder: TextEncoder
    texts: Sequence[str]
    shard_size: int

    @property
    def count(self) -> int:
        """Number of texts."""
        return len(self.texts)

    @property
    def nbytes(self) -> int:
        """Bytes of all tokens."""
        return self.count * self.encoder.tokens * self.encoder.width * DTYPE.itemsize

    def embed(self, batch: int) -> None:
        """Make the missing shards, ``batch`` texts at a time."""
        missing = self.missing()
        left = sum(len(self.samples(number)) for number in missing)
        bar = progress_bar(
            total=self.count, initial=self.count - left, description="captions", unit="text"
        )
        with bar:
            for number in missing:
                self._embed(number, batch, bar.update)

    def finish(self) -> tuple[list[dict[str, object]], NDArray[np.bool_]]:
        """Shards as the manifest lists them, and the masks (N, L) of all; warns of texts cut.

        ``DimrError`` as of ``entries``.
        """
        entries, notes = self.entries()
        masks = [np.load(self._masks(number)) for number in range(self.shards)]
        cut = [note["first_cut"] for note in notes if note["cut"]]
        if cut:
            self.encoder.tell_cut(sum(note["cut"] for note in notes), Cut(**cut[0]), self.count)
        return entries, np.concatenate(masks)

    def _masks(self, number: int) -> Path:
        return self.folder / "masks" / shard_name(number)

    def _embed(self, number: int, batch: int, on_texts: Callable[[int], object]) -> None:
        """Write a shard batch by batch, then its masks, then its note."""
        samples = self.samples(number)
        texts = self.texts[samples.start : samples.stop]
        path, masks, cuts = self.store / shard_name(number), list[NDArray[np.bool_]](), list[Cut]()
        with atomic_file(path) as temporary:
            with open(temporary, "wb") as file:
                shape = (len(texts), self.encoder.tokens, self.encoder.width)
                head = {"descr": DTYPE.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, head)
                for part, condition, cut in self.encoder.encode_parts(texts, batch):
                    file.write(_stored(condition, part).tobytes())
                    masks.append(condition.mask.cpu().numpy())
                    cuts += cut
                    on_texts(len(condition.mask))
            digest = sha256(temporary)
        with atomic_file(self._masks(number)) as temporary:
            save_array(np.concatenate(masks), temporary)
        first = asdict(cuts[0]) if cuts else None
        files = {path: digest, self._masks(number): None}
        self.note(note_of(number), files, cut=len(cuts), first_cut=first)


def write_captions(
    out: Path,
    encoder: TextEncoder,
    captions: ImageCaptions,
    shard_size: int,
    key: str,
    *,
    code: str = "",
    batch: int = BATCH,
    add: Callable[[Path, CaptionsManifest], None] | None = None,
) -> CaptionsManifest:
    """Embed every distinct text once, into a folder that appears when it is complete.

    If it is killed, the next call keeps the shards that were finished.

    Args:
        out: the folder.
        encoder: embeds the texts.
        captions: of the images.
        shard_size: texts in a shard.
        key: identifies what the folder holds.
        code: fingerprint of the code: unfinished work of other code is not mixed in.
        batch: texts at a time; changes speed and memory only.
        add: called with the folder, still hidden, and its manifest, to put more there.

    Raises:
        DimrError: a text that the encoder does not know, or whose tokens are not finite in float16;
            another process makes the same folder.
        DiskFull: no room for the shards.
    """
    texts = list(dict.fromkeys(["", *captions.texts()]))
    of_work = key_of(key, code, encoder.description, texts, shard_size)
    work = CaptionsWork(out, of_work, encoder, texts, shard_size)
    with work.claimed():
        work.require_space()
        work.embed(batch)
        shards, masks = work.finish()
        save_array(masks, work.store / MASKS)
        images, numbers = _write_numbers(work.store, captions, texts)
        manifest = CaptionsManifest.write(
            work.store,
            format="dimr-captions-1",
            count=len(texts),
            tokens=encoder.tokens,
            width=encoder.width,
            images=images,
            numbers=numbers,
            prompts=len(captions.prompts),
            encoder=encoder.description,
            key=key,
            shards=shards,
            files={name: {"sha256": sha256(work.store / name)} for name in sorted(named_files())},
        )
        if add:
            add(work.store, manifest)
        work.place()
    return manifest


def _write_numbers(
    folder: Path, captions: ImageCaptions, texts: Sequence[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """Write the texts and their numbers; return each split's images and captions, counted."""
    number = {text: index for index, text in enumerate(texts)}
    images, numbers = dict[str, int](), dict[str, int]()
    for split in SPLITS:
        of_images: list[list[str]] = getattr(captions, split)
        flat = [number[text] for own in of_images for text in own]
        _save(folder / f"{split}_offsets.npy", [0, *itertools.accumulate(map(len, of_images))])
        _save(folder / f"{split}_numbers.npy", flat)
        images[split], numbers[split] = len(of_images), len(flat)
    _save(folder / PROMPTS, [number[text] for text in captions.prompts])
    write_json(folder / TEXTS, list(texts))
    return images, numbers


def _save(path: Path, numbers: Sequence[int]) -> None:
    save_array(np.asarray(numbers, np.int64), path)


def _stored(condition: TextCondition, texts: Sequence[str]) -> NDArray[np.float16]:
    """Tokens (n, L, D) as float16; ``DimrError`` names the text whose tokens are not finite."""
    tokens = condition.tokens.cpu().numpy()
    with np.errstate(over="ignore"):
        stored: NDArray[np.float16] = tokens.astype(DTYPE)
    finite = np.isfinite(stored).all(axis=(1, 2))
    if not finite.all():
        text = texts[int(finite.argmin())]
        raise DimrError(f"captions: tokens of {shortened(text)!r} are not finite in float16")
    return stored
