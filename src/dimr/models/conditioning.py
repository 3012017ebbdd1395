"""What a network takes beside the noisy image: the time, and a condition (a class or a text).

A condition has one entry per image. Only networks look inside it; batches, guidance, samplers and
compiled forms carry it. Another kind needs a subclass here and a network that reads it.
Shapes: B batch, L tokens of a text, D width of the encoder that made them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from dimr.models.sizes import Sizes


@dataclass(frozen=True, eq=False)
class Condition(ABC):
    """What B images should show. Subclasses are frozen dataclasses.

    Fields that are tensors, (B, ...), hold one row per image; whatever is done to a condition is
    done to these rows. Other fields are the same for all images.
    """

    @abstractmethod
    def null(self) -> Self:
        """No condition, for the same number of images, on the same device."""

    def _tensors(self) -> dict[str, Tensor]:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if isinstance(value, Tensor)}

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The condition with ``function`` applied to each of its tensors."""
        return replace(self, **{name: function(value) for name, value in self._tensors().items()})

    def __len__(self) -> int:
        return len(next(iter(self._tensors().values())))

    def __getitem__(self, rows: Any) -> Self:
        """The condition of some images: a slice, or an index or mask tensor."""
        return self.map(lambda tensor: tensor[rows])

    @staticmethod
    def cat(conditions: "Sequence[Condition]") -> "Condition":
        """Conditions of one kind, one after the other."""
        parts = [condition._tensors() for condition in conditions]
        return replace(
            conditions[0], **{name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        )

    def expand(self, count: int) -> Self:
        """The condition of one image for ``count`` images, without copies."""
        return self.map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))

    def drop(self, dropped: Tensor) -> Self:
        """Without a condition where ``dropped``, bool (B,), is true."""
        null = self.null()._tensors()

        def mixed(name: str, value: Tensor) -> Tensor:
            return torch.where(dropped.view(-1, *[1] * (value.ndim - 1)), null[name], value)

        return replace(self, **{name: mixed(name, v) for name, v in self._tensors().items()})

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The condition on a device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))


@dataclass(frozen=True, eq=False)
class LabelCondition(Condition):
    """A class for each image.

    Attributes:
        labels: (B,) int64, each 0..num_classes-1, or ``num_classes`` for "no class".
        num_classes: how many classes there are.
    """

    labels: Tensor
    num_classes: int

    def null(self) -> Self:
        """The label ``num_classes`` for every image."""
        return replace(self, labels=torch.full_like(self.labels, self.num_classes))


@dataclass(frozen=True, eq=False)
class TextCondition(Condition):
    """A text for each image, as the tokens that a frozen encoder made from it.

    A token whose mask is False is not seen, whatever its values. U-ViT's authors have no mask:
    theirs sees all 77 of CLIP's tokens, so for their weights it is True everywhere.

    Attributes:
        tokens: (B, L, D) floating point, of any precision.
        mask: (B, L) bool, true where there is a token.
        empty: what stands for "no text": the encoder's empty caption, (1, L, D) and (1, L), or
            another text (a negative prompt). It belongs to no image, and stays on its own device
            until it is needed. None: no token is seen.

    Raises:
        ValueError: shapes that do not match, or a mask that is not bool.
    """

    tokens: Tensor
    mask: Tensor
    empty: "TextCondition | None" = None

    def __post_init__(self) -> None:
        tokens, mask, empty = self.tokens, self.mask, self.empty
        if tokens.ndim != 3 or mask.shape != tokens.shape[:2]:
            shapes = f"{tuple(tokens.shape)} and mask {tuple(mask.shape)}"
            raise ValueError(f"tokens {shapes} should be (B, L, D) and (B, L)")
        if mask.dtype != torch.bool:
            raise ValueError(f"a mask of {mask.dtype}, which should be bool")
        if empty is not None and empty.tokens.shape != (1, *tokens.shape[1:]):
            shapes = f"{tuple(empty.tokens.shape)}, not {(1, *tokens.shape[1:])}"
            raise ValueError(f"the empty caption's tokens are {shapes}")

    def null(self) -> Self:
        """The empty caption for every image."""
        if self.empty is None:
            return self.map(torch.zeros_like)
        tokens = self.empty.tokens.to(self.tokens).repeat(len(self), 1, 1)
        mask = self.empty.mask.to(self.mask.device).repeat(len(self), 1)
        return replace(self, tokens=tokens, mask=mask)


