"""What a person asks of a trained model at a shell: some classes, drawn and put in one picture.

Image j of class c has the noise of image j * classes + c of the run's samples: with the same seed,
steps, solver and guidance it is that image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dimr.config.runs import validate
from dimr.config.schema import Guidance, NetworkConfig, SampleConfig
from dimr.data.autoencoder import is_identity, load_autoencoder
from dimr.data.classes import class_index, class_names, short_name
from dimr.data.autoencoder import Decoder
from dimr.diffusion.guidance import Model
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json
from dimr.runtime.progress import progress_bar
from dimr.sampling.generate import Decode, generate
from dimr.sampling.grid import class_grid

PIXEL_CHANNELS = (1, 3)
"""Channels of a network that sees pixels, grey or coloured; any other number is of latents."""
FEW = 8
"""Rows of a picture where no class is asked for, and images in a row without classes."""
ALL_UP_TO = 20
"""Of so many classes at most, each has a row where none is asked for."""
DIT_GUIDED_CHANNELS = 3
"""Published DiTs guide so many of their four noise channels."""
STEPS = 50
"""Network evaluations of a model whose run is not known."""
GUIDANCE = 0.4
"""The constant guidance of the paper's latent models, in U-ViT's form."""


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        classes: numbers, names or WordNet ids; none: all of them, or a few of many.
        unconditional: draw without a class.
        per_class: images of each class, or in all without a class.
        seed: of the noise; None: of ``own``, or 0.
        steps: network evaluations, 3 or more; None: of ``own``, or 50.
        solver: as for ``dimr.diffusion.sample``; None: of ``own``, or its authors' (see
            ``own_solver``).
        guidance: s of cond + s (cond - uncond); None: of ``own``; or 0.4, or none for a model that
            has learned no prediction without a class.
        power_cosine: s and a of the power-cosine guidance, in place of the constant one.
        interval: the diffusion times, from low to high, that are guided; None: as in ``own``, if
            its guidance is taken, or all.
        own: how the model's run is sampled, for what is not asked for.
    """

    classes: tuple[str, ...] = ()
    unconditional: bool = False
    per_class: int = 8
    seed: int | None = None
    steps: int | None = None
    solver: str | None = None
    guidance: float | None = None
    power_cosine: tuple[float, float] | None = None
    interval: tuple[float, float] | None = None
    own: SampleConfig | None = None

    def made_out(self) -> "Request":
        """With what ``own`` says in the place of what is not asked for, but for guidance."""
        own = self.own
        steps = self.steps or (own.steps if own else STEPS)
        seed = self.seed if self.seed is not None else (own.seed if own else 0)
        solver = self.solver or (own.solver if own else None)
        asks = (self.classes, self.guidance, self.power_cosine, self.interval)
        without = own is not None and own.guidance.kind == "unconditional" and not any(asks)
        return replace(
            self,
            steps=steps,
            seed=seed,
            solver=solver,
            unconditional=self.unconditional or without,
        )


def autoencoder_of(
    model: Path, sizes: NetworkConfig, given: str | Path | None = None, device: str = "cpu"
) -> Any:
    """The autoencoder of a model's latents; None for a model of pixels.

    Args:
        model: the ``model/`` folder of a run.
        sizes: what its config.json says.
        given: folder or hub name; None: where the model's record names its dataset, that of
            ``data/<dataset>/autoencoder`` in the nearest folder above the model that has one.
        device: where to put it.

    Raises:
        DimrError: a model of latents and no autoencoder, or one of other latents.
    """
    found = given or _autoencoder_beside(model)
    if found is None and sizes.channels in PIXEL_CHANNELS:
        return None
    if found is None:
        raise DimrError(
            f"{model}: a model of latents: give its autoencoder, a folder or a hub name "
            "(--autoencoder, vae=)"
        )
    if is_identity(Path(found)):
        return None
    vae = load_autoencoder(found, device)
    if vae.config.latent_channels != sizes.channels:
        raise DimrError(
            f"{found}: latents of {vae.config.latent_channels} channels; {model} takes "
            f"{sizes.channels}"
        )
    return vae


def open_decoder(
    model: Path, sizes: NetworkConfig, given: str | Path | None, device: str = "cpu"
) -> Decoder:
    """From solver output to images; arguments and errors as for ``autoencoder_of``."""
    return Decoder(autoencoder_of(model, sizes, given, device))


def _autoencoder_beside(model: Path) -> Path | None:
    dataset = _recorded(model).get("dataset")
    if not isinstance(dataset, str):
        return None
    places = [parent / "data" / dataset / "autoencoder" for parent in model.absolute().parents]
    return next((place for place in places if place.is_dir()), None)


def _recorded(model: Path) -> dict[str, Any]:
    """The configuration in a model's record; empty if it has none."""
    path = model / "record.json"
    record = read_json(path) if path.is_file() else {}
    config = record.get("config") if isinstance(record, dict) else None
    return config if isinstance(config, dict) else {}


def label_dropout(model: Path) -> float | None:
    """The share of labels that training dropped, if the model's record says it.

    0: the model has learned nothing without a class; 1: nothing with one.
    """
    train = _recorded(model).get("train")
    return train.get("label_dropout") if isinstance(train, dict) else None


