"""Checks of ``DiMRPipeline``'s arguments: each mistake is a ``ValueError`` of one line."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dimr.data.classes import class_index, class_names
from dimr.diffusion.schedule import STEPS
from dimr.diffusion.solver import AncestralSampler, NamedSchedule
from dimr.models.sizes import PIXEL_CHANNELS
from dimr.runtime.errors import DimrError
from dimr.sampling.model import DIT_GUIDED_CHANNELS

LEAST_STEPS = 3
"""For this project's solvers, whose steps are of third order; for diffusers' own: 1."""
LARGEST = 1e6
"""Limit for guidance's scale and power: far beyond what gives images."""
OUTPUTS = ("pil", "np", "pt", "latent")
MOST_IMAGES = 65_536
"""Most images at a time."""


class NoSuchClass(DimrError, ValueError):
    """A label that means no class."""


def check_scheduler(scheduler: Any, schedule: str | None, steps: Any) -> int:
    """The number of steps; refuses a scheduler that would misread the network's output.

    Args:
        scheduler: the pipeline's.
        schedule: of the noise that the network knows.
        steps: ``num_inference_steps``.
    """
    if not hasattr(scheduler, "set_timesteps"):
        raise ValueError(f"scheduler: {shown(scheduler)} is none of diffusers")
    config = getattr(scheduler, "config", {})
    predicts, named = config.get("prediction_type", "epsilon"), config.get("schedule", schedule)
    if predicts != "epsilon":
        raise ValueError(f"scheduler: of prediction_type {predicts!r}; the network predicts noise")
    if None not in (named, schedule) and named != schedule:
        raise ValueError(f"scheduler: of schedule {named!r}; the network's is {schedule!r}")
    least = LEAST_STEPS if isinstance(scheduler, NamedSchedule) else 1
    return check_whole("num_inference_steps", steps, least, STEPS)


def guidance_of(
    config: Any, scheduler: Any, labelled: bool, scale: Any, power: Any, channels: Any
) -> dict[str, Any]:
    """Arguments of ``dimr.diffusion.guidance.wrap``.

    Args:
        config: the network's.
        scheduler: the pipeline's.
        labelled: whether images have classes, or texts.
        scale: ``guidance_scale``.
        power: ``guidance_power``.
        channels: ``guided_channels``.
    """
    scale = _check_number("guidance_scale", scale)
    if not labelled and (scale != 1 or power is not None or channels is not None):
        is_text = config.get("text_dim") is not None
        missing, what = ("prompt", "text") if is_text else ("class_labels", "class")
        raise ValueError(f"no {missing}: there is no guidance without a {what}")
    if power is not None:
        power = _check_number("guidance_power", power)
        if power <= 0 or scale < 1:
            raise ValueError(
                f"guidance_power {power} with guidance_scale {scale}: allowed are powers above 0 "
                "and scales from 1"
            )
    if channels is not None:
        channels = check_whole("guided_channels", channels, 1, config.channels)
    elif isinstance(scheduler, AncestralSampler):
        channels = min(DIT_GUIDED_CHANNELS, config.channels)
    if labelled and scale == 1:
        return {"kind": "none"}
    if not config.get("has_null_label", True):
        raise ValueError("this model knows no images without a class: guidance_scale must be 1")
    if not labelled:
        return {"kind": "unconditional"}
    if power is None:
        return {"kind": "constant", "scale": scale - 1, "channels": channels}
    return {"kind": "power_cosine", "scale": scale, "power": power, "channels": channels}


def names_by_label(id2label: Mapping[Any, str], classes: int) -> list[str]:
    """The names in ``id2label``, whose keys are 0 to ``classes`` - 1, as numbers or (JSON) texts.

    Raises:
        ValueError: a name that is missing, or more than there are classes.
    """
    by_text = {str(label): name for label, name in id2label.items()}
    if by_text.keys() != set(map(str, range(classes))):
        raise ValueError(f"id2label: should name the classes 0 to {classes - 1}, each once")
    return [str(by_text[str(label)]) for label in range(classes)]


