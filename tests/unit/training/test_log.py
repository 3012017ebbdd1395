"""``log.csv`` that was cut, damaged or lost does not end a training; one that cannot be written is
one line."""

import csv
import os

import pytest

from dimr.runtime.errors import DimrError, SaveFailed
from dimr.runtime.output_kinds import LARGEST
from dimr.runtime.outputs import claim
from dimr.training.export import read_log
from dimr.training.log import Log

LINE = {"step": 21, "loss": 0.3}


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "log.csv")


def lines(log):
    with open(log.path) as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("step,loss\n7,0.5\n14,0.4\n21", [["7", "0.5"], ["14", "0.4"]]),
        ("step,loss\n7,0.5\n14,0.", [["7", "0.5"]]),  # as many columns, and yet cut off
        (f"step,loss\n7,0.5\n{'9' * 5000},0.4\n\u0669,0.4\n", [["7", "0.5"]]),
        ("step,loss\n7,0.5\nabc,0.4\n\n14,0.4\n", [["7", "0.5"], ["14", "0.4"]]),
        ("step,loss\n", []),
        ("step,lo", None),  # a full disk as it was begun
        ("", None),
    ],
)
def test_what_was_cut_off_is_dropped(content, kept, log):
    log.path.write_text(content)
    log.trim(20)
    assert log.path.exists() == (kept is not None)
    log.append(LINE)
    assert lines(log) == [["step", "loss"], *(kept or []), ["21", "0.3"]]


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00\x01\n", b"\0" * 99 + b"\n", b"7,0.5\n", b"step,a\n7,1\n", "folder", "pipe"],
)
def test_what_is_no_log_is_set_aside(content, log, caplog):
    if isinstance(content, str):
        {"folder": os.mkdir, "pipe": os.mkfifo}[content](log.path)
    else:
        log.path.write_bytes(content)
    log.trim(20)
    aside = log.path.with_name("log.csv.damaged")
    assert aside.exists() if isinstance(content, str) else aside.read_bytes() == content
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{log.path}: damaged (")
    log.append(LINE)
    assert lines(log) == [["step", "loss"], ["21", "0.3"]]


def test_columns_of_newer_code_are_added(log):
    log.path.write_text("step,loss\n7,0.5\n14,0.4\n")
    log.trim(20)
    log.append(LINE | {"memory": 5})
    assert log.path.read_text().split() == ["step,loss,memory", "7,0.5,", "14,0.4,", "21,0.3,5"]


def test_a_full_disk_names_the_log(log):
    log.append(LINE)
    log.path.unlink()
    log.path.symlink_to("/dev/full")
    with pytest.raises(SaveFailed, match=r"log\.csv: could not be written \(No space left on dev"):
        log.append(LINE)


def test_a_log_that_was_lost_after_the_end_does_not_hold_the_model_back(log, caplog):
    text = read_log(log.path)
    assert text.split() == [b"step"]
    assert f"{log.path}: no such file" in caplog.text
    log.path.write_bytes(text)  # and the next start may write there again
    claim(log.path, "training log")


def test_a_log_of_any_length_is_ours(log):
    log.append(LINE)
    os.truncate(log.path, LARGEST + 1)
    claim(log.path, "training log")
    log.path.write_text("step,height\n1,2\n")
    with pytest.raises(DimrError, match="not created by dimr as training log"):
        claim(log.path, "training log")
