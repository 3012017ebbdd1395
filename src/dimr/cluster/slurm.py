"""What this machine's SLURM cluster reports, and what in a site file it would refuse."""

import getpass
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dimr.cluster.site import Rule, Site
from dimr.config.validation import did_you_mean
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

COMMANDS = ("sbatch", "squeue", "srun", "scancel", "sinfo", "scontrol")
PATIENCE_SECONDS = 30.0
ON_GPUS: tuple[Rule, ...] = ("encode", "train", "sample", "evaluate")
"""Rules that use GPUs where recipes give them any."""


@dataclass(frozen=True)
class Partition:
    """A partition, by the most that one of its nodes offers.

    Attributes:
        gpus: on a node.
        gpu_types: their names, as in ``--gres=gpu:TYPE:8``.
        minutes: how long a job may run; None: no limit.
        cpus: on a node.
        memory_mb: of a node.
        nodes: how many there are.
        features: of nodes.
    """

    gpus: int = 0
    gpu_types: frozenset[str] = frozenset()
    minutes: float | None = None
    cpus: int = 0
    memory_mb: int = 0
    nodes: int = 0
    features: frozenset[str] = frozenset()

    def __str__(self) -> str:
        gpus = f" with {self.gpus} GPUs" if self.gpus else ""
        hours = "no limit" if self.minutes is None else f"{self.minutes / 60:g} h"
        return f"{self.nodes} nodes{gpus}, {hours}"


def ask(*command: str) -> str:
    """The answer of a SLURM command.

    Raises:
        DimrError: it does not exist, fails, or does not answer; in one line.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    except FileNotFoundError:
        raise DimrError(f"{command[0]}: no such command") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DimrError(f"{command[0]}: no answer ({single_line(error)[:120]})") from None
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise DimrError(f"{command[0]} fails: {told[-1].removeprefix(f'{command[0]}: ')[:200]}")
    return done.stdout


def missing_commands() -> list[str]:
    """SLURM's commands that are not on the PATH."""
    return [name for name in COMMANDS if shutil.which(name) is None]


def partitions() -> tuple[dict[str, Partition], str | None]:
    """The partitions by name, and the name of the default one."""
    return parse_partitions(ask("sinfo", "--noheader", "--exact", "-o", "%P|%l|%G|%c|%m|%D|%f"))


def parse_partitions(text: str) -> tuple[dict[str, Partition], str | None]:
    """The answer of ``sinfo -o '%P|%l|%G|%c|%m|%D|%f'``: a line for each kind of node."""
    found: dict[str, Partition] = {}
    default = None
    for line in filter(None, text.splitlines()):
        name, limit, gres, cpus, memory, nodes, features = map(str.strip, line.split("|"))
        if name.endswith("*"):
            name = default = name[:-1]
        known = found.get(name, Partition())
        gpus = re.findall(r"\bgpu:(?:([^:,()]+):)?(\d+)", gres)
        found[name] = Partition(
            gpus=max(known.gpus, sum(int(number) for _, number in gpus)),
            gpu_types=known.gpu_types | {kind for kind, _ in gpus if kind},
            minutes=_minutes(limit),
            cpus=max(known.cpus, _whole(cpus)),
            memory_mb=max(known.memory_mb, _whole(memory)),
            nodes=known.nodes + _whole(nodes),
            features=known.features | (set(features.split(",")) - {"(null)", ""}),
        )
    return found, default


def _whole(text: str) -> int:
    """The number at the beginning of ``64000+``."""
    digits = re.match(r"\d+", text)
    return int(digits[0]) if digits else 0


