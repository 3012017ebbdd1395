"""Speed against the machine's, curves for other programs, a trace, and grids of samples."""

import csv
import json
import sys
from pathlib import Path

import dvclive
import pytest
import torch
from PIL import Image

from dimr.models.complexity import complexity
from dimr.models.conditioning import TextCondition
from dimr.runtime.compute import matrix_ceiling
from dimr.runtime.errors import DimrError
from dimr.runtime.record import seal
from dimr.sampling import grid
from dimr.training.monitoring import TRACED, Speedometer, Watch, check_live, peak_memory
from dimr.training.previews import make_previewer
from dimr.training.stopping import Limits
from dimr.training.train_state import make_train_state

from .conftest import WORLD

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path, trainer, config):
    """Train to the end while it is watched; returns the lines of the log."""

    def start(watch):
        trainer(config(), more={"watch": watch}).run(Limits())
        with open(tmp_path / "a/state/log.csv") as file:
            return list(csv.DictReader(file))

    return start


def test_speed_is_six_flop_a_multiply_accumulate(config, monkeypatch):
    monkeypatch.setattr("dimr.training.monitoring.matrix_ceiling", lambda *_: 2e9)
    settings = config()
    network = settings.network
    macs = complexity(network.sizes).macs
    line = Speedometer(settings, CPU, torch.float32, 2).line(1000.0)
    assert line["tflops"] == pytest.approx(6 * macs * 1000 / 1e12, abs=1e-4)
    assert line["mfu"] == pytest.approx(6 * macs * 1000 / 4e9, abs=1e-4)
    assert 0.05 < line["memory_gb"] < 50


def test_the_ceiling_is_that_of_a_matrix_product():
    assert 1e8 < matrix_ceiling(CPU, torch.float32) < 1e14
    assert peak_memory(CPU) > 5e7


def test_every_line_has_the_speed_and_memory(run):
    lines = run(Watch())
    assert all(float(line["memory_gb"]) > 0.05 and 0 <= float(line["mfu"]) < 1 for line in lines)


