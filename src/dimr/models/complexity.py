"""Parameters, multiply-accumulates and activation memory, counted on the meta device.

Nothing is computed and no memory is used, whatever the size of the network.
"""

import functools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

from dimr.models import build
from dimr.models.base import Network
from dimr.models.sizes import Sizes


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a network.

    Attributes:
        parameters: number of learned values.
        macs: multiply-accumulates of one forward pass for one image, in matrix products, attention
            and convolutions. What the papers call "Gflops" is this number divided by 1e9.
        activation_bytes: what eager training in float32 keeps per image for the backward pass,
            with no activation checkpointing (attention weights are recomputed).
    """

    parameters: int
    macs: int
    activation_bytes: int


def on_meta(sizes: Sizes) -> Network:
    """The network of these sizes, without memory."""
    with torch.device("meta"):
        return build(sizes).to("meta")


def count_parameters(network: nn.Module) -> int:
    """Number of learned values, without fixed embeddings."""
    return sum(p.numel() for p in network.parameters())


@functools.cache
def complexity(sizes: Sizes) -> Complexity:
    """Count the network of these sizes, once in a process; blocks that are alike run once."""
    network = on_meta(sizes)
    own = {_storage(p) for p in network.parameters()}
    kept: dict[int, Tensor] = {}  # by storage: views of one tensor are kept once

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            kept[_storage(tensor)] = tensor
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda t: t):
        alike = _Alike(counter, kept)
        for module, signature in _repeated(network):
            module.forward = functools.partial(alike.forward, signature, module.forward)
        network(*network.example_inputs(1, "meta", one_time=True))
    macs = (counter.get_total_flops() + alike.flops) // 2
    memory = alike.memory + sum(t.untyped_storage().nbytes() for t in kept.values())
    return Complexity(count_parameters(network), macs, memory)


@dataclass(frozen=True)
class _Counted:
    """What the first of several identical blocks took: the same holds for the others.

    Attributes:
        flops: of its products.
        inputs: numbers of its inputs' tensors that are kept.
        inside: bytes kept of what it computes, except for the outputs.
        outputs: its result, and which of its tensors are kept.
    """

    flops: int
    inputs: tuple[int, ...]
    inside: int
    outputs: Any
    kept_outputs: tuple[bool, ...]


_COUNTED: dict[Hashable, _Counted] = {}
"""By signature and shapes of the inputs, for all networks of a process: they share most blocks."""


class _Alike:
    """Runs the first of several identical modules, and counts the others like it."""

    def __init__(self, counter: FlopCounterMode, kept: dict[int, Tensor]) -> None:
        self.counter, self.kept = counter, kept
        self.flops = self.memory = 0

    def forward(self, of: Hashable, run: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """A module's output: its own, or one of the same shape if its signature is known."""
        inputs = list(_tensors((given, named)))
        shapes = tuple((tuple(one.shape), one.requires_grad) for one in inputs)
        key = (of, shapes)
        if key not in _COUNTED:
            before, flops = set(self.kept), self.counter.get_total_flops()
            outputs = run(*given, **named)
            fresh = {one: self.kept[one] for one in self.kept.keys() - before}
            known = list(map(_storage, inputs))
            made = list(map(_storage, _tensors(outputs)))
            _COUNTED[key] = _Counted(
                self.counter.get_total_flops() - flops,
                tuple(i for i, one in enumerate(known) if one in self.kept),
                sum(
                    tensor.untyped_storage().nbytes()
                    for one, tensor in fresh.items()
                    if one not in (*known, *made)
                ),
                outputs,
                tuple(one in self.kept for one in made),
            )
            return outputs
        found = _COUNTED[key]
        self.flops += found.flops
        self.memory += found.inside
        for i in found.inputs:
            self.kept[_storage(inputs[i])] = inputs[i]
        outputs = tree_map_only(
            Tensor, lambda t: torch.empty_like(t, requires_grad=True), found.outputs
        )
        for tensor, is_kept in zip(_tensors(outputs), found.kept_outputs, strict=True):
            if is_kept:
                self.kept[_storage(tensor)] = tensor
        return outputs


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in a value, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif hasattr(value, "__dict__"):
        yield from _tensors(vars(value))


def _signature(module: nn.Module) -> Hashable:
    """What makes two modules alike: types, plain attributes and shapes, theirs and their parts'."""
    parts = []
    for name, part in module.named_modules():
        plain = {k: v for k, v in vars(part).items() if isinstance(v, str | int | float | tuple)}
        shapes = [(k, tuple(t.shape)) for k, t in part.named_parameters(recurse=False)]
        parts.append((name, type(part), tuple(sorted(plain.items(), key=str)), tuple(shapes)))
    return tuple(parts)


def _repeated(network: nn.Module) -> Iterator[tuple[nn.Module, Hashable]]:
    """The outermost modules that occur more than once, and their signatures."""
    lists = [one for one in network.modules() if isinstance(one, nn.ModuleList)]
    every = [one for listed in lists for one in listed if any(True for _ in one.parameters())]
    signatures = list(map(_signature, every))
    seen = Counter(signatures)
    yield from (pair for pair in zip(every, signatures, strict=True) if seen[pair[1]] > 1)
