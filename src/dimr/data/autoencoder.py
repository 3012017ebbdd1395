"""From images to latents and back: load any diffusers ``AutoencoderKL``, encode and decode.

Images are uint8 (N, H, W, 3); an autoencoder sees them as (N, 3, H, W) in [-1, 1]. A latent is
(N, C, h, w); "scaled" means multiplied by the ``scaling_factor`` of the autoencoder's config, which
gives latents of the training images unit standard deviation. A dataset whose networks see pixels
has a folder too, whose record says so (``is_identity``).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, single_line
from dimr.runtime.hub import reason
from dimr.runtime.record import RECORD, read_record, verify

Images = NDArray[np.uint8]
Autoencoder = Any  # diffusers' AutoencoderKL: slow to import, and without types that mypy can see

WEIGHTS = "diffusion_pytorch_model.safetensors"
PIXELS_AT_A_TIME = 1024 * 1024
"""Pixels decoded together: 6 GB, as Stable Diffusion's decoder takes 5.5 KB for each (float32)."""

# --- folders --------------------------------------------------------------------------------------


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
    else:
        _check_hub_name(name)
    try:
        vae, info = AutoencoderKL.from_pretrained(
            name, use_safetensors=True, output_loading_info=True, low_cpu_mem_usage=False
        )
    except Exception as error:  # diffusers passes on errors of many libraries
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


def save_pretrained(repo: str, revision: str | None, out: Path) -> dict[str, Any]:
    """Write a published autoencoder as a diffusers folder: float32 safetensors and its config.

    Args:
        repo: ``owner/name`` on the hub, or a folder.
        revision: commit, branch or tag; None: the newest.
        out: an existing folder.

    Returns:
        Facts for the record: the commit (None for a folder), parameters, scaling factor.
    """
    local = Path(repo).is_dir()
    if local and revision is not None:
        raise DimrError(f"{repo}: is a folder: revision {revision!r} is for the hub; use null")
    source = Path(repo) if local else _fetch(repo, revision)
    try:
        vae = load_autoencoder(source)
    except DimrError as error:
        raise DimrError(str(error).replace(str(source), repo)) from None
    vae.register_to_config(_name_or_path=repo)
    vae.to(torch.float32).save_pretrained(out, safe_serialization=True)
    return {
        "commit": None if local else source.name,
        "params": sum(parameter.numel() for parameter in vae.parameters()),
        "scaling_factor": float(vae.config.scaling_factor),
    }


def _fetch(repo: str, revision: str | None) -> Path:
    """The hub's folder in its client's cache, named by the commit."""
    import huggingface_hub

    _check_hub_name(repo)
    files = ["config.json", WEIGHTS]
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo, revision=revision, allow_patterns=files, repo_type="model"
            )
        )
    except Exception as error:  # the client's errors, and those of the network libraries below it
        raise DimrError(
            f"hub: {repo}: {reason(error)}; or download {' and '.join(files)} by hand, "
            "and name their folder in recipes.yaml (autoencoder.repo)"
        ) from None


def _check_hub_name(name: str) -> None:
    if Path(name).is_absolute() or name.count("/") != 1 or name.startswith("."):
        raise DimrError(f"{name}: no such folder, and not a hub name (owner/name)")


def _check_config(path: Path) -> None:
    """Refuse what diffusers would accept silently: another class, no usable scaling factor."""
    config = read_json(path)
    found = config.get("_class_name") if isinstance(config, dict) else None
    if found != "AutoencoderKL":
        raise DimrError(f"{path}: _class_name is {found!r}, must be 'AutoencoderKL'")
    scale = config.get("scaling_factor", 0.18215)
    if not isinstance(scale, int | float) or not 0 < scale < math.inf:
        raise DimrError(f"{path}: scaling_factor is {scale!r}, must be a positive number")


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


# --- encoding -------------------------------------------------------------------------------------


@torch.no_grad()
def encode_moments(vae: Autoencoder, images: Images) -> NDArray[np.float32]:
    """Posterior of uint8 images (N, H, W, 3): (N, 2C, h, w) float32, mean then standard deviation.

    Not scaled. ``DimrError`` if H or W is not a multiple of the autoencoder's factor.
    """
    check_images(images, factor(vae))
    return posterior_moments(vae, to_model(images).to(vae.device)).cpu().numpy()


