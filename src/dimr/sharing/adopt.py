"""Results that came from elsewhere (``dvc pull``): are they what the configuration here would make?

Every step leaves the key of its result: a hash of its configuration and of the keys of its inputs.
The expected key follows from the configuration alone, so a result is recognised without running
anything. What is recognised gets new time stamps; the rest is left for the workflow to make again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dimr.config.recipes import ROOT, load_source
from dimr.config.runs import Run, load_run, section_key
from dimr.config.schema import ConfigModel, SourceData
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json
from dimr.stages.provenance import fault_of


@dataclass(frozen=True)
class Result:
    """A target of the workflow.

    Attributes:
        target: its path.
        record: the file that holds its key.
        expected: the key that the configuration here asks for.
        inputs: targets that it is made of.
    """

    target: str
    record: str
    expected: str
    inputs: tuple[str, ...] = ()

    @property
    def is_metrics(self) -> bool:
        """Whether it is a file of metrics, whose record has checksums."""
        return self.record != f"{self.target}/record.json"


def expected_results(run: Run, root: Path = ROOT) -> list[Result]:
    """Every result of a run and of its dataset, inputs before what is made of them."""
    phases, steps = run.phases(), run.recipe.data.phases()
    keys: dict[str, str] = {}
    results: list[Result] = []

    def expect(target: str, config: ConfigModel, *inputs: str, record: str | None = None) -> str:
        keys[target] = section_key(config, *(keys[name] for name in inputs))
        results.append(Result(target, record or f"{target}/record.json", keys[target], inputs))
        return target

    data, folder = f"data/{run.dataset}", f"runs/{run.name}"
    if isinstance(run.recipe.data, SourceData):
        name = run.recipe.data.source
        images = expect(f"data/{name}/source", load_source(name, root))
        autoencoder = expect(f"{data}/autoencoder", steps["autoencoder"])
        latents = expect(f"{data}/latents", steps["latents"], images, autoencoder)
        compared = [expect(f"{data}/reference", steps["reference"])]
    else:
        images = expect(f"{data}/images", steps["images"])
        autoencoder = expect(f"{data}/autoencoder", steps["autoencoder"], images)
        latents = expect(f"{data}/latents", steps["latents"], autoencoder)
        compared = [images, expect(f"{data}/classifier", steps["classifier"], images)]
    if "import" in phases:
        sources = [expect(f"{folder}/model", phases["import"]), autoencoder]
    elif run.network is not None:
        sources = [expect(f"{folder}/model", phases["train"], latents), autoencoder]
    elif run.name.split("/")[1] == "reconstruction":
        sources = [images, autoencoder]
    else:
        sources = [images]
    for setting in run.settings:
        samples = expect(f"{folder}/samples/{setting}", phases[f"sample-{setting}"], *sources)
        record = f"{folder}/provenance/{setting}.json"
        metrics = f"{folder}/metrics/{setting}.json"
        expect(metrics, phases["evaluate"], samples, *compared, record=record)
    return results


def run_names(root: Path) -> Iterator[str]:
    """Names of the runs that have a folder below ``root``."""
    folders = [root / "runs/workspace", *sorted(root.glob("runs/*/*/*"))]
    for folder in folders:
        name = folder.relative_to(root / "runs").as_posix()
        if folder.is_dir() and not name.startswith("workspace/"):
            yield name


def survey(root: Path, folder: Path | None = None) -> tuple[list[str], list[str]]:
    """Targets that are there with the expected key, and a line for each that is there without.

    Args:
        root: the repository, whose configuration says what is expected.
        folder: where the results are, ``runs`` and ``data``; None: in the repository.
    """
    folder = folder or root
    good: dict[str, None] = {}
    bad: dict[str, None] = {}
    differing: set[str] = set()
    for name in run_names(folder):
        try:
            run = load_run(name, root)
        except DimrError as error:
            bad[f"runs/{name}: {error}"] = None
            continue
        for result in expected_results(run, root):
            if not (folder / result.target).exists():
                continue
            try:
                record = read_json(folder / result.record)
                recorded = record["key"]
                fault = fault_of(record, folder / result.target) if result.is_metrics else None
            except (DimrError, KeyError, TypeError) as error:
                fault = f"no usable record ({error})"
            if fault:
                bad[f"{result.target}: {fault}"] = None
                differing.add(result.target)
                continue
            stale = [name for name in result.inputs if name in differing]
            if recorded == result.expected and not stale:
                good[result.target] = None
                continue
            differing.add(result.target)
            reason = f"{stale[0]} is of" if stale and recorded == result.expected else "made with"
            bad[f"{result.target}: {reason} another configuration"] = None
    return list(good), list(bad)
