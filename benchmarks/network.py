"""Building XL/2R and one forward pass, against plain PyTorch: `python benchmarks/network.py`.

Plain: the same layers as torch makes them, then drawn from the truncated normal, as most code does;
and the same operations written as their formulas, one by one, on contiguous NCHW images. Both
networks hold the same weights, and their outputs are compared before anything is timed.
"""

import argparse
import gc
import platform
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

from dimr import build
from dimr.models.blocks import Attention, ConvNeXtBlock
from dimr.models.norms import (
    TimeDependentLayerNorm,
    TimeDependentParameter,
    TimeDependentRMSNorm,
)
from dimr.runtime.compute import autocast
from dimr.runtime.device import prepare_device


class PlainParameter(TimeDependentParameter):
    """The interpolation as it is written in the paper."""

    def forward(self, tau, ndim):
        """As ``TimeDependentParameter.forward``."""
        tau = tau.view(-1, *[1] * (ndim - 1)) if tau.ndim else tau
        return self.p1 + torch.sigmoid((self.w + 1) * tau / 4 + self.b) * (self.p0 - self.p1)


class PlainRMSNorm(TimeDependentRMSNorm):
    """The root of the mean of the squares, step by step."""

    def forward(self, x, tau):
        """As ``TimeDependentRMSNorm.forward``."""
        return x / (x.pow(2).mean(-1, keepdim=True).sqrt() + self.eps) * self.scale(tau, x.ndim)


class PlainLayerNorm(TimeDependentLayerNorm):
    """Mean and variance, step by step."""

    def forward(self, x, tau):
        """As ``TimeDependentLayerNorm.forward``."""
        centred = x - x.mean(-1, keepdim=True)
        normal = centred / (centred.pow(2).mean(-1, keepdim=True) + self.eps).sqrt()
        return normal * self.scale(tau, x.ndim) + self.shift(tau, x.ndim)


class PlainAttention(Attention):
    """torch's fused attention for any number of tokens."""

    def forward(self, x, seen=None):
        """As ``Attention.forward``; for networks of labels, which mask no tokens."""
        assert seen is None
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, dim))


class PlainConvNeXtBlock(ConvNeXtBlock):
    """The convolution on contiguous NCHW."""

    def forward(self, x, cond):
        """As ``ConvNeXtBlock.forward``."""
        image = nn.Conv2d.forward(self.depthwise, x.permute(0, 3, 1, 2).contiguous())
        x = x + image.permute(0, 2, 3, 1).contiguous()
        return x + self.feed_forward(self.norm(x, cond))


PLAIN = {
    TimeDependentParameter: PlainParameter,
    TimeDependentRMSNorm: PlainRMSNorm,
    TimeDependentLayerNorm: PlainLayerNorm,
    Attention: PlainAttention,
    ConvNeXtBlock: PlainConvNeXtBlock,
}


def write_out(network):
    """Make a network's modules compute their formulas, one operation after the other."""
    for module in network.modules():
        module.__class__ = PLAIN.get(type(module), type(module))


class PlainPasses:
    """Both halves of a guided batch, one after the other; the time is given image by image."""

    def __init__(self, network, dtype):
        self.network, self.dtype = network, dtype

    def __call__(self, x, t, condition):
        """As a network is called."""
        with autocast(x.device, self.dtype):
            halves = [
                self.network(x[half], t.expand(len(x) // 2), condition[half])[-1].float()
                for half in (slice(len(x) // 2), slice(len(x) // 2, None))
            ]
        return [torch.cat(halves)]


def wait_for(device):
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make_autoencoder(size):
    """Of Stable Diffusion's shape (images 8 times as large as latents), or small (4 times)."""
    from diffusers import AutoencoderKL

    widths, layers = ((128, 256, 512, 512), 2) if size == "sd" else ((32, 32, 32), 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            block_out_channels=widths,
            layers_per_block=layers,
            latent_channels=4,
            norm_num_groups=32,
            scaling_factor=0.18215,
        ).eval()


def plain_build(variant):
    """Make every layer of the variant with torch's own initialisation, then draw it as usual."""
    with torch.device("meta"):
        shapes = [
            (m.__class__, m)
            for m in build(variant).modules()
            if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding)
        ]
    layers = nn.ModuleList()
    for kind, m in shapes:
        if kind is nn.Linear:
            layers.append(nn.Linear(m.in_features, m.out_features, m.bias is not None))
        elif kind is nn.Embedding:
            layers.append(nn.Embedding(m.num_embeddings, m.embedding_dim))
        else:
            places = m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding
            layers.append(nn.Conv2d(*places, groups=m.groups))
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(layer.weight, std=0.02)
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layers


def seconds(call, repeats):
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
        gc.collect()
    return statistics.median(times)


@torch.no_grad()
def main():
    """Print a table of both, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default="dimr-xl-2r")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    prepare_device("cpu", options.threads)
    rows = [("build", *(seconds(lambda f=f: f(options.variant), options.repeats)
                        for f in (plain_build, build)))]  # fmt: skip
    network = build(options.variant).eval()
    sizes = network.sizes
    x = torch.randn(1, sizes.channels, sizes.input_size, sizes.input_size)
    t, y = torch.tensor(0.5), torch.tensor([1])
    outputs, times = {}, {"ours": [], "plain": []}
    for turn in range(2 * options.repeats + 2):  # in turns: the machine's other work affects both
        name = ("ours", "plain")[turn % 2]
        for module in network.modules():
            for ours, plain in PLAIN.items():
                if type(module) in (ours, plain):
                    module.__class__ = plain if name == "plain" else ours
        started = time.perf_counter()
        outputs[name] = network(x, t, y)[-1]
        times[name].append(time.perf_counter() - started)
    error = ((outputs["ours"] - outputs["plain"]).norm() / outputs["plain"].norm()).item()
    assert error < 1e-4, f"the two networks differ by {error}"
    rows.append(("forward", *(statistics.median(times[n][1:]) for n in ("plain", "ours"))))
    machine = platform.processor() or platform.machine()
    print(f"{options.variant} on {machine}, {torch.get_num_threads()} threads")
    print(f"torch {torch.__version__}; the outputs differ by {error:.0e}")
    print(f"{'':8} {'plain s':>9} {'ours s':>9} {'ours / plain':>13}")
    for name, plain, ours in rows:
        print(f"{name:8} {plain:9.2f} {ours:9.2f} {ours / plain:13.2f}")


if __name__ == "__main__":
    main()
