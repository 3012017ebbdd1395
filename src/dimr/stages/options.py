"""Options that subcommands share, and the checks of what they name."""

import argparse
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dimr.runtime.outputs import check_places

Kind = str | Callable[[argparse.Namespace], str]
"""What an output is (``dimr.runtime.outputs``), or a function that tells from the options."""
TABLE_FILES: dict[str, Kind] = {
    "csv": "table", "markdown": "Markdown table", "latex": "LaTeX table",
}  # fmt: skip
"""The outputs of a command that writes a table."""
NO_INPUTS = ("root", "runs", "logs", "log", "site", "results")
"""Options that name whole trees, in which outputs may lie."""


def add_step(
    steps: Any, name: str, handler: Any, text: str, *inputs: str, **outputs: Kind
) -> argparse.ArgumentParser:
    """A subcommand with required arguments: ``inputs``, and ``outputs`` with their kinds.

    ``add_step(..., "config", out="classifier")`` has ``--config`` and ``--out``.
    """
    parser: argparse.ArgumentParser = steps.add_parser(name, help=text, description=text)
    parser.set_defaults(handler=handler, outputs={})
    for path in inputs:
        parser.add_argument(f"--{path}", type=Path, required=True, metavar="PATH")
    for path, kind in outputs.items():
        add_output(parser, f"--{path.replace('_', '-')}", kind, required=True)
    return parser


def add_output(
    parser: argparse.ArgumentParser, flag: str, kind: Kind, group: Any = None, **options: Any
) -> None:
    """An option that names an output, whose place is checked before the command runs.

    Args:
        parser: of the subcommand, as ``add_step`` returned it.
        flag: as in ``--metrics``.
        kind: what is written there.
        group: where the help shows it; None: with the others.
        options: further ones of ``add_argument``.
    """
    described = {"type": Path, "metavar": "PATH", **options}
    action = (group or parser).add_argument(flag, **described)
    parser.get_default("outputs")[action.dest] = kind


def check_options(options: argparse.Namespace) -> None:
    """Refuse outputs that would replace inputs, one another, or what dimr did not write.

    Inputs are all other options that are paths.

    Raises:
        DimrError: as ``dimr.runtime.outputs.check_places``.
    """
    declared: Mapping[str, Kind] = getattr(options, "outputs", {})
    outputs: dict[str, tuple[Path, str]] = {}
    inputs: dict[str, Path] = {}
    for name, value in vars(options).items():
        flag = f"--{name.replace('_', '-')}"
        if name in declared and value is not None:
            kind = declared[name]
            outputs[flag] = (value, kind if isinstance(kind, str) else kind(options))
        elif name not in (*declared, *NO_INPUTS):
            named = Path(value) if name == "source" and value else value
            paths = named if isinstance(named, list) else [named]
            found = [path for path in paths if isinstance(path, Path)]
            numbered = len(found) > 1
            inputs |= {f"{flag}{f' ({i + 1})' * numbered}": p for i, p in enumerate(found)}
    check_places(outputs, inputs)


NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
"""How numbers are written in all options: Python would take ``1_0``, blanks, and other scripts."""


def number(text: str) -> float:
    """Argument type: a finite number."""
    value = float(text) if NUMBER.fullmatch(text) else math.inf
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text[:30]!r} is no number, as 0.5 is")
    return value


def seconds(text: str) -> float:
    """Argument type: a time, 0 or more; ``inf`` never comes."""
    value = math.inf if text == "inf" else number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text[:30]!r} is not allowed (0 or more, or inf)")
    return value


def whole(least: int, most: int) -> Callable[[str], int]:
    """Argument type: a whole number within limits."""

    def parse(text: str) -> int:
        value = int(text) if re.fullmatch("-?[0-9]{1,19}", text) else None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f"{text[:30]!r} is not allowed ({least:,} to {most:,})"
            )
        return value

    return parse


positive = whole(1, 10_000_000)
batch_size = whole(1, 65_536)
"""Images at a time."""
seed = whole(0, (1 << 63) - 1)
threads = whole(1, 1024)
"""CPU threads: with many more the libraries crash."""


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device`` and ``--threads``: neither changes the result beyond rounding."""
    parser.add_argument("--device", help="cpu, cuda, ... (default: cuda if available)")
    add_threads(parser)


def add_batch(parser: argparse.ArgumentParser, what: str = "images") -> None:
    """``--batch`` for stages that process what exists: how many ``what`` at a time."""
    text = f"{what} at a time; changes speed only"
    parser.add_argument("--batch", type=batch_size, default=64, help=text)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """``--threads``, of the CPU."""
    parser.add_argument("--threads", type=threads, help="CPU threads (default: all cores)")


def add_shards(parser: Any) -> None:
    """How work is split over processes: ``shard`` (``Part`` or None), ``processes`` (int or None).

    A command calls ``run_processes``, then makes the missing shards of its share, and completes the
    folder if it was given no share. The two options exclude each other.
    """
    parser.add_argument(
        "--shard",
        type=_share,
        action=_Split,
        metavar="I/N",
        help="make only the I-th of N shares of the shards and exit, e.g. in a job of its own; "
        "the command without --shard completes the folder",
    )
    parser.add_argument(
        "--part", dest="shard", type=_share, action=_Split, help=argparse.SUPPRESS
    )  # its name in version 1
    parser.add_argument(
        "--processes",
        type=whole(1, 256),
        action=_Split,
        metavar="N",
        help="split the work over N processes of this machine (default: one per GPU)",
    )


class _Split(argparse.Action):
    """Store the value; refuse ``--shard`` together with ``--processes``."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, *_: Any
    ) -> None:
        setattr(namespace, self.dest, values)
        if namespace.shard and (namespace.processes or 1) > 1:
            parser.error("--shard and --processes: use one of the two")


def _share(text: str) -> Any:
    from dimr.data.resumable_shards import Part  # numpy with it

    try:
        return Part.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:30]!r} is not allowed; use I/N with 1 <= I <= N, e.g. 2/8 for the second of 8"
        ) from None
