"""Who is shown which images, and in which order."""

import itertools

import pytest

from dimr.human_study.assignment import hand_out, orders


@pytest.mark.parametrize(("images", "raters"), [(40, 5), (37, 7), (3, 12), (200, 25), (0, 6)])
def test_each_image_goes_to_five_raters_and_all_see_as_many(images, raters):
    given = hand_out(images, raters, 5, seed=0)
    assert len(given) == images
    assert all(len(set(to)) == 5 and to == sorted(to) and to[-1] < raters for to in given)
    loads = [sum(rater in to for to in given) for rater in range(raters)]
    assert sum(loads) == 5 * images
    assert max(loads) - min(loads) <= 1


def test_who_is_shown_an_image_does_not_depend_on_later_ones():
    given = hand_out(50, 12, 5, seed=3)
    assert hand_out(20, 12, 5, seed=3) == given[:20]
    assert hand_out(50, 12, 5, seed=4) != given
    assert hand_out(50, 12, 5, seed=3, purpose="another model") != given
    # raters are mixed, not in fixed groups: of 12, any two share an image
    pairs = {pair for to in hand_out(200, 12, 5, seed=0) for pair in itertools.combinations(to, 2)}
    assert len(pairs) == 12 * 11 / 2


def test_every_rater_has_an_order_of_their_own():
    given = hand_out(30, 6, 5, seed=0)
    shown = orders(given, 6, seed=0)
    for rater, images in enumerate(shown):
        assert sorted(images) == [n for n, to in enumerate(given) if rater in to]
        assert images != sorted(images)
    everything = orders(hand_out(30, 5, 5, seed=0), 5, seed=0)
    assert len({tuple(images) for images in everything}) == 5
    assert orders(given, 6, seed=0) == shown != orders(given, 6, seed=1)
