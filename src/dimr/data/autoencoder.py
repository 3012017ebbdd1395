"""Latents of images: train a small diffusers ``AutoencoderKL``, load any, encode and decode.

Images are uint8 (N, H, W, 3); an autoencoder sees them as (N, 3, H, W) in [-1, 1]. A latent is
(N, C, h, w); "scaled" means multiplied by the ``scaling_factor`` of the autoencoder's config, which
gives latents of the training images unit standard deviation.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from dimr.data.comparison import comparison
from dimr.runtime.errors import DimrError, TrainingFailed
from dimr.runtime.files import atomic_directory, read_json, save_png, single_line, write_json
from dimr.runtime.progress import progress_bar
from dimr.runtime.randomness import derived_seed, torch_generator
from dimr.runtime.record import RECORD, read_record, verify

Images = NDArray[np.uint8]
Autoencoder = Any  # diffusers' AutoencoderKL: slow to import, and without types that mypy can see

# Measured on the digits from 1e-7 to 1e-5: a small diffusion model's samples improve up to here and
# no further, while the error of sampled reconstructions keeps growing.
KL_WEIGHT = 3e-6
WEIGHTS = "diffusion_pytorch_model.safetensors"
WARMUP_STEPS = 20


def train_autoencoder(
    images: Images,
    validation: Images,
    out: Path,
    *,
    steps: int,
    batch: int,
    lr: float,
    channels: Sequence[int],
    latent_channels: int = 4,
    kl_weight: float = KL_WEIGHT,
    seed: int,
) -> dict[str, Any]:
    """Train an autoencoder on ``images`` and write the diffusers folder ``out``; return its report.

    ``channels`` are the widths by resolution: k of them give latents 2^(k-1) times smaller. The
    loss is the mean squared error in [0, 1] of a decoded posterior sample, plus ``kl_weight`` times
    the KL divergence (nats an image) of the posterior from a standard normal. AdamW, linear
    warmup, then cosine decay from ``lr`` to 0. The weights are a function of the arguments on
    one machine with one number of threads.

    ``out`` also gets ``reconstruction.json`` (the report: errors of the training and validation
    images, squared in [0, 1], PSNR in dB) and ``reconstruction.png`` (validation images beside
    their reconstructions). ``DimrError`` for images of a wrong shape or dtype, ``TrainingFailed``
    for a loss that is not finite.
    """
    factor = 2 ** (len(channels) - 1)
    _check_images(images, factor)
    _check_images(validation, factor)
    if min(steps, batch) < 1:
        raise DimrError(f"steps and batch: {steps} and {batch} are not allowed; use 1 or more")
    vae = _build(channels, latent_channels, images.shape[1], seed)
    started = time.perf_counter()
    _optimise(vae, images, steps=steps, batch=batch, lr=lr, kl_weight=kl_weight, seed=seed)
    seconds = time.perf_counter() - started
    vae.eval()
    report = _measure(vae, images, validation, seed) | {
        "steps": steps,
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


def load_autoencoder(folder_or_name: str | Path, device: str = "cpu") -> Autoencoder:
    """An ``AutoencoderKL`` in evaluation mode, from a diffusers folder or a hub name.

    A hub name is ``owner/name``. Only safetensors are read. ``DimrError`` names the folder if a
    file is missing or damaged, or if the weights do not fit the configuration.
    """
    from diffusers import AutoencoderKL  # slow to import

    name = str(folder_or_name)
    if Path(name).is_dir():
        verify(Path(name), "config.json", WEIGHTS)
        _check_config(Path(name) / "config.json")
    elif Path(name).is_absolute() or name.count("/") != 1 or name.startswith("."):
        raise DimrError(f"{name}: no such folder, and not a hub name (owner/name)")
    try:
        vae, info = AutoencoderKL.from_pretrained(
            name, use_safetensors=True, output_loading_info=True, low_cpu_mem_usage=False
        )
    except Exception as error:  # diffusers lets through errors of many libraries
        raise DimrError(
            f"{name}: not a loadable autoencoder ({single_line(error)[:300]})"
        ) from None
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if info[problem]:
            first = single_line(sorted(map(str, info[problem]))[0])
            raise DimrError(f"{name}: weights do not fit config.json ({problem}: {first})")
    if not all(parameter.isfinite().all() for parameter in vae.parameters()):
        raise DimrError(f"{name}: the weights are not all finite")
    return vae.eval().to(device)


def is_identity(folder: Path) -> bool:
    """Whether a dataset's ``autoencoder`` folder says that its networks see pixels."""
    return (folder / RECORD).is_file() and read_record(folder).get("kind") == "identity"


def as_pixels(folder: Path, images: Images) -> Images:
    """Images (N, H, W, 3) as networks without an autoencoder see them: (N, H, W, C) uint8.

    ``DimrError`` if the folder asks for one channel and those of the images differ.
    """
    if read_record(folder)["channels"] == 3:
        return images
    if (images != images[..., :1]).any():
        raise DimrError(f"{folder}: channels: 1 is for grey images; these have colours")
    return np.ascontiguousarray(images[..., :1])


