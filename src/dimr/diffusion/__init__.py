"""Schedule, loss, guidance and sampler: one idea per file."""

from dimr.diffusion.guidance import power_cosine_scale
from dimr.diffusion.loss import multi_scale_loss
from dimr.diffusion.sampler import sample

__all__ = ["multi_scale_loss", "power_cosine_scale", "sample"]
