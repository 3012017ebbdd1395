"""A run's model under the names of its network's authors."""

from pathlib import Path

import torch

from dimr.checkpoints.formats import ConversionError, to_published
from dimr.checkpoints.model_card import Card, write_card
from dimr.checkpoints.model_folder import WEIGHTS, read_class_names, read_model
from dimr.checkpoints.recorded import check_record, record_of
from dimr.runtime.atomic import atomic_file, require_space
from dimr.runtime.errors import DimrError
from dimr.runtime.tensors import first_unsound, separate
from dimr.runtime.weight_notes import EXPORTED, add_notes, read_notes, save_safetensors

SUFFIXES = (".pth", ".pt", ".safetensors")


def export(folder: Path, out: Path) -> int:
    """Write the weights of a model folder to a file, values and precision as they are.

    What no shape tells about them is written into the file (``recorded``); the model card is
    written beside it, under its name with ``.md``.

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
    network, config = read_model(folder)
    try:
        tensors = separate(to_published(network))
    except ConversionError as error:
        raise DimrError(f"{folder}: {error}") from None
    if problem := first_unsound(tensors):
        raise DimrError(f"{folder}: {problem}")
    said = check_record(read_notes(folder / WEIGHTS), folder / WEIGHTS)
    notes = {**record_of(config, said.get("objective"), read_class_names(folder)), **EXPORTED}
    use = f"`dimr import {out.name} --out MODEL` makes a model folder of it; the names of its "
    use += f"tensors are those of the authors of {config.sizes.title}."
    card = Card.of(folder, use=use)
    require_space(out.parent, sum(tensor.nbytes for tensor in tensors.values()), f"{out}")
    with atomic_file(out) as temporary:
        if out.suffix == ".safetensors":
            save_safetensors(tensors, temporary, notes)
        else:
            with open(temporary, "wb") as file:  # given a path, torch would write its name
                torch.save(tensors, file)
            add_notes(temporary, notes)
    write_card(out.with_suffix(".md"), card)
    return len(tensors)
