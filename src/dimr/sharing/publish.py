"""A run's model on the Hugging Face hub, as a pipeline that diffusers can open, with its card.

The repository has the pipeline's layout (model_index.json, ``model/``, ``scheduler/``, ``vae/``).
``model/`` is the model folder file by file, with its record, so that what is downloaded can be
compared with it. Provenance stays here, as it has the paths of this machine; the card says what
made weights and metrics. The model folder itself is not changed: DVC may hold it.
"""

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimr.checkpoints.model_card import Card, Measured, Metric, made_by, pipeline_use
from dimr.checkpoints.model_folder import CONFIG, WEIGHTS
from dimr.config.project import Project
from dimr.evaluation.names import FID_TITLES, OF_FEATURES
from dimr.paper.results import RunResult, read_result
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_text, write_text
from dimr.runtime.hub import TOKEN, reason
from dimr.runtime.record import BESIDE_WEIGHTS, CARD, FILES, RECORD, verify
from dimr.runtime.signed import is_signed
from dimr.runtime.tensors import first_unsound

if TYPE_CHECKING:
    from dimr.sampling.pipeline import DiMRPipeline

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publication:
    """What is pushed, and where.

    Attributes:
        model: a run's model folder.
        repo: ``OWNER/NAME``.
        private: whether nobody else may see a new repository.
        revision: a branch, which is created if needed; None: the main one.
        license: of the weights, as the hub names it; None: not stated.
        autoencoder: as in ``dimr.sampling.model.open_decoder``.
        text_encoder: as in ``dimr.sampling.prompts.open_encoder``.
    """

    model: Path
    repo: str
    private: bool = False
    revision: str | None = None
    license: str | None = None
    autoencoder: str | Path | None = None
    text_encoder: str | Path | None = None


def publish(asked: Publication, project: Project, dry_run: bool = False) -> Iterator[str]:
    """Check a model, and push it with its card (``dimr publish``).

    Args:
        asked: what, and where.
        project: whose sources.yaml says what the data is.
        dry_run: push nothing.

    Yields:
        Lines for people: for a dry run the files and the card; else where it is.

    Raises:
        DimrError: one line: no model, or a damaged one; no token; what the hub refuses.
    """
    _check(asked, dry_run)
    pipeline = _opened(asked)
    card = _card(asked, pipeline.card, project)
    with tempfile.TemporaryDirectory(prefix="dimr-publish-") as folder:
        _lay_out(Path(folder), asked.model, pipeline, card)
        if not dry_run:
            yield f"published  {_push(Path(folder), asked)}"
            return
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                yield f"{file.stat().st_size:>14,}  {file.relative_to(folder).as_posix()}"
        yield f"\n{card}"


def _check(asked: Publication, dry_run: bool) -> None:
    """What can be refused before anything is read."""
    import huggingface_hub
    from huggingface_hub.utils import validate_repo_id

    if not (asked.model / CONFIG).is_file():
        has = "a saved pipeline: its own push_to_hub pushes it"
        found = has if (asked.model / "model_index.json").is_file() else f"it has no {CONFIG}"
        raise DimrError(f"{asked.model}: not a run's model folder ({found})")
    try:
        validate_repo_id(asked.repo)
    except ValueError as error:
        raise DimrError(f"--repo {reason(error, 'uploaded')}") from None
    if "/" not in asked.repo:
        raise DimrError(f"--repo {asked.repo}: give its owner too, as in OWNER/{asked.repo}")
    if not dry_run and huggingface_hub.get_token() is None:
        raise DimrError(f"hub: {asked.repo}: no token: {TOKEN} to one that may write")


def _opened(asked: Publication) -> "DiMRPipeline":
    """The pipeline, after comparing its files with the record."""
    from dimr.sampling.pipeline import DiMRPipeline

    verify(asked.model)
    made = DiMRPipeline.from_run(
        asked.model, vae=asked.autoencoder, text_encoder=asked.text_encoder
    )
    if problem := first_unsound(made.model.state_dict()):
        raise DimrError(f"{asked.model}: {problem}: such a model is not published")
    return made


def _lay_out(folder: Path, model: Path, pipeline: "DiMRPipeline", card: str) -> None:
    """Write the repository's files; weights are links, as they may be gigabytes."""
    pipeline.save_config(folder)
    pipeline.scheduler.save_pretrained(folder / "scheduler")
    if pipeline.vae is not None:
        pipeline.vae.save_pretrained(folder / "vae")
    (folder / "model").mkdir()
    for name in (*BESIDE_WEIGHTS, WEIGHTS, RECORD):
        if (model / name).is_file():
            (folder / "model" / name).symlink_to((model / name).resolve())
    write_text(folder / CARD, card)


