"""What the workflow needs and this machine or its cluster lacks: one line each, with the fix."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from dimr.cluster import slurm
from dimr.cluster.site import EXAMPLE, Site, load_site, visible_gpus
from dimr.config.project import Project
from dimr.config.validation import did_you_mean
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.runtime.say import JOB

FOLDERS = ("data", "runs", "results", ".snakemake", ".cache")
"""Below the root (or links to larger disks): all that the workflow writes."""
LEAST_FREE = 2e9  # bytes; `dimr plan TARGET` says what a target takes
NETWORK_FILE_SYSTEMS = {
    "nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cephfs", "glusterfs", "cifs", "smb3",
    "panfs", "wekafs", "afs", "pvfs2", "orangefs", "fuse.sshfs", "fuse.glusterfs", "fuse.juicefs",
    "9p", "virtiofs",
}  # fmt: skip
VARIABLES = ("DIMR_REFERENCE", "DIMR_EXTRACTOR", "DIMR_CLASSIFIER")
"""There is also one for each source: ``DIMR_IMAGENET``."""
HUB_SECONDS = 10.0
WAIT_SECONDS = 20
"""How long a node may take to start a job of one second."""


class Finding(NamedTuple):
    """The outcome of a check.

    Attributes:
        state: ``fix`` blocks something; ``note`` may.
        what: was checked.
        found: in one line; for a ``fix`` with what to do.
    """

    state: Literal["ok", "note", "fix"]
    what: str
    found: str


Check = Callable[[str, str], Finding]
ok: Check = partial(Finding, "ok")
note: Check = partial(Finding, "note")
fix: Check = partial(Finding, "fix")


def machine_findings(root: Path, network: bool = False) -> Iterator[Finding]:
    """Everything that has nothing to do with a cluster.

    Args:
        root: the repository.
        network: whether to contact the hub; if not, nothing outside this machine is contacted.
    """
    yield ok("python", f"{platform.python_version()} ({sys.executable})")
    yield from _guarded("torch", lambda: [torch_finding()])
    yield compiler_finding(os.environ)
    for name in FOLDERS:
        yield folder_finding(root / name, name)
        links = sorted(path for path in (root / name).glob("*") if path.is_symlink())
        for link in links:  # to larger disks
            yield folder_finding(link, f"{name}/{link.name}")
    yield from repository_findings(root)
    yield from _guarded("variables", lambda: variable_findings(root, os.environ))
    if network:
        yield hub_finding(os.environ)
    else:
        yield note("hub", "not asked: dimr doctor --network asks whether it answers")


def _guarded(what: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """A check whose own failure is a finding, too."""
    try:
        yield from check()
    except (DimrError, ImportError, OSError, RuntimeError) as error:
        yield fix(what, single_line(error))


def torch_finding() -> Finding:
    """PyTorch, and whether it sees the machine's GPUs."""
    import torch

    version, here = torch.__version__, visible_gpus()
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        gpus = f"{torch.cuda.device_count()} GPUs ({', '.join(sorted(names))})"
        return ok("torch", f"{version}, {gpus}")
    if here:
        needed = torch.version.cuda or "(none: this torch is for CPUs)"
        how = f"the driver must support CUDA {needed}; nvidia-smi shows what it supports"
        return fix("torch", f"{version} can use none of this machine's {here} GPUs: {how}")
    return ok("torch", f"{version}, no GPU on this machine")


def compiler_finding(environment: Mapping[str, str]) -> Finding:
    """The C++ compiler, with which torch.compile makes its kernels for a CPU."""
    name = environment.get("CXX") or "g++"
    if found := shutil.which(name, path=environment.get("PATH")):
        return ok("compiler", found)
    how = "training and sampling on a CPU run uncompiled, which is slower (Debian: apt install g++)"
    return note("compiler", f"no {name}: {how}")


def folder_finding(folder: Path, name: str, least: float = LEAST_FREE) -> Finding:
    """Whether a folder can be written, and has ``least`` bytes free on its disk."""
    place = folder
    while not place.exists() and not place.is_symlink():
        place = place.parent
    if not place.exists():
        return fix(name, f"{place}: links to {os.readlink(place)}, which does not exist")
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        how = f"make it writable, or {name} a link to a folder on a writable disk"
        return fix(name, f"{place}: {error.strerror}: {how}")
    free = shutil.disk_usage(place).free
    if free < least:
        how = f"make room, or {name} a link to a folder on a larger disk"
        return fix(name, f"{place}: {free / 1e9:.1f} GB free: {how}")
    return ok(name, f"{free / 1e9:.0f} GB free on {file_system(place)}")


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of the file system that a path is on, as the kernel names it."""
    resolved = path.resolve()
    best, kind = Path(), "an unknown file system"
    text = mounts.read_text(encoding="utf-8", errors="replace") if mounts.is_file() else ""
    for line in text.splitlines():
        _, point, name, *_ = line.split()
        mounted = Path(point.encode().decode("unicode_escape"))
        if resolved.is_relative_to(mounted) and len(mounted.parts) >= len(best.parts):
            best, kind = mounted, name
    return kind


def repository_findings(root: Path) -> Iterator[Finding]:
    """Characters in its path on which other programs fail, and Snakemake's lock on it."""
    if foreign := sorted({letter for letter in str(root) if not letter.isascii()}):
        yield note(
            "path",
            f"{root}: has {', '.join(foreign)}: queued experiments (dvc exp run --queue) fail in a "
            "path with non-ASCII characters (a bug in DVC); everything else works",
        )
    locks = root / ".snakemake/locks"
    if locks.is_dir() and any(locks.iterdir()):
        yield note(
            "lock",
            "a snakemake runs in this folder, or was killed: if none runs on any machine, and "
            "`squeue --me` lists no job of it: snakemake --unlock",
        )


