"""``dimr data``: take in and check what others publish."""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dimr.config.project import PROJECT
from dimr.config.schema import ReferenceConfig, Source
from dimr.config.validation import did_you_mean
from dimr.runtime.errors import DimrError
from dimr.stages.job import Job
from dimr.stages.stage import Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost


def place_of(options: argparse.Namespace) -> tuple[str | None, str]:
    """Where the user says that NAME is, and the environment variable that can say it."""
    variable = f"DIMR_{options.name.upper().replace('-', '_')}"
    return options.source or os.environ.get(variable) or None, variable


class SourceStage(Stage):
    """A set of labelled images, published or one's own, as a store of one tar per class."""

    name = "source"
    about = "fetch and check a set of images"
    phase = "source"
    config = Source
    outputs: ClassVar = {"out": Output("source", "data/{source}/source")}
    command = "data {source}"
    config_is_required = False
    is_short = True

    def cost(self, target: Target) -> "Cost":
        """The image files."""
        gigabytes = target.project.source(target.name).gigabytes
        return replace(super().cost(target), disk=round(gigabytes * 1e9))

    def check(self, options: argparse.Namespace) -> None:
        """Without a configuration, NAME must be in sources.yaml."""
        names = list(PROJECT.sources)
        if options.config is None and options.name not in names:
            raise DimrError(
                f"data: no {options.name!r} {did_you_mean(options.name, [*names, *OTHERS])}"
            )

    def work(self, job: Job) -> None:
        """Write the store; what was interrupted resumes."""
        from dimr.data.imagenet.acquire import acquire
        from dimr.data.imagenet.store import checksums

        options = job.options
        config: Any = job.config or PROJECT.source(options.name)
        source, variable = place_of(options)
        if source is None and (folder := _looked_at(options.name)) is not None:
            source = str(folder)
            if not folder.exists():
                raise DimrError(
                    f"data: {folder}: this folder is gone (sources.yaml: {options.name}): pass "
                    f"--source, or set {variable}, to where it is now"
                )
        if source is None:
            hub = f", or pass --source {config.repo} to download it" if config.repo else ""
            raise DimrError(
                f"data: {options.name} is not here: pass --source, or set {variable}, to a folder "
                f"or archive{hub}"
            )
        job.config = config
        job.origin["source"] = source

        def complete(folder: Path) -> None:
            job.seal(folder, checksums(folder), config=config.model_dump(mode="json"))

        acquire(config, source, options.out, job.key, complete, options.name)


def _looked_at(name: str) -> Path | None:
    """The folder in which ``dimr dataset new`` looked at one's own set."""
    folder = PROJECT.source(name).folder if name in PROJECT.sources else None
    return None if folder is None else PROJECT.root / Path(folder).expanduser()


class ReferenceStage(Stage):
    """An ADM reference batch (.npz), which metrics compare with."""

    name = "reference"
    about = "copy and check an ADM reference batch"
    phase = "reference"
    config = ReferenceConfig
    outputs: ClassVar = {"out": Output("reference", "data/{dataset}/reference")}
    command = "data reference"
    config_is_required = False
    is_short = True

    def cost(self, target: Target) -> "Cost":
        """The images in the file."""
        from dimr.stages.costs import REFERENCE_IMAGES, image_bytes

        return replace(super().cost(target), disk=REFERENCE_IMAGES * image_bytes(target.recipe))

    def check(self, options: argparse.Namespace) -> None:
        """Only its configuration identifies it."""
        if options.config is None:
            raise DimrError("data: reference needs --config (config/reference.yaml of a dataset)")

    def work(self, job: Job) -> None:
        """Copy and check the file."""
        from dimr.evaluation.downloads import acquire_reference

        with job.result() as result:
            acquire_reference(job.config, place_of(job.options)[0], result.folder)
            result.facts = {"config": job.config.model_dump(mode="json")}


class ExtractorStage(Stage):
    """Inception's weights, as torch-fidelity publishes them; their name has the checksum."""

    name = "extractor"
    about = "fetch and check Inception's weights"
    phase = ""
    outputs: ClassVar = {"out": Output("extractor", "data/extractors/{weights}")}
    command = "data extractor"
    config_is_required = False
    is_short = True

    @property
    def folder(self) -> str:
        """The folder of all extractors."""
        return "data/extractors"

    @property
    def log(self) -> str:
        """One per file."""
        return self.result.place

    def cost(self, target: Target) -> "Cost":
        """The file."""
        from dimr.stages.costs import INCEPTION_BYTES

        return replace(super().cost(target), disk=INCEPTION_BYTES)

    def check(self, options: argparse.Namespace) -> None:
        """Its name is its configuration."""
        if options.config is not None:
            raise DimrError("data: extractor takes no --config: --out's name says what it must be")

    def work(self, job: Job) -> None:
        """Copy or download, and check."""
        from dimr.evaluation.downloads import acquire_extractor

        acquire_extractor(place_of(job.options)[0], job.options.out)


OTHERS = ("reference", "extractor")
"""What ``dimr data`` takes in besides the sets of images of sources.yaml."""
