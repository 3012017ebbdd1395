"""A run's model under the names of its network's authors."""

from pathlib import Path

import torch

from dimr.checkpoints.formats import ConversionError, to_published
from dimr.checkpoints.model_folder import apart, read_model, recorded_objective
from dimr.checkpoints.opening import ZIP_MARK
from dimr.checkpoints.recorded import (
    MARK,
    add_record,
    facts_of,
    read_metadata,
    read_record,
    save_safetensors,
)
from dimr.checkpoints.values import first_unsound
from dimr.runtime.atomic import atomic_file, require_space
from dimr.runtime.errors import DimrError

SUFFIXES = (".pth", ".pt", ".safetensors")


def export(folder: Path, out: Path) -> int:
    """Write the weights of ``folder`` to a file, values and precision as they are.

    What no shape tells of them is written beside them: see ``recorded``.

    Returns:
        The number of tensors.

    Raises:
        DimrError: a damaged model, one that the authors' code cannot build, or a file whose suffix
            is none of ``SUFFIXES``.
        DiskFull: no room for it.
    """
    if out.suffix not in SUFFIXES:
        raise DimrError(f"{out}: suffix {out.suffix!r} (allowed: {', '.join(SUFFIXES)})")
    if out.is_dir() or out.resolve().parent == folder.resolve():
        raise DimrError(f"{out}: should be a file outside the model's own folder")
    network, sizes = read_model(folder)
    try:
        tensors = apart(to_published(network))
    except ConversionError as error:
        raise DimrError(f"{folder}: {error}") from None
    if problem := first_unsound(tensors):
        raise DimrError(f"{folder}: {problem}")
    facts = {**facts_of(sizes, recorded_objective(folder)), MARK[0]: MARK[1]}
    require_space(out.parent, sum(tensor.nbytes for tensor in tensors.values()), f"{out}")
    with atomic_file(out) as temporary:
        if out.suffix == ".safetensors":
            save_safetensors(tensors, temporary, facts)
        else:
            with open(temporary, "wb") as file:  # by its path, the name would get into the file
                torch.save(tensors, file)
            add_record(temporary, facts)
    return len(tensors)


def is_dimr_export(path: Path) -> bool:
    """Whether a file is one that ``export`` has written, of either kind."""
    try:
        with open(path, "rb") as file:
            zipped = file.read(len(ZIP_MARK)) == ZIP_MARK
        said = read_record(path) if zipped else read_metadata(path)
    except Exception:  # files of any content, for which the readers raise almost anything
        return False
    return said.get(MARK[0]) == MARK[1]
