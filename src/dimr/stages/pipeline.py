"""The pipeline: every stage, and what follows from their definitions for a project.

A place (``runs/digits/dimr-xs-2r/0/model``) says which stage makes it; the stage says from which
places it is made and with which configuration. The key that a result should have, what adoption
expects, the inputs of Snakemake's rules and the jobs of a plan all follow from that.
"""

import functools
import os
import re
from dataclasses import dataclass
from functools import cached_property

from dimr.config.phases import section_key
from dimr.config.project import Project
from dimr.config.runs import Run
from dimr.config.schema import ConfigModel
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json
from dimr.runtime.record import RECORD, read_record, recorded_key, stand_in
from dimr.stages.autoencoder import AutoencoderStage
from dimr.stages.baseline import BaselineStage
from dimr.stages.captions import CaptionsStage
from dimr.stages.classifier import ClassifierStage
from dimr.stages.download import ExtractorStage, ReferenceStage, SourceStage
from dimr.stages.encode import EncodeStage
from dimr.stages.evaluate import EvaluateStage
from dimr.stages.human_study import ClassifierWeightsStage, ScoresStage
from dimr.stages.images import ImagesStage
from dimr.stages.import_weights import ImportStage
from dimr.stages.sample import SampleStage
from dimr.stages.stage import WILDCARDS, Stage, Target
from dimr.stages.text_encoder import TextEncoderStage
from dimr.stages.train import TrainStage

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        SourceStage(),
        ImagesStage(),
        AutoencoderStage(),
        ClassifierStage(),
        EncodeStage(),
        TextEncoderStage(),
        CaptionsStage(),
        ReferenceStage(),
        ExtractorStage(),
        TrainStage(),
        ImportStage(),
        BaselineStage(),
        SampleStage(),
        EvaluateStage(),
        ClassifierWeightsStage(),
        ScoresStage(),
    )
}
"""Every stage by its name, in an order in which they can run; of two that make the same place, the
narrower one is first."""

MISSING = "no such file"
"""In place of the key of a file that is not there."""


@functools.cache
def pattern_of(stage: Stage, place: str) -> re.Pattern[str]:
    """A place with wildcards as a regular expression with named groups."""
    allowed = WILDCARDS | stage.wildcards
    parts = re.split(r"\{(\w+)\}", place)
    texts = [
        f"(?P<{part}>{allowed[part]})" if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    ]
    return re.compile("".join(texts))


@dataclass(frozen=True)
class Result:
    """A place that a stage makes.

    Attributes:
        stage: the one that makes it.
        target: what its wildcards stand for.
        place: the result.
        record: the file that holds its key; None: it has no key.
    """

    stage: Stage
    target: Target
    place: str
    record: str | None

    @property
    def is_metrics(self) -> bool:
        """Whether it is a file of metrics, whose record has checksums."""
        return self.stage.result.kind == "metrics"

    @property
    def handed_on(self) -> str:
        """The file that other rules take: for a folder, its record."""
        return self.stage.result.handed_on.format(**self.target.wildcards)

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Places of what it is made from, by name."""
        return self.stage.sources(self.target)


class Pipeline:
    """The stages in a project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._keys: dict[str, str] = {}

    def find(self, place: str) -> Result | None:
        """The result at a place; None: no stage makes it."""
        for stage in STAGES.values():
            for output in stage.outputs.values():
                found = pattern_of(stage, output.place).fullmatch(place)
                if found and output.is_declared:
                    wildcards = found.groupdict()
                    record = stage.record and stage.record.format(**wildcards)
                    result = stage.result.place.format(**wildcards)
                    return Result(stage, Target(self.project, wildcards), result, record)
        return None

    def result(self, place: str) -> Result:
        """As ``find``, for a place that a stage makes."""
        found = self.find(place)
        assert found is not None, place
        return found

    def key(self, place: str) -> str:
        """The key that a result should have, from its configuration and its inputs' keys.

        If a user's file is gone, its content is taken from the result's record; if there is no
        record, the key is one that no result has.

        Raises:
            DimrError: the configuration has no such run, setting or phase.
        """
        if place not in self._keys:
            one = self.result(place)
            config = one.stage.config_of(one.target)
            files = one.stage.files(one.target)
            keys: list[str] = []
            for name in (each.name for each in one.stage.inputs if each.keyed):
                if name in one.inputs:
                    keys.append(self.key(one.inputs[name]))
                elif name in files:
                    keys.append(self._file_key(one, name, config))
            self._keys[place] = section_key(config, *keys)
        return self._keys[place]

    def _file_key(self, one: Result, name: str, config: ConfigModel) -> str:
        """What identifies a user's file; if it is gone, what the result's record has."""
        path = self.project.root / one.stage.files(one.target)[name]
        if path.exists():
            return one.stage.input_key(name, path, config)
        try:
            return str(read_record(self.project.root / one.place)[name]["content"])
        except (DimrError, KeyError, TypeError):
            return MISSING

    def files(self, stage: Stage, target: Target) -> dict[str, str]:
        """The user's files that a target is made from, by name.

        Raises:
            DimrError: one is missing, and so is what is made from it.
        """
        files, place = stage.files(target), stage.result.place.format(**target.wildcards)
        for path in files.values():
            if not (self.project.root / path).exists() and not self.is_made(place):
                raise DimrError(f"{path}: no such file, and {place} is to be made from it")
        return files

    def is_made(self, place: str) -> bool:
        """Whether a result exists with the key that it should have."""
        folder = self.project.root / place
        try:
            return recorded_key(folder) == self.key(place)
        except DimrError:
            return False

    def is_of_another_configuration(self, place: str) -> bool:
        """Whether a result exists with a key that is not the one that it should have."""
        record = self.result(place).record
        try:
            content = read_json(self.project.root / record) if record else None
            found = content.get("key") if isinstance(content, dict) else None
            return found is not None and found != self.key(place)
        except DimrError:
            return False

    def stand_in_for_stopped(self, stage: Stage, target: Target) -> list[str]:
        """Put a stand-in record where a stopped job has left none, so that it runs again.

        Snakemake removes a job's outputs when it begins. If the job is then stopped, what was made
        from the earlier outputs still exists, but they do not: Snakemake would call it up to date,
        though the configuration has changed. The stand-ins, which are returned, are older than what
        was made.
        """
        sources = [self.result(place) for place in stage.sources(target).values()]
        gone = [one for one in sources if not (self.project.root / one.handed_on).exists()]
        place = stage.result.place.format(**target.wildcards)
        if not gone or not self.is_of_another_configuration(place):
            return []
        made = [one for one in gone if one.stage.phase and one.stage.result.is_folder]
        for one in made:
            folder = self.project.root / one.place
            config = self.project.root / one.stage.config_file(one.target)
            stand_in(folder, one.stage.result.kind)
            os.utime(folder / RECORD, (config.stat().st_atime, config.stat().st_mtime - 1))
        return [one.handed_on for one in made]

    def results(self, run: Run) -> list[Result]:
        """Every keyed result of a run and of its dataset, inputs first."""
        found: dict[str, Result] = {}

        def visit(place: str) -> None:
            one = self.result(place)
            for source in one.inputs.values():
                visit(source)
            if one.record:
                found.setdefault(one.place, one)

        visit(f"data/{run.dataset}/latents")
        for setting in run.settings:
            made = f"metrics/{setting}.json" if run.is_measured(setting) else f"samples/{setting}"
            visit(f"runs/{run.name}/{made}")
        return list(found.values())
