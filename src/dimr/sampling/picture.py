"""A picture of what a trained model draws: ``dimr sample`` for people.

Image j of class c has the noise of image j * classes + c of the run's samples: with the same seed,
steps, solver and guidance it is that image. Likewise image j of prompt p, of P requested ones, has
the noise of image j * P + p. The workflow writes how a run is sampled to
``runs/<run>/config/sample-<setting>.yaml``, beside the model ``runs/<run>/model``: such a setting
is the default for everything that is not requested.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dimr.config.schema import Guidance, NetworkConfig, SampleConfig
from dimr.config.validation import validate
from dimr.config.variants import load_network_config
from dimr.data.classes import class_index, evenly_spaced
from dimr.runtime.errors import DimrError
from dimr.runtime.progress import progress_bar
from dimr.sampling.engine import SamplingEngine
from dimr.sampling.grid import CAPTION_COLUMNS, caption_grid, class_grid, heading
from dimr.sampling.model import (
    DIT_GUIDED_CHANNELS,
    label_dropout,
    names_of_classes,
    own_solver,
)
from dimr.sampling.prompts import check_kind, condition_of, kind_of, prompts_to_draw
from dimr.sampling.run_setting import RunSetting, run_setting
from dimr.sampling.sampler import in_batches, open_sampler

FEW = 8
"""Rows of a picture if no class or prompt is requested, and images of each class."""
ALL_UP_TO = 20
"""With up to this many classes, each has a row if none is requested."""
STEPS = 50
"""Network evaluations of a model without a run's setting."""
GUIDANCE = 0.4
"""The constant guidance of the paper's latent models, in U-ViT's form."""
BATCH = 32


@dataclass(frozen=True)
class PictureOptions:
    """What is requested; None: as in the run's setting, else the default given here.

    Attributes:
        classes: names, numbers or WordNet ids (``dimr.data.classes.class_index``); none: all of
            them, or a few of many.
        unconditional: draw without a class.
        prompts: for a network of text, in place of classes; empty: a few of its run's dataset.
        negative_prompt: what guidance leads away from, in place of the empty caption.
        per_class: images of each class (8) or prompt (1), or in total without these (8).
        seed: of the noise (0).
        steps: network evaluations, 3 or more (50).
        solver: as for ``dimr.diffusion.sample`` (its authors', see ``own_solver``).
        guidance: s of cond + s (cond - uncond) (0.4, or none for a model that has learned no
            prediction without a class).
        power_cosine: s and a of the power-cosine guidance, in place of the constant one.
        interval: the diffusion times, from low to high, that are guided (all).
    """

    classes: Sequence[str] = ()
    unconditional: bool = False
    prompts: Sequence[str] = ()
    negative_prompt: str | None = None
    per_class: int | None = None
    seed: int | None = None
    steps: int | None = None
    solver: str | None = None
    guidance: float | None = None
    power_cosine: Sequence[float] | None = None
    interval: Sequence[float] | None = None


@dataclass(frozen=True)
class Layout:
    """What is drawn, and where it goes.

    Attributes:
        sampling: steps, solver and guidance, as the workflow has them.
        indices: which of its images are drawn.
        rows: the row of each, (len(indices),).
        names: of the rows.
        columns: images per row.
        captioned: whether each image is a row of its own, with its name below it.
    """

    sampling: SampleConfig
    indices: Sequence[int]
    rows: NDArray[np.int64]
    names: list[str]
    columns: int
    captioned: bool = False

    def arrange(self, images: NDArray[np.uint8]) -> Image.Image:
        """The picture of the images (len(indices), H, W, 3)."""
        if self.captioned:
            return caption_grid(images, self.names, columns=self.columns)
        return class_grid(images, self.rows, self.names, columns=self.columns)


