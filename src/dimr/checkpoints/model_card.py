"""The model card: README.md beside weights, in the form that the Hugging Face hub shows.

It says what the model's folder says: the network, and from the record how it was trained or where
it is from. The folder's record does not list the card: metrics, which do not exist when training
ends, are added on publication (``dimr.sharing.publish``). The same folder gives the same card.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dimr.checkpoints.model_folder import CONFIG, read_class_names
from dimr.config.schema import NetworkConfig
from dimr.config.variants import load_network_config
from dimr.models.complexity import count_parameters, on_meta
from dimr.models.sizes import PIXEL_CHANNELS
from dimr.runtime.files import read_json, read_text, write_text
from dimr.runtime.record import CARD, RECORD, read_record
from dimr.runtime.signed import is_signed, signed

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
PAPERS = {
    "dimr": (
        "Alleviating Distortion in Image Generation via Multi-Resolution Diffusion Models and "
        "Time-Dependent Layer Normalization",
        "NeurIPS 2024",
        "2406.09416",
    ),
    "uvit": ("All are Worth Words: A ViT Backbone for Diffusion Models", "CVPR 2023", "2209.12152"),
    "dit": ("Scalable Diffusion Models with Transformers", "ICCV 2023", "2212.09748"),
}
"""Whose architecture a family is: title, place and number on arXiv."""
LISTED = 100
"""Classes that are named; of more only the number."""
SETTINGS = {
    "steps": "steps", "batch": "images per step", "lr": "learning rate", "betas": "AdamW's betas",
    "weight_decay": "weight decay", "warmup_steps": "warm-up steps", "ema_decay": "EMA decay",
    "label_dropout": "share of conditions dropped", "objective": "objective",
    "grad_clip": "gradient clipping", "precision": "precision of matrix products",
}  # fmt: skip
"""Settings of training, as the record has them and as people read them."""


@dataclass(frozen=True)
class Metric:
    """A number: its key in ``metrics/<setting>.json``, its title, and whose features it uses."""

    key: str
    title: str
    value: float
    features: str | None = None


@dataclass(frozen=True)
class Measured:
    """Metrics of images drawn with these weights.

    Attributes:
        setting: how they were sampled, by name.
        metrics: of them.
        compared: what with, a few words.
        facts: how the numbers were made, by what people call it.
    """

    setting: str
    metrics: Sequence[Metric]
    compared: str
    facts: Sequence[tuple[str, Any]] = ()


@dataclass(frozen=True)
class Card:
    """What a card says about a model.

    Attributes:
        network: config.json.
        record: of the model, with its provenance; empty: nothing is known of its training.
        class_names: by label; empty: not known.
        text_encoder: the description of its text encoder.
        use: how it is opened, in Markdown.
        measured: its metrics.
        source: of its data, a sentence; empty: not known.
        datasets: names of its data on the hub.
        license: what somebody has stated, as the hub names it; None: nobody has.
    """

    network: NetworkConfig
    record: Mapping[str, Any] = field(default_factory=dict)
    class_names: Sequence[str] = ()
    text_encoder: Mapping[str, Any] | None = None
    use: str = ""
    measured: Sequence[Measured] = ()
    source: str = ""
    datasets: Sequence[str] = ()
    license: str | None = None

    @classmethod
    def of(cls, folder: Path, **more: Any) -> "Card":
        """Of a model folder; ``DimrError`` if a file of it is damaged."""
        encoder = folder / "text_encoder.json"
        return cls(
            load_network_config(folder / CONFIG),
            read_record(folder) if (folder / RECORD).is_file() else {},
            read_class_names(folder) or (),
            read_json(encoder) if encoder.is_file() else None,
            **{"use": run_use("PATH/OF/THIS/FOLDER"), **more},
        )

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration that the model was made with; empty: not known."""
        return self.record.get("config") or {}

    @property
    def is_imported(self) -> bool:
        """Whether others have trained it."""
        return "matched" in self.record

    @property
    def title(self) -> str:
        """Family and dataset."""
        dataset = self.config.get("dataset")
        return self.network.sizes.title + (f" on {dataset}" if dataset else "")

    def text(self) -> str:
        """The whole card, signed; ``ImportError`` where no huggingface_hub is installed."""
        import jinja2

        blanks = jinja2.Environment(
            undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
        )
        body = blanks.from_string(read_text(TEMPLATE)).render(_blanks(self))
        return signed(f"---\n{_metadata(self)}\n---\n\n{body}")


