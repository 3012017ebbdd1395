"""A run's ``model/`` folder: config.json and diffusion_pytorch_model.safetensors."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dimr import settings
from dimr.errors import DimrError
from dimr.experiment import load_network_config
from dimr.files import one_line, write_json
from dimr.models import Network, build
from dimr.models.convert import ConversionError, check_tensors
from dimr.weights.recognise import nearest_fit

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def read_model(folder: Path) -> tuple[Network, settings.Network]:
    """The network of a run's model folder, its tensors as they are in the file, and its sizes.

    Raises:
        DimrError: a missing or damaged file, or weights of another network: names the tensor, and
            the listed variant that they are of, if there is one.
    """
    sizes = load_network_config(folder / CONFIG)
    path = folder / WEIGHTS
    with torch.device("meta"):
        network = build(sizes.family, **sizes.arguments())
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DimrError(f"{path}: not readable as safetensors ({one_line(error)})") from None
    try:
        check_tensors(tensors, network.state_dict())
    except ConversionError as error:
        fit = nearest_fit(tensors, sizes.arguments(), family=None, published=False)
        of = f"; it holds {fit.listed.name}" if fit and not fit.wrong else ""
        raise DimrError(f"{path}: weights of another network ({error}{of})") from None
    network.load_state_dict(tensors, assign=True)
    return network, sizes


def write_model(folder: Path, sizes: settings.Network, tensors: Mapping[str, Tensor]) -> None:
    """Write the two files into a folder that is there; values and precision stay as they are."""
    write_json(folder / CONFIG, sizes.model_dump(mode="json"))
    save_file({name: alone(tensor) for name, tensor in tensors.items()}, folder / WEIGHTS)


def alone(tensor: Tensor) -> Tensor:
    """The same values, contiguous and with memory of their own: writers keep whole storages."""
    tensor = tensor.detach()
    if tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)