@torch.no_grad()
def encode_moments(vae: Autoencoder, images: Images) -> NDArray[np.float32]:
    """Posterior of uint8 images (N, H, W, 3): (N, 2C, h, w) float32, mean then standard deviation.

    Not scaled. ``DimrError`` if H or W is not a multiple of the autoencoder's factor.
    """
    _check_images(images, 2 ** (len(vae.config.block_out_channels) - 1))
    return posterior_moments(vae, _to_model(images).to(vae.device)).cpu().numpy()


def posterior_moments(vae: Autoencoder, x: torch.Tensor) -> torch.Tensor:
    """Posterior of x (N, 3, H, W) in [-1, 1]: (N, 2C, h, w) float32, mean, then standard deviation.

    The network computes in its weights' dtype; from there on it is float32.
    """
    posterior = vae.encode(x.to(vae.dtype)).latent_dist
    std = (0.5 * posterior.logvar.float()).exp()
    return torch.cat([posterior.mean.float(), std], dim=1)


@torch.no_grad()
def decode(vae: Autoencoder, latents: torch.Tensor | NDArray[np.float32]) -> Images:
    """Scaled latents (N, C, h, w) to uint8 images (N, H, W, 3), clamped and rounded."""
    unscaled = torch.as_tensor(latents).to(vae.device, vae.dtype) / vae.config.scaling_factor
    return to_uint8(vae.decode(unscaled).sample)


def reconstruct(vae: Autoencoder, images: Images, batch: int = 128) -> Images:
    """Images (N, H, W, 3) uint8 after encoding and decoding of the posterior's mean."""
    pieces = []
    for start in range(0, len(images), batch):
        moments = encode_moments(vae, images[start : start + batch])
        mean = moments[:, : moments.shape[1] // 2]
        pieces.append(decode(vae, torch.from_numpy(mean) * vae.config.scaling_factor))
    return np.concatenate(pieces)


def _build(channels: Sequence[int], latent_channels: int, size: int, seed: int) -> Autoencoder:
    """A network with weights drawn by ``seed``; torch's global generator stays as it was."""
    from diffusers import AutoencoderKL  # slow to import

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "autoencoder weights"))
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            block_out_channels=tuple(channels),
            layers_per_block=1,
            latent_channels=latent_channels,
            norm_num_groups=math.gcd(8, *channels),
            sample_size=size,
            mid_block_add_attention=False,
        )


def _optimise(
    vae: Autoencoder,
    images: Images,
    *,
    steps: int,
    batch: int,
    lr: float,
    kl_weight: float,
    seed: int,
) -> None:
    """Train in place. Step k draws its images and its noise from (seed, k) alone."""
    optimizer = torch.optim.AdamW(vae.parameters(), lr=lr, betas=(0.9, 0.99), fused=True)
    bar = progress_bar(range(steps), description="autoencoder", unit="step")
    for step in bar:
        decay = 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = lr * decay * min(1.0, (step + 1) / WARMUP_STEPS)
        generator = torch_generator(seed, "autoencoder step", step)
        chosen = torch.randint(len(images), (batch,), generator=generator).numpy()
        x = _to_model(images[chosen])
        posterior = vae.encode(x).latent_dist
        decoded = vae.decode(posterior.sample(generator)).sample
        error = F.mse_loss(decoded, x) / 4  # [-1, 1] is twice as wide as [0, 1]
        loss = error + kl_weight * posterior.kl().mean()
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


def _to_model(images: Images) -> torch.Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [-1, 1]."""
    x = torch.tensor(images).permute(0, 3, 1, 2)
    return (x.float() / 127.5 - 1).contiguous()


def to_uint8(x: torch.Tensor) -> Images:
    """As ``to_bytes``, on the host."""
    return to_bytes(x).cpu().numpy()


def to_bytes(x: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) in [-1, 1], or (N, 1, H, W) for grey, to uint8 (N, H, W, 3) on its device.

    ``DimrError`` for another number of channels: those are latents.
    """
    if x.shape[1] not in (1, 3):
        raise DimrError(f"{x.shape[1]} channels are latents, not pixels: give their autoencoder")
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    scaled = ((x.float() + 1) * 127.5).clamp(0, 255).round()
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _check_images(images: Images, factor: int) -> None:
    shape = images.shape
    good = images.dtype == np.uint8 and len(shape) == 4 and shape[3] == 3 and min(shape) > 0
    if not good or shape[1] % factor or shape[2] % factor:
        wanted = f"uint8 (N, H, W, 3), H and W multiples of {factor}"
        raise DimrError(f"images: {images.dtype} {shape} is not allowed; use {wanted}")


def _check_config(path: Path) -> None:
    """Refuse what diffusers would take silently: another class, no usable scaling factor."""
    config = read_json(path)
    found = config.get("_class_name") if isinstance(config, dict) else None
    if found != "AutoencoderKL":
        raise DimrError(f"{path}: _class_name is {found!r}, must be 'AutoencoderKL'")
    scale = config.get("scaling_factor", 0.18215)
    if not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise DimrError(f"{path}: scaling_factor is {scale!r}, must be a positive number")
