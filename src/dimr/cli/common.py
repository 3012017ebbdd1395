"""What subcommands share: arguments, and the record that each step leaves with its result."""

import argparse
from pathlib import Path
from typing import Any

from dimr.errors import DimrError
from dimr.experiment import load_section
from dimr.files import read_json, write_json
from dimr.settings import Section

RECORD = "record.json"


def add_step(steps: Any, name: str, handler: Any, text: str, *paths: str) -> Any:
    """A subcommand whose ``paths`` are required arguments: ``--config``, ``--out`` and so on."""
    parser = steps.add_parser(name, help=text, description=text)
    parser.set_defaults(handler=handler)
    for path in paths:
        parser.add_argument(f"--{path}", type=Path, required=True, metavar="PATH")
    return parser


def positive(text: str) -> int:
    """Argument type: a whole number of 1 or more."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def not_negative(text: str) -> int:
    """Argument type: a whole number of 0 or more."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where to compute: neither changes the result beyond rounding."""
    parser.add_argument("--device", help="cpu, cuda, ... (default: cuda if there is one)")
    add_threads(parser)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """``--threads`` for steps that run on the CPU only."""
    parser.add_argument("--threads", type=positive, help="CPU threads (default: all cores)")


def add_parts(parser: argparse.ArgumentParser) -> None:
    """How work on shards is split: ``part`` (``Part`` or None), ``processes`` (int or None).

    A command calls ``run_parts`` if there are ``processes``, then makes what is missing of its
    ``part``, and completes the folder if it has none. The two exclude each other.
    """
    parser.add_argument(
        "--part",
        type=_part,
        action=_Split,
        metavar="I/N",
        help="make only the I-th of N shares of the shards and leave, e.g. in a job of its own; "
        "the command without --part completes the folder",
    )
    parser.add_argument(
        "--processes",
        type=positive,
        action=_Split,
        metavar="N",
        help="split the work over N processes of this machine (default: on GPUs one a device)",
    )


class _Split(argparse.Action):
    """Store the value; refuse ``--part`` of a command that also starts ``--processes``."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, *_: Any
    ) -> None:
        setattr(namespace, self.dest, values)
        if namespace.part and (namespace.processes or 1) > 1:
            parser.error("--part and --processes: use one of the two")


def _part(text: str) -> Any:
    from dimr.data.assembly import Part  # numpy with it

    try:
        return Part.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; use I/N with 1 <= I <= N, e.g. 2/8 for the second of eight"
        ) from None


class Record:
    """What made a result. Begun before the work, as the code may change while it runs.

    Args:
        device: where the step computes.
    """

    def __init__(self, device: Any = "cpu") -> None:
        from dimr.reporting.provenance import collect

        self.origin = collect(str(device))

    def write(self, folder: Path, key: str, **facts: Any) -> None:
        """Leave ``record.json`` in the result's folder: its key, facts, and what made it."""
        write_json(folder / RECORD, {"key": key, **facts, **self.origin})


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a result that an earlier step made; ``DimrError`` if there is none."""
    record = read_json(folder / RECORD)
    if not isinstance(record, dict) or not isinstance(record.get("key"), str):
        raise DimrError(f"{folder / RECORD}: not the record of a step (no key)")
    return record


def recorded_key(folder: Path) -> str:
    """The key in a result's record."""
    return read_record(folder)["key"]


def check_out(out: Path, *sources: str | Path | None) -> None:
    """Refuse to put a result in the place of other things, or of what it is made of.

    What may be replaced is an empty folder, and a result: it has a record, or a manifest of ours.
    """
    if out.exists() and not _is_result(out):
        raise DimrError(f"{out}: is there and was not made by dimr (no {RECORD}): not replaced")
    for source in sources:
        if source and Path(source).resolve().is_relative_to(out.resolve()):
            raise DimrError(f"{source}: lies in {out}, which would be replaced")


def _is_result(out: Path) -> bool:
    if not out.is_dir():
        return False
    if (out / RECORD).is_file() or not any(out.iterdir()):
        return True
    path = out / "manifest.json"
    manifest = read_json(path) if path.is_file() else None
    return isinstance(manifest, dict) and str(manifest.get("format")).startswith("dimr-")


def refuse_if_changed(path: Path, section: Section) -> None:
    """Refuse to hand in a result whose configuration was edited while it was made."""
    if load_section(type(section), path) != section:
        raise DimrError(f"{path}: changed while this step ran; its result is not kept: start again")
