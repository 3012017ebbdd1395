"""A run's ``model/`` folder: config.json and diffusion_pytorch_model.safetensors."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dimr.checkpoints.formats import ConversionError, check_tensors
from dimr.checkpoints.match_variant import nearest_fit
from dimr.checkpoints.recorded import OBJECTIVES, facts_of, read_metadata, save_safetensors
from dimr.checkpoints.values import first_unsound
from dimr.config.schema import NetworkConfig
from dimr.config.variants import load_network_config
from dimr.models import Network, build
from dimr.runtime.atomic import require_space
from dimr.runtime.device import require_memory
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line, write_json
from dimr.runtime.record import RECORD, read_record, verify

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def read_model(folder: Path) -> tuple[Network, NetworkConfig]:
    """The network of a run's model folder, its tensors as they are in the file, and its sizes.

    Raises:
        DimrError: a missing or damaged file (also by the record's checksums), or weights of another
            network: names the tensor, and the listed variant that they are of, if there is one.
    """
    verify(folder, CONFIG, WEIGHTS)
    sizes = load_network_config(folder / CONFIG)
    least = sizes.sizes.least_parameters()
    what = f"{folder / CONFIG}: a network of {least:,} parameters or more"
    require_memory(2 * least, what, torch.device("cpu"))
    path = folder / WEIGHTS
    with torch.device("meta"):
        network = build(sizes.sizes)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DimrError(f"{path}: not readable as safetensors ({single_line(error)})") from None
    try:
        check_tensors(tensors, network.state_dict())
    except ConversionError as error:
        fit = nearest_fit(tensors, sizes.sizes.arguments(), family=None, published=False)
        of = f"; it holds {fit.listed.name}" if fit and not fit.wrong else ""
        raise DimrError(f"{path}: weights of another network ({error}{of})") from None
    network.load_state_dict(tensors, assign=True)
    return network, sizes


def write_model(
    folder: Path,
    sizes: NetworkConfig,
    tensors: Mapping[str, Tensor],
    objective: str | None = None,
) -> None:
    """Write the two files into a folder that is there; values and precision stay as they are.

    Args:
        folder: where to.
        sizes: the network's; config.json.
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
    write_json(folder / CONFIG, sizes.model_dump(mode="json"))
    plain = apart(tensors)
    save_safetensors(plain, folder / WEIGHTS, facts_of(sizes, objective))


def recorded_objective(folder: Path) -> str | None:
    """What the network of a model folder has learned to predict, as its files say it."""
    try:
        said = read_metadata(folder / WEIGHTS).get("objective")
    except (OSError, SafetensorError):
        said = None
    if said is None and (folder / RECORD).is_file():  # of a version that wrote it there only
        config = read_record(folder).get("config")
        train = config.get("train") if isinstance(config, dict) else None
        said = train.get("objective") if isinstance(train, dict) else None
    return said if said in OBJECTIVES else None


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values, contiguous and each with memory of its own, also those that were tied.

    Writers keep whole storages, and that of safetensors refuses tensors that share one.
    """
    found: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage()
        whole = tensor.is_contiguous() and storage.nbytes() == tensor.nbytes
        if not whole or storage.data_ptr() in taken:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        taken.add(storage.data_ptr())
        found[name] = tensor.detach()
    return found
