"""Conditions: labels and texts, carried unopened from batch to network."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from dimr import build
from dimr.diffusion import sample
from dimr.diffusion.guidance import wrap
from dimr.diffusion.schedule import LatentSchedule
from dimr.models.conditioning import (
    Condition,
    LabelCondition,
    TextCondition,
    as_condition,
)
from dimr.training.batches import Draws, stream_batches

CPU = torch.device("cpu")
SIZES = {
    "dimr": {"layers": [1, 1], "dims": [8, 8]},
    "uvit": {"depth": 1, "dim": 8, "patch": 2},
    "dit": {"depth": 1, "dim": 8, "patch": 2},
}
INPUT = {"heads": 2, "input_size": 8, "channels": 3, "num_classes": 5}


def labels(*values):
    return LabelCondition(torch.tensor(values), 5)


EMPTY = TextCondition(torch.full((1, 2, 3), -1.0), torch.tensor([[True, False]]))


def captions(count, empty=EMPTY):
    """Texts of two tokens, of which the empty caption has one."""
    tokens = torch.arange(count * 6.0).view(count, 2, 3) + 1
    return TextCondition(tokens, torch.ones(count, 2, dtype=torch.bool), empty)


def test_labels():
    condition = labels(3, 1, 4)
    assert len(condition) == 3
    assert condition.null().labels.tolist() == [5, 5, 5]
    assert condition[1:].labels.tolist() == [1, 4]
    assert condition[torch.tensor([2, 0, 0])].labels.tolist() == [4, 3, 3]
    assert condition[:1].expand(2).labels.tolist() == [3, 3]
    assert condition.drop(torch.tensor([False, True, False])).labels.tolist() == [3, 5, 4]
    both = Condition.cat([condition, condition.null()])
    assert both.labels.tolist() == [3, 1, 4, 5, 5, 5]
    assert both.num_classes == 5
    assert both.to("meta").labels.is_meta
    assert as_condition(both, 7) is both
    assert as_condition(torch.tensor([2]), 7).null().labels.tolist() == [7]


def test_texts():
    condition = captions(3)
    assert len(condition) == 3
    part = condition.drop(torch.tensor([True, False, False]))[:2]
    assert part.tokens[:, 0].tolist() == [[-1, -1, -1], [7, 8, 9]]
    assert part.mask.tolist() == [[True, False], [True, True]]
    both = Condition.cat([part, condition.null()])
    assert both.tokens[:, 0, 0].tolist() == [-1, 7, -1, -1, -1]
    assert both.mask[:, 1].tolist() == [False, True, False, False, False]
    assert both[torch.tensor([1])].null().tokens.equal(EMPTY.tokens)  # it stays with each part
    assert condition[:1].expand(4).null().mask.tolist() == [[True, False]] * 4
    moved = both.to("meta")
    assert moved.tokens.is_meta
    assert moved.null().tokens.is_meta
    assert as_condition(condition, 7) is condition


def test_a_text_with_another_in_place_of_the_empty_caption():
    condition = captions(3)
    negative = TextCondition(condition.tokens[2:], condition.mask[2:])
    against = TextCondition(condition.tokens, condition.mask, empty=negative)
    assert against.null().tokens.equal(condition.tokens[2:].expand(3, 2, 3))
    nothing = captions(2, empty=None).null()
    assert not nothing.mask.any()
    assert nothing.tokens.shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("tokens", "mask", "empty", "message"),
    [
        ((2, 4, 3), torch.ones(2, 5).bool(), None, r"\(2, 4, 3\) and mask \(2, 5\) should be"),
        ((4, 3), torch.ones(4).bool(), None, r"\(4, 3\) and mask \(4,\) should be \(B, L, D\)"),
        ((2, 4, 3), torch.ones(2, 4), None, "a mask of torch.float32, which should be bool"),
        ((2, 4, 3), torch.ones(2, 4).bool(), EMPTY, r"tokens are \(1, 2, 3\), not \(1, 4, 3"),
        ((2, 2, 3), torch.ones(2, 2).bool(), captions(2), r"are \(2, 2, 3\), not \(1, 2, 3\)"),
    ],
)  # fmt: skip
def test_texts_whose_parts_do_not_fit(tokens, mask, empty, message):
    with pytest.raises(ValueError, match=message) as caught:
        TextCondition(torch.zeros(tokens), mask, empty)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", SIZES)
def test_networks_take_labels_plain_or_as_a_condition_and_nothing_else(family):
    network = build(family, **SIZES[family], **INPUT)
    x, t, condition = network.example_inputs(2, CPU)
    plain = network(x, t, condition.labels)
    assert all(map(torch.equal, plain, network(x, t, condition)))
    assert [p.shape for p in network(*network.example_inputs(2, CPU, one_time=True))] == [
        p.shape for p in plain
    ]
    with pytest.raises(TypeError, match="takes no TextCondition"):
        network(x, t, captions(2))
    with pytest.raises(ValueError, match="a condition of 7 classes, not 5"):
        network(x, t, LabelCondition(condition.labels, 7))


@pytest.mark.slow
def test_a_compiled_network_takes_conditions_of_all_values_by_one_program():
    network = build("dimr", **SIZES["dimr"], **INPUT)
    programs = CompileCounter()
    compiled = torch.compile(network, backend=programs)
    x, t, condition = network.example_inputs(4, CPU)
    for some in (condition, condition.null(), Condition.cat([labels(1, 2), labels(3, 4)])):
        assert all(map(torch.equal, compiled(x, t, some), network(x, t, some)))
    assert programs.frame_count == 1


@pytest.mark.parametrize("ahead", [False, True])
def test_batches_and_guidance_carry_texts(ahead):
    """Only the network below looks inside."""

    class Source:
        def batch(self, step):  # noqa: ARG002
            return torch.zeros(4, 3, 2, 2), captions(4, empty=None)

    draws = Draws(0, LatentSchedule(), label_dropout=1.0, num_classes=0)
    (batch,) = stream_batches(Source(), draws, slice(1, 4), CPU, range(1), ahead)
    (first, second) = batch.microbatches(2)
    assert not first.condition.mask.any()  # all are dropped
    assert (len(first), second.condition.tokens.shape) == (1, (2, 2, 3))

    def network(x, t, condition):
        level = condition.tokens.mean((1, 2)) * condition.mask.any(1)
        return [x * t + level.view(-1, 1, 1, 1)]

    x, condition = torch.zeros(3, 3, 2, 2), captions(3, empty=None)
    level = condition.tokens.mean((1, 2))
    for kind, weight in (("none", 1.0), ("unconditional", 0.0), ("constant", 1.5)):
        denoise = wrap(network, condition, kind, scale=0.5)
        torch.testing.assert_close(denoise(x, torch.tensor(0.1))[:, 0, 0, 0], weight * level)
    assert sample(denoise, x, 3).isfinite().all()