def run_use(place: str) -> str:
    """How the model folder of a run is opened."""
    return (
        "With the package `dimr` (the vae of a model of latents is its dataset's, or `vae=`):\n\n"
        "```python\nfrom dimr import DiMRPipeline\n\n"
        f'pipe = DiMRPipeline.from_run("{place}")\n```'
    )


def pipeline_use(place: str) -> str:
    """How a saved pipeline is opened."""
    return (
        "With the package `dimr` (it is no part of diffusers):\n\n"
        "```python\nfrom dimr import DiMRPipeline\n\n"
        f'pipe = DiMRPipeline.from_pretrained("{place}")\n```'
    )


def write_card(path: Path, card: Card) -> None:
    """Write a card to a file, unless the file was edited or the packages for it are not installed.

    A missing card never makes a model fail.
    """
    if path.is_file() and not is_signed(read_text(path)):
        log.info("%s: kept: it was not written by dimr, or was edited", path)
        return
    try:
        write_text(path, card.text())
    except ImportError as error:
        log.warning("%s: no model card: %s is not installed", path, error.name)


def write_folders_card(folder: Path) -> None:
    """Write the card of a model folder that is complete."""
    write_card(folder / CARD, Card.of(folder))


# --- what it says ---------------------------------------------------------------------------------


