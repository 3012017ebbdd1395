"""Training of the small autoencoder that takes Stable Diffusion's place on the digits."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from dimr.config.schema import Autoencoder as AutoencoderConfig
from dimr.data.autoencoder import (
    Autoencoder,
    Images,
    check_images,
    decode,
    encode_moments,
    reconstruct,
    to_model,
)
from dimr.data.check_latents import comparison
from dimr.runtime.atomic import atomic_directory
from dimr.runtime.errors import TrainingFailed
from dimr.runtime.files import save_png, write_json
from dimr.runtime.progress import progress_bar
from dimr.runtime.randomness import derived_seed, torch_generator
from dimr.runtime.schedules import linear_warmup

# Measured on the digits from 1e-7 to 1e-5: a small diffusion model's samples improve up to here and
# no further, while the error of sampled reconstructions keeps growing.
KL_WEIGHT = 3e-6
WARMUP_STEPS = 20
LATENT_CHANNELS = 4


def train_autoencoder(
    images: Images, validation: Images, out: Path, config: AutoencoderConfig
) -> dict[str, Any]:
    """Train an autoencoder on ``images`` and write the diffusers folder ``out``; return its report.

    ``config.channels`` are the widths by resolution: k of them give latents 2^(k-1) times smaller.
    The loss is the mean squared error in [0, 1] of a decoded posterior sample, plus ``KL_WEIGHT``
    times the KL divergence (nats per image) of the posterior from a standard normal. AdamW, linear
    warm-up, then cosine decay from ``config.lr`` to 0. The weights are a function of the arguments
    on one machine with one number of threads.

    ``out`` also gets ``reconstruction.json`` (the report: errors of the training and validation
    images, squared in [0, 1], PSNR in dB) and ``reconstruction.png`` (validation images beside
    their reconstructions). ``DimrError`` for images of a wrong shape or dtype, ``TrainingFailed``
    for a loss that is not finite.
    """
    factor = 2 ** (len(config.channels) - 1)
    check_images(images, factor)
    check_images(validation, factor)
    vae = _build(config, images.shape[1])
    started = time.perf_counter()
    _optimise(vae, images, config)
    seconds = time.perf_counter() - started
    vae.eval()
    report = _measure(vae, images, validation, config.seed) | {
        "steps": config.steps,
        "seconds": round(seconds, 1),
        "params": sum(parameter.numel() for parameter in vae.parameters()),
    }
    with atomic_directory(out) as folder:
        vae.save_pretrained(folder, safe_serialization=True)
        write_json(folder / "reconstruction.json", report)
        count = len(validation)
        shown = validation[np.linspace(0, count - 1, min(count, 48)).astype(int)]
        error = f"MSE {report['mse_heldout']:.1e}, PSNR {report['psnr_heldout']:.1f} dB"
        title = f"Held-out images and their reconstructions: {error}"
        save_png(comparison(shown, reconstruct(vae, shown), title), folder / "reconstruction.png")
    return report


def _build(config: AutoencoderConfig, size: int) -> Autoencoder:
    """A network with weights drawn by the seed; torch's global generator stays as it was."""
    from diffusers import AutoencoderKL  # slow to import

    channels = config.channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "autoencoder weights"))
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            block_out_channels=channels,
            layers_per_block=1,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=math.gcd(8, *channels),
            sample_size=size,
            mid_block_add_attention=False,
        )


def _optimise(vae: Autoencoder, images: Images, config: AutoencoderConfig) -> None:
    """Train in place. Step k draws its images and its noise from (seed, k) only."""
    optimizer = torch.optim.AdamW(vae.parameters(), lr=config.lr, betas=(0.9, 0.99), fused=True)
    bar = progress_bar(range(config.steps), description="autoencoder", unit="step")
    for step in bar:
        decay = 0.5 * (1 + math.cos(math.pi * step / config.steps))
        optimizer.param_groups[0]["lr"] = config.lr * decay * linear_warmup(step, WARMUP_STEPS)
        generator = torch_generator(config.seed, "autoencoder step", step)
        chosen = torch.randint(len(images), (config.batch,), generator=generator).numpy()
        x = to_model(images[chosen])
        posterior = vae.encode(x).latent_dist
        decoded = vae.decode(posterior.sample(generator)).sample
        error = F.mse_loss(decoded, x) / 4  # [-1, 1] is twice as wide as [0, 1]
        loss = error + KL_WEIGHT * posterior.kl().mean()
        if not torch.isfinite(loss):
            raise TrainingFailed(f"autoencoder: the loss is {loss.item()} at step {step}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bar.set_postfix(mse=f"{error.item():.1e}", refresh=False)


def _measure(vae: Autoencoder, images: Images, validation: Images, seed: int) -> dict[str, float]:
    """Set ``vae.config.scaling_factor``; return it with the errors and the latents' statistics.

    "mse_heldout" decodes the posterior's mean, "mse_heldout_sampled" a sample of it (which is
    what a diffusion model trains on). "noise_share": the posterior's part in the latents' variance.
    """
    latents, std = _posterior_samples(vae, images, seed)
    scale = 1 / latents.std().item()
    vae.register_to_config(scaling_factor=scale)
    held_latents, _ = _posterior_samples(vae, validation, seed)
    error = _mse(validation, reconstruct(vae, validation))
    return {
        "mse_train": _mse(images, reconstruct(vae, images)),
        "mse_heldout": error,
        "mse_heldout_sampled": _mse(validation, decode(vae, scale * held_latents)),
        "psnr_heldout": -10 * math.log10(max(error, 1e-12)),
        "scaling_factor": scale,
        "latent_mean": scale * latents.mean().item(),
        "noise_share": (std.square().mean() / latents.var()).item(),
    }


def _posterior_samples(
    vae: Autoencoder, images: Images, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Unscaled samples (N, C, h, w) of the images' posteriors, and their standard deviations."""
    parts = [encode_moments(vae, images[i : i + 128]) for i in range(0, len(images), 128)]
    mean, std = torch.from_numpy(np.concatenate(parts)).chunk(2, dim=1)
    generator = torch_generator(seed, "autoencoder samples", len(images))
    return mean + std * torch.randn(mean.shape, generator=generator), std


def _mse(a: Images, b: Images) -> float:
    """Mean squared difference of two sets of images, in units where white is 1."""
    return float(np.square((a.astype(np.float32) - b.astype(np.float32)) / 255).mean())
