"""torchrun with the exit code of what it runs.

    python -m dimr.launch --nproc-per-node 8 train --config ...

torchrun itself leaves with 1 whatever the processes' code was, after a report of a page. Job
schedulers act on the code (75: submit again), so this takes torchrun's arguments, then a
``dimr`` subcommand, and leaves with the code of the process that failed first.
"""

import sys
from collections.abc import Sequence

GRACE_SECONDS = 120
"""How long the processes may take to save when they are told to end (torchrun: 30 seconds)."""


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
        run(parse_args([*grace, *torchrun, "-m", "dimr", *command]))
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        code = failure.exitcode
        return code if code > 0 else 128 - code
    except SignalException as error:
        return 128 + error.sigval
    return 0


if __name__ == "__main__":
    sys.exit(main())
