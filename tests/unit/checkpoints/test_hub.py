"""Downloads: the hub's client is asked, what fails is one line, a run's configuration holds."""

import json
import subprocess
import sys

import huggingface_hub
import pytest
import yaml
from huggingface_hub import errors

from dimr.config.phases import section_key, write_phases
from dimr.config.project import PROJECT
from dimr.config.schema import ImportConfig
from dimr.config.validation import load_section

from .conftest import weights_of

TINY = {  # what tests/parity/vectors/dimr_2r_tdrms holds
    "family": "dimr", "layers": [3, 2], "dims": [32, 16], "heads": 4, "norm": "rms",
    "input_size": 8, "channels": 4, "num_classes": 10, "time_map": "latent", "schedule": "latent",
}  # fmt: skip


@pytest.fixture
def config(tmp_path):
    def write(file="tiny.pth", **network):
        where = {"dataset": "digits", "repo": "who/what", "file": file}
        content = {**where, "network": {**TINY, **network}}
        (tmp_path / "import.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "import.yaml"

    return write


@pytest.mark.slow
def test_offline(tmp_path):
    write_phases(PROJECT.run("imagenet256/dimr-xl-2r/published").phases(), tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "dimr", "import", "--config", str(tmp_path / "import.yaml"),
         "--out", str(tmp_path / "model")],
        capture_output=True, text=True, check=False,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    for part in ("QHL067/DiMR", "DiMR-XL_2R_800epochs.pth", "HF_HUB_OFFLINE", "dimr import PATH"):
        assert part in line
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.LocalEntryNotFoundError("x"),
         "the hub cannot be reached and it is not in the cache"),
        (errors.EntryNotFoundError("x"), "the repository has no such file"),
        (OSError("No space left\non device"), "not downloaded (OSError: No space left on device)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("file", ["tiny.pth", "transformer"])
def test_what_fails_is_one_line(error, message, file, config, tmp_path, error_of, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    refused = error_of("import", "--config", config(file), "--out", tmp_path / "model")
    assert refused.startswith(f"hub: who/what: {file}: {message}")
    assert "by hand, then: dimr import PATH" in refused


def test_a_folder_that_is_not_there(config, tmp_path, error_of, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    assert "no such folder" in error_of("import", "--config", config("unet"), "--dry-run")


@pytest.mark.slow
def test_a_run_imports_what_its_configuration_names(
    config, tmp_path, file_of, imported, dimr, monkeypatch
):
    asked = []
    path = file_of(weights_of("dimr_2r_tdrms"), "tiny.pth")

    def download(repo, file, revision):
        asked.append((repo, file, revision))
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    dimr("import", "--config", config(), "--out", tmp_path / "model")
    assert asked == [("who/what", "tiny.pth", None)]
    record = json.loads((tmp_path / "model/record.json").read_text())
    assert record["key"] == section_key(load_section(ImportConfig, tmp_path / "import.yaml"))
    assert record["config"]["repo"] == "who/what"
    assert json.loads((tmp_path / "model/config.json").read_text())["heads"] == 4

    # downloaded by hand: the same result, and the hub is not asked
    by_hand, _ = imported(path, "--config", config(), out="by-hand")
    assert len(asked) == 1
    assert json.loads((by_hand / "record.json").read_text())["key"] == record["key"]


def test_other_weights_than_the_runs_are_refused(config, tmp_path, refusal, file_of, error_of):
    weights = weights_of("dimr_2r_tdrms")
    message = refusal(weights, "--config", config(dims=[64, 16]))
    assert f"not its network of {tmp_path / 'import.yaml'}: dims [32, 16], not [64, 16]" in message
    assert "num_classes 10, not 11" in refusal(weights, "--config", config(num_classes=11))
    command = ["import", file_of(weights), "--out", tmp_path / "model", "--config", config()]
    assert "--heads cannot be combined with --config" in error_of(*command, "--heads", 2)
