"""What the SLURM cluster at hand answers, and what of a site file it would refuse."""

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


@dataclass(frozen=True)
class Partition:
    """A partition, by the most that one of its nodes offers.

    Attributes:
        gpus: on a node.
        gpu_types: names of them, as in ``--gres=gpu:TYPE:8``.
        minutes: that a job may run; None: no limit.
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


def ask(*command: str) -> str:
    """The answer of a SLURM command.

    Raises:
        DimrError: it is not there, fails, or does not answer; in one line.
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
    text = ask("sinfo", "--noheader", "--exact", "-o", "%P|%l|%G|%c|%m|%D|%f")
    return parse_partitions(text)


def parse_partitions(text: str) -> tuple[dict[str, Partition], str | None]:
    """The answer of ``sinfo -o '%P|%l|%G|%c|%m|%D|%f'``: a line for each kind of node."""
    found: dict[str, Partition] = {}
    default = None
    for line in filter(None, text.splitlines()):
        name, limit, gres, cpus, memory, nodes, features = (
            part.strip() for part in line.split("|")
        )
        if name.endswith("*"):
            name = default = name[:-1]
        known = found.get(name, Partition())
        gpus = re.findall(r"\bgpu:(?:([^:,()]+):)?(\d+)", gres)
        found[name] = Partition(
            gpus=max([known.gpus, sum(int(number) for _, number in gpus)]),
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
    """Minutes of SLURM's ``days-hours:minutes:seconds``; None of ``infinite``."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 1440 * days + 60 * hours + minutes + seconds / 60


def accounts() -> list[str] | None:
    """The accounts that this user may name; None: the cluster has no database of them."""
    for command in (
        ("sacctmgr", "-n", "-P", "show", "associations", "where", f"user={_user()}",
         "format=account"),
        ("sshare", "-U", "-n", "-P", "-o", "Account"),
    ):  # fmt: skip
        try:
            names = sorted(set(ask(*command).split()))
        except DimrError:
            continue
        if names:
            return names
    return None


def _user() -> str:
    import getpass

    return getpass.getuser()


# --- a site file against the cluster --------------------------------------------------------------


def disagreements(
    site: Site, known: dict[str, Partition], default: str | None, where: str
) -> Iterator[str]:
    """What the cluster would refuse or let wait for ever; each says the key and what is there."""
    for key, name in site.partitions.items():
        if name not in known:
            yield f"{where}: {key}: no partition {name!r} {did_you_mean(name, list(known))}"
    if default is None and site.partition is None:
        yield f"{where}: partition: the cluster has no default; name one of {', '.join(known)}"
    small = known.get(site.partition or default or "")
    if small is not None:
        yield from _too_long(small, site.small.hours, f"{where}: small.hours")
    if site.gpus_per_node:
        yield from _gpu_disagreements(site, known, default, where)


def _gpu_disagreements(
    site: Site, known: dict[str, Partition], default: str | None, where: str
) -> Iterator[str]:
    rules: tuple[Rule, ...] = ("encode", "train", "sample", "evaluate")
    for rule in rules:
        asked = site.rules.get(rule)
        name = (asked and asked.partition) or site.gpu_partition or default or ""
        partition = known.get(name)
        if partition is None:
            continue
        if partition.gpus == 0:
            with_gpus = [one for one, its in known.items() if its.gpus]
            yield (
                f"{where}: gpu_partition: {name!r} has no GPUs, which rule {rule} asks for "
                f"(with GPUs: {', '.join(with_gpus) or 'none; then gpus_per_node: 0'})"
            )
        elif partition.gpus < site.gpus_per_node:
            yield (
                f"{where}: gpus_per_node: {site.gpus_per_node}: nodes of {name!r} have "
                f"{partition.gpus}"
            )
        else:
            yield from _too_much_of_a_node(site, partition, name, where)
        yield from _too_long(partition, site.hours(rule), f"{where}: rules.{rule}.hours", name)


def _too_much_of_a_node(site: Site, partition: Partition, name: str, where: str) -> Iterator[str]:
    """What no node with so many GPUs has."""
    if site.gpu_type and site.gpu_type not in partition.gpu_types:
        hint = did_you_mean(site.gpu_type, sorted(partition.gpu_types))
        yield f"{where}: gpu_type: {name!r} has no {site.gpu_type!r} {hint}"
    for key, asked, there, unit in (
        ("cpus_per_gpu", site.gpus_per_node * site.cpus_per_gpu, partition.cpus, "cores"),
        ("memory_gb_per_gpu", site.gpus_per_node * site.memory_gb_per_gpu,
         partition.memory_mb / 1000, "GB"),
    ):  # fmt: skip
        if asked > there:
            yield (
                f"{where}: {key}: {asked:g} {unit} with {site.gpus_per_node} GPUs, and nodes of "
                f"{name!r} have {there:g}"
            )
    for feature in re.findall(r"[\w.-]+", site.constraint or ""):
        if feature not in partition.features:
            hint = did_you_mean(feature, sorted(partition.features))
            yield f"{where}: constraint: no node of {name!r} has {feature!r} {hint}"


def _too_long(
    partition: Partition, hours: float, where: str, name: str | None = None
) -> Iterator[str]:
    limit = partition.minutes
    if limit is not None and hours * 60 > limit:
        of = f" of {name!r}" if name else ""
        yield f"{where}: {hours:g} is more than the partition{of} allows ({limit / 60:g} hours)"


def check_submission(site: Site, where: str) -> None:
    """Refuse to submit what cannot be: no SLURM here, or partitions that are not there.

    Raises:
        DimrError: the first mistake, in one line.
    """
    missing = missing_commands()
    if missing:
        raise DimrError(
            f"--profile slurm: no command {missing[0]!r} on this machine: start snakemake where "
            "sbatch works (a login node), or leave --profile slurm out to run here"
        )
    known, default = partitions()
    for name in site.partitions.values():
        if name not in known:
            raise DimrError(next(disagreements(site, known, default, where)))


def check_account(site: Site, where: str) -> Sequence[str]:
    """Messages about the account: missing, or not one of the user's; none where there are none."""
    names = accounts()
    if names is None:
        return []
    if site.account is None:
        return [] if len(names) == 1 else [f"{where}: account: null; yours: {', '.join(names)}"]
    if site.account.lower() not in (name.lower() for name in names):
        return [f"{where}: account: {site.account!r} {did_you_mean(site.account, names)}"]
    return []
