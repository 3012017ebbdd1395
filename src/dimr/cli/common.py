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


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where to compute: neither changes the result beyond rounding."""
    parser.add_argument("--device", help="cpu, cuda, ... (default: cuda if there is one)")
    add_threads(parser)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """``--threads`` for steps that run on the CPU only."""
    parser.add_argument("--threads", type=positive, help="CPU threads (default: all cores)")


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


def refuse_if_changed(path: Path, section: Section) -> None:
    """Refuse to hand in a result whose configuration was edited while it was made."""
    if load_section(type(section), path) != section:
        raise DimrError(f"{path}: changed while this step ran; its result is not kept: start again")
