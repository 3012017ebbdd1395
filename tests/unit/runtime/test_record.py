"""A result is what its record says, or its damage is named."""

import json

import pytest

from dimr.runtime.errors import DimrError
from dimr.runtime.record import (
    RECORD,
    compare_files,
    is_there,
    read_record,
    recorded_key,
    seal,
    stand_in,
    verify,
)


@pytest.fixture
def result(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "weights").write_bytes(bytes(range(256)))
    seal(folder, "model", {"key": "k", "seconds": 1.5})
    return folder


def test_a_whole_result_is_passed(result):
    verify(result)
    verify(result, "weights")
    assert recorded_key(result) == "k"
    assert read_record(result)["result"] == "model"
    assert read_record(result)["files"]["weights"]["bytes"] == 256


def test_a_stand_in_is_not_there(result, tmp_path):
    stand_in(tmp_path / "runs/a/model", "model")
    assert not is_there(tmp_path / "runs/a/model")
    assert not is_there(tmp_path / "runs/b/model")
    assert is_there(result)
    (result / RECORD).write_text("damaged")
    assert is_there(result)  # a fault that others name


DAMAGE = {
    "a flipped bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "a zeroed tail": lambda data: data[:-3] + bytes(3),
    "cut": lambda data: data[:-1],
    "grown": lambda data: data + b"x",
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("name", ["config.json", "weights"])
@pytest.mark.parametrize("how", DAMAGE)
def test_damage_names_the_file(result, name, how):
    path = result / name
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    with pytest.raises(DimrError, match=rf"model/{name}: (checksum|damaged)"):
        verify(result, name)
    with pytest.raises(DimrError, match=rf"model/{name}: "):
        verify(result)


def test_other_files_are_not_looked_at(result):
    (result / "weights").write_bytes(b"other")
    verify(result, "config.json")


def test_a_missing_file_is_named(result):
    (result / "weights").unlink()
    with pytest.raises(DimrError, match="model/weights: no such file"):
        verify(result)


def test_a_file_that_the_record_does_not_know_is_not_read(result):
    (result / "added").write_text("x")
    verify(result)
    with pytest.raises(DimrError, match=r"model/added: no file of this result"):
        verify(result, "added")


def test_every_value_of_the_record_is_held_by_its_digest(result):
    path = result / RECORD
    whole = json.loads(path.read_text())
    for key in whole:
        changed = {**whole, key: "other"}
        path.write_text(json.dumps(changed))
        with pytest.raises(DimrError, match=r"record\.json: (changed since|not the record)"):
            verify(result)
    path.write_text("")
    with pytest.raises(DimrError, match=r"record\.json: not readable"):
        verify(result)


def test_what_cannot_be_compared_is_told_once(tmp_path, caplog):
    (tmp_path / "weights").write_text("x")
    for record, reason in ((None, "no record.json"), ('{"key": "k"}', "an older version")):
        if record is not None:
            (tmp_path / RECORD).write_text(record)
        caplog.clear()
        verify(tmp_path)
        verify(tmp_path)
        (told,) = caplog.messages
        assert str(tmp_path) in told
        assert reason in told
        assert "damage to its files cannot be detected" in told


def test_the_first_of_many_is_named(tmp_path):
    for i in range(20):
        (tmp_path / str(i)).write_text(str(i))
    seal(tmp_path, "images", {"key": "k"})
    wanted = {name: one["sha256"] for name, one in read_record(tmp_path)["files"].items()}
    compare_files(tmp_path, wanted)
    (tmp_path / "7").write_text("8")
    with pytest.raises(DimrError, match="/7: checksum"):
        compare_files(tmp_path, wanted)


def test_a_result_has_the_same_record_whenever_it_is_computed(tmp_path):
    """Rules hand it on (contract B): what differs from time to time lies beside it."""
    for name, device in (("a", "cpu"), ("b", "cuda")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("w")
        seal(tmp_path / name, "model", {"key": "k"}, origin={"device": device})
    first, second = ((tmp_path / name / "record.json").read_bytes() for name in "ab")
    assert first == second
    assert read_record(tmp_path / "b")["device"] == "cuda"
    provenance = tmp_path / "b/provenance.json"
    provenance.write_text(provenance.read_text().replace("cuda", "tpu"))
    with pytest.raises(DimrError, match=r"b/provenance\.json: changed since it was written"):
        read_record(tmp_path / "b")
