"""What this machine has of what the workflow needs: checks of one line each, and how to fix it."""

import os
import platform
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dimr.config.project import Project
from dimr.config.validation import did_you_mean
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.runtime.progress import JOB

FOLDERS = ("data", "runs", "results", ".snakemake", ".cache")
"""Below the root (or links to larger disks): all that the workflow writes."""
LEAST_FREE = 2e9  # bytes; `dimr plan TARGET` says what a target takes
NETWORK_FILE_SYSTEMS = {
    "nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cephfs", "glusterfs", "cifs", "smb3",
    "panfs", "wekafs", "afs", "pvfs2", "orangefs", "fuse.sshfs", "fuse.glusterfs", "fuse.juicefs",
    "9p", "virtiofs",
}  # fmt: skip
VARIABLES = ("DIMR_REFERENCE", "DIMR_EXTRACTOR", "DIMR_CLASSIFIER")
"""Beside one for each source: ``DIMR_IMAGENET``."""
HUB_SECONDS = 10.0


@dataclass(frozen=True)
class Finding:
    """The outcome of a check.

    Attributes:
        state: ``fix`` is in the way of something; ``note`` may be.
        what: was checked.
        found: in one line; of a ``fix`` with what to do.
    """

    state: Literal["ok", "note", "fix"]
    what: str
    found: str


def machine_findings(root: Path, network: bool = False) -> Iterator[Finding]:
    """Everything that has nothing to do with a cluster.

    Args:
        root: the repository.
        network: whether the hub is asked; else nothing outside this machine is.
    """
    yield Finding("ok", "python", f"{platform.python_version()} ({sys.executable})")
    yield from _guarded("torch", lambda: [torch_finding()])
    for name in FOLDERS:
        yield folder_finding(root / name, name)
    yield from path_findings(root)
    yield from lock_findings(root)
    yield from _guarded("variables", lambda: variable_findings(root, os.environ))
    if network:
        yield hub_finding(os.environ)
    else:
        yield Finding("note", "hub", "not asked: dimr doctor --network asks whether it answers")


def _guarded(
    what: str, check: Callable[[], "Iterator[Finding] | list[Finding]"]
) -> Iterator[Finding]:
    """A check whose own failure is a finding too."""
    try:
        yield from check()
    except (DimrError, ImportError, OSError, RuntimeError) as error:
        yield Finding("fix", what, single_line(error))


def torch_finding() -> Finding:
    """PyTorch and the GPUs that it sees, against those that are there."""
    import torch

    from dimr.cluster.site import visible_gpus

    version, here = torch.__version__, visible_gpus()
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        gpus = f"{torch.cuda.device_count()} GPUs ({', '.join(sorted(names))})"
        return Finding("ok", "torch", f"{version}, {gpus}")
    if here:
        return Finding(
            "fix", "torch",
            f"{version} uses none of this machine's {here} GPUs: the driver must be one for "
            f"CUDA {torch.version.cuda or '(this torch has none)'} (nvidia-smi says its newest)",
        )  # fmt: skip
    return Finding("ok", "torch", f"{version}, no GPU on this machine")


def folder_finding(folder: Path, name: str) -> Finding:
    """Whether a folder can be written, and how much room its disk has."""
    place = folder
    while not place.exists() and not place.is_symlink():
        place = place.parent
    if not place.exists():
        return Finding("fix", name, f"{place}: links to {os.readlink(place)}, which is not there")
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        how = f"make it writable, or {name} a link to a folder on a disk that is"
        return Finding("fix", name, f"{place}: {error.strerror}: {how}")
    free = shutil.disk_usage(place).free
    where = f"{free / 1e9:.0f} GB free on {file_system(place)}"
    if free < LEAST_FREE:
        how = f"make room, or {name} a link to a folder on a larger disk"
        return Finding("fix", name, f"{place}: {free / 1e9:.1f} GB free: {how}")
    return Finding("ok", name, where)


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of the file system that a path is on, as the kernel names it."""
    resolved = path.resolve()
    best, kind = Path(), "an unknown file system"
    if not mounts.is_file():
        return kind
    for line in mounts.read_text().splitlines():
        _, point, name, *_ = line.split()
        mounted = Path(point.encode().decode("unicode_escape"))
        if resolved.is_relative_to(mounted) and len(mounted.parts) >= len(best.parts):
            best, kind = mounted, name
    return kind


def path_findings(root: Path) -> Iterator[Finding]:
    """Letters of the repository's path with which other programs fail."""
    foreign = sorted({letter for letter in str(root) if not letter.isascii()})
    if foreign:
        yield Finding(
            "note", "path",
            f"{root}: has {', '.join(foreign)}: experiments that are queued (dvc exp run --queue) "
            "fail in a path with letters beyond ASCII (DVC's own fault); all else works",
        )  # fmt: skip


def lock_findings(root: Path) -> Iterator[Finding]:
    """Snakemake's lock on the folder."""
    locks = root / ".snakemake/locks"
    if locks.is_dir() and any(locks.iterdir()):
        yield Finding(
            "note", "lock",
            "a snakemake works in this folder, or was killed: if none runs, on any machine, and "
            "`squeue --me` has no job of it: snakemake --unlock",
        )  # fmt: skip


def variable_findings(root: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """The variables that say where files from elsewhere are."""
    sources = Project(root).sources
    known = [*(f"DIMR_{name.upper().replace('-', '_')}" for name in sources), *VARIABLES]
    for name in known:
        value = environment.get(name)
        if not value:
            yield Finding("note", name, "not set: needed for ImageNet only (docs/cluster.md)")
        elif Path(value).exists():
            yield Finding("ok", name, value)
        elif value.count("/") == 1 and value[0] not in "/.~":
            yield Finding("ok", name, f"{value} on the hub")
        else:
            yield Finding("fix", name, f"{value}: no such file or folder: set it to where it is")
    for name in sorted(name for name in environment if name.startswith("DIMR_")):
        if name not in (*known, JOB):  # a job of the workflow has its own name
            yield Finding("fix", name, f"means nothing {did_you_mean(name, known)}: unset it")


def hub_finding(environment: Mapping[str, str]) -> Finding:
    """Whether the Hugging Face hub answers: for autoencoders and published weights."""
    if environment.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return Finding(
            "note", "hub", "HF_HUB_OFFLINE is set: only what was fetched before is there"
        )
    from huggingface_hub.constants import ENDPOINT  # the one that is set, or the public one

    try:
        with urllib.request.urlopen(f"{ENDPOINT}/api/models?limit=1", timeout=HUB_SECONDS):
            return Finding("ok", "hub", "answers from this machine")
    except (OSError, urllib.error.URLError) as error:
        return Finding(
            "note", "hub",
            f"does not answer ({single_line(error)[:80]}): digits need nothing of it; "
            "for ImageNet set https_proxy, or fetch where there is a line (docs/cluster.md)",
        )  # fmt: skip