def own_solver(sizes: NetworkConfig) -> str:
    """What a network's authors sampled it with: DiT's published weights by ``ancestral`` steps."""
    is_dits = sizes.schedule == "linear" and getattr(sizes, "learn_sigma", False)
    return "ancestral" if is_dits else "authors"


def _phase(request: Request, sizes: NetworkConfig, dropout: float | None) -> SampleConfig:
    """Steps, solver and guidance; ``DimrError`` names the option that does not fit the model."""
    if (request.steps or 0) < 3:
        raise DimrError(f"--steps: {request.steps} is too few: the solver needs 3 or more")
    if dropout == 1 and not request.unconditional:
        raise DimrError("this model was trained without classes: it needs --unconditional")
    if request.solver == "ancestral" and not getattr(sizes, "learn_sigma", False):
        raise DimrError("--solver: ancestral needs a network that learns its variance")
    guidance = _guidance(request, getattr(sizes, "has_null_label", True) and dropout != 0)
    if own_solver(sizes) == "ancestral" and sizes.channels == 4:
        guidance = guidance.model_copy(update={"channels": DIT_GUIDED_CHANNELS})
    value = {
        "seed": request.seed,
        "count": sizes.num_classes * request.per_class,
        "steps": request.steps,
        "solver": request.solver or own_solver(sizes),
        "guidance": guidance.model_dump(),
    }
    return validate(SampleConfig, value, "sample")


def _guidance(request: Request, knows_no_class: bool) -> Guidance:
    """The guidance that is asked for; ``knows_no_class``: whether the model can be without one."""
    value: dict[str, Any]
    if request.unconditional:
        if request.guidance is not None or request.power_cosine is not None:
            raise DimrError("--unconditional: there is no guidance without a class")
        option, value = "--unconditional", {"kind": "unconditional"}
    elif request.power_cosine is not None:
        scale, power = request.power_cosine
        option, value = (
            "--power-cosine",
            {"kind": "power_cosine", "scale": scale, "power": power},
        )
    elif request.guidance is None and request.own is not None:
        option, value = "--setting", request.own.guidance.model_dump()
    else:
        default = GUIDANCE if knows_no_class else 0.0
        scale = default if request.guidance is None else request.guidance
        option, value = "--guidance", {"kind": "constant" if scale else "none", "scale": scale}
    if value["kind"] != "none" and not knows_no_class:
        raise DimrError(f"{option}: this model has learned no prediction without a class")
    guidance = validate(Guidance, value, "sample", option)
    if request.interval is None:
        return guidance
    limited = {**value, "interval": list(request.interval)}
    return validate(Guidance, limited, "sample", "--interval")


def row_labels(request: Request, sizes: NetworkConfig) -> list[int]:
    """The class of each row; ``DimrError`` for a class that there is not."""
    count = sizes.num_classes
    if request.classes:
        names = class_names(count)
        return list(dict.fromkeys(class_index(text, names) for text in request.classes))
    if count <= ALL_UP_TO:
        return list(range(count))
    return [row * count // FEW for row in range(FEW)]


@dataclass(frozen=True)
class Plan:
    """A request, made out for one model.

    Attributes:
        phase: steps, solver and guidance, as the workflow has them.
        indices: which of the phase's images are drawn.
        rows: the row of each, (len(indices),).
        names: the rows' names.
        columns: images in a row.
    """

    phase: SampleConfig
    indices: Sequence[int]
    rows: NDArray[np.int64]
    names: list[str]
    columns: int


def plan_grid(request: Request, sizes: NetworkConfig, dropout: float | None) -> Plan:
    """What to draw: one row a class, or rows of ``FEW`` without classes.

    Args:
        request: what is asked for.
        sizes: the network's.
        dropout: as from ``label_dropout``.

    Raises:
        DimrError: no such class, or an option that does not fit the model.
    """
    request = request.made_out()
    phase = _phase(request, sizes, dropout)
    count, each = sizes.num_classes, request.per_class
    if request.unconditional:
        rows = np.arange(each) // FEW
        return Plan(phase, range(each), rows, [""] * (int(rows[-1]) + 1), min(FEW, each))
    labels = row_labels(request, sizes)
    indices = [j * count + label for label in labels for j in range(each)]
    every = class_names(count)
    names = [short_name(every[label]) for label in labels]
    return Plan(phase, indices, np.arange(len(labels)).repeat(each), names, each)


def draw_grid(
    network: Model,
    sizes: NetworkConfig,
    plan: Plan,
    decoder: Decode,
    batch: int,
    device: torch.device,
) -> Image.Image:
    """Draw the images of a plan, with a progress bar, and put them in a picture.

    Args:
        network: called as ``network(x, t, condition)``.
        sizes: its sizes.
        plan: what to draw.
        decoder: from solver output to images.
        batch: images at a time.
        device: where the network is.
    """
    total = -(-len(plan.indices) // batch) * plan.phase.steps
    with progress_bar(total=total, description="sample", unit="step") as bar:
        batches = generate(
            network,
            sizes,
            plan.phase,
            decoder,
            batch=batch,
            device=device,
            indices=plan.indices,
            on_step=bar.update,
        )
        images = np.concatenate(list(batches))
    return class_grid(images, plan.rows, plan.names, columns=plan.columns)