def draw_picture(
    model: Path,
    options: PictureOptions,
    *,
    setting: str | None = None,
    autoencoder: str | Path | None = None,
    text_encoder: str | Path | None = None,
    captions: Path | None = None,
    batch: int | None = None,
    engine: SamplingEngine | None = None,
    device: torch.device,
) -> tuple[Image.Image, str]:
    """Draw what is requested, one row per class or prompt, or one image with its prompt below it.

    Args:
        model: a run's model folder.
        options: what to draw.
        setting: of the run, for what ``options`` leaves open; None: ``run_setting`` chooses.
        autoencoder: folder or hub name; None: that of the run's dataset, if it is found.
        text_encoder: likewise, for a network of text.
        captions: likewise, a folder whose prompts are drawn if none is requested.
        batch: images at a time; None: 32.
        engine: how the network is evaluated.
        device: where to compute.

    Returns:
        The picture, and one line: how many images it has and how they were drawn.

    Raises:
        DimrError: an option that does not fit the model, a missing or damaged file.
    """
    # options are checked before anything large is loaded
    config = load_network_config(model / "config.json")
    of_text = options.prompts, options.negative_prompt, text_encoder, captions
    check_kind(config, options.classes, *of_text)
    own = run_setting(model, setting)
    sampled = own.sampling if own else None
    kind = kind_of(config)
    if kind == "class":
        names = names_of_classes(model, config)
    elif _is_unconditional(options, sampled):
        names = []
    else:
        names = prompts_to_draw(model, options.prompts, FEW, captions)
    layout = lay_out(options, config, names, sampled, label_dropout(model))
    count, sampling = len(layout.indices), layout.sampling
    prompts = None
    if kind == "text":
        negative = options.negative_prompt or ""
        prompts = condition_of(model, config, names or [""], negative, text_encoder, device)
    batch = min(batch or BATCH, count)
    sampler, _ = open_sampler(
        model,
        sampling,
        autoencoder=autoencoder,
        engine=engine or SamplingEngine(),
        batch=batch,
        device=device,
        count=count,
        prompts=prompts,
    )
    total = -(-count // batch) * sampling.steps
    with progress_bar(total=total, description="sample", unit="step") as bar:
        batches = sampler.draw(in_batches(layout.indices, batch), on_step=bar.update)
        images = np.concatenate(list(batches))
    origin = f" ({_origin(own, options)})" if own else ""
    return layout.arrange(images), f"{count} images: {describe(sampling, kind)}{origin}"


def lay_out(
    options: PictureOptions,
    config: NetworkConfig,
    names: Sequence[str],
    own: SampleConfig | None = None,
    dropout: float | None = None,
) -> Layout:
    """What to draw: one row per class or prompt, or rows of ``FEW`` without any.

    Args:
        options: what is requested.
        config: the network's.
        names: of its classes, by label; or the prompts to draw.
        own: how its run is sampled.
        dropout: as from ``label_dropout``.

    Raises:
        DimrError: no such class, or an option that does not fit the model.
    """
    kind = kind_of(config)
    unconditional = _is_unconditional(options, own)
    if dropout == 1 and not unconditional:
        without = "classes" if kind == "class" else "texts"
        raise DimrError(f"this model was trained without {without}: it needs --unconditional")
    knows_null = getattr(config, "has_null_label", True) and dropout != 0
    guidance = _guidance(options, config, own, knows_null, unconditional)
    each = options.per_class or (1 if kind == "text" and not unconditional else FEW)
    sampling = _sampling(options, config, own, guidance, max(1, len(names)) * each)
    if unconditional:
        rows = np.arange(each) // FEW
        return Layout(sampling, range(each), rows, [""] * (int(rows[-1]) + 1), min(FEW, each))
    count = len(names)
    if kind == "text":
        labels = list(range(count))
    elif options.classes:
        labels = list(dict.fromkeys(class_index(text, names) for text in options.classes))
    else:
        labels = evenly_spaced(count, None if count <= ALL_UP_TO else FEW)
    indices = [j * count + label for label in labels for j in range(each)]
    headings = [heading(names, label, kind) for label in labels]
    captioned = kind == "text" and each == 1
    columns = min(CAPTION_COLUMNS, count) if captioned else each
    return Layout(
        sampling, indices, np.arange(len(labels)).repeat(each), headings, columns, captioned
    )


def _is_unconditional(options: PictureOptions, own: SampleConfig | None) -> bool:
    """Whether it is requested, or how the run is sampled and nothing else is requested."""
    guided = options.guidance, options.power_cosine, options.interval
    named = options.classes or options.prompts
    asks = bool(named) or any(value is not None for value in guided)
    never = own is not None and own.guidance.kind == "unconditional"
    return options.unconditional or (never and not asks)


def _guidance(
    options: PictureOptions,
    config: NetworkConfig,
    own: SampleConfig | None,
    knows_null: bool,
    unconditional: bool,
) -> Guidance:
    """The requested guidance; ``knows_null``: the model can predict without class or text."""
    value: dict[str, Any]
    kind = kind_of(config)
    if unconditional:
        if options.guidance is not None or options.power_cosine is not None:
            raise DimrError(f"--unconditional: there is no guidance without a {kind}")
        option, value = "--unconditional", {"kind": "unconditional"}
    elif options.power_cosine is not None:
        scale, power = options.power_cosine
        option = "--power-cosine"
        value = {"kind": "power_cosine", "scale": scale, "power": power}
    elif options.guidance is None and own is not None:
        option, value = "--setting", own.guidance.model_dump()
    else:
        default = GUIDANCE if knows_null else 0.0
        scale = default if options.guidance is None else options.guidance
        option, value = "--guidance", {"kind": "constant" if scale else "none", "scale": scale}
    if value["kind"] != "none" and not knows_null:
        raise DimrError(f"{option}: this model has learned no prediction without a {kind}")
    if options.negative_prompt is not None and value["kind"] in ("none", "unconditional"):
        raise DimrError("--negative-prompt: without guidance it would change nothing")
    if own_solver(config) == "ancestral" and config.channels == 4:
        value["channels"] = DIT_GUIDED_CHANNELS
    guidance = validate(Guidance, value, "sample", option)
    if options.interval is None:
        return guidance
    return validate(Guidance, {**value, "interval": list(options.interval)}, "sample", "--interval")


def _sampling(
    options: PictureOptions,
    config: NetworkConfig,
    own: SampleConfig | None,
    guidance: Guidance,
    count: int,
) -> SampleConfig:
    """Seed, steps and solver as asked for, else as the run is sampled, else the defaults."""
    default = {"seed": 0, "steps": STEPS, "solver": own_solver(config)}
    given: dict[str, Any] = own.model_dump() if own else default
    for name in default:
        if (asked := getattr(options, name)) is not None:
            given[name] = asked
    if given["steps"] < 3:
        raise DimrError(f"--steps: {given['steps']} is too few: the solver needs 3 or more")
    if given["solver"] == "ancestral" and not config.sizes.learns_variance:
        raise DimrError("--solver: ancestral needs a network that learns its variance")
    value = {**given, "count": count, "guidance": guidance.model_dump()}
    return validate(SampleConfig, value, "sample")


def describe(sampling: SampleConfig, what: str = "class") -> str:
    """How images are drawn, in a few words; ``what``: the network's condition, class or text."""
    guidance = sampling.guidance
    kinds = {
        "none": "no guidance",
        "unconditional": f"no {what}",
        "constant": f"guidance {guidance.scale:g}",
        "power_cosine": f"power-cosine guidance {guidance.scale:g} {guidance.power:g}",
    }
    low, high = guidance.interval or (0, 1)
    where = f" at times {low:g} to {high:g}" if guidance.interval else ""
    return (
        f"{sampling.steps} network evaluations, solver {sampling.solver}, "
        f"{kinds[guidance.kind]}{where}, seed {sampling.seed}"
    )


def _origin(own: RunSetting, options: PictureOptions) -> str:
    """``setting guided of runs/digits/dimr-xs-2r/0, except --steps``."""
    default, drawn = PictureOptions(), ("classes", "prompts", "per_class")
    changed = [
        f"--{name.replace('_', '-')}"
        for name in vars(options)
        if getattr(options, name) != getattr(default, name) and name not in drawn
    ]
    return f"setting {own.name} of {own.run}{', except ' if changed else ''}{', '.join(changed)}"
