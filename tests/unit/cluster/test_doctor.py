"""`dimr doctor`: what it finds on machines that lack things."""

import errno
import os
import socket
from pathlib import Path

import pytest
from tests.support.messages import error_in

from dimr.cli import main
from dimr.cluster import doctor
from dimr.cluster.site import Site
from dimr.config.project import ROOT
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_text


def test_folders(tmp_path):
    assert doctor.folder_finding(tmp_path / "runs", "runs").state == "ok"
    assert list(tmp_path.iterdir()) == []  # nothing is left behind
    (tmp_path / "data").symlink_to(tmp_path / "unmounted")
    for folder, least, how in (
        (tmp_path / "data", 0, "which does not exist"),
        (Path("/proc/runs"), 0, "make it writable"),
        (tmp_path, 1e18, "GB free: make room"),
    ):
        finding = doctor.folder_finding(folder, "runs", least)
        assert (finding.state, how in finding.found) == ("fix", True)


def test_a_link_to_a_larger_disk_that_is_not_there(tmp_path):
    """Links are made below data/ and runs/: doctor looks at each, and a step names it."""
    (tmp_path / "runs").mkdir()
    link = tmp_path / "runs/imagenet256"
    link.symlink_to(tmp_path / "unmounted")
    found = {one.what: one for one in doctor.machine_findings(tmp_path)}
    assert found["runs"].state == "ok"
    assert found["runs/imagenet256"].state == "fix"
    with pytest.raises(DimrError, match=r"runs/imagenet256: links to .*unmounted, which does not"):
        write_text(link / "a/config.yaml", "")
    (tmp_path / "unmounted").mkdir()
    write_text(link / "a/config.yaml", "")
    assert (tmp_path / "unmounted/a/config.yaml").is_file()


def test_the_compiler(tmp_path):
    program = tmp_path / "g++"
    program.touch(mode=0o755)
    assert doctor.compiler_finding({"PATH": str(tmp_path)}) == ("ok", "compiler", str(program))
    found = doctor.compiler_finding({"PATH": str(tmp_path), "CXX": "clang++"})
    assert (found.state, "no clang++: " in found.found) == ("note", True)


def test_the_file_system_of_a_folder(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\n"
        f"server:/home {tmp_path.parent} nfs4 rw 0 0\n"
        f"lustre {tmp_path}/my\\040runs lustre rw 0 0\n"
    )
    assert doctor.file_system(tmp_path, mounts) == "nfs4"
    assert doctor.file_system(tmp_path / "my runs/a", mounts) == "lustre"
    assert doctor.file_system(Path("/"), mounts) == "ext4"
    assert "nfs4" in doctor.NETWORK_FILE_SYSTEMS


def test_variables(tmp_path):
    given = {
        "DIMR_IMAGENET": "ILSVRC/imagenet-1k",
        "DIMR_REFERENCE": str(tmp_path),
        "DIMR_EXTRACTOR": str(tmp_path / "none.pth"),
        "DIMR_IMAGNET": "x",
        "DIMR_JOB": "digits/real/0 evaluate-reference",  # the name of a job is no mistake
    }
    found = {one.what: one for one in doctor.variable_findings(ROOT, given)}
    assert found["DIMR_IMAGENET"].state == found["DIMR_REFERENCE"].state == "ok"
    assert found["DIMR_EXTRACTOR"].state == "fix"
    assert "did you mean DIMR_IMAGENET" in found["DIMR_IMAGNET"].found
    assert found["DIMR_CLASSIFIER"].state == "note"
    assert "DIMR_JOB" not in found


def test_a_lock_and_a_path_beyond_ascii_are_noted(tmp_path):
    assert list(doctor.repository_findings(tmp_path)) == []
    root = tmp_path / "Übungen/café"
    (root / ".snakemake/locks").mkdir(parents=True)
    (root / ".snakemake/locks/0.input.lock").touch()
    path, lock = doctor.repository_findings(root)
    assert "has Ü, é: queued experiments" in path.found
    assert "snakemake --unlock" in lock.found
    assert path.state == lock.state == "note"


def test_offline_by_wish_or_by_wire(monkeypatch):
    assert doctor.hub_finding({"HF_HUB_OFFLINE": "1"}).state == "note"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "does not answer" in doctor.hub_finding({}).found


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """The only commands on the PATH: shell scripts by name."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(**scripts):
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    return write


NAMES = ("sbatch", "squeue", "srun", "scancel", "sinfo", "scontrol")


@pytest.mark.parametrize(
    ("scripts", "state", "message"),
    [
        ({}, "ok", "leave out --profile slurm"),
        ({"sbatch": ""}, "fix", "no command squeue"),
        ({**dict.fromkeys(NAMES, ""), "sinfo": "echo 'sinfo: no server' >&2; exit 1"}, "fix",
         "sinfo fails: no server: ask where the cluster's login node is"),
        (dict.fromkeys(NAMES, ""), "fix", "sinfo shows no partition"),
    ],
)  # fmt: skip
def test_slurm_that_does_not_work(scripts, state, message, tmp_path, commands):
    commands(**scripts)
    (finding,) = doctor.cluster_findings(ROOT, tmp_path / "site.yaml", False)
    assert (finding.state, message in finding.found) == (state, True)


def test_a_site_against_its_cluster(tmp_path, commands, monkeypatch):
    monkeypatch.delenv("SLURM_CONF", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    commands(**{**dict.fromkeys(NAMES, ""), "sinfo": "echo 'gpu*|1-00:00:00|gpu:2|64|512000|3|a'"})
    site = tmp_path / "site.yaml"
    found = doctor.cluster_findings(tmp_path, site, True)
    states = {one.what: (one.state, one.found) for one in found}
    assert states["slurm"] == ("ok", "partitions: gpu (3 nodes with 2 GPUs, 24 h)")
    assert states["SLURM_JOB_ID"][0] == "note"
    assert states["site"] == ("fix", "site.yaml: gpus_per_node: 8: nodes of 'gpu' have 2")
    assert states["nodes"][0] == "ok"
    assert list(tmp_path.glob(".doctor*")) == []
    site.write_text("gpus_per_node: 2\n")
    *_, finding = doctor.cluster_findings(tmp_path, site, False)
    assert finding.found == "site.yaml: gpu (the default), 2 GPUs per node: fits the cluster"
    site.write_text("gpu: 2\n")
    *_, finding = doctor.cluster_findings(tmp_path, site, False)
    assert (finding.state, "gpu: unknown key" in finding.found) == ("fix", True)


def test_nodes_that_do_not_see_the_folder(tmp_path, commands):
    commands(srun="exit 1")
    assert doctor.node_finding(tmp_path, Site()).found.startswith(f"do not see {tmp_path} or ")
    commands(srun="echo 'srun: busy' >&2; exit 1")
    assert doctor.node_finding(tmp_path, Site()).found == "not asked: srun: busy"


@pytest.fixture
def laptop(tmp_path, commands, monkeypatch):
    """A repository on a machine without SLURM."""
    commands()
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


def test_a_stage_on_a_read_only_disk_says_so_in_one_line(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "images"))

    monkeypatch.setattr("dimr.cli.project.config", refuse)
    assert main(["config", "digits/real/0"]) == 2
    assert error_in(caplog).endswith(
        "images: read-only file system: make its folder writable, or a link to one that is"
    )
