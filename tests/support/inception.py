"""An Inception with random weights, in the file format of torch-fidelity's, and images for it."""

import hashlib
from pathlib import Path

import numpy as np
import torch


def pictures(count, seed, size=64):
    """uint8 images of blocks of several sizes: the features of plain noise hardly differ."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(count):
        cells = 2 ** (1 + index % 4)
        image = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        images.append(image.repeat(size // cells, 0).repeat(size // cells, 1))
    return np.stack(images)


def save_random_inception(folder: Path) -> Path:
    """A weights file named by its SHA-256.

    Batch normalisation gets the statistics of some images, so that features stay finite and spread.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Blank(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_):
            """Keep the initial weights."""

    torch.save({}, folder / "nothing.pth")
    network = Blank(
        "blank", ["2048"], feature_extractor_weights_path=str(folder / "nothing.pth")
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for name, value in network.named_parameters():
        if value.ndim > 1:
            std = (2 / value[0].numel()) ** 0.5
            value.copy_(torch.randn(value.shape, generator=generator) * std)
        elif name.endswith("bn.bias"):
            value.copy_(torch.randn(value.shape, generator=generator) / 2)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.train()
    network(torch.from_numpy(pictures(8, 99)).permute(0, 3, 1, 2))
    torch.save(network.state_dict(), folder / "weights.pth")
    digest = hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()
    return (folder / "weights.pth").rename(folder / f"weights-random-{digest[:8]}.pth")
