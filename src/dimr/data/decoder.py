"""From what a sampler ends with, latents or pixels, to images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimr.data.autoencoder import Autoencoder, is_identity, load_autoencoder, to_bytes

PIXELS_AT_A_TIME = 1024 * 1024
"""Of decoded images: 6 GB, as Stable Diffusion's decoder takes 5.5 KB for each (float32)."""


@dataclass(frozen=True)
class Decoder:
    """The function from solver output (B, C, h, w) to images (B, H, W, 3) uint8 on its device.

    ``vae`` decodes latents, which are scaled; without one the output is pixels in [-1, 1] already.
    """

    vae: Autoencoder | None = None

    @property
    def factor(self) -> int:
        """Pixels of an image's side for each of the output's."""
        return 1 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def facts(self) -> dict[str, Any]:
        """What the autoencoder's config.json says; of pixels nothing."""
        if self.vae is None:
            return {}
        return {key: value for key, value in self.vae.config.items() if not key.startswith("_")}

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Decode, a few images at a time: their number changes memory and speed alone."""
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
