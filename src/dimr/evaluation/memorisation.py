"""Does a model copy its training images? Nearest neighbours of generated and unseen real images."""

import numpy as np

from dimr.evaluation.image_sets import check_images
from dimr.runtime.errors import DimrError

CHUNK = 4096  # training images at a time


def nearest_distances(queries: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Distance of each query to the nearest training image, float64 (N,) in [0, 1].

    The distance of two images is the root mean square difference of their values, all pixels and
    channels, with 1 for the difference of black and white. Exact: the squared distances are sums
    of integers below 2^53, so a copy is at 0.0 and the chunks do not matter.

    Args:
        queries: uint8 (N, H, W, 3).
        training: uint8 (M, H, W, 3).
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    check_images(training, "training images")
    check_images(queries, "query images")
    if queries.shape[1:] != training.shape[1:]:
        raise DimrError(
            f"query images: {queries.shape[1:]} each; the training images are {training.shape[1:]}"
        )
    values = int(np.prod(training.shape[1:]))
    left = queries.reshape(len(queries), values).astype(np.float32)  # multiplied as float64
    nearest = np.full(len(queries), np.inf)
    for start in range(0, len(training), CHUNK):
        right = training[start : start + CHUNK].reshape(-1, values).astype(np.float32)
        _, squared = pairwise_distances_argmin_min(left, right, metric="sqeuclidean")
        nearest = np.minimum(nearest, squared)
    return np.sqrt(nearest / values) / 255


def memorisation(images: np.ndarray, training: np.ndarray, heldout: np.ndarray) -> dict[str, float]:
    """How near generated images lie to the training images, next to real images that are no copies.

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
        raise DimrError("held-out images: at least half are training images; expected unseen ones")
    return {
        "nearest_distance": float(np.median(own)),
        "heldout_nearest_distance": float(np.median(unseen)),
        "nearest_ratio": float(np.median(own) / np.median(unseen)),
        "near_copy_share": float(np.mean(own < np.percentile(unseen, 1))),
    }
