"""One execution of a stage: its options, its result's key and folder."""

import argparse
import contextlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimr.config.phases import section_key
from dimr.runtime.atomic import atomic_directory
from dimr.runtime.errors import DimrError
from dimr.runtime.record import seal
from dimr.stages.provenance import collect

if TYPE_CHECKING:
    from dimr.stages.stage import Stage


class Job:
    """One execution of a stage.

    Attributes:
        stage: what runs.
        options: of the command.
        config: the checked configuration; None: none was given.
    """

    def __init__(self, stage: "Stage", options: argparse.Namespace) -> None:
        self.stage = stage
        self.options = options
        self.path: Path | None = options.config
        self.config: Any = stage.load(options.config) if options.config else None
        self.origin = collect()

    @cached_property
    def code(self) -> str:
        """Fingerprint of the stage's code; asked for before the work, as it may be edited."""
        return self.stage.code()

    @cached_property
    def device(self) -> Any:
        """Where to compute, as the options say; a CPU for stages that take no ``--device``."""
        from dimr.runtime.device import prepare_device

        asked = getattr(self.options, "device", "cpu")
        device = prepare_device(asked, getattr(self.options, "threads", None))
        self.origin["device"] = str(device)
        return device

    @cached_property
    def key(self) -> str:
        """The result's key: a hash of its configuration and of its inputs' keys."""
        names = [one.name for one in self.stage.inputs if one.keyed]
        paths = {name: path for name in names if (path := getattr(self.options, name))}
        keys = (self.stage.input_key(*one, self.config) for one in paths.items())
        return section_key(self.config, *keys)

    def refuse_if_changed(self) -> None:
        """Refuse a result whose configuration was edited while it was computed."""
        if self.path and self.stage.load(self.path) != self.config:
            raise DimrError(
                f"{self.path}: changed while this stage ran; its result is not kept: start again"
            )

    def seal(self, folder: Path, known: Mapping[str, str] | None = None, **facts: Any) -> None:
        """Leave the record in a folder that is complete, and with a model its card."""
        self.refuse_if_changed()
        kind = self.stage.result.kind
        seal(folder, kind, {"key": self.key, **facts}, known, self.origin)
        if kind == "model":
            from dimr.checkpoints.model_card import write_folders_card

            write_folders_card(folder)

    @contextlib.contextmanager
    def result(self) -> Iterator["ResultFolder"]:
        """The folder of the result: hidden, then sealed and renamed."""
        _ = self.key  # computed before the work reads its inputs
        with atomic_directory(self.options.out) as folder:
            result = ResultFolder(folder)
            yield result
            self.seal(folder, result.known, **result.facts)


class ResultFolder:
    """A result's folder while it is written; ``facts`` and ``known`` are for its record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.facts: dict[str, Any] = {}
        self.known: Mapping[str, str] | None = None
