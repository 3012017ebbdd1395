"""Guidance as arithmetic: formulas, channels and times; and a loop that never waits."""

import numpy as np
import pytest
import torch

from dimr.diffusion import power_cosine_scale, sample
from dimr.diffusion.guidance import wrap
from dimr.models.conditioning import LabelCondition

LABELS, NULL = torch.tensor([1, 2, 3]), 10
CLASSES = LabelCondition(LABELS, num_classes=NULL)
GUIDED = pytest.mark.parametrize("guidance", [("constant", 0.7, 1.0), ("power_cosine", 3.0, 2.0)])


class Network:
    """Predicts its labels, plus ``image`` x and the time; remembers (time, rows) of every pass."""

    def __init__(self, image=0.0, outputs=1):
        self.image, self.outputs, self.passes = image, outputs, []

    def __call__(self, x, t, condition):
        self.passes.append((float(t), len(x)))
        x = self.image * x + condition.labels.view(-1, 1, 1, 1).float()
        return [(x + t).repeat(1, self.outputs, 1, 1)]


def predicted(*guidance, t=0.0, network=None, channels=2, guided=None, interval=None):
    """What a pixel of each channel is at a time, (3, channels)."""
    options = {"channels": guided, "interval": interval}
    denoise = wrap(network or Network(), CLASSES, *guidance, **options)
    return denoise(torch.zeros(3, channels, 2, 2), torch.tensor(t))[:, :, 0, 0]


def test_formulas():
    network, cond = Network(), LABELS[:, None].float() + 0.4
    weight = 1 + (3.5 - 1) * (1 - np.cos(np.pi * 0.6**2)) / 2
    for guidance, expected in (
        (("none",), cond),
        (("unconditional",), torch.full((3, 1), NULL + 0.4)),
        (("constant", 0.4), cond + 0.4 * (cond - NULL - 0.4)),
        (("power_cosine", 3.5, 2.0), NULL + 0.4 + weight * (cond - NULL - 0.4)),
    ):
        found = predicted(*guidance, t=0.4, network=network)
        torch.testing.assert_close(found, expected.expand(3, 2))
    assert [rows for _, rows in network.passes] == [3, 3, 6, 6]  # guided: one batch of both
    assert power_cosine_scale(1.0, 3.5, 2.0) == pytest.approx(1.0)
    assert power_cosine_scale(0.0, 3.5, 2.0) == pytest.approx(3.5)
    with pytest.raises(ValueError, match="none, unconditional, constant, power_cosine"):
        predicted("cosine")


@pytest.mark.parametrize("guided", [3, 4])
def test_channels_beyond_the_guided_ones_and_the_variance_are_conditional(guided):
    variance = {"network": Network(outputs=2), "channels": 4}  # of noise, then as many of variance
    cond = LABELS[:, None].float()
    found = predicted("constant", 0.5, guided=guided, **variance)
    torch.testing.assert_close(found[:, :guided], (1.5 * cond - 0.5 * NULL).expand(3, guided))
    torch.testing.assert_close(found[:, guided:], cond.expand(3, 8 - guided))
    outside = predicted("constant", 0.5, guided=guided, interval=(0.5, 1.0), **variance)
    assert torch.equal(outside, cond.expand(3, 8))


def draw(guidance, interval, solver="authors"):
    network = Network(image=0.3)
    noise = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    denoise = wrap(network, CLASSES, *guidance, interval=interval)
    return sample(denoise, noise, 10, solver=solver), network.passes


@GUIDED
def test_the_whole_interval_is_no_interval(guidance):
    everywhere, passes = draw(guidance, None)
    assert [rows for _, rows in passes] == [6] * 10
    whole, again = draw(guidance, (0.0, 1.0))
    assert torch.equal(whole, everywhere)
    assert again == passes


@GUIDED
@pytest.mark.parametrize("solver", ["authors", "multistep"])
def test_outside_there_is_one_pass(guidance, solver):
    low, high = 0.3, 0.6
    limited, passes = draw(guidance, (low, high), solver)
    assert len(passes) == 10
    assert all(rows == (6 if low <= round(t, 6) <= high else 3) for t, rows in passes)
    assert {rows for _, rows in passes} == {3, 6}
    for other in (None, (0.0, 0.3), (0.6, 1.0)):
        assert not torch.allclose(draw(guidance, other, solver)[0], limited)


@GUIDED
def test_predictions_inside_outside_and_at_the_ends(guidance):
    # 0.7 is 0.69999999 in float32, and 0.3 is 0.30000001
    for t, inside in ((0.2, False), (0.3, True), (0.5, True), (0.7, True), (0.71, False)):
        limited = predicted(*guidance, t=t, interval=(0.3, 0.7))
        assert torch.equal(limited, predicted(*(guidance if inside else ("none",)), t=t))


@pytest.mark.parametrize("solver", ["authors", "singlestep", "multistep"])
@pytest.mark.parametrize("kind", ["none", "constant", "power_cosine"])
def test_the_loop_asks_the_device_for_nothing(solver, kind):
    """On the meta device there are no values: whoever asks for one fails, where CUDA would wait."""
    seen = []

    def network(x, t, condition):
        seen.append((x.device.type, t.device.type, condition.labels.device.type, x.dtype))
        return [x * t]

    noise = torch.empty(3, 2, 4, 4, device="meta")
    interval = None if kind == "none" else (0.2, 0.6)
    denoise = wrap(network, CLASSES.to("meta"), kind, 2.0, interval=interval)
    drawn = sample(denoise, noise, 12, solver=solver)
    assert (drawn.device.type, drawn.dtype) == ("meta", torch.float32)
    assert seen == [("meta", "meta", "meta", torch.float32)] * 12

    def asks(x, _):
        return x * float(x.sum())

    with pytest.raises(RuntimeError, match="meta"):
        sample(asks, noise, 12, solver=solver)
