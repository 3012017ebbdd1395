"""Whether a tensor can be weights: dense, on a device with memory, and finite."""

from collections.abc import Mapping

import torch
from torch import Tensor

MAX_VALUES = 1 << 28
"""Of one tensor: views let a small file claim any number; the largest here has some ten million."""
LONGEST_NAME = 300
PIECE = 1 << 24
"""Values that are looked at together."""
COMPARED = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Precisions that can be looked at as they are; smaller ones fit into float32."""


def first_unsound(tensors: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the first tensor that cannot be weights, with its name; None: nothing."""
    for name, tensor in tensors.items():
        if len(name) > LONGEST_NAME:
            return f"tensor {name[:80]!r}... has a name of {len(name):,} characters"
        if problem := _unsound(tensor.detach()):
            return f"tensor {name!r} {problem}"
    return None


def _unsound(tensor: Tensor) -> str | None:
    if tensor.is_nested or tensor.layout != torch.strided:
        layout = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        return f"is {layout}, not dense"
    if tensor.is_meta:
        return "has no values (it was saved on the meta device)"
    if tensor.is_quantized or tensor.is_complex():
        return f"is {tensor.dtype}, no floating point"
    if tensor.numel() > MAX_VALUES:
        return f"claims {tensor.numel():,} values (at most {MAX_VALUES:,})"
    if not _is_finite(tensor):
        return "holds values that are not finite (NaN or infinity)"
    return None


def _is_finite(tensor: Tensor) -> bool:
    """Whether all values are; whole numbers always are."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    for piece in _in_a_row(tensor).split(PIECE):
        values = piece if piece.dtype in COMPARED else piece.float()
        extremes = torch.stack(values.aminmax())  # NaN if any is: much faster than each by itself
        if not extremes.isfinite().all():
            return False
    return True


def _in_a_row(tensor: Tensor) -> Tensor:
    """All values in one dimension; those that a view repeats once."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    extent = 1 + sum((size - 1) * stride for size, stride in steps)
    if extent < tensor.numel():
        return tensor.as_strided((extent,), (1,), tensor.storage_offset())
    return tensor.flatten()
