"""Texts for ``DiMRPipeline`` to draw, given as for diffusers' pipelines, and its encoder.

Each mistake is a ``ValueError`` of one line.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from dimr.data.text.encoders import TextEncoder, check_description, described, prompt_condition
from dimr.data.text.image_captions import clean_caption
from dimr.models.conditioning import TextCondition, text_of
from dimr.models.sizes import Sizes
from dimr.runtime.errors import DimrError
from dimr.sampling.pipeline_arguments import MOST_IMAGES, check_whole, shown
from dimr.sampling.prompts import check_sizes


class NoSuchText(DimrError, ValueError):
    """A text that the encoder does not take, or an encoder that is not there."""


@dataclass(frozen=True)
class Texts:
    """What a pipeline's call says in words; arguments of ``DiMRPipeline``, None where not given."""

    prompt: Any
    negative_prompt: Any
    num_images_per_prompt: Any
    prompt_embeds: Any
    negative_prompt_embeds: Any

    @property
    def are_given(self) -> bool:
        """Whether there is a text for each image."""
        return self.prompt is not None or self.prompt_embeds is not None

    def check_kind(self, is_text: bool, class_labels: Any) -> None:
        """Refuse arguments for the other kind of network.

        Args:
            is_text: whether the network was trained on text.
            class_labels: as given.
        """
        if is_text and class_labels is not None:
            raise ValueError("class_labels: this model was trained on text: give prompt")
        given = [one.name for one in fields(self) if getattr(self, one.name) is not None]
        if given and not is_text:
            raise ValueError(f"{given[0]}: this model was trained on classes: give class_labels")
        for first, second in (
            ("prompt", "prompt_embeds"),
            ("negative_prompt", "negative_prompt_embeds"),
        ):
            if first in given and second in given:
                raise ValueError(f"{first} and {second}: give one of them")

    def condition(
        self,
        sizes: Sizes,
        encoder: Callable[[], TextEncoder],
        num_images: Any,
        guidance: str,
    ) -> TextCondition:
        """The texts of all images, those of a prompt one after the other.

        Args:
            sizes: of the network.
            encoder: opens the text encoder.
            num_images: number of images without a text.
            guidance: its kind.
        """
        is_guided = guidance in ("constant", "power_cosine")
        negative = self._negative(is_guided)
        if not self.are_given:
            if num_images is None:
                raise ValueError("give prompt, or num_images to draw without a text")
            count = check_whole("num_images", num_images, 1, MOST_IMAGES)
            if self.num_images_per_prompt is not None:
                raise ValueError("num_images_per_prompt: there is no prompt")
            return _encoded(encoder, [""], "").expand(count)
        if num_images is not None:
            raise ValueError(
                "num_images is for images without a text: num_images_per_prompt says how many of "
                "each prompt"
            )
        each, asked = self.num_images_per_prompt, self._prompts()
        each = check_whole("num_images_per_prompt", 1 if each is None else each, 1, MOST_IMAGES)
        if isinstance(asked, TextCondition):
            found = self._with_empty(asked, negative, encoder, is_guided)
        else:
            found = _encoded(encoder, asked, negative or "")
            if (given := self.negative_prompt_embeds) is not None:
                found = replace(found, empty=_embeds("negative_prompt_embeds", given))
        if len(found) * each > MOST_IMAGES:
            raise ValueError(f"prompt: more than {MOST_IMAGES} images")
        text_of(found, sizes)  # a width or a number of tokens that does not fit: ValueError
        return found.map(lambda tensor: tensor.repeat_interleave(each, dim=0))

    def _prompts(self) -> list[str] | TextCondition:
        if self.prompt_embeds is not None:
            return _embeds("prompt_embeds", self.prompt_embeds)
        given = _listed("prompt", self.prompt)
        if not given:
            raise ValueError("no images: give one prompt or more")
        try:
            return [clean_caption(text, "prompt") for text in given]
        except DimrError as error:
            raise NoSuchText(str(error)) from None

    def _negative(self, is_guided: bool) -> str | None:
        """The negative prompt, the same for all images; None: not given."""
        for name in ("negative_prompt", "negative_prompt_embeds"):
            if getattr(self, name) is not None and not is_guided:
                raise ValueError(f"{name}: without guidance it would change nothing")
        if self.negative_prompt is None:
            return None
        given = set(_listed("negative_prompt", self.negative_prompt))
        if len(given) != 1:
            raise ValueError("negative_prompt: one text for all images is expected")
        return given.pop()

    def _with_empty(
        self,
        embeds: TextCondition,
        negative: str | None,
        encoder: Callable[[], TextEncoder],
        is_guided: bool,
    ) -> TextCondition:
        """Embeddings, with what guidance leads away from if that is needed."""
        if not is_guided:
            return embeds
        if self.negative_prompt_embeds is not None:
            empty = _embeds("negative_prompt_embeds", self.negative_prompt_embeds)
        elif negative is None and embeds.empty is not None:
            return embeds
        else:
            empty = _encoded(encoder, [negative or ""], "")
        return replace(embeds, empty=replace(empty, empty=None))


def _encoded(
    encoder: Callable[[], TextEncoder], prompts: list[str], negative: str
) -> TextCondition:
    try:
        return prompt_condition(encoder(), prompts, negative)
    except DimrError as error:
        raise NoSuchText(str(error)) from None


def _listed(name: str, value: Any) -> list[str]:
    """Texts that were given as one, or as several."""
    several = (
        [value] if isinstance(value, str | bytes) or not isinstance(value, Iterable) else value
    )
    given = list(itertools.islice(several, MOST_IMAGES + 1))
    wrong = [one for one in given if not isinstance(one, str)]
    if wrong:
        raise ValueError(f"{name}: {shown(wrong[0])} is no text")
    if len(given) > MOST_IMAGES:
        raise ValueError(f"{name}: more than {MOST_IMAGES} images")
    return given


def _embeds(name: str, value: Any) -> TextCondition:
    """Tokens (N, L, D) as a condition; of a plain tensor all are seen."""
    if isinstance(value, TextCondition):
        return value
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim != 3:
        raise ValueError(f"{name}: a TextCondition or a tensor (N, L, D) of floats is expected")
    return TextCondition(value, torch.ones(value.shape[:2], dtype=torch.bool, device=value.device))


class EncoderInUse:
    """A pipeline's text encoder, which is opened when a text needs it.

    Args:
        given: an encoder, or its description as in model_index.json.

    Attributes:
        description: plain JSON.
    """

    def __init__(self, given: TextEncoder | Mapping[str, Any]) -> None:
        self._open: TextEncoder | None = None
        if isinstance(given, Mapping):
            self.description = check_description(dict(given), "text_encoder")
        else:
            self._open, self.description = given, given.description

    def check(self, sizes: Sizes) -> None:
        """Refuse an encoder whose texts a network of these sizes, or of classes, cannot take."""
        if sizes.text_dim is None:
            raise ValueError("text_encoder: this model was trained on classes")
        check_sizes(self.description, sizes, "text_encoder")

    def open(self, device: torch.device) -> TextEncoder:
        """The encoder, on the device on which it was first used; a pretrained one is fetched."""
        if self._open is None:
            self._open = described(self.description, device=device)
        return self._open
