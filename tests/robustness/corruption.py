"""Every kind of artefact is damaged in every way, and read: is the damage found?

    python tests/robustness/corruption.py [--every N] [--keep FOLDER]

A case is a file of an artefact, a way to damage it, and a command that reads it. It is *found*
where the command ends with exit code 2 or 3 and one line, *regenerated* where it names the file and
its result is that of undamaged files, *told* where it names the file and has another result (a log
that lost lines), *harmless* where the result is the same (the command does not read the file), and
*silent* where the result is another one and nothing was said: a fault, as tracebacks and hangs are.
"""

import argparse
import collections
import json
import shutil
import sys
import tempfile
from pathlib import Path

from world import SECONDS, build, digest

ARTEFACTS = {
    "images": ["evaluate", "encode", "classifier", "baseline"],
    "autoencoder": ["sample", "encode"],
    "latents": ["train"],
    "classifier": ["evaluate", "scores"],
    "state": ["resume"],
    "finished": ["resume_finished"],
    "runs/digits/dimr-xs-2r/0/model": ["sample", "export", "picture"],
    "runs/digits/dimr-xs-2r/0/samples/guided": ["evaluate", "scores", "evaluate_npz"],
    "runs/digits/dimr-xs-2r/0/distortion": ["rating_page"],
    "partial": ["resume_sample", "resume_data"],
    "spilt": ["resume_shards"],
    "source": ["encode_source"],
    "identity": ["encode_source"],
    "reference": ["inception"],
    "pictures.npz": ["inception"],
    "weights.pth": ["import"],
    "weights.safetensors": ["import_safetensors"],
}
"""Where artefacts lie, and the commands that read them."""
NO_CHECKSUM = ("weights.safetensors", "pictures.npz")
"""Files of others that hold nothing to be compared with."""


def flip(data, place):
    """One bit, at a share of the length."""
    at = min(len(data) - 1, int(place * len(data)))
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def zero(data, start, end):
    low, high = int(start * len(data)), int(end * len(data))
    return data[:low] + bytes(high - low) + data[high:]


DAMAGES = {
    "a bit of the beginning": lambda data: flip(data, 0.02),
    "a bit of the middle": lambda data: flip(data, 0.5),
    "a bit of the end": lambda data: flip(data, 0.995),
    "a third zeroed": lambda data: zero(data, 1 / 3, 2 / 3),
    "the tail zeroed": lambda data: zero(data, 0.9, 1),
    "a byte short": lambda data: data[:-1],
    "cut in half": lambda data: data[: len(data) // 2],
    "emptied": lambda _: b"",
    "grown": lambda data: data + b"\\0" * 8,
    "removed": lambda _: None,
    "another value": lambda data: _other_value(data),
    "another of its kind": None,
}
"""How a file is damaged: from its content to another one, None: it is removed."""


def _other_value(data):
    """A JSON file with one number or text changed; others as they are."""
    try:
        content = json.loads(data)
    except ValueError:
        return data

    def change(value):
        if isinstance(value, dict) and value:
            key = sorted(value)[len(value) // 2]
            return {**value, key: change(value[key])}
        if isinstance(value, list) and value:
            return [change(value[0]), *value[1:]]
        if isinstance(value, bool) or value is None:
            return not value
        return value + 1 if isinstance(value, int | float) else f"{value}x"

    return json.dumps(change(content), indent=2).encode()


def cases(world):
    """(artefact, file, way, command), whatever files the artefacts have."""
    for artefact, commands in ARTEFACTS.items():
        root = world.path(artefact)
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        for file in files:
            if file.stat().st_size == 0 or file.suffix == ".lock" or file.name == "lock.pid":
                continue
            for way in DAMAGES:
                if way == "another of its kind" and _sibling(file) is None:
                    continue
                if way == "another value" and file.suffix != ".json":
                    continue
                for command in commands:
                    yield artefact, file, way, command


def _sibling(file):
    """Another file of the same kind and size, which another run could have left there."""
    same = [
        other
        for other in sorted(file.parent.rglob(f"*{file.suffix}"))
        if other != file and other.stat().st_size == file.stat().st_size
        and other.read_bytes() != file.read_bytes()
    ]  # fmt: skip
    return same[0] if same else None


def damaged(file, way):
    """The content that a file gets; None: it is removed."""
    if way == "another of its kind":
        return _sibling(file).read_bytes()
    return DAMAGES[way](file.read_bytes())


def run(world, command):
    """A command whose outputs are not there yet."""
    world.clear_out()
    return world.run(world.command(command))


class Matrix:
    """The cases of a world, and what came of them."""

    def __init__(self, world):
        self.world = world
        self.counts = collections.Counter()
        self.faults = []
        self.clean = {}

    def expected(self, command, artefact):
        """The result without damage (of a copy, as work that is resumed is used up)."""
        if command not in self.clean:
            with self.kept(artefact):
                done = run(self.world, command)
                self.clean[command] = digest(self.world, command)
            assert done.code == 0, (command, done)
            assert self.clean[command] is not None, command
        return self.clean[command]

    def kept(self, artefact):
        """A block after which an artefact is as it was before."""
        return _Kept(self.world.path(artefact), self.world.path("kept"))

    def case(self, artefact, file, way, command):
        content = damaged(file, way)
        if content == file.read_bytes():
            return
        expected = self.expected(command, artefact)
        with self.kept(artefact):
            if content is None:
                file.unlink()
            else:
                file.write_bytes(content)
            done = run(self.world, command)
            verdict = self.verdict(file, command, done, expected)
        self.counts[verdict] += 1
        if verdict in ("silent", "traceback", "hang", "several lines"):
            if verdict == "silent" and artefact in NO_CHECKSUM:
                self.counts["silent"] -= 1
                self.counts["without a checksum"] += 1
                return
            name = file.relative_to(self.world.folder)
            self.faults.append(f"{verdict}: {name}: {way}: {command}: {done.code} {done.last}")

    def verdict(self, file, command, done, expected):
        if done.code == -9 or done.seconds > SECONDS:
            return "hang"
        if done.traceback:
            return "traceback"
        if done.code in (2, 3):
            told = [line for line in done.messages.splitlines() if line.startswith("dimr: ")]
            return "found" if len(told) == 1 else "several lines"
        if done.code == 0 and digest(self.world, command) == expected:
            return "regenerated" if file.name in done.messages else "harmless"
        return "told" if file.name in done.messages else "silent"

    def report(self):
        total = sum(self.counts.values())
        lines = [f"{total} corruptions"]
        lines += [f"  {name:20} {count}" for name, count in sorted(self.counts.items()) if count]
        return "\n".join([*lines, *self.faults])


class _Kept:
    def __init__(self, place, copy):
        self.place, self.copy = place, copy

    def __enter__(self):
        _copy(self.place, self.copy)

    def __exit__(self, *_):
        if self.place.is_dir():
            shutil.rmtree(self.place)
        else:
            self.place.unlink(missing_ok=True)
        _copy(self.copy, self.place)
        if self.copy.is_dir():
            shutil.rmtree(self.copy)
        else:
            self.copy.unlink()


def _copy(source, target):
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


def main(arguments=None):
    """Run every ``--every``-th case; return the number of faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="run 1 of N cases")
    parser.add_argument("--only", default="", metavar="TEXT", help="artefacts with TEXT in them")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder))
        try:
            matrix = Matrix(world)
            chosen = [case for case in cases(world) if options.only in case[0]]
            for case in chosen[:: options.every]:
                matrix.case(*case)
        finally:
            world.close()
    print(matrix.report())
    return len(matrix.faults)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
