"""Tensors by name: which can be weights, which are the expected ones, which share memory."""

import pytest
import torch

from dimr.runtime.tensors import CHUNK, first_difference, first_unsound, separate


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_anywhere_is_found(value):
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        for size in (1, 7, 1000, CHUNK + 3 if dtype == torch.bfloat16 else 4099):
            for at in {0, size // 2, size - 1}:
                tensor = torch.ones(size, dtype=dtype)
                assert first_unsound({"a": tensor}) is None
                tensor[at] = value
                assert "'a' holds values that are not finite" in first_unsound({"a": tensor})
    square = torch.zeros(40, 40)
    square[3, 5] = value
    for view in (square.t(), square[:, 5:6].expand(40, 40), square[3:4].expand(40, 40)):
        assert first_unsound({"a": view}) is not None
    for view in (square[:3], square[:, 6:], square[4:].t()):
        assert first_unsound({"a": view}) is None
    assert first_unsound({"a": torch.full((2,), 1e300, dtype=torch.float64)}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"norm.weight": None}, "tensor 'norm.weight' is missing"),
        ({"norm.weight": None, "norm.wieght": torch.ones(2)},
         "tensor 'norm.weight' is missing (nearest: 'norm.wieght')"),
        ({"norm.scale": torch.ones(2)}, "tensor 'norm.scale' is one too many (nearest that belongs:"
         " 'norm.bias')"),
        ({"norm.bias": torch.ones(1, 2)}, "tensor 'norm.bias' has shape (1, 2), not (2,)"),
        ({"norm.bias": torch.ones(2).int()}, "tensor 'norm.bias' is torch.int32, not floating "
         "point"),
    ],
)  # fmt: skip
def test_the_first_difference_is_named(change, message):
    expected = {name: torch.empty(2, device="meta") for name in ("norm.bias", "norm.weight")}
    tensors = {**{name: torch.ones(2) for name in expected}, **change}
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    assert first_difference(tensors, expected) == message
    if message:
        other = first_difference(tensors, expected, lambda name: f"theirs.{name}")
        assert other.startswith("tensor 'theirs.norm.")


def test_separate_copies_only_what_shares_memory():
    whole, pair = torch.arange(4.0), torch.arange(6.0)
    tensors = {"whole": whole, "tied": whole, "half": pair[:3], "column": pair.view(2, 3).t()}
    found = separate(tensors)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert all(tensor.is_contiguous() for tensor in found.values())
    assert found["whole"].data_ptr() == whole.data_ptr()
    assert len({tensor.untyped_storage().data_ptr() for tensor in found.values()}) == 4
    assert found["half"].untyped_storage().nbytes() == found["half"].nbytes