def as_condition(condition: Condition | Tensor, num_classes: int) -> Condition:
    """A condition, unchanged; labels (B,) int64 as a condition of ``num_classes`` classes."""
    if isinstance(condition, Tensor):
        return LabelCondition(condition, num_classes)
    return condition


def labels_of(condition: Condition | Tensor, num_classes: int) -> Tensor:
    """The labels (B,) int64 of a condition on ``num_classes`` classes, as a network reads it.

    Raises:
        TypeError: a condition of another kind.
        ValueError: one on another number of classes, where "no class" is another label.
    """
    condition = as_condition(condition, num_classes)
    if not isinstance(condition, LabelCondition):
        raise TypeError(f"a network of classes takes no {type(condition).__name__}")
    if condition.num_classes != num_classes:
        raise ValueError(f"a condition of {condition.num_classes} classes, not {num_classes}")
    return condition.labels


def text_of(condition: Condition | Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """The text of a condition as a network of these sizes reads it.

    Returns:
        Tokens (B, L, D), zeros where there is none (what is hidden may be anything, not finite
        too), and the mask (B, L).

    Raises:
        TypeError: labels, or a condition of another kind.
        ValueError: tokens of another width, or, where that matters, another number of them.
    """
    if not isinstance(condition, TextCondition):
        found = "labels" if isinstance(condition, Tensor) else type(condition).__name__
        raise TypeError(f"a network of text takes no {found}")
    _, tokens, width = condition.tokens.shape
    if width != sizes.text_dim:
        raise ValueError(f"text of width {width}, not {sizes.text_dim}: of another encoder?")
    if sizes.counts_tokens and tokens != sizes.text_tokens:
        raise ValueError(f"text of {tokens} tokens, not {sizes.text_tokens}")
    hidden = ~condition.mask[..., None]
    return condition.tokens.masked_fill(hidden, 0.0), condition.mask


VP_BETA_MIN, VP_BETA_MAX = 0.1, 20.0  # the VP SDE of the 64x64 models (facts: diffusion.pixel_64)


def vp_log_snr(t: Tensor) -> Tensor:
    """Log signal-to-noise ratio of the VP SDE, beta rising linearly from 0.1 to 20.

    With g(t), the integral of beta over (0, t), alpha_bar = exp(-g), and the ratio
    alpha_bar / (1 - alpha_bar) is 1 / (exp(g) - 1). ``expm1`` keeps small t exact.
    """
    integral = 0.5 * (VP_BETA_MAX - VP_BETA_MIN) * t**2 + VP_BETA_MIN * t
    return -torch.log(torch.expm1(integral))


def latent_time_condition(t: Tensor) -> Tensor:
    """Time condition of DiMR's latent models: 8 t - 4, in (-4, 4]. It grows with the noise."""
    return 8.0 * t - 4.0


DIMR_CONDITIONS = {"latent": latent_time_condition, "pixel": vp_log_snr}
"""DiMR's time condition (tau) by ``time_map``: ``latent`` or ``pixel``."""

UVIT_STEPS = {"latent": 1000.0, "pixel": 999.0}
"""U-ViT's time condition by ``time_map`` is t times this (the authors' latent and pixel models)."""


def dit_step(t: Tensor) -> Tensor:
    """DiT's time condition, the step counted from 0: 1000 t - 1."""
    return 1000.0 * t - 1.0


def sinusoids(position: Tensor, dim: int) -> Tensor:
    """Embed a real position, () or (B,): cosines, then sines of geometric frequencies.

    The frequencies fall from 1 to 1/10000. Float32 throughout, as in the authors' code.

    Returns:
        (B, dim), or (1, dim) for a position ().
    """
    half = dim // 2
    index = torch.arange(half, dtype=torch.float32, device=position.device)
    angles = position.float().reshape(-1, 1) * torch.exp(-math.log(10000) * index / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
