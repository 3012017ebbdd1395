"""Checkpoints on disk: parts of tensors, sums, what is kept, what is refused; a full disk."""

import contextlib
import os
import pickle
import shutil
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file

from dimr.runtime.errors import DimrError, SaveFailed
from dimr.runtime.files import read_json, sha256, write_json
from dimr.training.checkpoint import Checkpoints, checksum, load_tensors
from dimr.training.saving import Saver

from .conftest import WORLD, same, same_run


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints")


def save(checkpoints, step, **tensors):
    saver = Saver(checkpoints, WORLD)
    saver.begin(step, tensors or {"a": torch.full((3,), float(step))}, {"n": step})
    saver.commit()
    saver.close()


def read(saved, *shape, name="a"):
    target = torch.empty(shape or (3,))
    load_tensors({name: target}, saved, WORLD, name)
    return target


def test_tensors_of_any_kind_are_read_as_they_were(checkpoints):
    tensors = {
        "matrix": torch.randn(3, 4), "transposed": torch.randn(4, 3).t(),
        "scalar": torch.tensor(7.0), "count": torch.tensor([2**40]),
        "half": torch.randn(5).bfloat16(), "none": torch.zeros(0, 2),
    }  # fmt: skip
    save(checkpoints, 5, **tensors)
    stored = load_file(checkpoints.folder / "step-000000005/part-0000.safetensors")
    assert same(stored, tensors)
    targets = {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
    load_tensors(targets, checkpoints.newest(WORLD), WORLD, "")
    assert same(targets, tensors)


def test_a_tensor_is_read_from_any_number_of_parts(checkpoints):
    whole, sums = torch.randn(10, 3), []
    for number, rows in enumerate((slice(0, 4), slice(4, 8), slice(8, 10))):
        part = {"w": (whole[rows], [rows.start, 0])}
        sums.append(checkpoints.write_part(5, number, part))
    checkpoints.commit(5, {}, sums)
    assert torch.equal(read(checkpoints.newest(WORLD), 10, 3, name="w"), whole)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"a": (4,)}, r"\(a: shape \[3\] in it, shape \[4\] wanted\)"),
        ({}, r"\(a: shape \[3\] in it, absent wanted\)"),
        ({"a": (3,), "b": (1,)}, r"\(b: absent in it, shape \[1\] wanted\)"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(checkpoints, targets, message):
    save(checkpoints, 5)
    targets = {name: torch.empty(shape) for name, shape in targets.items()}
    with pytest.raises(DimrError, match="checkpoint of another network " + message):
        load_tensors(targets, checkpoints.newest(WORLD), WORLD, "")


def test_the_newest_two_are_kept(checkpoints):
    for step in (5, 10, 15, 20):
        save(checkpoints, step)
    assert [folder.name for folder in checkpoints.folders()] == ["step-000000015", "step-000000020"]
    saved = checkpoints.newest(WORLD)
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
    assert checkpoints.newest(WORLD).step == 5
    assert "step-000000010" in caplog.text
    assert "trying the previous one" in caplog.text
    save(checkpoints, 7)  # the next one that is whole: the damaged one goes, not the one before
    assert [folder.name for folder in checkpoints.folders()] == ["step-000000005", "step-000000007"]


def test_a_checkpoint_that_is_not_what_it_says_is_damaged(checkpoints):
    save(checkpoints, 5)
    folder = checkpoints.folder / "step-000000005"
    extra = folder / "part-0001.safetensors"
    shutil.copy(folder / "part-0000.safetensors", extra)
    with pytest.raises(DimrError, match=r"damaged checkpoint \(part-0001\.\w+: missing, or not"):
        checkpoints.newest(WORLD)
    extra.unlink()
    folder.rename(folder.with_name("step-000000007"))
    with pytest.raises(DimrError, match=r"step-000000007: damaged checkpoint \(it is of step 5\)"):
        checkpoints.newest(WORLD)


def test_what_a_killed_process_left_is_removed(checkpoints):
    save(checkpoints, 5)
    checkpoints.write_part(10, 0, {"a": (torch.zeros(3), [0])})  # and killed before it was complete
    assert checkpoints.newest(WORLD).step == 5
    checkpoints.clean()
    assert [entry.name for entry in checkpoints.folder.iterdir()] == ["step-000000005"]


def test_a_pickle_with_code_is_not_run(checkpoints, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/owned",))

    save(checkpoints, 1)
    saved = checkpoints.newest(WORLD)
    (saved.folder / "part-0000.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DimrError, match="step-000000001: not readable as safetensors"):
        read(saved)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(("number", "parts"), [(1, 1), (1, 2), (99, 1)])
def test_of_the_first_format_one_part_is_read_and_of_others_none(checkpoints, number, parts):
    """It had no offsets, without which several parts cannot be put together."""
    tensor = torch.arange(3.0)
    files = [checkpoints.begin(5) / f"part-000{part}.safetensors" for part in range(parts)]
    for file in files:
        save_file({"a": tensor}, file)
    path = checkpoints.commit(5, {}, list(map(sha256, files))) / "manifest.json"
    content = read_json(path)["content"] | {"format": number}
    write_json(path, {"sha256": checksum(content), "content": content})
    if (number, parts) == (1, 1):
        assert torch.equal(read(checkpoints.newest(WORLD)), tensor)
    else:
        message = f"of format {number}; this code reads 2; no intact one is left"
        with pytest.raises(DimrError, match=message):
            checkpoints.newest(WORLD)


class Watched(Checkpoints):
    """Checkpoints whose parts are shown before they are written, in the writing thread."""

    def __init__(self, checkpoints, show):
        super().__init__(checkpoints.folder)
        self.show = show

    def write_part(self, step, number, part):
        self.show(part)
        return super().write_part(step, number, part)


@pytest.fixture
def saver(checkpoints):
    """A saver that calls a function of each part before it writes it."""
    with contextlib.ExitStack() as stack:

        def make(show):
            made = Saver(Watched(checkpoints, show), WORLD)
            stack.callback(made.close)
            return made

        yield make


def test_training_continues_while_the_state_of_its_beginning_is_written(checkpoints, saver):
    gate, weights = threading.Event(), torch.ones(3)
    slow = saver(lambda _: gate.wait(10))
    slow.begin(1, {"a": weights}, {})
    assert slow.writing
    weights += 1  # the next step
    assert checkpoints.folders() == []
    gate.set()
    slow.commit()
    assert torch.equal(read(checkpoints.newest(WORLD)), torch.ones(3))


def test_the_copies_in_memory_are_used_again(saver):
    addresses = set()
    twice = saver(lambda part: addresses.add(part["a"][0].data_ptr()))
    for step in range(3):
        twice.begin(step, {"a": torch.ones(3)}, {})
        twice.commit()
    assert len(addresses) == 1


def test_an_error_of_the_writing_thread_is_raised_at_the_next_turn(checkpoints, saver):
    def fail(_):
        raise OSError(28, "No space left on device")

    save(checkpoints, 5)
    full = saver(fail)
    full.begin(10, {"a": torch.ones(3)}, {})
    with pytest.raises(SaveFailed, match=r"step 10 could not be written \(No space left") as error:
        full.begin(15, {"a": torch.ones(3)}, {})
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
    assert same_run(command.folder / "whole", command.folder / "full")
