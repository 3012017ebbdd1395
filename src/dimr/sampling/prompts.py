"""What a network of text is asked to draw, and the encoder that turns it into tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from dimr.config.schema import NetworkConfig
from dimr.data.beside import result_beside
from dimr.data.captioned_reader import prompts_of
from dimr.data.text.base import TextEncoder
from dimr.data.text.encoders import encoder_of_model, prompt_condition
from dimr.data.text.folder import open_captions
from dimr.data.text.image_captions import clean_caption
from dimr.models.conditioning import TextCondition
from dimr.models.sizes import Sizes
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_text

BLANK = "\ufeff \t\r\n"
"""A line of nothing else is skipped; some editors begin a file with the first of them."""


def kind_of(config: NetworkConfig) -> Literal["text", "class"]:
    """What a network's condition is."""
    return "class" if config.text_dim is None else "text"


def check_kind(
    config: NetworkConfig,
    classes: Sequence[str],
    prompts: Sequence[str],
    negative: str | None,
    text_encoder: str | Path | None,
    captions: Path | None,
) -> None:
    """Refuse options for the other kind of network, and two sources of prompts."""
    if kind_of(config) == "text" and classes:
        raise DimrError("--class: this model was trained on text: give --prompt")
    of_text = {
        "prompt": prompts,
        "negative-prompt": negative,
        "text-encoder": text_encoder,
        "captions": captions,
    }
    wrong = next((option for option, value in of_text.items() if value), None)
    if kind_of(config) == "class" and wrong:
        raise DimrError(f"--{wrong}: this model was trained on classes: give --class")
    if prompts and captions:
        raise DimrError("--captions: its prompts are drawn where --prompt gives none")


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file, one on each line; ``DimrError`` names it and the line."""
    lines = [line.strip(BLANK) for line in read_text(path).splitlines()]
    found = [clean_caption(line, f"{path}:{n}") for n, line in enumerate(lines, 1) if line]
    if not found:
        raise DimrError(f"{path}: no prompts (one per line)")
    return found


def prompts_to_draw(
    model: Path, asked: Sequence[str], few: int, captions: Path | None = None
) -> list[str]:
    """The requested prompts, each once; else the first ``few`` of the run's dataset.

    Args:
        model: a run's model folder.
        asked: the requested prompts.
        few: how many to take if there are none.
        captions: folder to take these from; None: that of the run's dataset.

    Raises:
        DimrError: a text that is no caption; none is requested, and the dataset is not found.
    """
    if asked:
        return list(dict.fromkeys(clean_caption(text, "--prompt") for text in asked))
    folder = captions or result_beside(model, "captions")
    if folder is None:
        raise DimrError("this model was trained on text: give --prompt, what it should draw")
    return prompts_of(open_captions(folder), few)[0]


def open_encoder(
    model: Path, config: NetworkConfig, given: str | Path | None, device: torch.device | str
) -> TextEncoder:
    """The text encoder of a run's model folder.

    Args:
        model: the folder.
        config: its config.json.
        given: folder or hub name; None: that of the run's dataset, if it is found.
        device: where to put it.

    Raises:
        DimrError: it is not found, or another one.
    """
    encoder = encoder_of_model(model, given, device)
    check_sizes(encoder.description, config.sizes, str(given or model))
    return encoder


def check_sizes(description: Mapping[str, Any], sizes: Sizes, where: str) -> None:
    """Refuse an encoder whose texts a network does not take; ``DimrError`` begins with where."""
    width, tokens = description["width"], description["tokens"]
    if width != sizes.text_dim:
        raise DimrError(
            f"{where}: a text encoder of width {width}; the model takes {sizes.text_dim}"
        )
    if sizes.counts_tokens and tokens != sizes.text_tokens:
        raise DimrError(
            f"{where}: a text encoder of {tokens} tokens; the model takes {sizes.text_tokens}"
        )


def condition_of(
    model: Path,
    config: NetworkConfig,
    prompts: Sequence[str],
    negative: str,
    text_encoder: str | Path | None,
    device: torch.device,
) -> TextCondition:
    """Prompts (P, L, D) on the CPU, with what guidance leads away from, as ``Sampler`` takes them.

    Args:
        model: a run's model folder.
        config: its config.json.
        prompts: P of them.
        negative: what guidance leads away from; "": the empty caption.
        text_encoder: as ``given`` of ``open_encoder``.
        device: where to encode.

    Raises:
        DimrError: no encoder, or another one; a word that it does not know.
    """
    encoder = open_encoder(model, config, text_encoder, device)
    return prompt_condition(encoder, prompts, negative).to("cpu")
