"""A picture of what a trained model draws: ``dimr sample`` as people use it.

Image j of class c has the noise of image j * classes + c of the run's samples: with the same seed,
steps, solver and guidance it is that image. The workflow writes how a run is sampled to
``runs/<run>/config/sample-<setting>.yaml``, beside the model ``runs/<run>/model``: such a setting
is the default of everything that is not asked for.
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
from dimr.config.validation import did_you_mean, load_section, validate
from dimr.config.variants import load_network_config
from dimr.data.classes import class_index, evenly_spaced
from dimr.runtime.errors import DimrError
from dimr.runtime.progress import progress_bar
from dimr.sampling.engine import SamplingEngine
from dimr.sampling.grid import class_grid, heading
from dimr.sampling.model import (
    DIT_GUIDED_CHANNELS,
    label_dropout,
    names_of_classes,
    own_solver,
)
from dimr.sampling.sampler import in_batches, open_sampler

PREFERRED = "guided"
"""The setting that is taken where none is named; a run without it: its first."""
FEW = 8
"""Rows of a picture where no class is asked for, and images per row without classes."""
ALL_UP_TO = 20
"""Of up to so many classes, each has a row where none is asked for."""
STEPS = 50
"""Network evaluations of a model without a run's setting."""
GUIDANCE = 0.4
"""The constant guidance of the paper's latent models, in U-ViT's form."""
BATCH = 32


@dataclass(frozen=True)
class PictureOptions:
    """What is asked for; None: as in the run's setting, else the default given here.

    Attributes:
        classes: names, numbers or WordNet ids (``dimr.data.classes.class_index``); none: all of
            them, or a few of many.
        unconditional: draw without a class.
        per_class: images of each class, or in all without a class.
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
    per_class: int = 8
    seed: int | None = None
    steps: int | None = None
    solver: str | None = None
    guidance: float | None = None
    power_cosine: Sequence[float] | None = None
    interval: Sequence[float] | None = None


@dataclass(frozen=True)
class RunSetting:
    """A setting of the run that a model belongs to: its name, the run's folder, its content."""

    name: str
    run: Path
    sampling: SampleConfig


@dataclass(frozen=True)
class Layout:
    """What is drawn, and where it goes.

    Attributes:
        sampling: steps, solver and guidance, as the workflow has them.
        indices: which of its images are drawn.
        rows: the row of each, (len(indices),).
        names: the rows' names.
        columns: images per row.
    """

    sampling: SampleConfig
    indices: Sequence[int]
    rows: NDArray[np.int64]
    names: list[str]
    columns: int


