"""torchrun with the exit code of what it runs.

    python -m dimr.cluster.launch --nproc-per-node 8 train --config ...

torchrun itself exits with 1 whatever the processes' code was, after a page-long report. Job
schedulers act on the code (75: submit again), so this takes torchrun's arguments, then a
``dimr`` subcommand, and exits with the code of the process that failed first.

    srun --ntasks-per-node=1 python -m dimr.cluster.launch --slurm --nproc-per-node 8 train ...

On each of several nodes, ``--slurm`` reads the nodes' meeting point from the step's environment.
"""

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dimr.runtime.errors import DimrError, PeerLost
from dimr.runtime.files import single_line

GRACE_SECONDS = 120
"""How long the processes may take to save when asked to end (torchrun: 30 seconds)."""
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_NUM_NODES", "SLURM_NODEID",
         "SLURM_LAUNCH_NODE_IPADDR")  # fmt: skip
"""Variables that srun sets for its tasks."""
FIRST_PORT, PORTS = 20_000, 12_000
"""Below those that systems assign (from 32,768); enough that two steps rarely share one."""


def rendezvous(environment: Mapping[str, str]) -> list[str]:
    """torchrun's arguments for the nodes of a SLURM step to meet (c10d, at the first of them).

    The address is that from which srun was called, which is the job's first node: no name must be
    known. Each node gives the others the address by which it reaches the first.

    Raises:
        DimrError: srun did not start this process, or its variables are not srun's.
    """
    missing = [name for name in SLURM if name not in environment]
    if missing:
        raise DimrError(f"--slurm: {missing[0]} is not set: srun starts this, one task per node")
    job, step, nodes, number, address = (environment[name] for name in SLURM)
    try:
        port = FIRST_PORT + (31 * int(job) + int(step)) % PORTS
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:  # nothing is sent
            route.connect((address, port))
            own = route.getsockname()[0]
    except (OSError, ValueError) as error:
        raise DimrError(
            f"--slurm: srun's variables do not say where nodes meet ({str(error)[:100]})"
        ) from None
    return [
        "--nnodes", nodes, "--rdzv-backend", "c10d", "--rdzv-id", f"{job}.{step}",
        "--rdzv-endpoint", f"{address}:{port}", "--local-addr", own,
        "--rdzv-conf", f"is_host={'true' if number == '0' else 'false'}",
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``dimr`` in several processes; return the exit code."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    given = list(sys.argv[1:] if arguments is None else arguments)
    split = next((i for i, word in enumerate(given) if word in ("train", "--log")), len(given))
    torchrun, command = given[:split], given[split:]
    grace = ["--shutdown-timeout", str(GRACE_SECONDS)]
    try:
        if "--slurm" in torchrun:
            torchrun.remove("--slurm")
            torchrun += rendezvous(os.environ)
        # after "--" torchrun does not take dimr's --log for an abbreviation of an option of its own
        run(parse_args([*grace, *torchrun, "-m", "--", "dimr", *command]))
    except ChildFailedError as error:
        code = _cause(list(error.failures.values()))
        return code if code > 0 else 128 - code
    except SignalException as error:
        return 128 + error.sigval
    except (DimrError, ValueError, AssertionError) as error:
        message = str(error)
        if not isinstance(error, DimrError):  # e.g. torchrun refuses a number of processes
            reason = single_line(message) or "a number of processes below 1?"
            message = f"torchrun does not take {' '.join(torchrun)} ({reason})"
        print(f"dimr.cluster.launch: {message}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    return 0


def _cause(failures: Sequence[Any]) -> int:
    """The exit code of the process that failed first, of its own accord.

    Its failure makes the others exit with 75, having lost it, or torchrun ends them by SIGTERM;
    torchrun's times, in whole seconds, do not show which was first.
    """
    drawn_in = {PeerLost.exit_code: 1, -signal.SIGTERM: 2, 128 + signal.SIGTERM: 2}
    first = min(failures, key=lambda one: (drawn_in.get(one.exitcode, 0), one.timestamp))
    return first.exitcode


if __name__ == "__main__":
    sys.exit(main())
