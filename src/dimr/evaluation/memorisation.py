"""Does a model copy its training images? Nearest neighbours of generated and unseen real images."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dimr.evaluation.image_sets import ImageSet, as_image_set
from dimr.runtime.errors import DimrError

CHUNK = 4096  # images at a time
LARGEST = 64
"""Most pixels per side that are compared: larger images are averaged over squares. That takes half
a minute for 10,000 images and as many training images; at 256 pixels it would be ten."""


def nearest_distances(
    queries: ImageSet | np.ndarray, training: ImageSet | np.ndarray
) -> NDArray[np.float64]:
    """Distance of each query to the nearest training image, float64 (N,) in [0, 1].

    The distance of two images is the root mean square difference of their values, all pixels and
    channels, where black and white differ by 1. Images of more than 64 pixels are first reduced, to
    integer values again. The result is exact: the squared distances are sums of integers below
    2^53, so a copy is at 0.0 and the chunks do not matter.

    Args:
        queries: uint8 (N, H, W, 3).
        training: uint8 (M, H, W, 3).
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    training, queries = (
        as_image_set(training, "training images"),
        as_image_set(queries, "query images"),
    )
    if queries.shape[1:] != training.shape[1:]:
        raise DimrError(
            f"query images: {queries.shape[1:]} each; the training images are {training.shape[1:]}"
        )
    wanted = np.concatenate(list(_compared(queries)))
    values = wanted.shape[1]
    nearest = np.full(len(wanted), np.inf)
    for part in _compared(training):
        right = part.astype(np.float32)  # multiplied as float64
        for start in range(0, len(wanted), CHUNK):
            left = wanted[start : start + CHUNK].astype(np.float32)
            _, squared = pairwise_distances_argmin_min(left, right, metric="sqeuclidean")
            ours = nearest[start : start + CHUNK]
            np.minimum(ours, squared, out=ours)
    return np.sqrt(nearest / values) / 255


def compared_size(size: int) -> int:
    """Side in pixels at which images of side ``size`` are compared: whole squares are averaged."""
    return size // -(-size // LARGEST)


def _compared(images: ImageSet) -> Iterator[NDArray[np.uint8]]:
    """Values (n, V) uint8 of the images in order, at most ``CHUNK`` of them."""
    height, width = images.shape[1:3]
    square = -(-max(height, width) // LARGEST)
    kept = [side // square for side in (height, width)]
    for batch in images.batches(max(1, CHUNK // square**2)):
        if square == 1:
            yield np.array(batch).reshape(len(batch), -1)
            continue
        cut = batch[:, : kept[0] * square, : kept[1] * square]
        squares = cut.reshape(len(batch), kept[0], square, kept[1], square, 3)
        yield np.rint(squares.mean((2, 4))).astype(np.uint8).reshape(len(batch), -1)


def memorisation(
    images: ImageSet | np.ndarray, training: ImageSet | np.ndarray, heldout: ImageSet | np.ndarray
) -> dict[str, float]:
    """How near generated images are to the training images, compared with real ones (no copies).

    Args:
        images: generated, uint8 (N, H, W, 3).
        training: what the model was trained on, uint8 (M, H, W, 3).
        heldout: real images that it was not trained on, uint8 (K, H, W, 3).

    Returns:
        ``nearest_distance`` and ``heldout_nearest_distance``: the median over images of
        ``nearest_distances``; ``nearest_ratio``: the first over the second, about 1 for new images
        and 0 for copies; ``near_copy_share``: the share of generated images strictly nearer than
        the 1st percentile of the held-out distances, about 0.01 for new images and 1 for copies.

    Raises:
        DimrError: wrong images, or held-out images most of which are training images.
    """
    own = nearest_distances(images, training)
    unseen = nearest_distances(heldout, training)
    if np.median(unseen) == 0:
        raise DimrError(
            "held-out images: at least half are training images too; expected unseen ones: leave "
            "out files that are in the set twice"
        )
    return {
        "nearest_distance": float(np.median(own)),
        "heldout_nearest_distance": float(np.median(unseen)),
        "nearest_ratio": float(np.median(own) / np.median(unseen)),
        "near_copy_share": float(np.mean(own < np.percentile(unseen, 1))),
    }