def variable_findings(root: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """The variables that say where files from elsewhere are."""
    sources = Project(root).sources
    known = [*(f"DIMR_{name.upper().replace('-', '_')}" for name in sources), *VARIABLES]
    for name in known:
        value = environment.get(name)
        if not value:
            yield note(name, "not set: digits do not need it (docs/imagenet.md, docs/datasets.md)")
        elif Path(value).exists():
            yield ok(name, value)
        elif value.count("/") == 1 and value[0] not in "/.~":
            yield ok(name, f"{value} on the hub")
        else:
            yield fix(name, f"{value}: no such file or folder: correct or unset it")
    for name in sorted(name for name in environment if name.startswith("DIMR_")):
        if name not in (*known, JOB):  # a job of the workflow has its own name
            yield fix(name, f"not a variable of dimr {did_you_mean(name, known)}: unset it")


def hub_finding(environment: Mapping[str, str]) -> Finding:
    """Whether the Hugging Face hub answers: for autoencoders and published weights."""
    if environment.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return note("hub", "HF_HUB_OFFLINE is set: only what was downloaded before is available")
    from huggingface_hub.constants import ENDPOINT  # as configured, else the public one

    try:
        with urllib.request.urlopen(f"{ENDPOINT}/api/models?limit=1", timeout=HUB_SECONDS):
            return ok("hub", "answers from this machine")
    except (OSError, urllib.error.URLError) as error:
        how = (
            "digits do not need it; for ImageNet set https_proxy, or download on a machine "
            "with a connection (docs/cluster.md)"
        )
        return note("hub", f"does not answer ({single_line(error)[:80]}): {how}")


# --- the cluster ----------------------------------------------------------------------------------


def cluster_findings(root: Path, site_file: Path, ask_a_node: bool) -> Iterator[Finding]:
    """SLURM's commands, the site file against the cluster, and whether a node sees the repository.

    Args:
        root: the repository.
        site_file: that the profile names.
        ask_a_node: start a job of one second, to check whether nodes see the repository.
    """
    missing = slurm.missing_commands()
    if len(missing) == len(slurm.COMMANDS):
        yield ok("slurm", "not on this machine: leave out --profile slurm")
        return
    if missing:
        yield fix("slurm", f"no command {', '.join(missing)}: add SLURM's folder to PATH")
        return
    try:
        known, default = slurm.partitions()
    except DimrError as error:
        yield fix("slurm", f"{error}: ask where the cluster's login node is")
        return
    if not known:
        yield fix("slurm", "sinfo shows no partition that you may use: ask for one")
        return
    yield ok("slurm", f"partitions: {', '.join(f'{name} ({one})' for name, one in known.items())}")
    if "SLURM_CONF" in os.environ and not Path("/etc/slurm/slurm.conf").exists():
        yield note(
            "SLURM_CONF",
            "is set, and dropped within jobs by Snakemake's plugin: if jobs end with 'Could not "
            "establish a configuration source', ask for /etc/slurm/slurm.conf on the nodes",
        )
    if "SLURM_JOB_ID" in os.environ:
        yield note("SLURM_JOB_ID", "is set: start snakemake on a login node, not in a job")
    try:
        site = load_site(site_file)
    except DimrError as error:
        yield fix("site", str(error))
        return
    yield from site_findings(site, site_file, known, default)
    if ask_a_node:
        yield node_finding(root, site)


def site_findings(
    site: Site, site_file: Path, known: dict[str, slurm.Partition], default: str | None
) -> Iterator[Finding]:
    """The site file against what the cluster answers."""
    if not site_file.is_file():
        how = f"copy {EXAMPLE} there and edit it"
        yield note("site", f"no {site_file}: everything is the cluster's default; {how}")
    wrong = [
        *slurm.disagreements(site, known, default, site_file.name),
        *slurm.check_account(site, slurm.accounts(), site_file.name),
    ]
    for message in dict.fromkeys(wrong):
        yield fix("site", message)
    if not wrong:
        named = ", ".join(dict.fromkeys(site.partitions.values())) or f"{default} (the default)"
        gpus = f"{site.gpus_per_node} GPUs per node" if site.gpus_per_node else "no GPUs"
        yield ok("site", f"{site_file.name}: {named}, {gpus}: fits the cluster")


def node_finding(root: Path, site: Site) -> Finding:
    """Whether a node sees the repository and its environment, by a job of one second."""
    token, kind = root / f".doctor-{uuid.uuid4().hex}", file_system(root)
    partition = ["-p", site.partition] if site.partition else []
    account = ["-A", site.account] if site.account else []
    command = [
        "srun", f"--immediate={WAIT_SECONDS}", "-n1", "-t1", "--quiet", *partition, *account,
        "test", "-e", str(token), "-a", "-x", sys.executable,
    ]  # fmt: skip
    try:
        token.touch()
        done = subprocess.run(command, capture_output=True, text=True, timeout=6 * WAIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return note("nodes", f"not asked ({single_line(error)[:80]})")
    finally:
        token.unlink(missing_ok=True)
    if done.returncode == 0:
        return ok("nodes", f"see this folder ({kind}) and its environment")
    if done.stderr.strip():
        return note("nodes", f"not asked: {single_line(done.stderr)[:120]}")
    local = "" if kind in NETWORK_FILE_SYSTEMS else ", a disk of this machine only"
    how = "work in a folder that all nodes share, with .venv in it"
    return fix("nodes", f"do not see {root} or {sys.executable} ({kind}{local}): {how}")
