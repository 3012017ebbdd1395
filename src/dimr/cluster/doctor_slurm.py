"""What the cluster has of what ``snakemake --profile slurm`` asks it for."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from dimr.cluster import slurm
from dimr.cluster.doctor import NETWORK_FILE_SYSTEMS, Finding, file_system
from dimr.cluster.site import EXAMPLE, Site, load_site
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

WAIT_SECONDS = 20


def cluster_findings(root: Path, site_file: Path, ask_a_node: bool) -> Iterator[Finding]:
    """SLURM's commands, the site file against the cluster, and a folder as a node sees it.

    Args:
        root: the repository.
        site_file: that the profile names.
        ask_a_node: start a job of a second, to see whether nodes see the repository.
    """
    missing = slurm.missing_commands()
    if len(missing) == len(slurm.COMMANDS):
        yield Finding("ok", "slurm", "not on this machine: leave --profile slurm out")
        return
    if missing:
        yield Finding(
            "fix", "slurm", f"no command {', '.join(missing)}: add SLURM's folder to PATH"
        )
        return
    try:
        known, default = slurm.partitions()
    except DimrError as error:
        yield Finding("fix", "slurm", f"{error}: ask where the cluster's login node is")
        return
    if not known:
        yield Finding("fix", "slurm", "sinfo shows no partition that you may use: ask for one")
        return
    yield Finding("ok", "slurm", f"partitions: {', '.join(map(_shown, known.items()))}")
    yield from _variables()
    try:
        site = load_site(site_file)
    except DimrError as error:
        yield Finding("fix", "site", str(error))
        return
    yield from site_findings(site, site_file, known, default)
    if ask_a_node:
        yield node_finding(root, site)


def _shown(item: tuple[str, slurm.Partition]) -> str:
    name, partition = item
    gpus = f" with {partition.gpus} GPUs" if partition.gpus else ""
    hours = "no limit" if partition.minutes is None else f"{partition.minutes / 60:g} h"
    return f"{name} ({partition.nodes} nodes{gpus}, {hours})"


def _variables() -> Iterator[Finding]:
    if "SLURM_CONF" in os.environ and not Path("/etc/slurm/slurm.conf").exists():
        yield Finding(
            "note", "SLURM_CONF",
            "is set, and dropped within jobs by Snakemake's plugin: if jobs end with 'Could not "
            "establish a configuration source', ask for /etc/slurm/slurm.conf on the nodes",
        )  # fmt: skip
    if "SLURM_JOB_ID" in os.environ:
        yield Finding(
            "note", "SLURM_JOB_ID", "is set: start snakemake on a login node, not in a job"
        )


def site_findings(
    site: Site, site_file: Path, known: dict[str, slurm.Partition], default: str | None
) -> Iterator[Finding]:
    """The site file against what the cluster answers."""
    if not site_file.is_file():
        how = f"copy {EXAMPLE} there and edit it"
        yield Finding("note", "site", f"no {site_file}: all is the cluster's default; {how}")
    wrong = [
        *slurm.disagreements(site, known, default, site_file.name),
        *slurm.check_account(site, site_file.name),
    ]
    for message in dict.fromkeys(wrong):
        yield Finding("fix", "site", message)
    if not wrong:
        named = ", ".join(dict.fromkeys(site.partitions.values())) or f"{default} (the default)"
        gpus = f"{site.gpus_per_node} GPUs a node" if site.gpus_per_node else "no GPUs"
        yield Finding("ok", "site", f"{site_file.name}: {named}, {gpus}: the cluster has it")


def node_finding(root: Path, site: Site) -> Finding:
    """Whether a node sees the repository and its environment, by a job of a second."""
    token = root / f".doctor-{uuid.uuid4().hex}"
    partition = ["-p", site.partition] if site.partition else []
    account = ["-A", site.account] if site.account else []
    command = [
        "srun", f"--immediate={WAIT_SECONDS}", "-n1", "-t1", "--quiet", *partition, *account,
        "test", "-e", str(token), "-a", "-x", sys.executable,
    ]  # fmt: skip
    kind = file_system(root)
    try:
        token.touch()
        done = subprocess.run(command, capture_output=True, text=True, timeout=6 * WAIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("note", "nodes", f"not asked ({single_line(error)[:80]})")
    finally:
        token.unlink(missing_ok=True)
    if done.returncode == 0:
        return Finding("ok", "nodes", f"see this folder ({kind}) and its environment")
    if done.stderr.strip():
        return Finding("note", "nodes", f"not asked: {single_line(done.stderr)[:120]}")
    network = "" if kind in NETWORK_FILE_SYSTEMS else ", a disk of this machine alone"
    return Finding(
        "fix", "nodes",
        f"do not see {root} or {sys.executable} ({kind}{network}): work in a folder that all nodes "
        "share, with .venv in it",
    )  # fmt: skip