def class_numbers(
    labels: Any, num_images: Any, classes: int, names: Sequence[str] | None = None
) -> list[int]:
    """Class numbers, one per image; that of "no class" if no labels are given.

    Args:
        labels: ``class_labels``: a number, a text that means a class, several of them, or None.
        num_images: of images without a class; None with labels.
        classes: how many there are.
        names: theirs; None: as ``class_names`` has them.

    Raises:
        ValueError: both or neither are given, no image or too many are asked for, or a label that
            means no class (``NoSuchClass``).
    """
    if labels is None:
        if num_images is None:
            raise ValueError("give class_labels, or num_images to draw without a class")
        return [classes] * check_whole("num_images", num_images, 1, MOST_IMAGES)
    if num_images is not None:
        raise ValueError("num_images is for images without a class: class_labels has one per image")
    single = isinstance(labels, str | bytes) or not isinstance(labels, Iterable)
    if single or getattr(labels, "ndim", 1) == 0:
        labels = [labels]
    given = list(itertools.islice(labels, MOST_IMAGES + 1))
    if names is None and any(isinstance(each, str) for each in given):
        names = class_names(classes)
    found = [_class_number(each, classes, names or ()) for each in given]
    if not found:
        raise ValueError("no images: give one class label or more")
    if len(found) > MOST_IMAGES:
        raise ValueError(f"class_labels: more than {MOST_IMAGES} images")
    return found


def _class_number(label: Any, classes: int, names: Sequence[str]) -> int:
    if isinstance(label, str):
        try:
            return class_index(label, names)
        except DimrError as error:
            raise NoSuchClass(str(error)) from None
    number = _plain(label)
    if not _is_whole(number):
        raise NoSuchClass(
            f"class_labels: {shown(label)} is no class: whole numbers and names are expected"
        )
    if not 0 <= number < classes:
        raise NoSuchClass(f"no class {shown(number)} (allowed: 0 to {classes - 1})")
    return number


def check_output(output_type: Any, config: Any, vae: Any) -> None:
    """Refuse an unknown form of images, or one that needs an autoencoder."""
    if output_type not in OUTPUTS:
        raise ValueError(f"output_type {output_type!r} is none of {', '.join(OUTPUTS)}")
    in_pixels = vae is not None or config.channels in PIXEL_CHANNELS
    if not in_pixels and output_type != "latent":
        raise ValueError("a model of latents without a vae: output_type must be 'latent'")


def check_noise(generator: Any, latents: Any, shape: tuple[int, ...]) -> None:
    """Refuse what is neither a source of noise of ``shape`` (N, C, H, W) nor such noise."""
    several = generator if isinstance(generator, list) else [generator]
    if generator is not None and not all(isinstance(one, torch.Generator) for one in several):
        raise ValueError(
            "generator: a torch.Generator, or a list of one for each image, is expected"
        )
    if isinstance(generator, list) and len(generator) != shape[0]:
        raise ValueError(f"{len(generator)} generators for {shape[0]} images")
    if latents is None:
        return
    if not isinstance(latents, Tensor) or not latents.is_floating_point():
        kind = getattr(latents, "dtype", type(latents).__name__)
        raise ValueError(f"latents of {kind}: a tensor of floats is expected")
    if tuple(latents.shape) != shape:
        raise ValueError(f"latents of shape {tuple(latents.shape)}, not {shape}")
    if latents.is_meta or latents.layout != torch.strided:
        raise ValueError("latents without values (meta), or sparse: a plain tensor is expected")
    if not torch.isfinite(latents).all():
        raise ValueError("latents hold values that are not finite")


def check_whole(name: str, value: Any, least: int, most: int) -> int:
    """A whole number within limits."""
    number = _plain(value)
    if not _is_whole(number) or not least <= number <= most:
        raise ValueError(f"{name}: {shown(value)} is not allowed; use {least} to {most}")
    return number


def _check_number(name: str, value: Any) -> float:
    number = _plain(value)
    if not (_is_whole(number) or isinstance(number, float)) or not 0 <= number <= LARGEST:
        raise ValueError(
            f"{name}: {shown(value)} is not allowed; use a number from 0 to {LARGEST:.0e}"
        )
    return float(number)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """A single number of numpy or torch as Python's."""
    single = isinstance(value, np.ndarray | np.generic | Tensor) and value.ndim == 0
    if not single or getattr(value, "is_meta", False):
        return value
    return float(value) if isinstance(value, np.longdouble) else value.item()  # item() keeps it


def shown(value: Any) -> str:
    """A value in a message, short and on one line."""
    value = _plain(value)
    if isinstance(value, int) and abs(value) > 10**18:
        return "a number of many digits"
    return " ".join(repr(value).split())[:60]
