"""``dimr train`` looks at its options and places before it trains; previews are small."""

import numpy as np
import pytest
from PIL import Image

from dimr.cli import make_parser
from dimr.runtime.errors import DimrError
from dimr.runtime.record import seal
from dimr.stages.options import check_options
from dimr.training.previews import make_previewer


@pytest.fixture
def options(tmp_path):
    def make(*more):
        given = [
            f"--{name}={tmp_path / place}"
            for name, place in (
                ("config", "train.yaml"), ("data", "latents"), ("out", "run/model"),
                ("log-csv", "run/log.csv"), ("state", "run/state"),
            )
        ]  # fmt: skip
        return make_parser().parse_args(["train", *given, *map(str, more)])

    return make


def test_places_that_are_not_there_yet_are_passed(options, tmp_path):
    check_options(options())
    seal(tmp_path / "run/model", "model", {"key": "k"})  # the result of an earlier training
    check_options(options())


def test_other_people_s_folders_are_not_replaced(options, tmp_path):
    (tmp_path / "run/model").mkdir(parents=True)
    (tmp_path / "run/model/thesis.tex").write_text("years")
    with pytest.raises(DimrError, match=r"run/model: already exists and was not created by dimr"):
        check_options(options())
    with pytest.raises(DimrError, match=r"new/state: lies in .*/new, which would be replaced"):
        check_options(options("--out", tmp_path / "new", "--state", tmp_path / "new/state"))
    for kind in ("samples", "autoencoder", "latents"):
        seal(tmp_path / "other", kind, {"key": "k"})
        with pytest.raises(DimrError, match=rf"other: holds {kind}, and model would be written"):
            check_options(options("--out", tmp_path / "other"))


@pytest.mark.parametrize("name", ["out", "log-csv", "state"])
@pytest.mark.parametrize("place", ["/proc/nothing/x", "/dev/null/x"])
def test_a_place_that_cannot_be_written_is_named_at_the_start(options, name, place):
    with pytest.raises(DimrError, match=rf"--{name} {place}: (cannot be written|.* is a file)"):
        check_options(options(f"--{name}", place))


def test_a_log_that_is_a_folder_is_refused(options, tmp_path):
    with pytest.raises(DimrError, match=r"--log-csv .*: is a folder"):
        check_options(options("--log-csv", tmp_path))


@pytest.mark.parametrize("option", ["--stop-after", "--preview-every"])
def test_times_are_numbers_that_come(options, option, capsys):
    name = option[2:].replace("-", "_")
    assert getattr(options(option, "0"), name) == 0
    assert getattr(options(option, "inf"), name) == float("inf")
    for text in ("-5", "nan", "soon", "-inf"):
        with pytest.raises(SystemExit):
            options(f"{option}={text}")
        assert f"argument {option}: '{text}' is no" in capsys.readouterr().err


def test_a_preview_shows_ten_classes_of_a_thousand(config, tmp_path, monkeypatch):
    """Of ImageNet's all, other GPUs would wait for minutes."""
    drawn = []

    def generate(*_, indices, **__):
        drawn.extend(indices)
        yield np.zeros((len(indices), 8, 8, 3), np.uint8)

    monkeypatch.setattr("dimr.sampling.generate.generate", generate)
    monkeypatch.setattr("dimr.data.autoencoder.load_decoder", lambda *_: None)
    settings = config()
    network = settings.network.model_copy(update={"num_classes": 1000})
    settings = settings.model_copy(update={"network": network})
    make_previewer(settings, tmp_path, tmp_path, "cpu")(7, None)
    assert sorted(number % 1000 for number in drawn) == sorted([*range(10)] * 6)
    with Image.open(tmp_path / "step-000000007.png") as picture:
        assert picture.height < 700
