"""Hostile inputs, through one server process: does every one end in one line, at once, harmlessly?

    python tests/robustness/hostile.py [--every N]

Three kinds: a command line that succeeds, with one option changed to each of many bad values (which
options there are is asked of the parser); its configuration, with one key changed to each of many
bad values; and files that are not what they say. A case is *refused* (exit code 2 or 3, one line),
*done* (exit code 0, for values that are odd and right), or a fault: a traceback, a crash, a hang,
several lines, or anything changed that is no output of the command.
"""

import argparse
import collections
import copy
import io
import os
import pickle
import struct
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import yaml
from world import SECTIONS, build

SLOW = 20
"""Seconds after which an answer does not come at once (the machine may be busy)."""
NUMBERS = ["-1", "0", "1.5", "nan", "inf", "-inf", "1e9", "99999", "1000001", "10000000000000",
           "9" * 5000, "", " ", "abc", "0x10", "٣", "--", "1,5", "1/0"]  # fmt: skip
WORDS = ["", "bogus", "x" * 5000, "\n", "../../etc/passwd", "CUDA", "meta", "cuda:99", "cpu:7",
         "\udcff", "💥"]  # fmt: skip
VALUES = [None, True, -1, 0, 1.5, 10**6, 10**13, float("inf"), "x", "9" * 5000, [], {}, [[]],
          {"a": 1}, [None], "1:30", 10**400]  # fmt: skip
BOMB = "a0: &a0 [1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
TEXTS = ["", "[]", "a: 1\na: 2\n", "{" * 100_000, "&a [*a]", "\0", "- 1\n---\n- 2\n", BOMB,
         "x: !!python/object/apply:os.system [ls]"]  # fmt: skip
"""Configurations that are no YAML, or more than that."""
COMMANDS = ("images", "autoencoder", "encode", "classifier", "train", "sample", "picture",
            "baseline", "evaluate", "export", "import", "scores", "rating_page",
            "encode_source", "data", "reference")  # fmt: skip
CONFIGS = {
    "images": "images", "autoencoder": "autoencoder", "latents": "encode",
    "classifier": "classifier", "train": "train", "sample": "sample", "baseline": "baseline",
    "evaluate": "evaluate", "distortion": "scores", "study": "rating_page",
    "source_latents": "encode_source", "reference": "reference",
}  # fmt: skip
"""Sections, and the command that reads each."""


def paths(world):
    """Bad values of an option that is a path."""
    at = world.path
    for name, content in (("bad/empty", b""), ("bad/text", b"hello\n"), ("bad/binary", b"\0\1"),
                          ("bad/list.json", b"[]"), ("bad/deep.json", b"[" * 100_000)):  # fmt: skip
        at("bad").mkdir(exist_ok=True)
        at(name).write_bytes(content)
    loop, fifo = at("bad/loop"), at("bad/fifo")
    if not loop.is_symlink():
        loop.symlink_to(loop)
        os.mkfifo(fifo)
        at("bad/folder").mkdir()
    names = ("empty", "text", "binary", "list.json", "deep.json", "loop", "fifo", "folder",
             "missing", "text/below")  # fmt: skip
    yield from (str(at(f"bad/{name}")) for name in names)
    yield from ("/", "/dev/null", "/proc/self/mem", ".", "", str(at("x" * 300)),
                str(at("/".join(["y" * 200] * 30))), str(at("images")), str(at("latents")),
                str(at("runs/digits/dimr-xs-2r/0/model")))  # fmt: skip


