"""How a network is evaluated while sampling: size of the passes, compiling, and precision.

None of it changes an image beyond rounding: in float32 a pixel may move by one of its 256 levels.
bfloat16 rounds the network's products, not the solver's state, which stays in float32.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from dimr.models import Network
from dimr.models.complexity import complexity
from dimr.models.conditioning import Condition
from dimr.runtime.compute import autocast, compile_or_not, resolve_precision

if TYPE_CHECKING:
    from dimr.config.schema import NetworkConfig, SampleConfig  # need pydantic, this does not

CPU_ROWS = 64
"""Rows of a pass on a CPU, per thread: their activations stay in the caches (500 rows take 1.2 to
1.5 times as long per row on a thread, measured with DiMR-XS/2R; fewer leave it idle).
"""
WORTH_COMPILING = {"cpu": 1e13, "cuda": 1e16}
"""FLOP of all images from which compiling saves more time than it takes: half a minute here,
against 40% of two minutes; for CUDA, calculated."""
LAUNCH_BOUND = 2e12
"""FLOP of a pass below which a GPU waits for the host's launches: 5 ms at 400 TFLOP/s, as long as
500 launches take. There the pass is recorded as a CUDA graph. Calculated, not measured."""


@dataclass(frozen=True)
class SamplingEngine:
    """The options by name.

    Attributes:
        compile: ``torch.compile`` of the network; None: where enough images are drawn to pay for
            it.
        precision: of matrix products; ``auto``: bfloat16 on CUDA, float32 elsewhere (on a CPU with
            instructions for it bfloat16 takes 3/4 of the time).
    """

    compile: bool | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def resolved(
        self, config: "NetworkConfig", sampling: "SampleConfig", device: torch.device
    ) -> "SamplingEngine":
        """With every option decided, for all images of ``sampling``, whichever are drawn here."""
        precision: Any = str(resolve_precision(self.precision, device)).removeprefix("torch.")
        wanted = self.compile
        if wanted is None:
            least = WORTH_COMPILING.get(device.type, math.inf)
            wanted = sampling_flops(config, sampling) >= least
        return SamplingEngine(wanted, precision)

    def facts(self) -> dict[str, Any]:
        """For records: the options by name."""
        return dataclasses.asdict(self)


def sampling_flops(config: "NetworkConfig", sampling: "SampleConfig") -> float:
    """What all passes of the network compute; a multiply-accumulate is 2 FLOP."""
    passes = sampling.count * sampling.steps * sampling.guidance.passes
    return 2 * complexity(config.sizes).macs * passes


class Evaluator:
    """A network in the engine's form, called like one; returns only its last prediction, float32.

    If compiled, it sees few sizes of passes, whatever the batch: on a CPU up to ``CPU_ROWS`` rows
    per thread, all of one size; on CUDA a batch, or two of them with guidance. What is shorter,
    such as a last batch, is filled up with copies of its first row.

    Args:
        network: in evaluation mode, on its device; its weights are not copied.
        engine: resolved.
        batch: images at a time.
        guided: whether most passes are of two rows per image.

    Attributes:
        compiled: whether it is, which is decided by the first call: a process that finds nothing
            left to draw needs no compiler.
    """

    def __init__(self, network: Network, engine: SamplingEngine, batch: int, guided: bool) -> None:
        self.network, self.engine = network, engine
        self.device = next(network.parameters()).device
        self.dtype = resolve_precision(engine.precision, self.device)
        rows = batch * (2 if guided else 1)
        self.unit, self.limit = batch, rows
        if self.device.type == "cpu":
            most = CPU_ROWS * torch.get_num_threads()
            self.unit = self.limit = math.ceil(rows / math.ceil(rows / most))

        def last(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
            # when compiled, what only the other predictions need is not computed
            return network(x, t, condition)[-1]

        self._pass: Callable[[Tensor, Tensor, Condition], Tensor] = last
        self._to_compile = bool(engine.compile)
        self.compiled = False

    def _compile(self) -> None:
        """Compile passes, on CUDA short ones as a CUDA graph; they stay plain if that fails."""
        flops = 2 * complexity(self.network.sizes).macs * self.limit
        graphs = {"triton.cudagraphs": self.device.type == "cuda" and flops < LAUNCH_BOUND}
        example = self.network.example_inputs(self.limit, self.device, one_time=True)

        def attempt(function: Any) -> None:
            for _ in range(3):  # a CUDA graph is warmed up, recorded, and then replayed
                self._evaluate(function, *example)

        plain = self._pass
        self._pass = compile_or_not(plain, attempt, "sampling", dynamic=False, **graphs)
        self._to_compile, self.compiled = False, self._pass is not plain

    def _evaluate(self, function: Any, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        if self.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad(), autocast(self.device, self.dtype):
            # copied: a graph's next run writes to the same memory, and solvers look back
            return function(x, t, condition).to(torch.float32, copy=True)

    def __call__(self, x: Tensor, t: Tensor, condition: Condition) -> list[Tensor]:
        """As ``Network.forward``, with x (B, C, H, W) and t (): one prediction, float32."""
        if self._to_compile:
            self._compile()
        rows = len(x)
        # compiled for one memory layout; a solver's state takes that of the predictions
        x = x.contiguous()
        if self.compiled and rows % self.unit:
            missing = self.unit - rows % self.unit
            x = torch.cat([x, x[:1].expand(missing, -1, -1, -1)])
            condition = Condition.cat([condition, condition[:1].expand(missing)])
        pieces = [slice(start, start + self.limit) for start in range(0, len(x), self.limit)]
        found = [self._evaluate(self._pass, x[piece], t, condition[piece]) for piece in pieces]
        return [(found[0] if len(found) == 1 else torch.cat(found))[:rows]]