def test_dvclive_has_the_lines_of_the_log(run, tmp_path):
    lines = run(Watch(dvclive=tmp_path / "live"))
    summary = json.loads((tmp_path / "live/metrics.json").read_text())
    assert summary["loss"] == pytest.approx(float(lines[-1]["loss"]))
    with open(tmp_path / "live/plots/metrics/loss.tsv") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(int(row["step"]), float(row["loss"])) for row in rows] == [
        (int(line["step"]), float(line["loss"])) for line in lines
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", "curves"), ("metrics.json", "[]"), ("metrics.json", '{"fid": 2.8}'),
        ("metrics.json", '{"step": "x"}'), ("params.yaml", "a: [1"),
    ],
)  # fmt: skip
def test_files_that_dvclive_did_not_write_are_refused(tmp_path, name, content):
    (tmp_path / "metrics.json").write_text('{"step": 3, "loss": 0.5}')
    check_live(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(DimrError, match=rf"{tmp_path}[:/].*{name}"):
        check_live(tmp_path)


def test_dvclive_is_kept_out_of_the_repository_itself(tmp_path):
    (tmp_path / ".git").mkdir()
    with pytest.raises(DimrError, match=f"--dvclive {tmp_path}: is a repository"):
        check_live(tmp_path)


def test_a_trace_holds_a_few_steps(run, tmp_path):
    run(Watch(profile=tmp_path / "trace/steps.json"))
    events = json.loads((tmp_path / "trace/steps.json").read_text())["traceEvents"]
    steps = {event["name"] for event in events if event["name"].startswith("Optimizer.step#")}
    assert steps == {"Optimizer.step#AdamW.step"}
    names = [event["name"] for event in events]
    assert names.count("Optimizer.step#AdamW.step") == len(TRACED)


def test_what_shows_training_does_not_end_it(run, tmp_path, monkeypatch, caplog):
    """A sink that fails is dropped, and told of once; the log has all its lines."""
    calls = []

    def full(*_):
        calls.append(1)
        raise OSError(28, "No space left on device")

    for name in ("log_metric", "end"):
        monkeypatch.setattr(dvclive.Live, name, full)
    assert len(run(Watch(dvclive=tmp_path / "live"))) == 5
    assert len(calls) == 2  # the first line, and to close it
    assert caplog.text.count("--dvclive") == 1
    assert "No space left on device); training continues without it" in caplog.text


def test_a_trace_that_cannot_be_written_does_not_end_training(run, tmp_path, caplog, monkeypatch):
    def fail(*_):
        raise RuntimeError("no room")

    monkeypatch.setattr(torch.profiler.profile, "export_chrome_trace", fail)
    file = tmp_path / "trace.json"
    assert len(run(Watch(profile=file))) == 5
    assert f"{file}: no trace (no room); training continues" in caplog.text
    assert not file.exists()


@pytest.mark.parametrize(
    ("option", "place"),
    [("dvclive", "/proc/nothing/x"), ("profile", "/proc/nothing/x.json"), ("profile", "/tmp")],
)
def test_where_to_show_it_is_looked_at_first(run, option, place):
    with pytest.raises(DimrError, match=f"--{option} {place}: cannot be written"):
        run(Watch(**{option: Path(place)}))


@pytest.mark.parametrize("package", ["tensorboard", "dvclive"])
def test_a_package_that_is_missing_is_named(run, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "dvclive", None)
    with pytest.raises(DimrError, match=f"--{package}: the package {package} is not installed"):
        run(Watch(**{package: tmp_path / "x"}))


def test_a_preview_shows_ten_classes_of_a_thousand(config, tmp_path, monkeypatch, caplog):
    """Evenly spaced, by name: with all of ImageNet's, other GPUs would wait for minutes."""
    caplog.set_level("INFO")
    seal(tmp_path / "pixels", "autoencoder", {"key": "k", "kind": "identity", "channels": 3})
    settings = config(network={"num_classes": 1000, "channels": 3})
    network = make_train_state(settings, WORLD).network
    names, shown, draw = [f"class {n}" for n in range(1000)], [], grid.class_grid
    monkeypatch.setattr(
        grid, "class_grid", lambda *given, **how: shown.append(given[1:]) or draw(*given, **how)
    )
    make_previewer(settings, tmp_path / "pixels", tmp_path, CPU, names)(7, network)
    ((rows, headings),) = shown
    assert rows.tolist() == 6 * list(range(10))
    assert headings == [f"class {n}" for n in range(0, 1000, 100)]
    with Image.open(tmp_path / "step-000000007.png") as picture:
        assert 10 * 48 <= picture.height < 700
    assert f"after 7 steps: {tmp_path}/step-000000007.png" in caplog.text


def test_a_preview_shows_the_first_ten_prompts(config, tmp_path, monkeypatch):
    """Of a network of text, each in its row, guided away from the empty caption."""
    seal(tmp_path / "pixels", "autoencoder", {"key": "k", "kind": "identity", "channels": 3})
    told = {"num_classes": 0, "text_dim": 4, "text_tokens": 3}
    settings = config(network={"channels": 3, **told})
    network = make_train_state(settings, WORLD).network
    tokens = torch.arange(12.0)[:, None, None].expand(12, 3, 4)
    mask = torch.ones(12, 3, dtype=torch.bool)
    empty = TextCondition(-torch.ones(1, 3, 4), mask[:1])
    texts, shown, seen, draw = [f"text {n}" for n in range(12)], [], [], grid.class_grid
    monkeypatch.setattr(
        grid, "class_grid", lambda *given, **how: shown.append(given[1:]) or draw(*given, **how)
    )
    network.register_forward_pre_hook(lambda _, given: seen.append(given[2].tokens[:, 0, 0]))
    prompts = texts, TextCondition(tokens, mask, empty)
    make_previewer(settings, tmp_path / "pixels", tmp_path, CPU, [], prompts)(7, network)
    ((rows, headings),) = shown
    assert rows.tolist() == 6 * list(range(10))
    assert headings == texts[:10]
    assert seen[0].tolist() == 6 * list(range(10)) + 60 * [-1]
