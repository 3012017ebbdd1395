"""Sizes of the networks: all that one is built from. Importing this imports no torch.

A network is built from its sizes, ``dimr.models.build(DiMRSizes(...))``, or from their fields,
``DiMR(layers=..., ...)``. Configuration files have the same fields, with limits besides
(``dimr.config.schema.networks``).

What else differs between families is here too, so that a new one is a class in this file, its
network (``dimr.models.<family>``, a class of the same name without ``Sizes``) and, if it has
published weights, their names (``dimr.checkpoints.formats.<family>``).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

PIXEL_CHANNELS = (1, 3)
"""Channels of a network that sees pixels, grey or coloured; any other number means latents."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What every network needs to know of its input; the base of each family's own sizes.

    Attributes:
        input_size: H = W of the input.
        channels: C.
        num_classes: labels are 0..num_classes-1; the label ``num_classes`` means "no class". 0: a
            network of text.
        text_dim: width of a text's tokens, that of their encoder; None: a network of classes.
        text_tokens: L, how many tokens a text has. A U-ViT must know, and takes no other number, as
            each has a position; a DiMR takes any number, and is counted with this (None: 77).
        time_map: how diffusion time becomes the network's own time condition, ``latent`` or
            ``pixel`` (``dimr.models.conditioning``).

    Raises:
        ValueError: sizes that do not fit together.
    """

    family: ClassVar[str]
    """Name of the family, in names of variants and files."""
    title: ClassVar[str]
    """The same as papers print it."""
    has_skips: ClassVar[bool] = True
    """Whether the later half of the blocks has long skips from the first."""
    of_published: ClassVar[dict[str, Any]] = {}
    """Sizes that all published weights have, and that variants.yaml does not list."""
    takes_text: ClassVar[bool] = False
    """Whether there is a form of the network that is conditioned on text."""
    counts_tokens: ClassVar[bool] = False
    """Whether that form takes only texts of a fixed number of tokens."""
    in_names: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Sizes that a variant's name can set, and their values: ``dimr-xl-layer-2r``."""

    input_size: int
    channels: int
    num_classes: int = 0
    time_map: Literal["latent", "pixel"] = "latent"
    text_dim: int | None = None
    text_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.text_dim is None:
            if self.num_classes < 1:
                raise ValueError(
                    f"num_classes {self.num_classes}: at least 1"
                    + (", or for a network of text give text_dim" if self.takes_text else "")
                )
            if self.text_tokens is not None:
                raise ValueError(f"text_tokens {self.text_tokens} without text_dim")
            return
        if not self.takes_text:
            raise ValueError(f"text_dim {self.text_dim}: {self.title} takes classes only")
        if self.num_classes:
            raise ValueError(f"num_classes {self.num_classes}: a network of text has none (0)")
        if self.counts_tokens and not self.text_tokens:
            raise ValueError(f"text_dim without text_tokens: {self.title} has a position for each")

    @classmethod
    def has_patch(cls) -> bool:
        """Whether a variant's name ends in its patch; else in its number of branches."""
        return any(field.name == "patch" for field in fields(cls))

    @property
    def learns_variance(self) -> bool:
        """Whether the network predicts the variance of the reverse process too."""
        return False

    def arguments(self) -> dict[str, Any]:
        """The fields, plain JSON, from which the same sizes are built; those at None omitted."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values
            if value is not None
        }

    def least_parameters(self) -> int:
        """A close lower bound of the network's parameters, from a formula.

        Building a network of a thousand layers, only to count and refuse it, takes minutes.
        Counted are the matrices of blocks, skips and cascades, positions, labels, and those that
        text is multiplied by.
        """
        stacks = self._stacks()
        count = self.num_classes * stacks[0][1] + self._text_parameters(self.text_dim or 0)
        for blocks, dim, patch, matrices in stacks:
            skips = blocks - 1 if self.has_skips else 0
            count += (blocks * matrices + skips) * dim**2 + (self.input_size // patch) ** 2 * dim
        for (blocks, below, *_), (_, dim, *_) in itertools.pairwise(stacks):
            count += 4 * below * (blocks + 1) * dim  # a cascade takes the features of all blocks
        return count

    def _text_parameters(self, width: int) -> int:  # noqa: ARG002
        """Parameters of what reads a text with tokens of this width; 0: no text."""
        return 0

    def _stacks(self) -> Sequence[tuple[int, int, int, int]]:
        """For each resolution, lowest first: blocks, D, patch, and D x D matrices per block."""
        raise NotImplementedError


def blocks_built(layers: int) -> int:
    """How many blocks a DiMR's branch of N layers has: N // 2 in, 1 mid, N // 2 out."""
    return 2 * (layers // 2) + 1


def ends_in_convolution(time_map: str, final_conv: bool | None = None) -> bool:
    """Whether a U-ViT of these sizes ends in a 3x3 convolution: as said, else as published."""
    return time_map == "pixel" if final_conv is None else final_conv


@dataclass(frozen=True, kw_only=True)
class DiMRSizes(Sizes):
    """Sizes of ``DiMR``, with any number R of branches.

    Attributes:
        layers: N of each branch, lowest resolution first (an even N builds N + 1 blocks, as the
            authors' network does and the published counts say).
        dims: D of each branch.
        heads: attention heads of the lowest branch.
        norm: how time enters blocks: TD-RMS norm ``rms`` (released models), TD-LN ``layer`` (the
            paper's text), or ``adaln_zero`` (ablation; then norms outside blocks know no time).
        feed_forward: ``glu``, or ``mlp`` as in U-ViT (ablation).
        outputs: whose predictions the loss counts: ``all`` branches' (the multi-scale loss), or
            that of the ``last`` one (ablation). All branches have an output layer in either case,
            as the parameters that the paper prints for its ablation say.
        first: blocks of the lowest branch: ``transformer``, or ``convnext`` (design choice a).
        cascade: how features from below join a branch's input: ``add``, or ``concat`` (b).
        branch_skips: skip connections from each branch to the next, too (c).
    """

    family = "dimr"
    title = "DiMR"
    takes_text = True
    in_names = {"norm": ("rms", "layer")}  # noqa: RUF012 annotated in the base

    layers: tuple[int, ...]
    dims: tuple[int, ...]
    heads: int
    norm: Literal["rms", "layer", "adaln_zero"] = "rms"
    feed_forward: Literal["glu", "mlp"] = "glu"
    outputs: Literal["all", "last"] = "all"
    first: Literal["transformer", "convnext"] = "transformer"
    cascade: Literal["add", "concat"] = "add"
    branch_skips: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "dims", tuple(self.dims))
        halvings = len(self.layers) - 1
        if halvings < 0 or len(self.dims) != len(self.layers):
            raise ValueError(
                f"layers {list(self.layers)} and dims {list(self.dims)} differ in length"
            )
        if self.input_size % 2**halvings:
            raise ValueError(f"input_size {self.input_size} cannot be halved {halvings} times")
        _check_heads(self.dims[0], self.heads)
        if self.text_dim is not None and self.first != "transformer":
            raise ValueError(f"text_dim {self.text_dim}: a first branch of ConvNeXt takes no text")

    def _text_parameters(self, width: int) -> int:
        return 2 * width * self.dims[0] * blocks_built(self.layers[0])

    def _stacks(self) -> Sequence[tuple[int, int, int, int]]:
        # attention has 4 matrices, the feed-forward layer 6 (or 8), adaLN-Zero 6
        least = 12 if self.norm == "adaln_zero" else 6
        lowest = least + (4 if self.first == "transformer" else 0)
        matrices = [lowest, *[least] * (len(self.dims) - 1)]
        patches = [2**r for r in reversed(range(len(self.dims)))]
        blocks = map(blocks_built, self.layers)
        return list(zip(blocks, self.dims, patches, matrices, strict=True))


