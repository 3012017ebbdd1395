"""What a training is begun with: the trainee with its seeded weights, and its batches."""

import torch

from dimr.config.schema import TrainConfig
from dimr.diffusion.schedule import SCHEDULES
from dimr.models import FAMILIES, build, complexity
from dimr.models.complexity import least_parameters
from dimr.runtime.compute import compiler_works
from dimr.runtime.device import require_memory
from dimr.runtime.randomness import derived_seed
from dimr.training.batches import Batches, Draws, Prefetch
from dimr.training.distributed import World, is_sharded
from dimr.training.engine import Engine, prepare_forward, resolve_precision
from dimr.training.step import TrainState, make_ema, make_optimizer


def make_trainee(
    phase: TrainConfig,
    device: torch.device,
    engine: Engine | None = None,
    world: World | None = None,
) -> TrainState:
    """The network with its seeded initial weights, optimizer and EMA, on ``device``.

    The same on all processes of a ``world``; where ``engine.sharding`` says so, each holds a part.
    """
    engine, world = engine or Engine(), world or World(device)
    _require_memory(phase, engine, world)
    # Fresh weights draw from torch's global generator, seeded here and put back after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(phase.seed, "weights"))
        network = build(phase.network.family, **phase.network.arguments())
    network = network.to(device)
    ema = make_ema(network, phase.train.ema_decay)
    if world.shards(network, engine.sharding):
        world.shard(network)
        world.shard(ema.module)
    return TrainState(
        network=network,
        forward=network,
        ema=ema,
        optimizer=make_optimizer(network, phase.train, engine.fused),
        schedule=SCHEDULES[phase.network.schedule](),
        settings=phase.train,
        engine=engine,
        dtype=resolve_precision(phase.train.precision, device),
    )


def _require_memory(phase: TrainConfig, engine: Engine, world: World) -> None:
    """Refuse at once a network, or a batch, that no machine like this one can hold.

    What is counted is less than what is taken: weights, EMA, moments (each float32, spread over
    the processes), and a quarter of what eager training keeps of the images for its way back.
    """
    least = least_parameters(phase.network.family, phase.network.arguments())
    what = f"a network of {least:,} parameters or more"
    require_memory(16 * least // world.size, what, world.device)
    counted = complexity(FAMILIES[phase.network.family], phase.network.arguments())
    state = 16 * counted.parameters // world.size
    require_memory(state, f"a network of {counted.parameters:,} parameters", world.device)
    images = phase.train.batch // (world.size * engine.accumulate)
    if engine.checkpointing == "none":
        kept = state + images * counted.activation_bytes // 4
        what = f"train.batch: {images:,} images at a time (--accumulate makes them fewer)"
        require_memory(kept, what, world.device)


def make_prefetch(
    phase: TrainConfig,
    batches: Batches,
    trainee: TrainState,
    device: torch.device,
    world: World | None = None,
) -> Prefetch:
    """The batches of a run's steps; each process of a ``world`` has its rows of them.

    Raises:
        DimrError: a batch that cannot be cut into equal pieces.
    """
    draws = Draws(
        phase.seed, trainee.schedule, phase.train.label_dropout, phase.network.num_classes
    )
    rows = (world or World(device)).rows(phase.train.batch, trainee.engine.accumulate)
    return Prefetch(batches, draws, device, rows, trainee.engine.prefetch)


def prepare(trainee: TrainState, world: World) -> None:
    """Make ``trainee.forward`` what steps call: compiled if that works, and of all processes."""
    settings, engine = trainee.settings, trainee.engine
    rows = settings.batch // (world.size * engine.accumulate)
    wanted = engine.compile and settings.compile
    if wanted and world.size > 1:  # one program for all: where one has no compiler, none compiles
        wanted = not world.most([not compiler_works(world.device, "all processes go on")])[0]
    forward = prepare_forward(trainee.network, engine, wanted, trainee.dtype, rows)
    if world.size > 1 and not sharded(trainee):
        forward = world.replicate(forward)
    trainee.forward = forward


def sharded(trainee: TrainState) -> bool:
    """Whether this process holds only a part of the weights."""
    return any(is_sharded(parameter) for parameter in trainee.network.parameters())