def option_cases(world):
    """(what, arguments): commands of the world with one option of the parser's changed or added."""
    from dimr.cli import make_parser

    steps = next(a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name in COMMANDS:
        command = world.command(name)
        for action in steps.choices[command[0]]._actions:
            if not action.option_strings or isinstance(action, argparse._HelpAction):
                continue
            flag = action.option_strings[0]
            for value in _bad_values(world, action):
                yield f"{name} {flag} {value[:40]!r}", _changed(command, flag, value)
        for value in paths(world):
            yield f"{name} --log {value[:40]!r}", ["--log", value, *command]


def _bad_values(world, action):
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return []
    if action.type is Path:
        return paths(world)
    if action.choices is not None or action.type is None:
        return WORDS
    return NUMBERS


def _changed(command, flag, value):
    changed = list(command)
    if flag in changed:
        changed[changed.index(flag) + 1] = value
        return changed
    return [*changed, f"{flag}={value}"]


def config_cases(world):
    """The same for keys of a configuration."""
    for section, name in CONFIGS.items():
        for where in _places(SECTIONS[section]):
            for value in VALUES:
                content = copy.deepcopy(SECTIONS[section])
                _put(content, where, value)
                yield _with_config(world, name, f"{'.'.join(where)} {value!r:.30}", content)
        yield _with_config(world, name, "unknown key", {**SECTIONS[section], "bogus": 1})
        for text in TEXTS:
            yield _with_config(world, name, f"text {text[:20]!r}", text)


def _places(section, before=()):
    for key, value in section.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from _places(value, (*before, key))


def _put(content, where, value):
    for key in where[:-1]:
        content = content[key]
    content[where[-1]] = value


def _with_config(world, name, what, content):
    path = world.path(f"bad/config-{abs(hash((name, what)))}.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    command = world.command(name)
    flag = "--study" if "--study" in command else "--config"
    return f"{name} config: {what}", _changed(command, flag, str(path))


def file_cases(world):
    """Files of others that are not what they say."""
    import numpy as np
    import torch

    bad = world.path("bad")
    bad.mkdir(exist_ok=True)

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {bad / 'ran'}",)

    weights = torch.load(world.path("weights.pth"))
    first = next(name for name in weights if weights[name].dim() > 1)
    strange = {
        "code": Evil(), "number": 3, "list": [torch.zeros(2)], "nothing": {},
        "not finite": {**weights, first: torch.full_like(weights[first], float("nan"))},
        "meta": {**weights, first: weights[first].to("meta")},
        "sparse": {**weights, first: torch.zeros_like(weights[first]).to_sparse()},
        "complex": {**weights, first: weights[first].to(torch.complex64)},
        "whole numbers": {**weights, first: weights[first].long()},
        "names": {1: weights[first]}, "deep": {"ema": {"ema": {"ema": weights}}},
    }  # fmt: skip
    for name, value in strange.items():
        path = bad / f"{name.replace(' ', '-')}.pth"
        if name == "code":
            path.write_bytes(pickle.dumps(value))
        else:
            torch.save(value, path)
        yield f"import {name}", ["import", str(path), "--out", str(world.path("out/i"))]
    data = world.path("weights.safetensors").read_bytes()
    for name, content in {
        "huge header": struct.pack("<Q", 1 << 60) + data[8:], "no header": b"", "short": data[:100],
        "header of nonsense": struct.pack("<Q", 8) + b"{\"a\": 1}",
    }.items():  # fmt: skip
        path = bad / f"{name.replace(' ', '-')}.safetensors"
        path.write_bytes(content)
        yield f"import {name}", ["import", str(path), "--out", str(world.path("out/i"))]
    yield from _archives(world, bad, np)


def _archives(world, bad, np):
    """Archives of images whose headers lie."""

    def npz(name, header):
        path = bad / name
        with zipfile.ZipFile(path, "w") as archive:
            stream = io.BytesIO()
            stream.write(np.lib.format.magic(1, 0))
            text = (header + " " * 50 + "\n").encode()
            stream.write(struct.pack("<H", len(text)) + text + b"\0" * 64)
            archive.writestr("arr_0.npy", stream.getvalue())
        return path

    form = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"
    for number, (kind, shape) in enumerate([
        ("|u1", "(-5, 64, 64, 3)"), ("|u1", f"({10**12}, 64, 64, 3)"), ("|O", "(1, 64, 64, 3)"),
        ("<f8", "(1, 64, 64, 3)"), ("|u1", "()"), ("|u1", "(0, 64, 64, 3)"), ("|u1", "'x'"),
    ]):  # fmt: skip
        path = npz(f"{number}.npz", form.format(kind, shape))
        changed = _changed(world.command("reference"), "--source", str(path))
        config = world.path(f"bad/reference-{number}.yaml")
        config.write_text(yaml.safe_dump({"file": path.name, "image_size": 64}))
        yield f"reference {kind} {shape}", _changed(changed, "--config", str(config))
        yield (
            f"evaluate {kind} {shape}",
            _changed(world.command("evaluate"), "--samples", str(path)),
        )
    for number, size in enumerate((10**11, -1)):
        path = bad / f"{number}.tar"
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, max(size, 0)
        path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"a" * 1024)
        yield f"tar {size}", _changed(world.command("data"), "--source", str(path))
    folder = bad / "classes/n01440764"
    folder.mkdir(parents=True)
    (bad / "classes/n02102040").symlink_to(bad / "classes/n02102040")
    os.mkfifo(folder / "n01440764_1.JPEG")
    yield "folders in a circle", _changed(world.command("data"), "--source", str(bad / "classes"))


def environment_cases(world):
    """Variables that launchers set, so that no process waits for another."""
    launched = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name in ("WORLD_SIZE", "RANK", "MASTER_PORT"):
        for value in ("abc", "-1", "", "9" * 50, "1.5", "٣"):
            yield f"train {name}={value[:9]}", world.command("train"), {**launched, name: value}


def full_disk_cases(world):
    """Commands whose files may not grow beyond a number of bytes, as on a full disk."""
    for name in COMMANDS:
        for size in (2_000, 5_000, 12_000, 30_000):
            yield f"{name} with files of {size:,} bytes", world.command(name), {}, size


def cases(world):
    """(what, arguments, environment, largest file)."""
    for what, arguments in (*option_cases(world), *config_cases(world), *file_cases(world)):
        yield what, arguments, {}, None
    for what, arguments, environment in environment_cases(world):
        yield what, arguments, environment, None
    yield from full_disk_cases(world)


def protected(world):
    """Everything that is no output: sizes and times of change of all files."""
    kept = {}
    for place in world.folder.iterdir():
        if place.name in ("out", "messages", "bad", "partial", "spilt"):
            continue
        for path in [place, *place.rglob("*")]:
            if path.is_file():
                state = path.stat()
                kept[path] = (state.st_size, state.st_mtime_ns)
    return kept


def _results(arguments):
    """Results that a command was told to replace: folders with a record."""
    words = [word.split("=", 1)[-1] for word in arguments]
    return [
        f"{word}/" for word in words if len(word) < 250 and (Path(word) / "record.json").exists()
    ]


FINE = ("refused", "done", "stopped", "at work")


class Trial:
    """The cases of a world, and what came of them."""

    def __init__(self, world):
        self.world, self.counts, self.faults = world, collections.Counter(), []
        self.before = protected(world)

    def case(self, what, arguments, environment, file_size):
        self.world.clear_out()
        if any("\0" in word for word in arguments):
            return  # no process can be given it
        done = self.world.run(arguments, environment, file_size)
        verdict = self.verdict(done)
        self.counts[verdict] += 1
        if verdict not in FINE:
            self.faults.append(
                f"{verdict}: {what}: {done.code}, {done.seconds:.1f} s: {done.last[:200]}"
            )
        after = protected(self.world)
        if after != self.before:
            changed = sorted(str(p) for p in after.keys() ^ self.before.keys())
            changed += [str(p) for p in after if self.before.get(p, after[p]) != after[p]]
            self.before = after
            if all(path.startswith(tuple(_results(arguments))) for path in changed):
                self.counts["replaced its own kind"] += 1
                return
            self.counts["changed"] += 1
            self.faults.append(f"changed {changed[:3]}: {what}")

    @staticmethod
    def verdict(done):
        if done.code == -9:  # it was ended after so long; a bar says that it was at work
            return "at work" if " left" in done.last else "hang"
        if done.traceback or done.code < 0:
            return "crash"
        if done.seconds > SLOW:
            return "slow"
        if done.code == 0:
            return "done"
        if done.code == 75:
            return "stopped"
        told = [line for line in done.messages.splitlines() if line.startswith(("dimr", "usage"))]
        return "refused" if done.code in (2, 3) and told else f"exit code {done.code}"

    def report(self):
        lines = [f"{sum(self.counts.values())} hostile inputs"]
        lines += [f"  {name:12} {count}" for name, count in sorted(self.counts.items())]
        ran = self.world.path("bad/ran").exists()
        lines.append(f"  code that ran: {'yes' if ran else 'none'}")
        if ran:
            self.faults.append("code of a file ran")
        return "\n".join([*lines, *self.faults])


def main(arguments=None):
    """Run every ``--every``-th case; return the number of faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="run 1 of N cases")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder))
        try:
            chosen = list(cases(world))[:: options.every]
            trial = Trial(world)
            for case in chosen:
                trial.case(*case)
        finally:
            world.close()
    print(trial.report())
    return len(trial.faults)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
