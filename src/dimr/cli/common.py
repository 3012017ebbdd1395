"""What subcommands share: arguments, and the record that each step leaves with its result."""

import argparse
from pathlib import Path
from typing import Any

from dimr.files import read_json, write_json

RECORD = "record.json"


def add_step(steps: Any, name: str, handler: Any, text: str, *paths: str) -> Any:
    """A subcommand whose ``paths`` are required arguments: ``--config``, ``--out`` and so on."""
    parser = steps.add_parser(name, help=text, description=text)
    parser.set_defaults(handler=handler)
    for path in paths:
        parser.add_argument(f"--{path}", type=Path, required=True, metavar="PATH")
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where to compute: neither changes the result beyond rounding."""
    parser.add_argument("--device", help="cpu, cuda, ... (default: cuda if there is one)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")


def write_record(folder: Path, key: str, device: str = "cpu", **facts: Any) -> None:
    """Leave ``record.json``: the result's key, the code and command that made it, and facts."""
    from dimr.reporting.provenance import collect

    write_json(folder / RECORD, {"key": key, **facts, **collect(device)})


def recorded_key(folder: Path) -> str:
    """The key of a result that an earlier step made; ``DimrError`` if there is none."""
    return read_json(folder / RECORD)["key"]
