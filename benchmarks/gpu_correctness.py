"""Parts of `make gpu-check` that ask whether a GPU computes what the authors' code did."""

import math
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch
import vectors
from gpu_setting import EXACT, HALF, LIMITS, TF32, Noise, compared
from phases import phase_of

from dimr.diffusion.schedule import SCHEDULES
from dimr.models.conditioning import LabelCondition
from dimr.sampling.engine import Evaluator, SamplingEngine
from dimr.training import Engine, train_step
from dimr.training.batches import Draws, stream_batches
from dimr.training.distributed import World
from dimr.training.train_state import make_train_state


def parity(setting):
    """Predictions, gradients and twelve steps of training against the authors' vectors."""
    device, ways = setting.where, [("float32", EXACT, False), ("bfloat16", HALF, True)]
    cudnn = torch.backends.cudnn
    for name, dtype, tf32 in ways:
        cudnn.allow_tf32 = tf32
        limits = LIMITS[dtype]
        for what in ("predictions", "gradients"):
            found = getattr(vectors, what)(device, dtype)
            yield _of_all(f"{what}, {name}", limits[what], found)
        for engine_name, engine in (("plain", Engine.plain()), ("eager", Engine(compile=False))):
            yield from _training_rows(setting, f"{engine_name}, {name}", engine, dtype)
    cudnn.allow_tf32 = True
    name = "predictions, float32 with the library's default (TF32 convolutions)"
    yield _of_all(name, TF32, vectors.predictions(device, EXACT))


def _of_all(name, limit, found):
    """The row of the file that differs most."""
    worst = max(found, key=lambda file: (math.isnan(found[file]), found[file]))
    return compared(name, limit, found[worst], worst=worst)


def _training_rows(setting, name, engine, dtype):
    losses, weights, compiled = vectors.training(setting.where, dtype, engine)
    limits = LIMITS[dtype]
    yield compared(f"12 steps, {name}: losses", limits["losses"], losses, compiled=compiled)
    yield compared(f"12 steps, {name}: weights and EMA", limits["weights"], weights)


def compiled(setting):
    """The compiled step against the vectors; compiled passes (CUDA graphs) against eager ones."""
    torch.backends.cudnn.allow_tf32 = False
    for name, dtype in (("float32", EXACT), ("bfloat16", HALF)):
        for row in _training_rows(setting, f"compiled, {name}", Engine(), dtype):
            yield row | {"ok": row["ok"] and row.get("compiled", True)}
    network = vectors.case("dimr_2r_tdrms", setting.where)[0].eval()
    sizes, draw = network.sizes, torch.Generator().manual_seed(0)
    shape = 8, sizes.channels, sizes.input_size, sizes.input_size
    evaluate = Evaluator(network, SamplingEngine(True, "float32"), 4, guided=True)
    errors = []
    for rows in (8, 8, 8, 6, 4, 8):  # again, a last batch, unguided: a graph's memory is reused
        x = torch.randn(shape, generator=draw)[:rows].to(setting.where)
        y = torch.randint(sizes.num_classes, (rows,), generator=draw).to(setting.where)
        condition = LabelCondition(y, sizes.num_classes)
        t = torch.full((), 0.1 * rows, device=setting.where)
        ours = evaluate(x, t, condition)[0]
        with torch.no_grad():
            errors.append(vectors.difference(ours, network(x, t, condition)[-1]))
    worst = vectors.largest(errors)
    row = compared("passes, compiled, against eager", 1e-5, worst, compiled=evaluate.compiled)
    yield row | {"ok": row["ok"] and evaluate.compiled}


def resume(setting):
    """Six steps, a checkpoint after three, and the last three again from it."""
    phase, device = phase_of("dimr-xl-2r", 8, small=True), setting.where
    phase.train.lr, phase.train.warmup_steps = 1e-3, 2
    engine, world = Engine(compile=False), World(device)
    draws = Draws(0, SCHEDULES[phase.network.schedule](), 0.1, phase.network.num_classes)

    def steps(state, numbers):
        source = Noise(phase.network, 8)
        batches = stream_batches(source, draws, slice(0, 8), device, numbers, ahead=True)
        pairs = zip(numbers, batches, strict=True)
        return [train_step(state, batch, number)[0].item() for number, batch in pairs]

    with tempfile.TemporaryDirectory() as folder:
        save, restore, how = _checkpoints(Path(folder), world)
        first = make_train_state(phase, world, engine)
        steps(first, range(3))
        save(first)
        held = _values(first)
        wanted = steps(first, range(3, 6))
        second = make_train_state(phase, world, engine)
        restore(second)
    back = _values(second)
    same = back.keys() == held.keys() and all(torch.equal(back[name], held[name]) for name in held)
    yield {"row": f"state after saving and reading ({how}): the same bits", "ok": same}
    found = steps(second, range(3, 6))
    worst = vectors.largest(abs(a / b - 1) for a, b in zip(found, wanted, strict=True))
    yield compared("losses of the three steps after it", 1e-5, worst)


def _values(state):
    """Copies of all that a training step changes, by name."""
    found = {}
    for kind, module in (("network", state.network), ("ema", state.ema.module)):
        found |= {f"{kind}/{n}": p.detach().clone() for n, p in module.named_parameters()}
    for name, parameter in state.network.named_parameters():
        moments = state.optimizer.state[parameter]
        found |= {f"{kind}/{name}": value.clone() for kind, value in moments.items()}
    return found


def _checkpoints(folder, world):
    """Functions that save and restore a state: the trainer's own, or plain ones of torch."""
    if find_spec("safetensors") is None:

        def save(state):
            parts = state.network, state.ema, state.optimizer
            torch.save([part.state_dict() for part in parts], folder / "state.pt")

        def restore(state):
            saved = torch.load(folder / "state.pt", weights_only=True, map_location=world.device)
            for part, own in zip((state.network, state.ema, state.optimizer), saved, strict=True):
                part.load_state_dict(own)

        return save, restore, "torch.save: safetensors is not installed"
    from dimr.training.checkpoint import Checkpoints, restore, state_tensors
    from dimr.training.saving import Saver

    checkpoints = Checkpoints(folder)

    def save(state):
        saver = Saver(checkpoints, world)
        saver.begin(3, state_tensors(state), {})
        saver.commit()
        saver.close()

    def read(state):
        restore(state, checkpoints.newest(world), False, world)

    return save, read, "a checkpoint of dimr train"
