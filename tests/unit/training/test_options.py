"""``dimr train`` checks its options and places before it trains."""

import pytest

from dimr.cli import make_parser
from dimr.runtime.errors import DimrError
from dimr.runtime.record import seal
from dimr.stages.options import check_options
from dimr.stages.train import engine_of
from dimr.training import Engine


@pytest.fixture
def options(tmp_path):
    def make(*more):
        places = {
            "config": "train.yaml", "data": "latents", "out": "run/model",
            "log-csv": "run/log.csv", "state": "run/state",
        }  # fmt: skip
        given = [f"--{name}={tmp_path / place}" for name, place in places.items()]
        return make_parser().parse_args(["train", *given, *map(str, more)])

    return make


def test_outputs_replace_only_their_own_kind(options, tmp_path):
    check_options(options())
    seal(tmp_path / "run/model", "model", {"key": "k"})  # the result of an earlier training
    check_options(options())
    (tmp_path / "run/model/thesis.tex").write_text("years")
    (tmp_path / "run/model/record.json").unlink()
    seal(tmp_path / "other", "samples", {"key": "k"})
    for more, message in (
        ((), r"run/model: already exists and was not created by dimr"),
        (("--out", tmp_path / "other"), "other: holds samples, and model would be written"),
        (
            ("--out", tmp_path / "new", "--state", tmp_path / "new/state"),
            r"new/state: lies in .*/new, which would be replaced",
        ),
        (("--out", tmp_path / "new", "--log-csv", tmp_path), r"--log-csv .*: is a folder"),
    ):
        with pytest.raises(DimrError, match=message):
            check_options(options(*more))
    for name in ("out", "log-csv", "state"):
        with pytest.raises(DimrError, match=f"--{name} /proc/nothing/x: cannot be written"):
            check_options(options("--out", tmp_path / "empty", f"--{name}=/proc/nothing/x"))


@pytest.mark.parametrize("option", ["--stop-after", "--preview-every"])
def test_times_are_numbers_that_come(options, option, capsys):
    name = option[2:].replace("-", "_")
    assert getattr(options(option, "0"), name) == 0
    assert getattr(options(option, "inf"), name) == float("inf")
    for text in ("-5", "nan", "soon", "-inf"):
        with pytest.raises(SystemExit):
            options(f"{option}={text}")
        assert f"argument {option}: '{text}' is no" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "engine"),
    [
        ("", Engine()),
        ("--plain", Engine.plain()),
        (
            "--no-compile --accumulate 4 --checkpointing block",
            Engine(compile=False, accumulate=4, checkpointing="block"),
        ),
        (
            "--plain --checkpointing none --sharding full",
            Engine(False, "none", fused=False, prefetch=False, sharding="full"),
        ),
    ],
)
def test_options_make_the_engine(options, words, engine):
    assert engine_of(options(*words.split())) == engine
