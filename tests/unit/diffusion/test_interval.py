"""Guidance at some times only: passes of the network, ends, names; and a loop that never waits."""

import pytest
import torch

from dimr.diffusion import sample
from dimr.diffusion.guidance import wrap
from dimr.models.conditioning import LabelCondition

KINDS = [("constant", 0.7, 1.0), ("power_cosine", 3.0, 2.0)]
CLASSES = LabelCondition(torch.tensor([1, 2, 3]), num_classes=10)


class Counting:
    """Predicts a mix of image, time and label; remembers (time, rows) of every pass."""

    def __init__(self):
        self.passes = []

    def __call__(self, x, t, condition):
        self.passes.append((float(t), len(x)))
        return [0.3 * x + t + 0.01 * condition.labels.view(-1, 1, 1, 1).to(x)]


def draw(kind, scale, power, interval, *, steps=10, solver="authors"):
    network = Counting()
    noise = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    denoise = wrap(network, CLASSES, kind, scale, power, interval=interval)
    return sample(denoise, noise, steps, solver=solver), network.passes


@pytest.mark.parametrize("guidance", KINDS)
def test_the_whole_interval_is_no_interval(guidance):
    everywhere, passes = draw(*guidance, None)
    assert [rows for _, rows in passes] == [6] * 10
    whole, again = draw(*guidance, (0.0, 1.0))
    assert torch.equal(whole, everywhere)
    assert again == passes


@pytest.mark.parametrize("guidance", KINDS)
@pytest.mark.parametrize("solver", ["authors", "multistep"])
def test_outside_there_is_one_pass(guidance, solver):
    low, high = 0.3, 0.6
    limited, passes = draw(*guidance, (low, high), solver=solver)
    assert len(passes) == 10
    assert all(rows == (6 if low <= round(t, 6) <= high else 3) for t, rows in passes)
    assert {rows for _, rows in passes} == {3, 6}
    for other in (None, (0.0, 0.3), (0.6, 1.0)):
        assert not torch.allclose(draw(*guidance, other, solver=solver)[0], limited)


@pytest.mark.parametrize("guidance", KINDS)
def test_predictions_inside_outside_and_at_the_ends(guidance):
    x = torch.zeros(3, 2, 4, 4)
    guided, limited, alone = (
        wrap(Counting(), CLASSES, *guidance),
        wrap(Counting(), CLASSES, *guidance, interval=(0.3, 0.7)),
        wrap(Counting(), CLASSES, "none"),
    )
    for time, expected in (
        (0.2, alone),
        (0.3, guided),
        (0.5, guided),
        (0.7, guided),
        (0.71, alone),
    ):
        t = torch.tensor(time)  # 0.7 is 0.69999999 in float32, and 0.3 is 0.30000001
        assert torch.equal(limited(x, t), expected(x, t))


def test_a_learned_variance_outside():
    y = torch.tensor([1, 2])

    def network(_, t, condition):
        return [condition.labels.view(-1, 1, 1, 1).expand(-1, 8, 2, 2) + t]

    limited = wrap(network, LabelCondition(y, 10), "constant", 0.5, channels=3, interval=(0.0, 0.5))
    x = torch.zeros(2, 4, 2, 2)
    assert torch.equal(limited(x, torch.tensor(1.0))[:, 0, 0, 0], y + 1.0)
    assert limited(x, torch.tensor(1.0)).shape == limited(x, torch.tensor(0.25)).shape


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
