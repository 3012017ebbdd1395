"""DiT (Peebles and Xie, ICCV 2023): a Transformer whose time and class enter by adaLN-Zero.

Shapes: B batch, C channels, H = W image side, N = (H / patch)^2 tokens, D width.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dimr.models.base import Blocks, Network, label_embedding, patches_to_image
from dimr.models.blocks import MLP, AdaLNZeroBlock, TimeEmbedding
from dimr.models.conditioning import Condition, dit_step, labels_of
from dimr.models.norms import Modulation, modulate, zero_modulations
from dimr.models.sizes import DiTSizes


class DiT(Network):
    """DiT; its sizes are ``DiTSizes``."""

    family = "dit"
    sizes: DiTSizes
    position: Tensor

    def __init__(self, sizes: DiTSizes | None = None, **arguments: Any) -> None:
        super().__init__(sizes, **arguments)
        sizes = self.sizes
        dim, patch = sizes.dim, sizes.patch
        self.patch = nn.Conv2d(sizes.channels, dim, patch, stride=patch)
        self.label = label_embedding(sizes.num_classes + 1, dim)
        self.embedding = TimeEmbedding(dim)
        self.register_buffer("position", position_sinusoids(sizes.input_size // patch, dim))
        self.blocks = Blocks(
            AdaLNZeroBlock(dim, sizes.heads, partial(MLP, approximate="tanh"), qkv_bias=True)
            for _ in range(sizes.depth)
        )
        self.modulation = Modulation(dim, 2)
        self.output = nn.Linear(dim, patch**2 * sizes.channels * (2 if sizes.learn_sigma else 1))
        self._initialise()

    def _initialise(self) -> None:
        """Xavier-uniform matrices, normal embeddings of std 0.02, zero modulations and output."""
        if self.label.weight.is_meta:
            return
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.flatten(1))  # the patches', as a matrix
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for weight in (self.label.weight, self.embedding.fc1.weight, self.embedding.fc2.weight):
            nn.init.normal_(weight, std=0.02)
        zero_modulations(self)
        nn.init.zeros_(self.output.weight)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | Tensor) -> list[Tensor]:
        """As ``Network.forward``: one prediction, of 2 C channels with ``learn_sigma``."""
        tokens = self.patch(x)
        position = self.position
        if tokens[0, 0].numel() != len(position):  # the embedding is a formula: any size will do
            position = position_sinusoids(tokens.shape[-1], tokens.shape[1]).to(position)
        tokens = tokens.flatten(2).transpose(1, 2) + position  # (B, N, D)
        label = self.label(labels_of(condition, self.sizes.num_classes))
        cond = self.embedding(dit_step(t)) + label  # (B, D)
        for i in range(len(self.blocks)):
            tokens = self.blocks.run(i, tokens, cond)
        tokens = modulate(tokens, *self.modulation(cond, tokens.ndim))
        return [patches_to_image(self.output(tokens), self.sizes.patch)]


def position_sinusoids(side: int, dim: int) -> Tensor:
    """Fixed embedding (side^2, dim) of a square grid: half for the column, half for the row.

    Each half: sines, then cosines of frequencies from 1 to 1/10000, computed in float64.
    """
    # On the CPU, whatever torch's default device is: real values even beside "meta" weights.
    exact: Any = {"dtype": torch.float64, "device": "cpu"}
    frequencies = 10000.0 ** -(torch.arange(dim // 4, **exact) / (dim // 4))
    angles = torch.arange(side, **exact)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, dim / 2)
    columns, rows = line.repeat(side, 1), line.repeat_interleave(side, dim=0)
    return torch.cat([columns, rows], dim=1).float()
