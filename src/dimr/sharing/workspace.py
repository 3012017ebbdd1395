"""What DVC sees of the workspace run, at fixed paths, whatever the dataset and its settings are.

The data that the run is made from are where all runs find them, ``data/<dataset>``, and are not
DVC's outputs: ``dvc exp run`` and ``dvc checkout`` first reset every output to its recorded
version, or delete it if there is none (even with ``persist``). Instead, stage ``data`` leaves links
to them in ``INPUTS``, which may be deleted and restored at no cost. If the data are not available,
as in the folder of a queued experiment or after ``dvc pull``, they come from there.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from dimr.config.phases import write_run
from dimr.config.project import Project
from dimr.runtime.atomic import atomic_directory
from dimr.runtime.code import source_fingerprint
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, sha256, write_if_changed, write_json
from dimr.runtime.record import PROVENANCE, is_there, recorded_key
from dimr.runtime.strict_yaml import dump
from dimr.sharing.adopt import fault_of_result, touch
from dimr.sharing.record import copy_result, with_companions
from dimr.stages.pipeline import Pipeline, Result

RUN = "workspace"
FOLDER = f"runs/{RUN}"
INPUTS = f"{FOLDER}/inputs"
"""Links to what is made outside the run's folder: a mirror of the repository."""
STEPS = ("train", "sample", "evaluate")
"""DVC's stages that make the run."""
SAMPLES = f"{FOLDER}/samples.json"
"""What stands for the samples of all settings: a digest of each."""
METRICS = f"{FOLDER}/metrics.json"
"""The metrics of all settings: {setting: {metric: number}}."""


def existing(project: Project) -> "Workspace | None":
    """The workspace, if it has a folder, with its configuration updated from params.yaml.

    DVC has only checksums of these files: it neither restores nor deletes them.
    """
    if not (project.root / FOLDER).is_dir():
        return None
    workspace = Workspace(project)
    workspace.write_config()
    return workspace