def posterior_moments(vae: Autoencoder, x: Tensor) -> Tensor:
    """Posterior of x (N, 3, H, W) in [-1, 1]: (N, 2C, h, w) float32, mean, then standard deviation.

    The network computes in its weights' dtype; from there on it is float32.
    """
    posterior = vae.encode(x.to(vae.dtype)).latent_dist
    std = (0.5 * posterior.logvar.float()).exp()
    return torch.cat([posterior.mean.float(), std], dim=1)


def factor(vae: Autoencoder) -> int:
    """Pixels of an image's side per value of a latent's side."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def check_images(images: Images, factor: int) -> None:
    """Refuse what is not uint8 (N, H, W, 3) with sides that are multiples of ``factor``."""
    shape = images.shape
    good = images.dtype == np.uint8 and len(shape) == 4 and shape[3] == 3 and min(shape) > 0
    if not good or shape[1] % factor or shape[2] % factor:
        wanted = f"uint8 (N, H, W, 3), H and W multiples of {factor}"
        raise DimrError(f"images: {images.dtype} {shape} is not allowed; use {wanted}")


def to_model(images: Images) -> Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [-1, 1]."""
    x = torch.tensor(images).permute(0, 3, 1, 2)
    return (x.float() / 127.5 - 1).contiguous()


# --- decoding -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decoder:
    """The function from solver output (B, C, h, w) to images (B, H, W, 3) uint8 on its device.

    ``vae`` decodes latents, which are scaled; without one the output is pixels in [-1, 1] already.
    """

    vae: Autoencoder | None = None

    @property
    def factor(self) -> int:
        """Pixels of an image's side per value of the output's side."""
        return 1 if self.vae is None else factor(self.vae)

    @property
    def facts(self) -> dict[str, Any]:
        """What the autoencoder's config.json says; for pixels, nothing."""
        if self.vae is None:
            return {}
        return {key: value for key, value in self.vae.config.items() if not key.startswith("_")}

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Decode, a few images at a time: their number changes only memory and speed."""
        if self.vae is None:
            return to_bytes(x)
        count = max(1, PIXELS_AT_A_TIME // (x.shape[2] * x.shape[3] * self.factor**2))
        scale = self.vae.config.scaling_factor
        pieces = (piece.to(self.vae.device, self.vae.dtype) / scale for piece in x.split(count))
        return torch.cat([to_bytes(self.vae.decode(piece).sample) for piece in pieces])


def load_decoder(folder_or_name: str | Path | None, device: str = "cpu") -> Decoder:
    """The decoder of an autoencoder, which is named as for ``load_autoencoder``.

    None, or the folder of a dataset without an autoencoder: the output is pixels already.
    """
    if folder_or_name is None or is_identity(Path(folder_or_name)):
        return Decoder()
    return Decoder(load_autoencoder(folder_or_name, device))


def decode(vae: Autoencoder, latents: Tensor | NDArray[np.float32]) -> Images:
    """Scaled latents (N, C, h, w) to uint8 images (N, H, W, 3) on the host."""
    return Decoder(vae)(torch.as_tensor(latents)).cpu().numpy()


def reconstruct(vae: Autoencoder, images: Images, batch: int = 128) -> Images:
    """Images (N, H, W, 3) uint8 after encoding and decoding of the posterior's mean."""
    pieces = []
    for start in range(0, len(images), batch):
        moments = encode_moments(vae, images[start : start + batch])
        mean = moments[:, : moments.shape[1] // 2]
        pieces.append(decode(vae, torch.from_numpy(mean) * vae.config.scaling_factor))
    return np.concatenate(pieces)


def to_uint8(x: Tensor) -> Images:
    """As ``to_bytes``, on the host."""
    return to_bytes(x).cpu().numpy()


def to_bytes(x: Tensor) -> Tensor:
    """(N, 3, H, W) in [-1, 1], or (N, 1, H, W) for grey, to uint8 (N, H, W, 3) on its device.

    Values beyond the range are clamped, others rounded. ``DimrError`` for another number of
    channels: those are latents.
    """
    if x.shape[1] not in (1, 3):
        raise DimrError(f"{x.shape[1]} channels are latents, not pixels: give their autoencoder")
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    scaled = ((x.float() + 1) * 127.5).clamp(0, 255).round()
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
