import numpy as np
import pytest

from dimr.evaluation.image_sets import ArrayImages, NpzImages
from dimr.evaluation.memorisation import CHUNK, memorisation, nearest_distances
from dimr.runtime.errors import DimrError


def noise(count, seed, size=6):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def brute_force(queries, training):
    return np.array(
        [min(np.sqrt(np.mean(((q / 255.0) - (t / 255.0)) ** 2)) for t in training) for q in queries]
    )


def test_distances_are_those_of_the_definition():
    queries, training = noise(23, 0), noise(31, 1)
    np.testing.assert_allclose(
        nearest_distances(queries, training), brute_force(queries, training), rtol=1e-12
    )


def test_chunks_of_training_images_do_not_matter():
    queries, training = noise(20, 3, size=2), noise(CHUNK + 500, 4, size=2)
    nearest = nearest_distances(queries, training)
    parts = [nearest_distances(queries, training[start::7]) for start in range(7)]
    assert np.array_equal(nearest, np.min(parts, axis=0))


def test_black_and_white_are_at_distance_one():
    black, white = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)
    assert nearest_distances(white, black) == pytest.approx([1.0], abs=0)


def test_one_changed_value_has_its_closed_form():
    training = noise(5, 2)
    training[3, 1, 2, 0] = 100
    query = training[3:4].copy()
    query[0, 1, 2, 0] = 151  # 51 / 255 = 0.2 in one of 108 values
    assert nearest_distances(query, training)[0] == pytest.approx(0.2 / np.sqrt(108), rel=1e-14)


def test_copies_are_at_zero_and_share_one():
    training, heldout = noise(40, 5), noise(30, 6)
    found = memorisation(training[10:25], training, heldout)
    assert found["nearest_distance"] == 0.0
    assert found["nearest_ratio"] == 0.0
    assert found["near_copy_share"] == 1.0
    assert found["heldout_nearest_distance"] == pytest.approx(
        np.median(brute_force(heldout, training)), rel=1e-12
    )


def test_unseen_images_have_ratio_near_one():
    training = noise(50, 7)
    found = memorisation(noise(200, 8), training, noise(200, 9))
    assert found["nearest_ratio"] == pytest.approx(1, abs=0.02)
    assert found["near_copy_share"] < 0.05


def test_planted_copies_are_counted():
    training, new = noise(50, 10), noise(36, 11)
    found = memorisation(np.concatenate([new, training[:12]]), training, new)
    assert found["near_copy_share"] == pytest.approx(12 / 48 + 1 / 48)  # the 1st percentile's own
    assert found["nearest_ratio"] < 1.0


@pytest.mark.parametrize(("level", "share"), [(99, 1.0), (100, 0.0), (101, 0.0)])
def test_near_copies_are_strictly_nearer_than_unseen_images(level, share):
    black = np.zeros((5, 4, 4, 3), np.uint8)
    found = memorisation(black + np.uint8(level), black, black + np.uint8(100))
    assert found["near_copy_share"] == share
    assert found["nearest_ratio"] == pytest.approx(level / 100)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DimrError, match="query images"):
        nearest_distances(noise(2, 0, size=5), noise(2, 0))
    with pytest.raises(DimrError, match="query images: images are float64"):
        nearest_distances(noise(2, 0) / 255, noise(2, 0))
    with pytest.raises(DimrError, match="held-out images"):
        memorisation(noise(3, 1), noise(9, 2), noise(9, 2))


def test_large_images_are_compared_as_averages_of_squares():
    """Of 130 pixels squares of 3 are averaged: 43 of a side; the last pixel is left out."""
    queries, training = noise(5, 20, size=130), noise(7, 21, size=130)
    training[:, :129, :129] //= 2

    def small(images):
        cut = images[:, :129, :129].astype(float).reshape(-1, 43, 3, 43, 3, 3)
        return np.rint(cut.mean((2, 4)))

    wanted = brute_force(small(queries), small(training))
    np.testing.assert_allclose(nearest_distances(queries, training), wanted, rtol=1e-12)
    assert (nearest_distances(training[2:4], training) == 0).all()


def test_sets_are_compared_piece_by_piece(tmp_path):
    """Neither the images nor their float values are in memory together."""
    images, training = noise(40, 22, size=70), noise(50, 23, size=70)
    np.savez(tmp_path / "images.npz", images)
    arrays = ArrayImages("training", [training[:20], training[20:]])
    found = nearest_distances(NpzImages(tmp_path / "images.npz"), arrays)
    assert np.array_equal(found, nearest_distances(images, training))
