"""A run's model under the names of its network's authors."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from dimr.errors import DimrError
from dimr.files import atomic_file
from dimr.models.convert import ConversionError, to_published
from dimr.weights.layout import alone, read_model

SUFFIXES = (".pth", ".pt", ".safetensors")


def export(folder: Path, out: Path) -> int:
    """Write the weights of ``folder`` to a file, values and precision as they are.

    Returns:
        The number of tensors.

    Raises:
        DimrError: a damaged model, one that the authors' code cannot build, or a file whose suffix
            is none of ``SUFFIXES``.
    """
    if out.suffix not in SUFFIXES:
        raise DimrError(f"{out}: suffix {out.suffix!r} (allowed: {', '.join(SUFFIXES)})")
    if out.is_dir() or out.resolve().parent == folder.resolve():
        raise DimrError(f"{out}: should be a file outside the model's own folder")
    network, _ = read_model(folder)
    try:
        tensors = {name: alone(tensor) for name, tensor in to_published(network).items()}
    except ConversionError as error:
        raise DimrError(f"{folder}: {error}") from None
    with atomic_file(out) as temporary:
        if out.suffix == ".safetensors":
            save_file(tensors, temporary)
        else:
            with open(temporary, "wb") as file:  # by its path, the name would get into the file
                torch.save(tensors, file)
    return len(tensors)
