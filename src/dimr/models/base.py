"""What every network here is: a module with its sizes, called ``model(x, t, condition)``."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dimr.models.conditioning import Condition, LabelCondition, TextCondition
from dimr.models.sizes import FAMILIES, Sizes

TOKENS = 77
"""Tokens of a text if sizes do not say how many (CLIP's), to try a network and to count it."""


class Blocks(nn.ModuleList):
    """A network's blocks, called one at a time: ``blocks.run(i, x, cond)``.

    For a network of text: ``blocks.run(i, x, cond, seen)``, see ``dimr.models.blocks.Seen``.
    """

    checkpointing = False

    def run(self, index: int, x: Tensor, *others: Any) -> Tensor:
        """Block ``index`` of x."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(self[index], x, *others, use_reentrant=False)
        return self[index](x, *others)


class Network(nn.Module):
    """Base of the networks; it holds no layers of its own.

    Args:
        sizes: of the family's own kind; None: they are given by name (``arguments``).

    Attributes:
        family: name of the kind of network (``dimr``, ``uvit``, ``dit``).
        sizes: what this network is built from.
        predictions: how many predictions ``forward`` returns.
        counted: which of them the training loss counts, ``all`` or only the ``last``.

    Raises:
        ValueError: sizes that do not fit together.
        TypeError: a size that the network does not have, or one that is missing.
    """

    family: ClassVar[str]
    sizes: Sizes
    predictions = 1
    counted: Literal["all", "last"] = "all"

    def __init__(self, sizes: Sizes | None = None, **arguments: Any) -> None:
        super().__init__()
        self.sizes = sizes or FAMILIES[self.family](**arguments)

    def set_checkpointing(self, on: bool) -> None:
        """Keep only the inputs of blocks; recompute what is inside in the backward pass."""
        for module in self.modules():
            if isinstance(module, Blocks):
                module.checkpointing = on

    def example_inputs(
        self, images: int, device: torch.device | str, *, one_time: bool = False
    ) -> tuple[Tensor, Tensor, Condition]:
        """Arguments of ``forward`` for ``images`` images, to try it: zeros, at t = 0.5.

        ``one_time``: t is () as in sampling, else (B,) as in training.
        """
        side, num_classes = self.sizes.input_size, self.sizes.num_classes
        x = torch.zeros(images, self.sizes.channels, side, side, device=device)
        t = torch.full(() if one_time else (images,), 0.5, device=device)
        if self.sizes.text_dim is not None:
            shape = images, self.sizes.text_tokens or TOKENS
            tokens = torch.zeros(*shape, self.sizes.text_dim, device=device)
            return x, t, TextCondition(tokens, torch.ones(shape, dtype=torch.bool, device=device))
        labels = torch.zeros(images, dtype=torch.long, device=device)
        return x, t, LabelCondition(labels, num_classes)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | Tensor) -> list[Tensor]:
        """Predict the noise.

        Args:
            x: noisy images (B, C, H, W).
            t: diffusion time in (0, 1], n / 1000 in the paper's steps; (B,) or () for all.
            condition: what each image should show: a ``LabelCondition``, or for a network of text a
                ``TextCondition``. A tensor (B,) int64 is taken as labels, where ``num_classes``
                means "no class".

        Returns:
            Predictions (B, C, h, w) from the lowest resolution to the full one; one element for
            networks of one resolution. A network that learns its variance has 2 C channels: the
            noise, then the variance.

        Raises:
            TypeError: a condition of another kind.
            ValueError: one with another number of classes, width or number of tokens.
        """
        raise NotImplementedError

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters without weight decay: w and b of every time-dependent one."""
        exempt = (".scale.w", ".scale.b", ".shift.w", ".shift.b")
        return {name for name, _ in self.named_parameters() if name.endswith(exempt)}


def initialise(module: nn.Module) -> None:
    """Linear and Embedding: truncated normal of std 0.02, bias 0. Convolutions keep the default."""
    if any(p.is_meta for p in module.parameters(recurse=False)):
        return  # only to be counted, or loaded
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def label_embedding(labels: int, dim: int) -> nn.Embedding:
    """An embedding with uninitialised weights.

    torch's own would initialise them once too often, and on the meta device it imports the
    compiler to do so, which takes seconds.
    """
    return nn.Embedding.from_pretrained(torch.empty(labels, dim), freeze=False)


def patches_to_image(x: Tensor, patch: int) -> Tensor:
    """Tokens (B, h w, patch^2 C) in row-major order to (B, C, h patch, w patch), h = w.

    The values of a token are (row, column, channel), as in the U-ViT and DiT authors' weights.
    """
    batch, tokens, values = x.shape
    side = round(tokens**0.5)
    x = x.view(batch, side, side, patch, patch, values // patch**2)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, side * patch, side * patch)
