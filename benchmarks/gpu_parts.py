"""What `make gpu-check` does, one function per part; each runs in a process of its own.

A part yields rows: dictionaries with a ``row``, numbers, and, for comparisons, ``ok``. It imports
torch, NumPy and our modules; what needs another package says so if that package is missing.
"""

import copy
import gc
import math
import statistics
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import vectors
from network import PlainPasses, make_autoencoder, wait_for, write_out
from phases import phase_of
from training import Row, make_step

from dimr.diffusion.guidance import wrap
from dimr.diffusion.sampler import integrate
from dimr.diffusion.schedule import SCHEDULES, STEPS
from dimr.models import build
from dimr.models.complexity import complexity
from dimr.models.conditioning import LabelCondition
from dimr.models.depthwise import DepthwiseConvolution
from dimr.runtime.compute import autocast, matrix_ceiling
from dimr.runtime.errors import DimrError
from dimr.sampling.engine import Evaluator, SamplingEngine
from dimr.training import Engine, train_step
from dimr.training.batches import Draws, stream_batches
from dimr.training.distributed import World
from dimr.training.train_state import make_train_state, prepare

EXACT, HALF = torch.float32, torch.bfloat16
LIMITS = {
    EXACT: {"predictions": 1e-5, "gradients": 1e-4, "losses": 1e-4, "weights": 1e-3},
    HALF: {"predictions": 2e-2, "gradients": 1e-1, "losses": 2e-2, "weights": 5e-2},
}
"""Largest relative errors allowed against the authors' vectors; on a CPU most are a tenth."""
TF32 = 5e-3
"""The same for predictions if the library may round convolutions to TF32, its default."""
BATCH = 64
OOM = torch.OutOfMemoryError, DimrError  # the latter: refused before it is tried


@dataclass(frozen=True)
class Setting:
    """Where and how much: ``small`` has tiny networks, few steps and small batches."""

    device: str
    small: bool = False

    @property
    def where(self):
        """The device."""
        return torch.device(self.device)

    def pick(self, usual, small):
        """A size, by ``small``."""
        return small if self.small else usual


def compared(name, limit, value, **more):
    """A row for a difference that has a limit."""
    return {"row": name, "difference": value, "limit": limit, "ok": value <= limit, **more}


def on_cuda(setting):
    """Whether the part runs on a GPU."""
    return setting.where.type == "cuda"


def timed(setting, call, repeats):
    """Median milliseconds of a call, including the wait for the device."""
    times = []
    for _ in range(repeats + 1):  # the first warms up
        wait_for(setting.where)
        started = time.perf_counter()
        call()
        wait_for(setting.where)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[1:])


def peak_gb(setting):
    """The most that was allocated on the GPU since the last row; None on a CPU."""
    if not on_cuda(setting):
        return None
    return torch.cuda.max_memory_allocated(setting.where) / 1e9


def forget(setting):
    """Free the memory that the last row held."""
    gc.collect()
    if on_cuda(setting):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.where)


# --- is it right ----------------------------------------------------------------------------------


def machine(setting):
    """Ceilings: matrix products, memory, and the depthwise convolution of XL/2R's upper branch."""
    device = setting.where
    for dtype in (EXACT, HALF):
        speed = matrix_ceiling(device, dtype)
        yield {"row": f"matrix product, {str(dtype)[6:]}", "tflops": speed / 1e12}
    big = torch.empty(setting.pick(1 << 28, 1 << 20), device=device)
    ms = timed(setting, lambda: big.copy_(big.clone()), 5)
    yield {"row": "memory, read + written", "gb_per_second": 4 * 4 * big.numel() / ms / 1e6}
    sizes = phase_of("dimr-xl-2r", small=setting.small).network.sizes
    shape = setting.pick(BATCH, 2), sizes.input_size, sizes.input_size, sizes.dims[-1]
    layer = DepthwiseConvolution(shape[-1]).to(device)
    x = torch.randn(shape, device=device, requires_grad=True)

    def both():
        with autocast(device, HALF):
            layer(x).float().sum().backward()

    def forward():
        with torch.no_grad(), autocast(device, HALF):
            layer(x)

    name = f"depthwise 7x7 on {'x'.join(map(str, shape))}, bf16"
    yield {"row": f"{name}: forward", "ms": timed(setting, forward, 5)}
    yield {"row": f"{name}: with its gradients", "ms": timed(setting, both, 5)}


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


@dataclass
class Noise:
    """Images and labels of a step (``BatchSource``): noise, from which nothing is learned."""

    network: object
    rows: int

    def batch(self, step):
        """As ``ShardReader.batch``."""
        draw = torch.Generator().manual_seed(step)
        network = self.network
        x = torch.randn(self.rows, network.channels, *[network.input_size] * 2, generator=draw)
        return x, torch.randint(network.num_classes, (self.rows,), generator=draw)


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


# --- how fast -------------------------------------------------------------------------------------


