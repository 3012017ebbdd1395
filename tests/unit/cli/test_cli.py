"""The command line: help at once, errors of one line with the right exit code."""

import argparse
import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dimr.cli import main, make_parser
from dimr.config.phases import write_phases
from dimr.config.project import PROJECT, ROOT


@pytest.fixture
def config(tmp_path):
    run = PROJECT.run("digits/dimr-xs-2r/0")
    write_phases({**run.phases(), **run.recipe.data.phases()}, tmp_path / "config")
    return tmp_path / "config"


def error_of(arguments, caplog, code=2):
    assert main([str(a) for a in arguments]) == code
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    message = record.getMessage()
    assert message.startswith("dimr: ")
    assert "\n" not in message
    assert record.exc_info is None
    return message


def test_help_is_quick_and_lists_the_steps():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dimr", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    for step in (
        "config",
        "images",
        "encode",
        "train",
        "sample",
        "evaluate",
        "table",
        "adopt",
        "record",
        "models",
    ):
        assert f"\n    {step} " in done.stdout or f"\n    {step}\n" in done.stdout
    assert "torch" not in done.stderr  # what would make it slow, whatever the machine


def numeric_options(parser, name=()):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for step, inner in action.choices.items():
                yield from numeric_options(inner, (*name, step))
        elif action.type not in (None, str, Path):
            yield " ".join((*name, *action.option_strings)), action.type


def test_all_numbers_are_written_in_one_way():
    """Python's own int and float take other scripts' digits, underscores and blanks."""
    found = dict(numeric_options(make_parser()))
    assert {"train --checkpoint-every", "train --stop-after", "sample --guidance"} < found.keys()
    for option, parse in found.items():
        for text in ("\u0663", "1_0", " 5", "5 ", "+5", "", "9" * 5000, "0x5", "1/\u0663", "nan"):
            with pytest.raises((argparse.ArgumentTypeError, ValueError)):
                raise AssertionError(f"{option} takes {text[:9]!r} as {parse(text)}")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_stream_that_is_closed_is_no_error(closed):
    """What is written goes nowhere: not into the next file that is opened, under the number."""
    code = "import sys, dimr.cli; dimr.cli.main(['config', 'workspace', '--print']); " \
        "from dimr.runtime.progress import progress_bar as bar; list(bar([1], description='x')); " \
        "sys.exit(open('/dev/null').fileno() < 3)"  # fmt: skip
    done = subprocess.run(["bash", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code])
    assert done.returncode == 0


