"""`dimr doctor`: what it finds on machines that lack things."""

import errno
import os
import socket

import pytest
from tests.support.messages import error_in

from dimr.cli import main
from dimr.cluster import doctor, slurm
from dimr.cluster.doctor_slurm import cluster_findings
from dimr.config.project import ROOT


def test_folders(tmp_path, monkeypatch):
    assert doctor.folder_finding(tmp_path / "runs", "runs").state == "ok"
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    (tmp_path / "data").symlink_to(tmp_path / "unmounted")
    lost = doctor.folder_finding(tmp_path / "data", "data")
    assert (lost.state, "which is not there" in lost.found) == ("fix", True)
    read_only = doctor.folder_finding(type(tmp_path)("/proc/runs"), "runs")
    assert read_only.state == "fix"
    assert "make it writable" in read_only.found
    monkeypatch.setattr(doctor, "LEAST_FREE", 1e18)
    full = doctor.folder_finding(tmp_path, "runs")
    assert (full.state, "GB free: make room" in full.found) == ("fix", True)


def test_the_file_system_of_a_folder(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\n"
        f"server:/home {tmp_path.parent} nfs4 rw 0 0\n"
        f"lustre {tmp_path}/my\\040runs lustre rw 0 0\n"
    )
    assert doctor.file_system(tmp_path, mounts) == "nfs4"
    assert doctor.file_system(tmp_path / "my runs/a", mounts) == "lustre"
    assert doctor.file_system(type(tmp_path)("/"), mounts) == "ext4"
    assert "nfs4" in doctor.NETWORK_FILE_SYSTEMS


def test_variables(tmp_path):
    given = {
        "DIMR_IMAGENET": "ILSVRC/imagenet-1k",
        "DIMR_REFERENCE": str(tmp_path),
        "DIMR_EXTRACTOR": str(tmp_path / "none.pth"),
        "DIMR_IMAGNET": "x",
    }
    found = {one.what: one for one in doctor.variable_findings(ROOT, given)}
    assert found["DIMR_IMAGENET"].state == found["DIMR_REFERENCE"].state == "ok"
    assert found["DIMR_EXTRACTOR"].state == "fix"
    assert "did you mean DIMR_IMAGENET" in found["DIMR_IMAGNET"].found
    assert found["DIMR_CLASSIFIER"].state == "note"


def test_a_lock_is_told_with_what_to_do(tmp_path):
    assert list(doctor.lock_findings(tmp_path)) == []
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.input.lock").touch()
    (note,) = doctor.lock_findings(tmp_path)
    assert "snakemake --unlock" in note.found


def test_offline_by_wish_or_by_wire(monkeypatch):
    assert doctor.hub_finding({"HF_HUB_OFFLINE": "1"}).state == "note"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "does not answer" in doctor.hub_finding({}).found


@pytest.mark.parametrize(
    ("there", "state", "message"),
    [((), "ok", "leave --profile slurm out"), (("sbatch",), "fix", "no command squeue")],
)
def test_slurm_that_is_not_there(tmp_path, monkeypatch, there, state, message):
    for name in there:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = cluster_findings(ROOT, tmp_path / "site.yaml", False)
    assert (finding.state, message in finding.found) == (state, True)


@pytest.fixture
def laptop(tmp_path, monkeypatch):
    """A repository on a machine without SLURM."""
    monkeypatch.setattr(slurm, "missing_commands", lambda: list(slurm.COMMANDS))
    for name in [name for name in os.environ if name.startswith("DIMR_")]:
        monkeypatch.delenv(name)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    return tmp_path


def test_no_network_without_being_asked(laptop, monkeypatch, capsys):
    """Whoever opens a connection, or looks up a name, is caught."""
    asked = []

    def caught(*arguments, **_):
        asked.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", caught)
    monkeypatch.setattr(socket.socket, "connect", caught)
    assert main(["doctor", "--root", str(laptop)]) == 0
    assert asked == []
    assert "note     hub              not asked: dimr doctor --network" in capsys.readouterr().out
    assert main(["doctor", "--root", str(laptop), "--network"]) == 0
    assert asked
    assert "hub              does not answer" in capsys.readouterr().out


def test_a_path_beyond_ascii_is_noted(tmp_path):
    assert list(doctor.path_findings(tmp_path / "plain")) == []
    (note,) = doctor.path_findings(tmp_path / "Übungen/café")
    assert (note.state, "has Ü, é: experiments that are queued" in note.found) == ("note", True)


def test_the_name_of_a_job_is_no_mistake():
    found = doctor.variable_findings(ROOT, {"DIMR_JOB": "digits/real/0 evaluate-reference"})
    assert "DIMR_JOB" not in [one.what for one in found]


def test_the_command_on_a_laptop(laptop, monkeypatch, capsys):
    assert main(["doctor", "--root", str(laptop)]) == 0
    assert capsys.readouterr().out.endswith("nothing to fix\n")
    monkeypatch.setenv("DIMR_REFERENCE", "/nowhere/adm")
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--root", str(laptop)])
    assert left.value.code == 1
    out = capsys.readouterr().out
    assert "TO FIX   DIMR_REFERENCE   /nowhere/adm: no such file or folder" in out
    assert out.endswith("1 to fix\n")


def test_a_step_on_a_read_only_disk_says_so_in_one_line(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "images"))

    monkeypatch.setattr("dimr.cli.project.config", refuse)
    assert main(["config", "digits/real/0"]) == 2
    message = error_in(caplog)
    assert message.endswith("images: read-only file system: make its folder writable, or a link to "
                            "one that is")  # fmt: skip
