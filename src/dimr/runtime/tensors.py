"""Tensors by name: whether they can be weights, and whether they are the expected ones."""

import difflib
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

MAX_VALUES = 1 << 28
"""Most values in one tensor: with views a small file can claim any number; our largest tensor has
some ten million."""
LONGEST_NAME = 300
CHUNK = 1 << 24
"""Values that are checked at a time."""
COMPARABLE = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Types with a minimum and maximum in torch; smaller ones fit into float32."""


def first_unsound(tensors: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the first tensor that cannot be weights, with its name; None: nothing.

    Weights are dense, in memory, real numbers (of any type) and finite.
    """
    for name, tensor in tensors.items():
        if len(name) > LONGEST_NAME:
            return f"tensor {name[:80]!r}... has a name of {len(name):,} characters"
        if problem := _unsound(tensor.detach()):
            return f"tensor {name!r} {problem}"
    return None


def first_difference(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    in_file: Callable[[str], str] = str,
) -> str | None:
    """The first difference of tensors from the expected names, shapes, or floating-point types.

    Args:
        tensors: by name.
        expected: by name; values do not matter; meta tensors are fine.
        in_file: what messages call a tensor, given its name.

    Returns:
        One line that names the tensor, and the most similar name if one is missing or too many;
        None: no difference.
    """
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    if missing:
        similar = most_similar(in_file(missing[0]), map(in_file, extra))
        return f"tensor {in_file(missing[0])!r} is missing{similar}"
    if extra:
        similar = most_similar(in_file(extra[0]), map(in_file, expected), "nearest that belongs")
        return f"tensor {in_file(extra[0])!r} is one too many{similar}"
    for name, like in expected.items():
        tensor = tensors[name]
        if tensor.shape != like.shape:
            found, wanted = tuple(tensor.shape), tuple(like.shape)
            return f"tensor {in_file(name)!r} has shape {found}, not {wanted}"
        if like.is_floating_point() and not tensor.is_floating_point():
            return f"tensor {in_file(name)!r} is {tensor.dtype}, not floating point"
    return None


def most_similar(name: str, others: Iterable[str], what: str = "nearest") -> str:
    """`` (nearest: ...)`` for messages about a name; empty if no other resembles it."""
    close = difflib.get_close_matches(name, list(others), 1)
    return f" ({what}: {close[0]!r})" if close else ""


def separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values, each contiguous and in its own memory, copied only if necessary.

    Writers store whole storages, and safetensors' writer refuses tensors that share one.
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


def _unsound(tensor: Tensor) -> str | None:
    if tensor.is_nested or tensor.layout != torch.strided:
        layout = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        return f"is {layout}, not dense"
    if tensor.is_meta:
        return "has no values (it was saved on the meta device)"
    if tensor.is_quantized or tensor.is_complex():
        return f"is {tensor.dtype}, not floating point"
    if tensor.numel() > MAX_VALUES:
        return f"claims {tensor.numel():,} values (at most {MAX_VALUES:,})"
    if not _is_finite(tensor):
        return "holds values that are not finite (NaN or infinity)"
    return None


def _is_finite(tensor: Tensor) -> bool:
    """Whether all values are; integers always are."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    for chunk in _stored_values(tensor).split(CHUNK):
        values = chunk if chunk.dtype in COMPARABLE else chunk.float()
        extremes = torch.stack(values.aminmax())  # NaN if any is: much faster than elementwise
        if not extremes.isfinite().all():
            return False
    return True


def _stored_values(tensor: Tensor) -> Tensor:
    """All values in one dimension; those that a view repeats, once."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    extent = 1 + sum((size - 1) * stride for size, stride in steps)
    if extent < tensor.numel():
        return tensor.as_strided((extent,), (1,), tensor.storage_offset())
    return tensor.flatten()
