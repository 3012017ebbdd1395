"""A run's ``model/`` folder: config.json, diffusion_pytorch_model.safetensors, class_names.json.

A network of text has text_encoder.json in place of names (``dimr.data.text.encoders``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dimr.checkpoints.match_variant import nearest_fit
from dimr.checkpoints.recorded import record_of
from dimr.config.schema import NetworkConfig
from dimr.config.variants import load_network_config
from dimr.models import Network, build
from dimr.runtime.atomic import require_space
from dimr.runtime.device import require_memory
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, single_line, write_json
from dimr.runtime.record import verify
from dimr.runtime.tensors import first_difference, first_unsound, separate
from dimr.runtime.weight_notes import save_safetensors

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
CLASS_NAMES = "class_names.json"
"""A list: the name of each class, by label. A file of its own: config.json is the network's."""


def read_model(folder: Path) -> tuple[Network, NetworkConfig]:
    """The network of a run's model folder, its tensors as in the file, and its config.json.

    Raises:
        DimrError: a missing or damaged file (also by the record's checksums), or weights of another
            network: names the tensor, and the listed variant that they belong to, if there is one.
    """
    verify(folder, CONFIG, WEIGHTS)
    config = load_network_config(folder / CONFIG)
    least = config.sizes.least_parameters()
    what = f"{folder / CONFIG}: a network of {least:,} parameters or more"
    require_memory(2 * least, what, torch.device("cpu"))
    path = folder / WEIGHTS
    with torch.device("meta"):
        network = build(config.sizes)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DimrError(f"{path}: not readable as safetensors ({single_line(error)})") from None
    if difference := first_difference(tensors, network.state_dict()):
        fit = nearest_fit(tensors, config.sizes.arguments(), family=None, published=False)
        of = f"; it holds {fit.listed.name}" if fit and not fit.wrong else ""
        raise DimrError(f"{path}: weights of another network ({difference}{of})")
    network.load_state_dict(tensors, assign=True)
    return network, config


def write_model(
    folder: Path,
    config: NetworkConfig,
    tensors: Mapping[str, Tensor],
    objective: str | None = None,
) -> None:
    """Write the two files into an existing folder; values and precision stay as they are.

    Args:
        folder: where to.
        config: the network; config.json.
        tensors: its weights by our names.
        objective: what it has learned to predict, ``noise`` or ``hybrid``; None: not known.

    Raises:
        DimrError: values that are not finite; names the tensor.
        DiskFull: no room for them.
    """
    if problem := first_unsound(tensors):
        raise DimrError(f"{problem}: a model of such weights is not written")
    size = sum(tensor.nbytes for tensor in tensors.values())
    require_space(folder.parent, size, "the model")
    write_json(folder / CONFIG, config.model_dump(mode="json"))
    save_safetensors(separate(tensors), folder / WEIGHTS, record_of(config, objective))


def write_class_names(folder: Path, names: Sequence[str]) -> None:
    """Write the names of a model's classes, by label, into its folder."""
    write_json(folder / CLASS_NAMES, list(names))


def read_class_names(folder: Path) -> list[str] | None:
    """The names of a model's classes, by label; None: its folder does not have them.

    Raises:
        DimrError: the file is damaged, also by the record's checksum; or missing, and the record
            lists it.
    """
    verify(folder, CLASS_NAMES)
    path = folder / CLASS_NAMES
    if not path.exists():
        return None
    names = read_json(path)
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DimrError(f"{path}: should be a list of names, one for each class")
    return names
