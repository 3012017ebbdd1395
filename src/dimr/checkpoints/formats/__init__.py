"""Published checkpoints and ours: the same networks under other names, in both directions.

Known are the authors' names of DiMR and U-ViT, DiT's own, and diffusers' names of DiT. Each
family's module says which sizes a state dict has, and how each of our tensors is called there.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from types import ModuleType

import torch
from torch import Tensor

from dimr.checkpoints.formats import diffusers_dit
from dimr.checkpoints.formats.names import ConversionError, nearest_name
from dimr.models import FAMILIES, Network, build

__all__ = [
    "FORMATS",
    "ConversionError",
    "check_tensors",
    "from_published",
    "names_in_file",
    "recognise",
    "to_published",
]

_MODULES = {family: f"{__name__}.{family}" for family in FAMILIES}
FORMATS: dict[str, ModuleType] = {
    **{
        family: importlib.import_module(module)
        for family, module in _MODULES.items()
        if importlib.util.find_spec(module)  # nobody has published weights of others
    },
    "diffusers-dit": diffusers_dit,
}
"""Formats by name. Each module has ``MARK``, ``SIGNS`` (names that other networks do not have),
``SIZES``, ``read_sizes``, ``published_name``, ``to_ours`` and ``to_theirs``; a network is written
back in the format of its family's name."""


def recognise(state_dict: Mapping[str, Tensor]) -> str:
    """The format (a key of ``FORMATS``) that a state dict's names are in.

    Raises:
        ConversionError: none of them; the message names a tensor and what was looked for.
    """
    for name, module in FORMATS.items():
        if any(key.startswith(module.MARK) for key in state_dict):
            return name
    marks = ", ".join(f"{m.MARK}* ({n})" for n, m in FORMATS.items())
    found = f"tensor {next(iter(state_dict))!r}" if state_dict else "no tensors at all"
    raise ConversionError(f"{found}: of no known network; known are {marks}")


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
        input_size: H = W of the input, needed only where no tensor tells it (diffusers' DiT;
            None: 32 there).

    Returns:
        The network on the tensors' device, sharing their memory where the shapes agree.

    Raises:
        ConversionError: a name, a missing tensor or a shape that does not fit. Nothing is loaded.
    """
    module = FORMATS[recognise(state_dict)]
    tensors = module.to_ours(dict(state_dict))
    in_file = names_in_file(module)
    try:
        sizes = module.read_sizes(tensors, num_heads, time_map, input_size)
    except KeyError as error:
        name = in_file(error.args[0])
        raise ConversionError(
            f"tensor {name!r} is missing{nearest_name(name, state_dict)}"
        ) from None
    try:
        with torch.device("meta"):
            network: Network = build(module.SIZES(**sizes))
    except (ValueError, RuntimeError, OverflowError) as error:  # the last two: sizes of a hoax
        reason = " ".join(str(error).split())
        raise ConversionError(f"the shapes make no network ({reason[:200]})") from None
    expected = {module.published_name(n, network): (n, t) for n, t in network.state_dict().items()}
    check_tensors(tensors, {name: tensor for name, (_, tensor) in expected.items()}, in_file)
    ours = {ours: tensors[name].reshape(t.shape) for name, (ours, t) in expected.items()}
    network.load_state_dict(ours, assign=True)
    for name, buffer in network.named_buffers():  # assigned as they are, in torch's own way
        assert not buffer.is_meta, name
    return network.requires_grad_()


def names_in_file(module: ModuleType) -> Callable[[str], str]:
    """From a format's tensor name as we check it to the name that stands in the file."""
    return diffusers_dit.name_in_file if module is diffusers_dit else str


def check_tensors(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    in_file: Callable[[str], str] = str,
) -> None:
    """Exactly the expected names, floating-point, and as many values in each, in the same order.

    Args:
        tensors: what there is.
        expected: what there should be; the values do not matter (meta tensors will do).
        in_file: what the file that they were read from calls a tensor.

    Raises:
        ConversionError: names the first tensor that does not fit, and the nearest that does.
    """
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    if missing:
        hint = nearest_name(in_file(missing[0]), map(in_file, extra))
        raise ConversionError(f"tensor {in_file(missing[0])!r} is missing{hint}")
    if extra:
        hint = nearest_name(in_file(extra[0]), map(in_file, expected), "nearest that belongs")
        raise ConversionError(f"tensor {in_file(extra[0])!r} is one too many{hint}")
    for name, like in expected.items():
        tensor = tensors[name]
        found, wanted = _shape(tensor), _shape(like)
        # Position embeddings are (1, N, D) or (h w, D) there, (N, D) or (h, w, D) here.
        if found != wanted and not (name.endswith(("pos_embed", "position_embeddings.weight"))
                                    and tensor.numel() == like.numel()
                                    and found[-1] == wanted[-1]):  # fmt: skip
            raise ConversionError(f"tensor {in_file(name)!r} has shape {found}, not {wanted}")
        if not tensor.is_floating_point():
            raise ConversionError(f"tensor {in_file(name)!r} is {tensor.dtype}, no floating point")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def to_published(network: Network) -> dict[str, Tensor]:
    """The network's weights under its authors' names: the inverse of ``from_published``.

    Raises:
        ConversionError: a network of ours that the authors' code cannot build (ablations).
    """
    if network.family not in FORMATS:
        raise ConversionError(f"{network.family}: no published form is known")
    module = FORMATS[network.family]
    named = {module.published_name(n, network): t for n, t in network.state_dict().items()}
    return module.to_theirs(named)