def _minutes(limit: str) -> float | None:
    """Minutes of SLURM's ``days-hours:minutes:seconds``; None for ``infinite``."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 1440 * days + 60 * hours + minutes + seconds / 60


def accounts() -> list[str] | None:
    """The accounts that this user may name; None: the cluster has no database of them."""
    user = f"user={getpass.getuser()}"
    for command in (
        ("sacctmgr", "-n", "-P", "show", "associations", "where", user, "format=account"),
        ("sshare", "-U", "-n", "-P", "-o", "Account"),
    ):
        try:
            names = sorted(set(ask(*command).split()))
        except DimrError:
            continue
        if names:
            return names
    return None


# --- a site file against the cluster --------------------------------------------------------------


def disagreements(
    site: Site, known: dict[str, Partition], default: str | None, where: str
) -> Iterator[str]:
    """What the cluster would refuse or never start; each line names the key and what exists."""
    for key, name in site.partitions.items():
        if name not in known:
            yield f"{where}: {key}: no partition {name!r} {did_you_mean(name, list(known))}"
    if default is None and site.partition is None:
        yield f"{where}: partition: the cluster has no default; name one of {', '.join(known)}"
    name = site.partition or default or ""
    if name in known:
        yield from _too_long(known[name], name, site.small.hours, f"{where}: small.hours")
    for rule in ON_GPUS if site.gpus_per_node else ():
        asked = site.rules.get(rule)
        name = (asked and asked.partition) or site.gpu_partition or default or ""
        if name in known:
            yield from _gpu_disagreements(site, rule, known, name, where)


def _gpu_disagreements(
    site: Site, rule: Rule, known: dict[str, Partition], name: str, where: str
) -> Iterator[str]:
    """What a rule asks for that no node of the partition ``name`` has."""
    partition, gpus = known[name], site.gpus_per_node
    if partition.gpus == 0:
        with_gpus = [one for one, its in known.items() if its.gpus]
        yield (
            f"{where}: gpu_partition: {name!r} has no GPUs, which rule {rule} asks for "
            f"(with GPUs: {', '.join(with_gpus) or 'none; then gpus_per_node: 0'})"
        )
    elif partition.gpus < gpus:
        yield f"{where}: gpus_per_node: {gpus}: nodes of {name!r} have {partition.gpus}"
    else:
        for key, asked, there, unit in (
            ("cpus_per_gpu", gpus * site.cpus_per_gpu, partition.cpus, "cores"),
            ("memory_gb_per_gpu", gpus * site.memory_gb_per_gpu, partition.memory_mb / 1000, "GB"),
        ):
            if asked > there:
                yield (
                    f"{where}: {key}: {asked:g} {unit} with {gpus} GPUs, and nodes of {name!r} "
                    f"have {there:g}"
                )
        types = [site.gpu_type] if site.gpu_type else []
        features = re.findall(r"[\w.-]+", site.constraint or "")
        for key, asked_for, existing in (
            ("gpu_type", types, partition.gpu_types),
            ("constraint", features, partition.features),
        ):
            for one in asked_for:
                if one not in existing:
                    hint = did_you_mean(one, sorted(existing))
                    yield f"{where}: {key}: no node of {name!r} has {one!r} {hint}"
    yield from _too_long(partition, name, site.hours(rule), f"{where}: rules.{rule}.hours")


def _too_long(partition: Partition, name: str, hours: float, where: str) -> Iterator[str]:
    limit = partition.minutes
    if limit is not None and hours * 60 > limit:
        yield f"{where}: {hours:g} is more than partition {name!r} allows ({limit / 60:g} hours)"


def check_submission(site: Site, where: str) -> None:
    """Refuse to submit what cannot run: no SLURM here, or partitions that do not exist.

    Raises:
        DimrError: the first mistake, in one line.
    """
    if missing := missing_commands():
        raise DimrError(
            f"--profile slurm: no command {missing[0]!r} on this machine: start snakemake where "
            "sbatch works (a login node), or leave out --profile slurm to run here"
        )
    known, default = partitions()
    if any(name not in known for name in site.partitions.values()):
        raise DimrError(next(disagreements(site, known, default, where)))


def check_account(site: Site, names: Sequence[str] | None, where: str) -> list[str]:
    """Messages about the account: missing, or not one of the user's (``accounts()``)."""
    if names is None or (site.account is None and len(names) == 1):
        return []
    if site.account is None:
        return [f"{where}: account: null; yours: {', '.join(names)}"]
    if site.account.lower() not in (name.lower() for name in names):
        return [f"{where}: account: {site.account!r} {did_you_mean(site.account, list(names))}"]
    return []