def _metadata(card: Card) -> str:
    """The front matter: YAML that the hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    is_text, repo = card.network.text_dim is not None, card.config.get("repo")
    paper = PAPERS.get(card.network.family)
    # the hub has no class-conditional task: this is the one without text
    task = "text-to-image" if is_text else "unconditional-image-generation"
    results = [
        EvalResult(
            task_type=task,
            dataset_type=str(card.config.get("dataset", "unknown")),
            dataset_name=one.compared,
            metric_type=metric.key,
            metric_name=metric.title,
            metric_value=metric.value,
            metric_config=one.setting,
            metric_args={"features": metric.features} if metric.features else None,
        )
        for one in card.measured
        for metric in one.metrics
    ]
    kind = "text-conditional" if is_text else "class-conditional"
    known: dict[str, Any] = {
        "license": card.license or ("other" if repo else "unknown"),
        "license_name": "as-of-the-base-model" if repo and card.license is None else None,
        "library_name": "diffusers",
        "pipeline_tag": task,
        "tags": ["diffusion", kind, card.network.family, *([f"arxiv:{paper[2]}"] if paper else [])],
        "datasets": list(card.datasets),
        "base_model": repo,
    }
    if results:
        known |= {"model_name": card.title, "eval_results": results}
    return ModelCardData(**{k: v for k, v in known.items() if v}).to_yaml(line_break="\n")


def _blanks(card: Card) -> dict[str, Any]:
    """What fills the template."""
    network, sizes = card.network, card.network.sizes
    side, own = network.input_size, {"family", "input_size", "channels", "num_classes"}
    seen = "pixels" if network.channels in PIXEL_CHANNELS else "latents of an autoencoder"
    drawn = f"one of {network.num_classes:,} classes"
    if network.text_dim is not None:
        drawn = (
            f"a text ({network.text_tokens or 'any number of'} tokens of width {sizes.text_dim})"
        )
    paper = PAPERS.get(network.family)
    cited = "*{}*, {}, arXiv:{}".format(*paper) if paper else "no paper is known"
    names, keys = card.class_names, {m.key for one in card.measured for m in one.metrics}
    own_fid = any(key.startswith("fid_") for key in keys)
    return {
        "title": card.title,
        "what": f"A diffusion network of the family {sizes.title} ({cited}): it predicts the noise "
        f"in {seen}, and draws images from {drawn}.",
        "origin": _origin(card),
        "family": sizes.title,
        "parameters": count_parameters(on_meta(sizes)),
        "input": f"{network.channels} x {side} x {side}, {seen}",
        "condition": drawn,
        "sizes": [
            (key.replace("_", " "), value)
            for key, value in network.model_dump(mode="json", exclude_none=True).items()
            if key not in own
        ],
        "use": card.use,
        "data": _data(card),
        "classes": ", ".join(names) if 0 < len(names) <= LISTED else "",
        "encoder": _encoder(card.text_encoder) if card.text_encoder else "",
        "training": _training(card),
        "settings": list(_settings(card)),
        "made": _made(card.record),
        "measured": card.measured,
        "unmeasured": "None is recorded of these weights. A run's `metrics/` are added by "
        "`dimr publish`, with what made them.",
        "fid_note": "FID of features of the dataset's own classifier compares with nothing else: "
        "it is no Inception FID." if own_fid else "",
        "licence": _licence(card),
        "citation": cited,
    }  # fmt: skip


def _origin(card: Card) -> str:
    config, record = card.config, card.record
    if card.is_imported and config.get("repo"):
        revision = f", revision `{config['revision']}`" if config.get("revision") else ""
        return (
            f"**The weights are other people's**: `{config['file']}` of `{config['repo']}` on the "
            f"Hugging Face hub{revision}, every value as it is there, under other names of tensors."
        )
    if card.is_imported:
        source = record.get("source", {})
        digest = f", SHA-256 `{source['sha256']}`" if source.get("sha256") else ""
        file = f"`{source['file']}`" if source.get("file") else "unknown"
        return f"The weights were imported (file: {file}{digest}). Who trained them is unknown."
    if not record:
        return "Where the weights are from is unknown."
    start = record.get("start", {}).get("from")
    begun = f" Training started from the weights of `{start}`." if start else ""
    return f"Trained with `dimr`, a reproduction of DiMR; it is no model of the authors.{begun}"


def _data(card: Card) -> str:
    dataset = card.config.get("dataset")
    if dataset is None:
        return "What the weights have learned from is unknown."
    if card.is_imported:
        return f"Here it is a model of the dataset `{dataset}`. {card.source}".rstrip()
    return f"The training images of the dataset `{dataset}`. {card.source}".rstrip()


def _encoder(description: Mapping[str, Any]) -> str:
    said = {key: description.get(key) for key in ("kind", "repo", "tokens", "width")}
    return ", ".join(f"{key} {value}" for key, value in said.items() if value is not None)


def _training(card: Card) -> str:
    record = card.record
    if card.is_imported:
        return "Not trained here: settings, time and hardware are its authors'."
    if not {"steps", "images"} <= record.keys():
        return "Unknown."
    return (
        f"{record['steps']:,} steps, {record['images']:,} images drawn (repeats counted), seed "
        f"{card.config.get('seed')}. The weights are the moving average (EMA) of training's."
    )


def _settings(card: Card) -> Iterator[tuple[str, Any]]:
    train = card.config.get("train") or {}
    for key, name in SETTINGS.items():
        if train.get(key) is not None:
            yield name, train[key]


def _made(record: Mapping[str, Any]) -> str:
    """Where it was made, from the provenance; empty: not known, or it is imported."""
    found = [
        f"{one.get('processes')} x {one.get('device')}, torch "
        f"{one.get('versions', {}).get('torch')}, git {made_by(one)}"
        for one in record.get("sessions", [])
    ]
    if not found:
        return ""
    seconds = record.get("seconds", 0)
    time = f"{seconds / 3600:.3g} hours" if seconds >= 3600 else f"{seconds / 60:.2g} minutes"
    return f"Made in {time} ({'; '.join(dict.fromkeys(found))})."


def made_by(origin: Mapping[str, Any]) -> str:
    """The git revision in a provenance, and whether files differed from it."""
    changed = " with uncommitted changes" if origin.get("git_dirty") else ""
    return f"{origin.get('git_revision') or 'unknown'}{changed}"


def _licence(card: Card) -> str:
    repo = card.config.get("repo")
    if card.license is not None:
        stated = f"`{card.license}`, as stated by who published it."
    elif repo:
        stated = f"That of `{repo}`, which is its authors': look there before any use."
    else:
        stated = "Unknown: nobody has stated one for these weights."
    return f"{stated} The code of `dimr` is under Apache-2.0; the training data has its own terms."