def _push(folder: Path, asked: Publication) -> str:
    """Upload; the address of the commit."""
    import huggingface_hub

    api, repo, revision = huggingface_hub.HfApi(), asked.repo, asked.revision
    try:
        api.create_repo(repo, private=asked.private or None, exist_ok=True)
        if asked.private and not api.repo_info(repo).private:
            raise DimrError(
                f"hub: {repo}: exists and is public: leave out --private, or give another name"
            )
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            revision=revision,
            commit_message="Model and card, by dimr publish",
        )
    except DimrError:
        raise
    except Exception as error:  # the client's errors, and those of the network libraries below it
        raise DimrError(f"hub: {repo}: {reason(error, 'uploaded')}") from None
    return str(done.commit_url)


# --- the card -------------------------------------------------------------------------------------


def _card(asked: Publication, known: Card | None, project: Project) -> str:
    """The text of the card; one that was edited in the model folder is kept."""
    edited = asked.model / CARD
    if edited.is_file() and not is_signed(text := read_text(edited)):
        log.warning("%s: was edited, and is pushed as it is, without the run's metrics", edited)
        return text
    assert known is not None
    measured, left_out = measured_of(asked.model, known.record)
    for line in left_out:
        log.warning("left out of the card: %s", line)
    source, datasets = _source(str(known.config.get("dataset")), project)
    return replace(
        known,
        use=pipeline_use(asked.repo),
        measured=measured,
        source=source,
        datasets=datasets,
        license=asked.license,
    ).text()


def measured_of(model: Path, record: dict[str, Any] | Any) -> tuple[list[Measured], list[str]]:
    """The metrics beside a model folder that are of images which these weights drew.

    Args:
        model: the folder.
        record: its record.

    Returns:
        The metrics by setting; and a line for each that is left out: changed, or of other weights.
    """
    run, found, left_out = model.absolute().parent, [], []
    own = _weights_of(record)
    for file in sorted((run / "metrics").glob("*.json")):
        try:
            made = read_result(run.parent, run.name, file.stem)
            if own is None or _weights_of(made.model) != own:
                raise DimrError(f"{file}: not known to be of these weights")
            found.append(_measured(made, file.stem))
        except DimrError as error:
            left_out.append(str(error))
    return found, left_out


def _weights_of(record: Any) -> str | None:
    """The SHA-256 of the weights that a model's record lists; None: it lists none."""
    listed = record.get(FILES) or {}
    return listed.get(WEIGHTS, {}).get("sha256")


def _measured(made: RunResult, setting: str) -> Measured:
    """A setting's metrics, and what the record says about them."""
    record, sampled, reference = made.record, made.samples, made.record.get("reference", {})
    drawn, versions = sampled.get("config", {}), record.get("versions", {})
    guidance = {k: v for k, v in drawn.get("guidance", {}).items() if v is not None}
    compared = reference.get("what") or Path(reference.get("file", "unknown")).name
    weights = record.get("extractor_weights", {})
    of = features = str(record.get("extractor"))
    if weights:
        features += f" ({weights.get('file')}, SHA-256 {weights.get('sha256')})"
    facts = {
        "images": f"{record.get('images'):,}, seed {drawn.get('seed')}, "
        f"{drawn.get('steps')} evaluations of the network each, solver {drawn.get('solver')}",
        "guidance": ", ".join(f"{key} {value}" for key, value in guidance.items()),
        "compared with": f"{reference.get('images'):,} images: {compared}",
        "the data's split": reference.get("split"),
        "features": features,
        "measured by": f"git {made_by(record)}, on {record.get('device')}, torch "
        f"{versions.get('torch')}, torch-fidelity {versions.get('torch-fidelity')}",
        "key": f"`{made.key}` (SHA-256 of the metrics: `{record['metrics_sha256']}`)",
    }
    numbers = [
        Metric(key, FID_TITLES.get(key, key), made.number(key), of if key in OF_FEATURES else None)
        for key in made.metrics
        if key != "images"
    ]
    return Measured(setting, numbers, compared, [(k, v) for k, v in facts.items() if v])


def _source(dataset: str, project: Project) -> tuple[str, list[str]]:
    """What recipes.yaml and sources.yaml say about a dataset: a sentence, and names on the hub."""
    if dataset not in project.recipes:
        return "", []
    data = project.recipe(dataset).data
    if data.source_name is None:
        return "It is made from scikit-learn's handwritten digits (1,797 images).", []
    source = project.source(data.source_name)
    where = f", `{source.repo}` on the hub" if source.repo else ""
    digest = f", SHA-256 of its content `{source.sha256}`" if source.sha256 else ""
    text = (
        f"It is made from the set `{data.source_name}` ({source.images:,} images{where}{digest})."
    )
    return text, [source.repo] if source.repo else []
