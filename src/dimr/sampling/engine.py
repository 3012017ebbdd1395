"""How a network is evaluated in sampling: in pieces of one size, compiled, in a precision.

None of it changes an image beyond rounding: in float32 a pixel may move by one of its 256 levels.
bfloat16 rounds the network's products, not the solver's state, which stays in float32.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dimr import models
from dimr.config.schema import NetworkConfig, SampleConfig
from dimr.models.complexity import complexity
from dimr.models.conditioning import Condition
from dimr.runtime.compute import autocast, compile_or_not, resolve_precision

Precision = Literal["auto", "float32", "bfloat16"]

CPU_ROWS = 64
"""Rows of a pass on a CPU, for each of its threads: their activations stay in its caches (500 rows
take 1.2 to 1.5 times as long a row on a thread, measured with DiMR-XS/2R; fewer leave it idle)."""
WORTH_COMPILING = {"cpu": 1e13, "cuda": 1e16}
"""FLOP of a phase from which the compiler's time is less than what it saves: the half minute that
it takes here against 40% of two minutes; on CUDA calculated."""
LAUNCH_BOUND = 2e12
"""FLOP of a pass below which a GPU waits for the host's launches: 5 ms at 400 TFLOP/s, as long as
500 launches take. There the pass is recorded as a CUDA graph. Calculated, not measured."""


@dataclass(frozen=True)
class Engine:
    """The options by name.

    Attributes:
        compile: ``torch.compile`` of the network; None: where a phase is long enough for it to pay.
        precision: of matrix products; ``auto``: bfloat16 on CUDA, float32 elsewhere (on a CPU with
            instructions for it bfloat16 takes 3/4 of the time).
    """

    compile: bool | None = None
    precision: Precision = "auto"

    def resolved(self, sizes: NetworkConfig, phase: SampleConfig, device: torch.device) -> "Engine":
        """With every option decided for a whole phase, whichever part of it will be drawn."""
        precision: Any = str(resolve_precision(self.precision, device)).removeprefix("torch.")
        wanted = self.compile
        if wanted is None:
            least = WORTH_COMPILING.get(device.type, math.inf)
            wanted = sampling_flops(sizes, phase) >= least
        return Engine(wanted, precision)

    def facts(self) -> dict[str, Any]:
        """For records: the options by name."""
        return dataclasses.asdict(self)


def sampling_flops(sizes: NetworkConfig, phase: SampleConfig) -> float:
    """What a phase's network passes compute; a multiply-accumulate is 2 FLOP."""
    return 2 * _macs(sizes) * phase.count * phase.steps * phase.guidance.passes


def _macs(sizes: NetworkConfig) -> int:
    return complexity(sizes.sizes).macs


class Evaluator:
    """A network in the engine's form, called as it is; gives its last prediction alone, float32.

    A compiled one sees passes of few sizes, whatever the batch: on a CPU pieces of up to
    ``CPU_ROWS`` rows a thread, all of one size; on CUDA a batch, or two of them with guidance. What
    is short of that, as a last batch, is filled up with copies of its first row.

    Args:
        network: in evaluation mode, on its device; its weights are not copied.
        sizes: its sizes.
        engine: resolved.
        batch: images at a time.
        guided: whether most passes are of two rows an image.

    Attributes:
        compiled: whether it is, which is decided by the first call.
    """

    def __init__(
        self,
        network: models.Network,
        sizes: NetworkConfig,
        engine: Engine,
        batch: int,
        guided: bool,
    ) -> None:
        self.device = next(network.parameters()).device
        self.dtype = resolve_precision(engine.precision, self.device)
        rows = batch * (2 if guided else 1)
        self.unit, self.limit = batch, rows
        if self.device.type == "cpu":
            most = CPU_ROWS * torch.get_num_threads()
            self.unit = self.limit = math.ceil(rows / math.ceil(rows / most))

        def last(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            # compiled, nothing is computed that only the other predictions need
            return network(x, t, condition)[-1]

        self._last: Callable[[Tensor, Tensor, Condition], Tensor] = last
        self._network = network
        self._sizes = sizes
        self._to_compile = bool(engine.compile)
        self.compiled = False

    def _compile(self) -> None:
        """Before the first pass: a process that finds nothing left to draw needs no compiler."""
        self._to_compile = False
        plain, self._last = self._last, self._compiled_form()
        self.compiled = self._last is not plain

    def _compiled_form(self) -> Any:
        """On CUDA of short passes as a CUDA graph; the plain form if the compiler fails."""
        sizes = self._sizes
        small = self.device.type == "cuda" and 2 * _macs(sizes) * self.limit < LAUNCH_BOUND
        example = self._network.example_inputs(self.limit, self.device, one_time=True)

        def attempt(function: Any) -> None:
            for _ in range(3):  # a CUDA graph is warmed up, recorded, and then replayed
                self._evaluate(function, *example)

        graphs = {"triton.cudagraphs": small}
        return compile_or_not(self._last, attempt, "sampling", dynamic=False, **graphs)

    def _evaluate(self, function: Any, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        if self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad(), autocast(self.device, self.dtype):
            # copied: a graph's next run writes to the same memory, and solvers look back
            return function(x, t, condition).to(torch.float32, copy=True)

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> list[Tensor]:
        """As ``models.Network``, with x (B, C, H, W) and t (): one prediction, float32."""
        if self._to_compile:
            self._compile()
        rows = len(x)
        # compiled for one layout of the memory; a solver's state takes that of the predictions
        x = x.contiguous()
        if self.compiled and rows % self.unit:
            missing = self.unit - rows % self.unit
            x = torch.cat([x, x[:1].expand(missing, -1, -1, -1)])
            condition = Condition.cat([condition, condition[:1].expand(missing)])
        pieces = [slice(start, start + self.limit) for start in range(0, len(x), self.limit)]
        found = [self._evaluate(self._last, x[piece], t, condition[piece]) for piece in pieces]
        return [(found[0] if len(found) == 1 else torch.cat(found))[:rows]]