def draw_picture(
    model: Path,
    options: PictureOptions,
    *,
    setting: str | None = None,
    autoencoder: str | Path | None = None,
    batch: int | None = None,
    engine: SamplingEngine | None = None,
    device: torch.device,
) -> tuple[Image.Image, str]:
    """Draw what is asked for, one row per class.

    Args:
        model: a run's model folder.
        options: what to draw.
        setting: of the run, for what ``options`` leave open; None: ``run_setting`` chooses.
        autoencoder: folder or hub name; None: that of the run's dataset, if it is found.
        batch: images at a time; None: 32.
        engine: how the network is evaluated.
        device: where to compute.

    Returns:
        The picture, and one line: how many images it has and how they were drawn.

    Raises:
        DimrError: an option that does not fit the model, a missing or damaged file.
    """
    # what is asked for is checked before anything large is loaded
    config = load_network_config(model / "config.json")
    own = run_setting(model, setting)
    names = names_of_classes(model, config)
    layout = lay_out(options, config, names, own.sampling if own else None, label_dropout(model))
    count, sampling = len(layout.indices), layout.sampling
    batch = min(batch or BATCH, count)
    sampler, _ = open_sampler(
        model,
        sampling,
        autoencoder=autoencoder,
        engine=engine or SamplingEngine(),
        batch=batch,
        device=device,
        count=count,
    )
    total = -(-count // batch) * sampling.steps
    with progress_bar(total=total, description="sample", unit="step") as bar:
        batches = sampler.draw(in_batches(layout.indices, batch), on_step=bar.update)
        images = np.concatenate(list(batches))
    picture = class_grid(images, layout.rows, layout.names, columns=layout.columns)
    origin = f" ({_origin(own, options)})" if own else ""
    return picture, f"{count} images: {describe(sampling)}{origin}"


def run_setting(model: Path, name: str | None = None) -> RunSetting | None:
    """A setting of the run that a model folder belongs to.

    Args:
        model: the model folder.
        name: of the setting; None: ``PREFERRED``, else the first in the order of names.

    Returns:
        the setting; None: the run has none, and none was named.

    Raises:
        DimrError: no such setting, or a file that is damaged.
    """
    folder = model.absolute().parent / "config"
    files = {path.stem.removeprefix("sample-"): path for path in folder.glob("sample-*.yaml")}
    if not files and name is None:
        return None
    if not files:
        raise DimrError(f"--setting {name}: {folder} has no sample-<setting>.yaml")
    chosen = name or (PREFERRED if PREFERRED in files else min(files))
    if chosen not in files:
        hint = did_you_mean(chosen, sorted(files))
        raise DimrError(f"--setting {name}: no such setting of this run {hint}")
    return RunSetting(chosen, model.parent, load_section(SampleConfig, files[chosen]))


def lay_out(
    options: PictureOptions,
    config: NetworkConfig,
    class_names: Sequence[str],
    own: SampleConfig | None = None,
    dropout: float | None = None,
) -> Layout:
    """What to draw: one row per class, or rows of ``FEW`` without classes.

    Args:
        options: what is asked for.
        config: the network's.
        class_names: its classes', by label.
        own: how its run is sampled.
        dropout: as from ``label_dropout``.

    Raises:
        DimrError: no such class, or an option that does not fit the model.
    """
    guided = options.guidance, options.power_cosine, options.interval
    asks = bool(options.classes) or any(value is not None for value in guided)
    never = own is not None and own.guidance.kind == "unconditional"
    unconditional = options.unconditional or (never and not asks)
    if dropout == 1 and not unconditional:
        raise DimrError("this model was trained without classes: it needs --unconditional")
    knows_null = getattr(config, "has_null_label", True) and dropout != 0
    guidance = _guidance(options, config, own, knows_null, unconditional)
    sampling = _sampling(options, config, own, guidance)
    count, each = config.num_classes, options.per_class
    if unconditional:
        rows = np.arange(each) // FEW
        return Layout(sampling, range(each), rows, [""] * (int(rows[-1]) + 1), min(FEW, each))
    if options.classes:
        labels = list(dict.fromkeys(class_index(text, class_names) for text in options.classes))
    else:
        labels = evenly_spaced(count, None if count <= ALL_UP_TO else FEW)
    indices = [j * count + label for label in labels for j in range(each)]
    names = [heading(class_names, label) for label in labels]
    return Layout(sampling, indices, np.arange(len(labels)).repeat(each), names, each)


def _guidance(
    options: PictureOptions,
    config: NetworkConfig,
    own: SampleConfig | None,
    knows_null: bool,
    unconditional: bool,
) -> Guidance:
    """The guidance that is asked for; ``knows_null``: the model can be without a class."""
    value: dict[str, Any]
    if unconditional:
        if options.guidance is not None or options.power_cosine is not None:
            raise DimrError("--unconditional: there is no guidance without a class")
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
        raise DimrError(f"{option}: this model has learned no prediction without a class")
    if own_solver(config) == "ancestral" and config.channels == 4:
        value["channels"] = DIT_GUIDED_CHANNELS
    guidance = validate(Guidance, value, "sample", option)
    if options.interval is None:
        return guidance
    return validate(Guidance, {**value, "interval": list(options.interval)}, "sample", "--interval")


def _sampling(
    options: PictureOptions, config: NetworkConfig, own: SampleConfig | None, guidance: Guidance
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
    count = config.num_classes * options.per_class
    value = {**given, "count": count, "guidance": guidance.model_dump()}
    return validate(SampleConfig, value, "sample")


def describe(sampling: SampleConfig) -> str:
    """How images are drawn, in a few words."""
    guidance = sampling.guidance
    kinds = {
        "none": "no guidance",
        "unconditional": "no class",
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
    default = PictureOptions()
    changed = [
        f"--{name.replace('_', '-')}"
        for name in vars(options)
        if getattr(options, name) != getattr(default, name) and name not in ("classes", "per_class")
    ]
    return f"setting {own.name} of {own.run}{', except ' if changed else ''}{', '.join(changed)}"