def step_of(variant):
    """The part that measures whole training steps of a variant in bfloat16."""

    def measure(setting):
        """Plain, eager and compiled steps: milliseconds, images/s, MFU, peak memory."""
        rows = [
            Row("eager", Engine(compile=False), "bfloat16"),
            Row("plain", Engine.plain(), "bfloat16", plain=True, product="highest"),
            Row("compiled", Engine(), "bfloat16"),
        ]
        batch = setting.pick(BATCH, 4)
        found = None
        while found is None:  # halved until the eager step, which holds most, fits
            try:
                found = _steps(setting, variant, rows[0], batch)
            except OOM:
                if batch == 1:
                    raise
                batch //= 2
        plain = None
        for row in rows:
            one = found if row is rows[0] else _steps(setting, variant, row, batch)
            if row.plain:
                plain = one
            reference = plain or one
            far = vectors.largest(
                abs(a / b - 1) for a, b in zip(one["losses"], reference["losses"], strict=True)
            )
            ok = far <= LIMITS[HALF]["losses"] and (one["compiled"] or not row.engine.compile)
            ratio = plain["ms"] / one["ms"] if plain else None
            yield {k: v for k, v in one.items() if k != "losses"} | {"times_plain": ratio, "ok": ok}

    measure.variant = variant
    return measure


def _steps(setting, variant, row, batch):
    """Measure a row: warm up, then time."""
    forget(setting)
    started = time.perf_counter()
    step = make_step(row, variant, batch, setting.device, torch.get_num_threads(), setting.small)
    step(0)
    ready = time.perf_counter() - started
    found = [step(number) for number in range(1, setting.pick(14, 5))]
    ms = 1000 * statistics.median(one[0] for one in found[2:])
    flop = 6 * complexity(phase_of(variant, small=setting.small).network.sizes).macs * batch
    ceiling = matrix_ceiling(setting.where, HALF)
    return {
        "row": row.name, "batch": batch, "ms": ms, "images_per_second": 1000 * batch / ms,
        "mfu": 1000 * flop / ms / ceiling, "peak_gb": peak_gb(setting), "ready_seconds": ready,
        "compiled": step.compiled, "losses": [one[1] for one in found],
    }  # fmt: skip


def batches_of(variant):
    """The part that looks for the largest batch."""

    def measure(setting):
        """The largest batch of an eager step in bfloat16, with and without checkpointing."""
        for checkpointing in ("none", "block"):
            forget(setting)
            phase = phase_of(variant, 1, "bfloat16", setting.small)
            world = World(setting.where)
            engine = Engine(compile=False, checkpointing=checkpointing)
            state = make_train_state(phase, world, engine)
            prepare(state, world)
            batch = _largest(setting, state, phase.network)
            ms = timed(setting, _one_step(setting, state, phase.network, batch), 3)
            name = "every block checkpointed" if checkpointing == "block" else "all is kept"
            yield {"row": name, "batch": batch, "images_per_second": 1000 * batch / ms,
                   "peak_gb": peak_gb(setting)}  # fmt: skip
            del state

    return measure


def _one_step(setting, state, network, batch):
    """A training step on a batch of noise."""
    draws = Draws(0, state.schedule, 0.1, network.num_classes)
    one = draws.batch(*Noise(network, batch).batch(0), 0).to(setting.where)
    return lambda: train_step(state, one, 0)


def _largest(setting, state, network):
    """Rows of the largest batch whose step fits: extrapolated from two, then tried."""
    few, more = setting.pick((4, 12), (1, 2))
    if not on_cuda(setting):
        return more  # a CPU has no memory of its own that could be too small
    used = []
    for rows in (few, few, more):  # the first allocates the optimizer's moments
        forget(setting)
        _one_step(setting, state, network, rows)()
        used.append(torch.cuda.max_memory_allocated(setting.where))
    free, _ = torch.cuda.mem_get_info(setting.where)
    room = free + torch.cuda.memory_reserved(setting.where)
    each = max(1, (used[2] - used[1]) / (more - few))
    batch = few + math.floor((room - used[1]) / each)
    while batch > 1:
        forget(setting)
        try:
            _one_step(setting, state, network, batch)()
        except torch.OutOfMemoryError:
            state.optimizer.zero_grad()
            batch = math.floor(0.97 * batch)
        else:
            break
    return batch


class FirstOrder:
    """DDIM as a scheduler for ``integrate``, if diffusers is missing."""

    init_noise_sigma = 1.0
    config = {}  # noqa: RUF012 no learned variance

    def __init__(self, schedule, steps):
        t = np.linspace(1.0, 1.0 / STEPS, steps + 1)
        log_alpha = SCHEDULES[schedule]().log_alpha(t)
        self.alpha = np.exp(log_alpha).tolist()
        self.sigma = np.sqrt(-np.expm1(2 * log_alpha)).tolist()
        self.timesteps = torch.from_numpy(STEPS * t[:-1] - 1)
        self.at = 0

    def scale_model_input(self, x, _):
        """Nothing to scale."""
        return x

    def step(self, noise, _, x, return_dict=False):  # noqa: ARG002 as diffusers calls it
        """One step down."""
        at, self.at = self.at, self.at + 1
        image = (x - self.sigma[at] * noise) / self.alpha[at]
        return (self.alpha[at + 1] * image + self.sigma[at + 1] * noise,)


