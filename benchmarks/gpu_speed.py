"""Parts of `make gpu-check` that measure the machine, training, sampling and the autoencoder."""

import copy
import math
import statistics
import time
from importlib.util import find_spec

import numpy as np
import torch
import vectors
from gpu_setting import (
    BATCH,
    EXACT,
    HALF,
    LIMITS,
    OOM,
    Noise,
    compared,
    forget,
    on_cuda,
    peak_gb,
    timed,
)
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
from dimr.sampling.engine import Evaluator, SamplingEngine
from dimr.training import Engine, train_step
from dimr.training.batches import Draws
from dimr.training.distributed import World
from dimr.training.train_state import make_train_state, prepare


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
