"""What a training step changes and uses: network, EMA, optimizer, and how steps are computed.

The latter changes speed and memory. Precision also changes the rounding: bfloat16 autocast keeps
float32 weights, optimizer state and EMA; the losses of the first hundred steps stay within 2% of
float32's. All other options agree to float32 rounding: losses within 1e-5, relative.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dimr.diffusion.schedule import SCHEDULES, Schedule
from dimr.models import Network, build
from dimr.models.complexity import complexity
from dimr.models.conditioning import Condition
from dimr.runtime.compute import autocast, compile_or_not, compiler_works, resolve_precision
from dimr.runtime.device import require_memory
from dimr.runtime.randomness import derived_seed
from dimr.training.distributed import Sharding, World, is_sharded

if TYPE_CHECKING:
    from dimr.config.schema import Train, TrainConfig  # need pydantic, which a step does not

Forward = Callable[[Tensor, Tensor, Condition | Tensor], list[Tensor]]
"""The network, or its compiled or distributed form."""


@dataclass(frozen=True)
class Engine:
    """How steps are computed; the defaults are the fastest on each device.

    Attributes:
        compile: ``torch.compile`` of the network (its forward and backward pass).
        checkpointing: ``none``, or ``block``: activations inside blocks are recomputed in the
            backward pass, for about 30% more time and a fraction of the memory.
        accumulate: microbatches per step and process, one after the other.
        fused: AdamW in one kernel and the EMA in one call; else tensor by tensor.
        prefetch: batches are read and noise is drawn in a thread, one step ahead.
        sharding: of weights, EMA and optimizer state over several processes (FSDP2): ``none``,
            ``full``, or ``auto``: for large networks on GPUs (``World.shards``).
    """

    compile: bool = True
    checkpointing: Literal["none", "block"] = "none"
    accumulate: int = 1
    fused: bool = True
    prefetch: bool = True
    sharding: Sharding = "auto"

    @classmethod
    def plain(cls) -> "Engine":
        """The reference: eager, checkpointed, tensor by tensor, as the authors train."""
        return cls(compile=False, checkpointing="block", fused=False, prefetch=False)


@dataclass
class TrainState:
    """What training changes, and what it needs besides the batch.

    Attributes:
        network: the network being trained, float32.
        forward: the network, or its compiled or distributed form; all share the same weights.
        ema: exponential moving average of the network's weights.
        optimizer: AdamW.
        schedule: noise schedule.
        settings: learning rate, clipping and so on.
        engine: how a step is computed.
        dtype: of matrix products.
    """

    network: Network
    forward: Forward
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    settings: "Train"
    engine: Engine = field(default_factory=Engine)
    dtype: torch.dtype = torch.float32

    @property
    def is_sharded(self) -> bool:
        """Whether this process holds only a part of the weights."""
        return any(is_sharded(parameter) for parameter in self.network.parameters())


def make_train_state(
    config: "TrainConfig", world: World, engine: Engine | None = None
) -> TrainState:
    """The network with its seeded initial weights, optimizer and EMA, on the process's device.

    The same in all processes of ``world``; if ``engine.sharding`` says so, each holds a part.

    Raises:
        DimrError: no machine like this one can hold the network, or the batch.
    """
    engine = engine or Engine()
    _require_memory(config, engine, world)
    # Fresh weights draw from torch's global generator, seeded here and restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "weights"))
        network = build(config.network.sizes)
    network = network.to(world.device)
    ema = make_ema(network, config.train.ema_decay)
    if world.shards(network, engine.sharding):
        world.shard(network)
        world.shard(ema.module)
    return TrainState(
        network=network,
        forward=network,
        ema=ema,
        optimizer=make_optimizer(network, config.train, engine.fused),
        schedule=SCHEDULES[config.network.schedule](),
        settings=config.train,
        engine=engine,
        dtype=resolve_precision(config.train.precision, world.device),
    )


def make_optimizer(network: Network, settings: "Train", fused: bool = True) -> torch.optim.AdamW:
    """AdamW with the paper's two groups: no weight decay where the network says so.

    ``fused``: one kernel for all tensors; else tensor by tensor.
    """
    exempt = network.no_weight_decay()
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in network.named_parameters():
        groups[name in exempt].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": groups[False], "weight_decay": settings.weight_decay},
            {"params": groups[True], "weight_decay": 0.0},
        ],
        lr=settings.lr,
        betas=settings.betas,
        fused=fused,
        foreach=False,
    )


def make_ema(network: nn.Module, decay: float) -> AveragedModel:
    """EMA of all parameters, updated in one call for all tensors; it starts from their values."""
    ema = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay))
    ema.n_averaged.fill_(1)  # the initial weights count: the first update does not replace them
    return ema


def prepare(state: TrainState, world: World) -> None:
    """Set ``state.forward``, which steps call: checkpointed, compiled, distributed as configured.

    Compiling is tried on a microbatch of zeros; if it fails, a warning says why and the network is
    used uncompiled.
    """
    settings, engine, network = state.settings, state.engine, state.network
    network.set_checkpointing(engine.checkpointing == "block")
    forward: Any = network
    compiled = engine.compile and settings.compile
    if compiled and world.size > 1:  # the same program for all: unless all can compile, none does
        compiled = not world.most([not compiler_works(world.device, "all processes continue")])[0]
    if compiled:
        rows = settings.batch // (world.size * engine.accumulate)
        example = network.example_inputs(rows, world.device)

        def attempt(candidate: Forward) -> None:
            with autocast(world.device, state.dtype):
                predictions = candidate(*example)
            sum(p.float().square().mean() for p in predictions).backward()  # type: ignore[union-attr]

        forward = compile_or_not(network, attempt, "training")
        network.zero_grad(set_to_none=True)
    if world.size > 1 and not state.is_sharded:
        forward = world.replicate(forward)
    state.forward = forward


def _require_memory(config: "TrainConfig", engine: Engine, world: World) -> None:
    """Refuse at once a network, or a batch, that no machine like this one can hold.

    The count is a lower bound: weights, EMA, moments (each float32, spread over the processes), and
    a quarter of the activations that eager training keeps for the backward pass.
    """
    sizes = config.network.sizes
    least = sizes.least_parameters()
    what = f"a network of {least:,} parameters or more"
    require_memory(16 * least // world.size, what, world.device)
    counted = complexity(sizes)
    held = 16 * counted.parameters // world.size
    require_memory(held, f"a network of {counted.parameters:,} parameters", world.device)
    if engine.checkpointing == "none":
        images = config.train.batch // (world.size * engine.accumulate)
        kept = held + images * counted.activation_bytes // 4
        what = f"train.batch: {images:,} images at a time (--accumulate makes them fewer)"
        require_memory(kept, what, world.device)