def make_scheduler(schedule, steps):
    """The authors' solver if diffusers is installed; else DDIM, and which."""
    if find_spec("diffusers") is None:
        return FirstOrder(schedule, steps), "DDIM: diffusers is not installed"
    from dimr.diffusion.solver import make_solver

    return make_solver("authors", schedule, steps), "the authors' solver"


def sampling_of(variant):
    """The part that measures guided sampling with a variant."""

    def measure(setting):
        """Plain, eager and compiled guided evaluations in bfloat16, and their images/s."""
        device, batch = setting.where, setting.pick(BATCH, 4)
        phase = phase_of(variant, small=setting.small)
        steps, sizes = setting.pick(9, 3), phase.network.sizes
        torch.manual_seed(0)
        network = build(sizes).to(device).eval()
        with torch.no_grad():
            for parameter in network.parameters():  # fresh ones predict zeros
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
        written = copy.deepcopy(network)
        write_out(written)
        noise = torch.randn(batch, sizes.channels, *[sizes.input_size] * 2, device=device)
        labels = torch.arange(batch, device=device) % sizes.num_classes
        ways = {
            "eager": Evaluator(network, SamplingEngine(False, "bfloat16"), batch, guided=True),
            "plain": PlainPasses(written, HALF),
            "compiled": Evaluator(network, SamplingEngine(True, "bfloat16"), batch, guided=True),
        }
        first, plain = None, None
        for name, way in ways.items():
            forget(setting)
            started = time.perf_counter()
            denoise = wrap(way, LabelCondition(labels, sizes.num_classes), **phase.guidance)
            launched = []

            def solve(denoise=denoise, launched=launched):
                scheduler, solver = make_scheduler(phase.network.schedule, steps)
                begun = time.perf_counter()
                x = integrate(denoise, noise, scheduler)
                launched.append(time.perf_counter() - begun)
                return x, solver

            x, solver = solve()
            wait_for(device)
            ready = time.perf_counter() - started
            ms = timed(setting, solve, 3) / steps
            first = x if first is None else first
            plain = ms if name == "plain" else plain
            far = vectors.difference(x, first)
            yield {
                "row": name, "batch": batch, "ms_per_evaluation": ms,
                "images_per_second": 1000 * batch / ms / phase.evaluations,
                "launched_ms": 1000 * statistics.median(launched[1:]) / steps,
                "peak_gb": peak_gb(setting), "ready_seconds": ready, "difference": far,
                "times_plain": plain and plain / ms, "solver": solver,
                "ok": far <= 5e-2 and getattr(way, "compiled", False) == (name == "compiled"),
            }  # fmt: skip

    measure.variant = variant
    return measure


def autoencoder(setting):
    """Encode and decode with Stable Diffusion's autoencoder (random weights), if diffusers is."""
    if find_spec("diffusers") is None:
        yield {"row": "not measured: diffusers is not installed"}
        return
    device, (batch, side) = setting.where, setting.pick((32, 256), (2, 32))
    vae = make_autoencoder(setting.pick("sd", "small")).to(device)
    images = torch.rand(batch, 3, side, side, device=device) * 2 - 1
    first = {}
    for name, dtype in (("float32", EXACT), ("bfloat16", HALF)):

        def encode(dtype=dtype):
            with torch.no_grad(), autocast(device, dtype):
                return vae.encode(images).latent_dist.mean.float()

        def decode(dtype=dtype):
            with torch.no_grad(), autocast(device, dtype):
                return vae.decode(first["encode"]).sample.float()

        for what, call in (("encode", encode), ("decode", decode)):
            forget(setting)
            result = call()
            far = vectors.difference(result, first.setdefault(what, result))
            ms = timed(setting, call, 3)
            row = compared(f"{what}, {name}", 1e-1, far, batch=batch, pixels=side)
            yield row | {"images_per_second": 1000 * batch / ms, "peak_gb": peak_gb(setting)}


PARTS = {
    "machine": machine,
    "parity": parity,
    "resume": resume,
    "compiled": compiled,
    "train dimr-xl-2r": step_of("dimr-xl-2r"),
    "sample dimr-xl-2r": sampling_of("dimr-xl-2r"),
    "batch dimr-xl-2r": batches_of("dimr-xl-2r"),
    "autoencoder": autoencoder,
    "train dimr-g-2r": step_of("dimr-g-2r"),
}
"""In the order in which they run: what matters most comes first, should time run out."""