@dataclass(frozen=True, kw_only=True)
class _Patched(Sizes):
    """Sizes of a Transformer of one resolution.

    Attributes:
        depth: number of blocks.
        dim: D.
        heads: attention heads.
        patch: side of a patch; must divide ``input_size``.
    """

    matrices: ClassVar[int]
    """Matrices of D x D values in each block."""

    depth: int
    dim: int
    heads: int
    patch: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.input_size % self.patch:
            raise ValueError(f"input_size {self.input_size} is no multiple of patch {self.patch}")
        _check_heads(self.dim, self.heads)

    def _stacks(self) -> Sequence[tuple[int, int, int, int]]:
        return [(self.depth, self.dim, self.patch, self.matrices)]


@dataclass(frozen=True, kw_only=True)
class UViTSizes(_Patched):
    """Sizes of ``UViT``; ``depth`` is odd: half, one in the middle, half with long skips.

    Attributes:
        time: ``token`` (as published), ``adaln_zero`` or ``td_ln`` (ablation: TD-LN for every layer
            norm).
        has_null_label: whether there is a label for "no class" (the authors' pixel models have
            none). Networks of text have no labels, and leave it at True.
        final_conv: whether a 3x3 convolution ends it; None: as published, in pixel models only.
    """

    family = "uvit"
    title = "U-ViT"
    takes_text = counts_tokens = True
    matrices = 12

    time: Literal["token", "adaln_zero", "td_ln"] = "token"
    has_null_label: bool = True
    final_conv: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth % 2 == 0:
            raise ValueError(f"depth {self.depth} should be odd: half, one in the middle, half")
        if self.text_dim is not None and not self.has_null_label:
            raise ValueError("has_null_label False: a network of text has no labels")
        if self.final_conv == ends_in_convolution(self.time_map):
            object.__setattr__(self, "final_conv", None)  # as published: not worth a mention

    def _text_parameters(self, width: int) -> int:
        return (width + (self.text_tokens or 0)) * self.dim


@dataclass(frozen=True, kw_only=True)
class DiTSizes(_Patched):
    """Sizes of ``DiT``, with time condition 1000 t - 1 for both time maps; D is a multiple of 4.

    Attributes:
        learn_sigma: predict the reverse process's variance too: 2 C output channels.
    """

    family = "dit"
    title = "DiT"
    matrices, has_skips = 18, False
    of_published = {"learn_sigma": True}  # noqa: RUF012 annotated in the base

    learn_sigma: bool = False

    @property
    def learns_variance(self) -> bool:  # noqa: D102
        return self.learn_sigma


FAMILIES: dict[str, type[Sizes]] = {
    sizes.family: sizes for sizes in (DiMRSizes, UViTSizes, DiTSizes)
}
"""The sizes of a network by its family's name."""


def _check_heads(dim: int, heads: int) -> None:
    if dim % heads:
        raise ValueError(f"width {dim} cannot be split into {heads} heads")
