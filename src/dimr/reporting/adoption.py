"""Results that came from elsewhere (``dvc pull``): are they what the configuration here would make?

Every step leaves the key of its result: a hash of its configuration and of the keys of its inputs.
The expected key follows from the configuration alone, so a result is recognised without running
anything. What is recognised gets new time stamps; the rest is left for the workflow to make again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dimr.errors import DimrError
from dimr.experiment import Run, data_phases, load_run, section_key
from dimr.files import read_json


@dataclass(frozen=True)
class Result:
    """A target of the workflow, the file that records its key, and the key that it should have."""

    target: str
    record: str
    expected: str


def expected_results(run: Run) -> list[Result]:
    """Every result of a run and of its dataset, inputs before what is made of them."""
    data = data_phases(run.recipe)
    images = section_key(data["images"])
    autoencoder = section_key(data["autoencoder"], images)
    latents = section_key(data["latents"], autoencoder)
    classifier = section_key(data["classifier"], images)
    keys = {
        f"data/{run.dataset}/images": images,
        f"data/{run.dataset}/autoencoder": autoencoder,
        f"data/{run.dataset}/latents": latents,
        f"data/{run.dataset}/classifier": classifier,
    }
    phases = run.phases()
    if run.network is None:
        uses_autoencoder = run.name.split("/")[1] == "reconstruction"
        sources = [images, autoencoder] if uses_autoencoder else [images]
    else:
        sources = [section_key(phases["train"], latents)]
        keys[f"runs/{run.name}/model"] = sources[0]
    results = [Result(target, f"{target}/record.json", key) for target, key in keys.items()]
    for setting in run.settings:
        sample = section_key(phases[f"sample-{setting}"], *sources)
        folder = f"runs/{run.name}"
        target = f"{folder}/samples/{setting}"
        results.append(Result(target, f"{target}/record.json", sample))
        key = section_key(phases["evaluate"], sample, images, classifier)
        record = f"{folder}/provenance/{setting}.json"
        results.append(Result(f"{folder}/metrics/{setting}.json", record, key))
    return results


def run_names(root: Path) -> Iterator[str]:
    """Names of the runs that have a folder."""
    folders = [root / "runs/workspace", *sorted(root.glob("runs/*/*/*"))]
    for folder in folders:
        name = folder.relative_to(root / "runs").as_posix()
        if folder.is_dir() and not name.startswith("workspace/"):
            yield name


def survey(root: Path) -> tuple[list[str], list[str]]:
    """Targets that are there with the expected key, and a line for each that is there without."""
    good: dict[str, None] = {}
    bad: dict[str, None] = {}
    for name in run_names(root):
        try:
            run = load_run(name, root)
        except DimrError as error:
            bad[f"runs/{name}: {error}"] = None
            continue
        for result in expected_results(run):
            if not (root / result.target).exists():
                continue
            try:
                recorded = read_json(root / result.record)["key"]
            except (DimrError, KeyError, TypeError) as error:
                bad[f"{result.target}: no usable record ({error})"] = None
                continue
            if recorded == result.expected:
                good[result.target] = None
            else:
                bad[f"{result.target}: made with another configuration"] = None
    return list(good), list(bad)
