"""The depthwise 7x7 convolution of ConvNeXt blocks on images (B, H, W, D), in its fastest forms.

On a CPU the library's gradient of the weight takes ten times as long as the convolution itself.
There, in a compiled network, it is written as sums that the compiler turns into one loop over the
image: 6 to 12 times as fast. The bias is added separately, because a compiler fuses it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KERNEL, PADDING = 7, 3
ROWS = 8  # rows of an image that stay in a core's cache while they are summed


class DepthwiseConvolution(nn.Conv2d):
    """Each of D channels with a 7x7 kernel of its own, padded to the same size, with bias."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, KERNEL, padding=PADDING, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, D) -> (B, H, W, D)."""
        assert self.bias is not None
        image = x.permute(0, 3, 1, 2)
        if x.device.type == "cpu" and torch.compiler.is_compiling():
            image = _Convolution.apply(image.float(), self.weight)
        else:
            image = convolve(image, self.weight)
        return image.permute(0, 2, 3, 1) + self.bias


def convolve(image: Tensor, weight: Tensor) -> Tensor:
    """(B, D, H, W) and (D, 1, 7, 7) -> (B, D, H, W)."""
    return F.conv2d(image, weight, padding=PADDING, groups=len(weight))


def weight_gradient(image: Tensor, grad: Tensor) -> Tensor:
    """Gradient (D, 1, 7, 7) from the input and the output's gradient, both (B, D, H, W).

    The sum over b, h and w of grad[b, d, h, w] padded[b, d, h + i, w + j], taken over a few rows
    of an image at a time.
    """
    height, width = image.shape[2:]
    rows = ROWS if height % ROWS == 0 else height
    padded = F.pad(image.permute(0, 2, 3, 1), (0, 0, *[PADDING] * 4))
    windows = padded.unfold(1, KERNEL, 1).unflatten(1, (-1, rows))  # (B, H/rows, rows, W+6, D, i)
    windows = windows.permute(0, 1, 5, 2, 3, 4)  # (B, H/rows, i, rows, W+6, D)
    grads = grad.permute(0, 2, 3, 1).unflatten(1, (-1, 1, rows))  # (B, H/rows, 1, rows, W, D)
    columns = [
        (windows[..., j : j + width, :] * grads).sum((3, 4)).sum((0, 1)) for j in range(KERNEL)
    ]
    return torch.stack(columns, 1).permute(2, 0, 1)[:, None]


class _Convolution(torch.autograd.Function):
    """``convolve`` with the gradients that compile best; float32, as bfloat16 is slower here."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor) -> Tensor:
        """(B, D, H, W) and (D, 1, 7, 7) -> (B, D, H, W)."""
        ctx.save_for_backward(image, weight)
        with torch.autocast("cpu", enabled=False):
            return convolve(image, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the image and of the weight."""
        image, weight = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            return convolve(grad, weight.flip(2, 3)), weight_gradient(image, grad)