def test_letters_that_the_locale_lacks_are_written_in_ascii(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    assert main(["config", "digits/dimr-xs-2r/0", "--print"]) == 0
    print("131M \u2713", flush=True)
    assert stream.buffer.getvalue().endswith(b"131M \\u2713\n")


def test_a_file_that_lacks_a_letter_is_one_line(monkeypatch, caplog):
    def write(*_):
        "\u2713".encode("ascii")

    monkeypatch.setattr("dimr.cli.project.write_run", write)
    line = error_of(["config", "digits/dimr-xs-2r/0"], caplog)
    assert line == "dimr: '\\u2713': a letter that ascii lacks; set PYTHONUTF8=1"


@pytest.mark.parametrize(
    "command",
    [["record"], ["pull"], ["adopt"], ["experiments"], ["models"], ["doctor"],
     ["config", "workspace"]],
)  # fmt: skip
def test_a_root_that_is_no_repository_is_one_line(tmp_path, caplog, command):
    for root in (tmp_path, tmp_path / "nowhere"):
        caplog.clear()
        line = error_of([*command, "--root", root], caplog)
        assert line == f"dimr: --root {root}: no such repository (it has no experiments/)"


def test_config_prints_what_it_would_write(capsys):
    assert main(["config", "digits/dimr-xs-2r/0", "--print"]) == 0
    printed = capsys.readouterr().out
    assert "train:" in printed
    assert "sample-guided:" in printed


def test_models_lists_sizes_and_checks_them(capsys):
    assert main(["models", "dimr-xs-2r", "uvit-m-4"]) == 0
    printed = capsys.readouterr().out
    ours, theirs = printed.splitlines()[1:3]
    assert ours.split()[:2] == ["dimr-xs-2r", "8x8x4"]
    assert theirs.split() == ["uvit-m-4", "64x64x3", "130,941,060", "131M", "✓", "35.24", "311.3"]
    assert printed.endswith("published figures: 1, all met\n")
    assert main(["models", "--family", "uvit", "--parameters", "--dataset", "imagenet64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-1] == "met"  # of the parameters: nothing else is counted
    assert [line.split()[0] for line in lines[2:4]] == ["uvit-m-4", "uvit-l-4"]


def test_models_ends_with_an_error_where_a_figure_is_not_met(tmp_path, capsys, caplog):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    file = tmp_path / "experiments/variants.yaml"
    file.write_text(file.read_text().replace("parameters: 131M", "parameters: 132M"))
    message = error_of(["models", "uvit-m-4", "--root", tmp_path], caplog)
    assert "uvit-m-4 has 130941060 parameters, not 132M" in message
    assert "✗" in capsys.readouterr().out


def test_models_that_do_not_exist(caplog):
    message = error_of(["models", "dmr-xl-2r"], caplog)
    assert "variants.yaml: no variant matches 'dmr-xl-2r' (did you mean dimr-xl-2r?" in message


def test_a_counted_table_has_three_files(tmp_path):
    files = {kind: tmp_path / f"t.{kind}" for kind in ("csv", "markdown", "latex")}
    outputs = [str(part) for kind, file in files.items() for part in (f"--{kind}", file)]
    assert main(["table", "--table", f"{ROOT}/experiments/tables/table4.yaml", *outputs]) == 0
    assert all(file.stat().st_size > 1000 for file in files.values())


def test_unknown_run(caplog):
    assert "no dataset 'digit' (did you mean digits?" in error_of(
        ["config", "digit/dimr-xs-2r/0"], caplog
    )


def test_unknown_key_in_a_phase_file(config, caplog, tmp_path):
    file = config / "images.yaml"
    file.write_text(file.read_text() + "imagesize: 3\n")
    message = error_of(["images", "--config", file, "--out", tmp_path / "images"], caplog)
    assert "images.yaml: imagesize: unknown key (did you mean image_size?" in message
    assert not (tmp_path / "images").exists()


def test_missing_inputs_are_named(config, caplog, tmp_path):
    message = error_of(
        ["train", "--config", config / "train.yaml", "--data", tmp_path / "nowhere", "--out",
         tmp_path / "model", "--log-csv", tmp_path / "log.csv", "--state", tmp_path / "state"],
        caplog,
    )  # fmt: skip
    assert "nowhere/record.json: no such file" in message
    assert not (tmp_path / "model").exists()


def test_a_truncated_shard_is_named(config, caplog, tmp_path, latents_folder):
    shard = latents_folder / "00000.npy"
    shard.write_bytes(shard.read_bytes()[:-100])
    message = error_of(
        ["train", "--config", config / "train.yaml", "--data", latents_folder, "--out",
         tmp_path / "model", "--log-csv", tmp_path / "log.csv", "--state", tmp_path / "state"],
        caplog,
    )  # fmt: skip
    assert "00000.npy" in message
    assert "truncated" in message
    assert not (tmp_path / "model").exists()


@pytest.fixture
def latents_folder(tmp_path):
    from tests.support.shards import write_shards

    from dimr.runtime.files import write_json

    folder = tmp_path / "latents"
    moments = np.ones((20, 8, 8, 8), dtype=np.float32)
    write_shards(
        folder, [moments], np.arange(20) % 10, kind="posterior", classes=10,
        class_names=list("0123456789"), scaling_factor=1.0, key="k", shard_size=20,
    )  # fmt: skip
    write_json(folder / "record.json", {"key": "k"})
    return folder


def test_a_corrupt_npz_is_named(tmp_path):
    from dimr.data.npz import load_arrays
    from dimr.runtime.errors import DimrError

    path = tmp_path / "reference.npz"
    np.savez(path, arr_0=np.zeros((4, 8, 8, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DimrError, match=r"reference\.npz: ") as caught:
        load_arrays(path, ["arr_0"])
    assert "\n" not in str(caught.value)


def test_messages_also_go_to_the_log(tmp_path):
    log = tmp_path / "logs/x.log"
    done = subprocess.run(
        [sys.executable, "-m", "dimr", "--log", str(log), "config", "nonsense"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "nonsense" in log.read_text()
    assert "Traceback" not in done.stderr


def test_too_little_memory_of_a_gpu_is_one_line(monkeypatch, caplog):
    import torch

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0")

    monkeypatch.setattr("dimr.cli.project.write_run", full)
    assert "use a smaller --batch" in error_of(["config", "digits/dimr-xs-2r/0"], caplog)


def test_a_full_disk_is_one_line(monkeypatch, caplog, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "00003.npy"))

    monkeypatch.setattr("dimr.cli.project.write_run", full)
    line = error_of(["config", "digits/dimr-xs-2r/0"], caplog, code=3)
    assert "no space left on the disk" in line
    assert "00003.npy" in line


@pytest.mark.parametrize("words", [["--out", ""], ["--out="], ["--out=--"]])
def test_empty_values_are_refused(words, capsys):
    """An empty one would be the current folder: a variable of the shell that is not set."""
    with pytest.raises(SystemExit) as ended:
        main(["models", *words])
    assert ended.value.code == 2
    assert "an option has an empty value" in capsys.readouterr().err


def test_a_current_folder_that_was_removed(tmp_path, monkeypatch, caplog):
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    (tmp_path / "x").rmdir()
    assert main(["models"]) == 2
    assert "the current folder was removed" in caplog.text
