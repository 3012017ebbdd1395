"""What is said before the workflow trains."""

import json
from statistics import fmean

import pytest

from dimr.config.project import PROJECT, ROOT
from dimr.planning.announcement import announcement, seconds_per_image


def test_trainings_are_announced_in_one_line():
    names = [f"digits/dimr-xs-2r/{seed}" for seed in range(5)]
    said = announcement(names, PROJECT)
    assert said.startswith(
        "this will train 5 networks (digits/dimr-xs-2r/0, digits/dimr-xs-2r/1, "
        "digits/dimr-xs-2r/2 and 2 more), about "
    )
    assert "of one core: Ctrl-C to stop; dimr plan TARGET" in said
    assert "\n" not in said


def test_the_time_is_scaled_from_the_studys(tmp_path):
    rate = seconds_per_image(ROOT / "results/digits/study.json")
    facts = json.loads((ROOT / "results/digits/study.json").read_text())
    times, trains = facts["times"]["train"], [one["train"] for one in facts["datasets"].values()]
    images = fmean(train["steps"] * train["batch"] for train in trains)
    assert rate == pytest.approx(times["seconds"] / times["jobs"] / images)
    train = PROJECT.recipe("digits").train
    names, minutes = ["digits/dimr-xs-2r/0"] * 5, 5 * train.steps * train.batch * rate / 60
    assert f"about {minutes:.0f} min of one core" in announcement(names, PROJECT)
    assert seconds_per_image(tmp_path / "study.json") is None


def test_no_time_is_made_up():
    said = announcement(["imagenet256/dimr-xl-2r/0"], PROJECT)
    assert said == (
        "this will train 1 network (imagenet256/dimr-xl-2r/0): Ctrl-C to stop; dimr plan TARGET "
        "for the cost in detail"
    )