class Workspace:
    """The run of params.yaml as DVC stages."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.root = project.root
        self.pipeline = Pipeline(project)
        self.run = project.run(RUN)

    def results(self, step: str) -> list[Result]:
        """What a step makes: the model, the samples or the metrics of every setting."""
        made = [f"{FOLDER}/samples/{setting}" for setting in self.run.settings]
        if step == "train":
            made = [f"{FOLDER}/model"]
        elif step == "evaluate":
            measured = filter(self.run.is_measured, self.run.settings)
            made = [f"{FOLDER}/metrics/{setting}.json" for setting in measured]
        return [self.pipeline.result(place) for place in made]

    def inputs(self, *steps: str) -> list[str]:
        """Places outside the run's folder that steps (none named: all) read, without repetition."""
        results = [one for step in steps or STEPS for one in self.results(step)]
        places = [place for one in results for place in one.inputs.values()]
        return [one for one in dict.fromkeys(places) if not one.startswith(f"{FOLDER}/")]

    def targets(self, step: str) -> list[str]:
        """The files that Snakemake makes for a step, or for ``data``."""
        results = self.results(step) if step in STEPS else map(self.pipeline.result, self.inputs())
        return [one.handed_on for one in results]

    def write_config(self) -> None:
        """Write the phases' files, and those that combine several of them at a fixed path."""
        write_run(self.project, RUN, self.root)
        keys = {place: self._key(place) for place in self.inputs()}
        samples = {
            name.removeprefix("sample-"): section.model_dump(mode="json")
            for name, section in self.run.phases().items()
            if name.startswith("sample-")
        }
        for name, content in (("data", keys), ("sample", samples)):
            write_if_changed(self.root / FOLDER / f"config/{name}.yaml", dump(content))

    def _key(self, place: str) -> str:
        """The key of an input; without one, its name identifies it."""
        return self.pipeline.key(place) if self.pipeline.result(place).record else place

    # --- before and after Snakemake ---------------------------------------------------------------

    def before(self, step: str) -> Iterator[str]:
        """Bring in what a step reads; take over what the run that is the same has made.

        Yields:
            a line for each result.
        """
        for place in self.bring_in(step):
            yield f"brought in   {place}"
        if taken := list(self._take_over(step)):
            own = [place.replace(*self._names) for place in taken]
            rules = ("--allowed-rules", self.results(step)[0].stage.name)
            touch(self.root, own, *rules)
            for place in taken:
                yield f"taken over   {place}: the same configuration and code"

    def after(self, step: str) -> None:
        """Leave what represents everything that a step made (``data``: what steps read)."""
        if step == "data":
            self._link_inputs()
        elif step == "sample":
            write_json(self.root / SAMPLES, self._digests(one.place for one in self.results(step)))
        elif step == "evaluate":
            files = [self.root / one.place for one in self.results(step)]
            metrics = {file.stem: read_json(file) for file in files}
            write_if_changed(self.root / METRICS, json.dumps(metrics, indent=1) + "\n")

    def bring_in(self, *steps: str) -> list[str]:
        """Put inputs where the workflow looks for them, if none or outdated ones are there.

        Returns:
            the places that were filled.
        """
        found = []
        for place in self.inputs(*steps):
            if self._is_there(place, self.root) or not self._is_there(place, self.root / INPUTS):
                continue
            copy_result(self.root / INPUTS / place, self.root / place)
            found.append(place)
        return found

    def _is_there(self, place: str, base: Path) -> bool:
        """Whether an input exists below a folder, with the key that it should have."""
        if not self.pipeline.result(place).record:
            return (base / place).is_file()
        try:
            return recorded_key(base / place) == self.pipeline.key(place)
        except DimrError:
            return False

    def _link_inputs(self) -> None:
        with atomic_directory(self.root / INPUTS) as folder:
            for place in self.inputs():
                copy_result(self.root / place, folder / place)
            for step in STEPS:
                write_json(folder / f"{step}.json", self._digests(self.inputs(step)))

    def _digests(self, places: Iterable[str]) -> dict[str, str]:
        """What identifies the content of results, by place: checksums of their records."""
        return {one: sha256(self.root / self.pipeline.result(one).handed_on) for one in places}

    def _take_over(self, step: str) -> Iterator[str]:
        """Link what the run of the same dataset, variant and seed has, if it would be the same."""
        for one in self.results(step):
            place = self._like(one.place)
            if is_there(self.root / one.place) or not self._is_same(one, place):
                continue
            for path in with_companions(place, self.root):
                copy_result(self.root / path, self.root / path.replace(*self._names))
            yield place

    @property
    def _names(self) -> tuple[str, str]:
        """Folders of the run whose results are taken over, and of this one."""
        return f"runs/{self.run.like}/", f"{FOLDER}/"

    def _like(self, place: str) -> str:
        """The same place of the run of the same dataset, variant and seed."""
        like, own = self._names
        return place.replace(own, like)

    def _is_same(self, one: Result, place: str) -> bool:
        """Whether the result at a place is what would be made: by its key, code and inputs.

        The key does not cover the code, for whose changes DVC reruns a stage.
        """
        own = [each for each in one.inputs.values() if each.startswith(f"{FOLDER}/")]
        try:
            key, found = self.pipeline.key(one.place), self.pipeline.find(place)
            if found is None or found.record is None or self.pipeline.key(place) != key:
                return False
            if fault_of_result(found, key, self.root) is not None:
                return False
            made_of = self._digests(own).values(), self._digests(map(self._like, own)).values()
            return list(made_of[0]) == list(made_of[1]) and self._is_of_this_code(found)
        except (DimrError, OSError):
            return False

    def _is_of_this_code(self, found: Result) -> bool:
        record = self.root / str(found.record)
        origin = read_json(record if found.is_metrics else record.with_name(PROVENANCE))
        sessions = origin.get("sessions", [origin])  # a training's, each with its own code
        return {session.get("code") for session in sessions} == {source_fingerprint()}
