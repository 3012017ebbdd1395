"""Checkpoints on disk: parts of tensors, sums, what is kept, what is refused; a full disk."""

import json
import os
import pickle
import threading

import pytest
import torch
from safetensors.torch import load_file

from dimr.runtime.errors import DimrError, SaveFailed
from dimr.runtime.files import sha256
from dimr.training.checkpoint import Checkpoints, _sum
from dimr.training.distributed import World
from dimr.training.saving import Saver
from dimr.training.tensors import open_pieces, write_tensors

from .conftest import log_of, same, weights_of

ALONE = World(torch.device("cpu"))


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def save(checkpoints, step, **tensors):
    saver = Saver(checkpoints, ALONE)
    saver.begin(step, tensors or {"a": torch.full((3,), float(step))}, {"n": step})
    saver.commit()
    saver.close()


def read(saved, name="a"):
    with open_pieces(saved.parts) as pieces:
        target = torch.empty(pieces.shapes[name])
        pieces.read(name, target, None)
    return target


def test_files_are_safetensors_and_the_sum_is_theirs(tmp_path):
    tensors = {
        "matrix": torch.randn(3, 4), "transposed": torch.randn(4, 3).t(),
        "scalar": torch.tensor(7.0), "count": torch.tensor([2**40]),
        "half": torch.randn(5).bfloat16(), "none": torch.zeros(0, 2),
    }  # fmt: skip
    total = write_tensors(tmp_path / "t.safetensors", tensors)
    assert total == sha256(tmp_path / "t.safetensors")
    loaded = load_file(tmp_path / "t.safetensors")
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_any_rows_are_read_from_any_number_of_parts(tmp_path):
    whole = torch.randn(10, 3)
    files = []
    for i, rows in enumerate((slice(0, 4), slice(4, 8), slice(8, 10))):
        files.append(tmp_path / f"{i}.safetensors")
        write_tensors(
            files[-1], {"w": whole[rows]} | ({"step": torch.tensor(5.0)} if i == 0 else {})
        )
    with open_pieces(files) as pieces:
        assert pieces.shapes == {"w": (10, 3), "step": ()}
        for start, stop in ((0, 10), (3, 9), (4, 8), (9, 10), (10, 10)):
            target = torch.empty(stop - start, 3)
            pieces.read("w", target, slice(start, stop))
            assert torch.equal(target, whole[start:stop])
        step = torch.zeros(())
        pieces.read("step", step, None)
        assert step == 5


def test_the_newest_two_are_kept(checkpoints):
    for step in (5, 10, 15, 20):
        save(checkpoints, step)
    assert [folder.name for folder in checkpoints.folders()] == ["step-000000015", "step-000000020"]
    saved = checkpoints.newest(ALONE)
    assert (saved.step, saved.facts) == (20, {"n": 20})
    assert torch.equal(read(saved), torch.full((3,), 20.0))


@pytest.mark.parametrize("file", ["part-0000.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "remove", "pipe"])
def test_a_damaged_newest_is_passed_over_and_outlived(checkpoints, caplog, file, damage):
    save(checkpoints, 5)
    save(checkpoints, 10)
    path = checkpoints.folder / "step-000000010" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    content = {"flip": bytes(data), "cut": bytes(data[: len(data) // 2]), "empty": b""}
    path.unlink()
    if damage == "pipe":
        os.mkfifo(path)
    elif damage != "remove":
        path.write_bytes(content[damage])
    assert checkpoints.newest(ALONE).step == 5
    assert "step-000000010" in caplog.text
    assert "trying the one before" in caplog.text
    save(checkpoints, 7)  # the next one that is whole: the damaged one goes, not the one before
    assert [folder.name for folder in checkpoints.folders()] == ["step-000000005", "step-000000007"]


def test_a_checkpoint_under_another_step_s_name_is_damaged(checkpoints):
    save(checkpoints, 5)
    (checkpoints.folder / "step-000000005").rename(checkpoints.folder / "step-000000007")
    with pytest.raises(DimrError, match=r"step-000000007: damaged checkpoint \(it is of step 5\)"):
        checkpoints.newest(ALONE)


def test_what_a_killed_process_left_is_removed(checkpoints):
    save(checkpoints, 5)
    checkpoints.write_part(10, 0, {"a": torch.zeros(3)})  # and killed before it was complete
    assert checkpoints.newest(ALONE).step == 5
    checkpoints.clean()
    assert [entry.name for entry in checkpoints.folder.iterdir()] == ["step-000000005"]


def test_a_pickle_with_code_is_not_run(checkpoints, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/owned",))

    save(checkpoints, 1)
    saved = checkpoints.newest(ALONE)
    saved.parts[0].write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DimrError, match=r"part-0000\.safetensors: not readable as safetensors"):
        read(saved)
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_another_format_is_named(checkpoints):
    save(checkpoints, 5)
    path = checkpoints.folder / "step-000000005/manifest.json"
    content = json.loads(path.read_text())["content"] | {"format": 99}
    path.write_text(json.dumps({"sha256": _sum(content), "content": content}))
    with pytest.raises(DimrError, match="of format 99; this code reads 1; no whole one is left"):
        checkpoints.newest(ALONE)


def test_training_goes_on_while_the_state_of_its_beginning_is_written(checkpoints, monkeypatch):
    gate, write = threading.Event(), checkpoints.write_part
    monkeypatch.setattr(checkpoints, "write_part", lambda *a: gate.wait(10) and write(*a))
    saver, weights = Saver(checkpoints, ALONE), torch.ones(3)
    saver.begin(1, {"a": weights}, {})
    assert saver.writing
    weights += 1  # the next step
    assert checkpoints.folders() == []
    gate.set()
    saver.commit()
    saver.close()
    assert torch.equal(read(checkpoints.newest(ALONE)), torch.ones(3))


def test_the_copies_in_memory_are_used_again(checkpoints):
    saver, weights = Saver(checkpoints, ALONE), torch.ones(3)
    addresses = set()
    for step in range(3):
        saver.begin(step, {"a": weights}, {})
        saver.commit()
        addresses.add(saver._host["a"].data_ptr())
    saver.close()
    assert len(addresses) == 1


def test_an_error_of_the_writing_thread_is_raised_at_the_next_turn(checkpoints, monkeypatch):
    save(checkpoints, 5)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dimr.training.checkpoint.write_tensors", full)
    saver = Saver(checkpoints, ALONE)
    saver.begin(10, {"a": torch.ones(3)}, {})
    with pytest.raises(SaveFailed, match=r"step 10 could not be written \(No space left") as error:
        saver.begin(15, {"a": torch.ones(3)}, {})
    saver.close()
    assert error.value.exit_code == 3
    assert [entry.name for entry in checkpoints.folder.iterdir()] == ["step-000000005"]


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_next_start_goes_on(commands):
    """A real process whose files may not grow to a checkpoint's size."""
    command = commands(steps=60)
    assert command.run("whole") == [0]
    process = command.start("full", "--checkpoint-every", 10, "--stop-after", "0.01")
    assert process.wait() == 75
    (before,) = command.checkpoints("full")
    process = command.start("full", "--checkpoint-every", 10, file_size=20_000)
    assert process.wait() == 3
    last = command.messages("full").splitlines()[-1]
    assert "could not be written (File too large)" in last
    assert "Traceback" not in command.messages("full")
    assert command.checkpoints("full") == [before]
    assert command.run("full") == [0]
    whole, full = command.folder / "whole", command.folder / "full"
    assert same(weights_of(whole), weights_of(full))
    assert log_of(whole) == log_of(full)
