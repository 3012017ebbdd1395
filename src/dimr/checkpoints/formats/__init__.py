"""Published checkpoints and ours: the same networks under other names, in both directions.

Known are the authors' names of DiMR, U-ViT and DiT, and diffusers' names of DiT. Each family's file
lists its formats: how each of our tensors is called there, and which sizes a state dict has.
"""

import importlib
import pkgutil
from collections.abc import Mapping

import torch
from torch import Tensor

from dimr.checkpoints.formats.base import ConversionError as ConversionError
from dimr.checkpoints.formats.base import Format
from dimr.models import Network, build
from dimr.runtime.files import single_line
from dimr.runtime.tensors import first_difference

FORMATS: dict[str, Format] = {
    form.name: form
    for file in pkgutil.iter_modules(__path__)
    if file.name != "base"
    for form in importlib.import_module(f"dimr.checkpoints.formats.{file.name}").FORMATS
}
"""Formats by name, of every file here; a network is written in the format of its family's name."""


def recognise(state_dict: Mapping[str, Tensor]) -> Format:
    """The format that a state dict's names are in.

    Raises:
        ConversionError: none of them; the message names a tensor and what was looked for.
    """
    for form in FORMATS.values():
        if any(name.startswith(form.signs) for name in state_dict):
            return form
    signs = ", ".join(f"{form.signs[0]}* ({form.name})" for form in FORMATS.values())
    found = f"tensor {next(iter(state_dict))!r}" if state_dict else "no tensors at all"
    raise ConversionError(f"{found}: of no known network; known are {signs}")


def from_published(
    state_dict: Mapping[str, Tensor],
    num_heads: int | None = None,
    time_map: str | None = None,
    input_size: int | None = None,
) -> Network:
    """Build the network that a published state dict holds, with its weights.

    Args:
        state_dict: tensors under the names of their authors. All sizes are read from them.
        num_heads: attention heads, which no shape tells; None: as published for this width.
        time_map: ``latent`` or ``pixel``; None: pixel for 1 or 3 channels, else latent.
        input_size: H = W of the input, needed only where no tensor tells it: diffusers' DiT (None:
            32 there), and a U-ViT of text, whose positions are shared by patches and an unknown
            number of tokens (None: 77 tokens if the rest is a square of a power of 2, as published,
            else the largest such square).

    Returns:
        The network on the tensors' device, sharing their memory where the shapes agree.

    Raises:
        ConversionError: a name, a missing tensor or a shape that does not fit. Nothing is loaded.
    """
    form = recognise(state_dict)
    tensors = form.decode(dict(state_dict))
    sizes = form.sizes_of(tensors, num_heads, time_map, input_size)
    try:
        with torch.device("meta"):
            network = build(sizes)
    except (ValueError, RuntimeError, OverflowError) as error:  # absurd sizes
        raise ConversionError(f"the shapes make no network ({single_line(error)[:200]})") from None
    expected = to_published(network)
    form.add_computed(tensors, expected)
    if difference := first_difference(tensors, expected, form.name_in_file):
        raise ConversionError(difference)
    both = zip(network.state_dict().items(), expected, strict=True)
    loaded = {ours: tensors[theirs].reshape(like.shape) for (ours, like), theirs in both}
    network.load_state_dict(loaded, assign=True)
    for name, buffer in network.named_buffers():  # assigned as they are, in torch's own way
        assert not buffer.is_meta, name
    return network.requires_grad_()


def to_published(network: Network) -> dict[str, Tensor]:
    """The network's weights under its authors' names: the inverse of ``from_published``.

    Raises:
        ConversionError: a network that the authors' code cannot build (an ablation).
    """
    form = FORMATS.get(network.family)
    if form is None:
        raise ConversionError(f"{network.family}: no published form is known")
    return {
        form.published_name(name, network.sizes): form.publish_position(tensor)
        if name.endswith("position")
        else tensor
        for name, tensor in network.state_dict().items()
    }
