"""From a store of one's own images to two arrays of centre crops: for training, and held out.

Of each class ``Images.heldout_of`` images are held out. Both arrays cycle through the classes:
image i has label i mod classes while every class has images left; then they cycle through the rest.

Images with captions form one class. Prompts are the first caption of each held-out image, in the
random order of the array.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimr.config.schema import Images
from dimr.data.image_arrays import SPLITS, ImagesManifest, go_round, write_images
from dimr.data.imagenet import ImageStore, verify
from dimr.data.own.captions import PART
from dimr.data.text.image_captions import ImageCaptions
from dimr.runtime.atomic import require_space
from dimr.runtime.errors import DimrError
from dimr.runtime.progress import progress_bar
from dimr.runtime.randomness import numpy_generator
from dimr.runtime.threads import in_threads


def crop_images(source: Path, out: Path, config: Images, key: str) -> ImagesManifest:
    """Write the crops into the existing folder ``out``; return the manifest.

    Few images are in memory at a time.

    Args:
        source: the store; its checksums are compared first.
        out: a folder.
        config: side of the crops, and the split.
        key: of the result.

    Raises:
        DimrError: names what is damaged, an image that cannot be cropped, or a class with a single
            image; also too little disk space, before anything is written.
    """
    verify(source)
    store = ImageStore(source)
    if few := [n for n, count in enumerate(store.manifest.counts) if count < 2]:
        raise DimrError(
            f"{source}: class {store.class_names[few[0]]!r} has one image, and one is held out: "
            "at least two are needed"
        )
    require_space(out, len(store) * 3 * config.image_size**2, "the set of arrays")
    parts = split_classes(store.manifest.counts, config, store.class_names)
    chosen = dict(zip(SPLITS, parts, strict=True))
    captions = store.captions() if store.manifest.captions else None
    labels = store.labels if captions is None else np.zeros(len(store), np.int64)
    with progress_bar(total=len(store), description="crop images", unit="image") as bar:

        def crops(numbers: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
            for _, crop in in_threads(lambda i: store.crop(int(i), config.image_size), numbers):
                bar.update()
                yield crop

        return write_images(
            out,
            {split: crops(numbers) for split, numbers in chosen.items()},
            {split: labels[numbers] for split, numbers in chosen.items()},
            dataset=config.source,
            size=config.image_size,
            class_names=store.class_names if captions is None else [PART],
            split=_in_words(config, captions is not None),
            key=key,
            captions=None if captions is None else _of_splits(captions, chosen),
        )


def _of_splits(
    captions: Sequence[list[str]], chosen: Mapping[str, NDArray[np.int64]]
) -> ImageCaptions:
    """The captions in the order of the arrays."""
    train, heldout = ([captions[number] for number in chosen[split]] for split in SPLITS)
    return ImageCaptions(train, heldout, [some[0] for some in heldout])


def _in_words(config: Images, has_captions: bool) -> str:
    drawn = f"drawn with seed {config.split_seed}"
    if isinstance(config.heldout, str):
        return f"heldout: {config.heldout}, as the set says; train: all others; both orders {drawn}"
    each = "the images" if has_captions else "each class's images"
    rounds = "both orders drawn likewise" if has_captions else "both go round the classes"
    share = f"{config.heldout:g} of {each}, at least one, {drawn}"
    return f"heldout: {share}; train: all others; {rounds}"


def split_classes(
    counts: Sequence[int], config: Images, names: Sequence[str] = ()
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the training images, and of those held out, each in the order of its array.

    Args:
        counts: images per class, two or more; those of class 0 are numbered first, and so on.
        config: the share, and the seed.
        names: of the classes, for sets that themselves hold some out.
    """
    parts: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    for label, (count, end) in enumerate(zip(counts, np.cumsum(counts), strict=True)):
        order = numpy_generator(config.split_seed, "split", label).permutation(count)
        held = config.heldout_of(count, names[label] if names else "")
        for part, some in zip(parts, (order[held:], order[:held]), strict=True):
            part.append(some + (end - count))
    return go_round(parts[0]), go_round(parts[1])
