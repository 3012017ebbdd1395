"""Who is shown what: each image goes to the same number of raters, each with their own order."""

import numpy as np

from dimr.runtime.randomness import numpy_generator


def hand_out(
    images: int, raters: int, per_image: int, seed: int, purpose: str = "raters"
) -> list[list[int]]:
    """The raters of each image.

    An image goes to those who have the fewest so far, at random among equals: the raters' numbers
    of images differ by at most one. Who gets an image does not depend on later ones.

    Args:
        images: how many images of one model, so that each rater sees an equal share of every one.
        raters: how many people, numbered from 0.
        per_image: how many of them for each image; at most ``raters``.
        seed: of the draw.
        purpose: of the draw: another purpose gives another draw.

    Returns:
        For each image ``per_image`` numbers, ascending.
    """
    random = numpy_generator(seed, purpose)
    loads = np.zeros(raters, np.int64)
    given = []
    for _ in range(images):
        chosen = np.lexsort((random.random(raters), loads))[:per_image]
        loads[chosen] += 1
        given.append(sorted(chosen.tolist()))
    return given


def orders(given: list[list[int]], raters: int, seed: int) -> list[list[int]]:
    """For each rater, the indices of the images that are shown, in random order.

    Args:
        given: the raters of each image, of all models.
        raters: how many there are.
        seed: of the orders.
    """
    shown = [[image for image, to in enumerate(given) if rater in to] for rater in range(raters)]
    return [
        numpy_generator(seed, "order of a rater", rater).permutation(images).tolist()
        for rater, images in enumerate(shown)
    ]
