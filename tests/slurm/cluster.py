"""A SLURM cluster of two nodes on this machine, in a folder of its own.

munged, slurmctld and two slurmd run as root, on free ports, with their own configuration, key and
state: a cluster that this machine may already have is neither used nor disturbed. Both nodes are
this machine: what runs on them sees the same files and the same two cores.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

NODES = ("first", "second")
DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = (
    "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr", "sshare",
)  # fmt: skip

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
# this machine has neither control groups of its own nor a database of accounts
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
GresTypes=gpu
# quick: jobs of a few seconds each
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
KillWait=3
OverTimeLimit=0
MinJobAge=300
{nodes}
PartitionName=cpu Nodes=ALL Default=YES MaxTime=1-00:00:00 State=UP
PartitionName=gpu Nodes=ALL MaxTime=1-00:00:00 State=UP
"""
NODE = "NodeName={name} NodeAddr=127.0.0.{index} Port={port} CPUs=8 RealMemory=64000 Gres=gpu:2"


class Cluster:
    """Starts in the constructor; ``stop`` ends what it started.

    Args:
        folder: for everything it writes.

    Attributes:
        environment: what a command needs to speak with it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen] = []
        self._configure()
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{self._programs()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _configure(self) -> None:
        ports = free_ports(1 + len(NODES))
        nodes = [
            NODE.format(name=name, index=index + 2, port=ports[1 + index])
            for index, name in enumerate(NODES)
        ]
        (self.folder / "state").mkdir(parents=True)
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(
            host=socket.gethostname(), controller_port=ports[0], folder=self.folder,
            nodes="\n".join(nodes),
        ))  # fmt: skip
        # GPUs that are plain files: SLURM counts and hands them out as if they were devices
        for index in range(2):
            (self.folder / f"gpu{index}").touch()
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-1]\n")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)

    def _programs(self) -> Path:
        """SLURM's commands that find this cluster by themselves, as on any real one.

        Snakemake's plugin leaves no SLURM_* variable to what it runs within a job.
        """
        programs = self.folder / "bin"
        programs.mkdir()
        for name in COMMANDS:
            file = programs / name
            lines = ["#!/bin/sh", f"export SLURM_CONF={self.folder}/slurm.conf"]
            if name == "scontrol":  # of which the plugin takes 10 s for no answer, and goes astray
                lines.append(f'[ "$*" = "show config" ] && cat {self.folder}/config.txt && exit')
            lines.append(f'exec {shutil.which(name)} "$@"')
            file.write_text("\n".join(lines) + "\n")
            file.chmod(0o755)
        return programs

    def _start(self) -> None:
        socket_file = self.folder / "munge.socket"
        self._daemon(
            "munged", "--foreground", "--force", f"--socket={socket_file}",
            f"--key-file={self.folder / 'munge.key'}", f"--pid-file={self.folder / 'munged.pid'}",
            f"--log-file={self.folder / 'munged.log'}",
            f"--seed-file={self.folder / 'munged.seed'}",
        )  # fmt: skip
        self.wait(socket_file.exists)
        configuration = self.environment["SLURM_CONF"]
        self._daemon("slurmctld", "-D", "-f", configuration)
        for name in NODES:
            self._daemon("slurmd", "-D", "-f", configuration, "-N", name)
        self.wait(lambda: self.command("sinfo", "-h", "-o", "%T %D") == "idle 2")
        shown = self.command("scontrol", "show", "config")
        (self.folder / "config.txt").write_text(shown)

    def _daemon(self, name: str, *arguments: str) -> None:
        with open(self.folder / "daemons.log", "a") as output:
            self.daemons.append(subprocess.Popen(
                [daemon(name), *arguments], stdout=output, stderr=output, start_new_session=True,
                preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGTERM),  # not to outlive us
            ))  # fmt: skip

    def wait(self, ready, seconds: float = 120.0) -> None:
        """Return once ``ready()`` holds."""
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                logs = [file.read_text() for file in sorted(self.folder.glob("*.log"))]
                raise RuntimeError("the cluster does not get there:\n" + "\n".join(logs)[-4000:])
            time.sleep(0.1)

    def command(self, *words: str) -> str:
        """The answer of a SLURM command; of equal lines (of both partitions) one."""
        done = subprocess.run(
            words, capture_output=True, text=True, env={**os.environ, **self.environment}
        )
        return "\n".join(dict.fromkeys(done.stdout.split("\n"))).strip()

    def jobs(self) -> list[str]:
        """The ids of the jobs that wait or run."""
        return self.command("squeue", "-h", "-o", "%i", "-t", "PD,R,CG").split()

    def stop(self) -> None:
        """Cancel all jobs and end the daemons that this object started."""
        if len(self.daemons) > 1 and (jobs := self.jobs()):
            self.command("scancel", "--signal=KILL", *jobs)
        for process in reversed(self.daemons):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.daemons.clear()


def daemon(name: str) -> str | None:
    """The path of a daemon's program, which a user's PATH may lack; None: not installed."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def missing() -> list[str]:
    """Programs that a cluster needs and that are not installed; ``root`` if we are not root."""
    wanted = [name for name in DAEMONS if daemon(name) is None]
    wanted += [name for name in COMMANDS if shutil.which(name) is None]
    return wanted + ([] if os.geteuid() == 0 else ["root"])


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
