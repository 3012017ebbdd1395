"""Named tensors in files: safetensors, hashed as they are written, read by rows.

A tensor may lie in several files: it is their pieces in order, one below the other. Pickles, which
can hold code, are not used.
"""

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64"}
"""The types that a state holds, by their names in the format."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write CPU tensors, through to the disk; return the SHA-256 of the file.

    The sum is of what is in memory, so that it also tells whether the disk holds that. Hashing and
    writing let other threads run.
    """
    header, offset = {}, 0
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())  # aligned
    for name, tensor in ordered:
        end = offset + tensor.nbytes
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for piece in (struct.pack("<Q", len(text)) + text, *(_bytes(t) for _, t in ordered)):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> Any:
    """The memory of a tensor, not a copy."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data


class Pieces:
    """The tensors of several files.

    Attributes:
        shapes: of each tensor as a whole, by name.
    """

    def __init__(self, files: Sequence[Any]) -> None:
        self.lengths: dict[str, list[tuple[Any, int]]] = {}  # by name: files and their rows
        self.shapes: dict[str, tuple[int, ...]] = {}
        for file in files:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                shape = file.get_slice(name).get_shape()
                rows, *rest = shape or [1]
                self.lengths.setdefault(name, []).append((file, rows))
                total = sum(length for _, length in self.lengths[name])
                self.shapes[name] = (total, *rest) if shape else ()

    def read(self, name: str, target: Tensor, rows: slice | None) -> None:
        """Fill a tensor with ``rows`` of a stored one; None: with all of it."""
        if not self.shapes[name]:
            target.copy_(self.lengths[name][0][0].get_tensor(name))
            return
        start, stop = (rows.start, rows.stop) if rows else (0, self.shapes[name][0])
        first = 0
        for file, length in self.lengths[name]:
            low, high = max(start, first), min(stop, first + length)
            if low < high:
                piece = file.get_slice(name)[low - first : high - first]
                target[low - start : high - start].copy_(piece)
            first += length


@contextlib.contextmanager
def open_pieces(files: Sequence[Path]) -> Iterator[Pieces]:
    """The tensors of files that ``write_tensors`` wrote, mapped while the block runs.

    Raises:
        DimrError: a file that holds something else.
    """
    with contextlib.ExitStack() as stack:
        opened = []
        for file in files:
            try:
                opened.append(stack.enter_context(safe_open(file, framework="pt")))
            except (OSError, SafetensorError) as error:
                raise DimrError(
                    f"{file}: not readable as safetensors ({single_line(error)})"
                ) from None
        yield Pieces(opened)
