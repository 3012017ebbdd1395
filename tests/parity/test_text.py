"""Networks of text are their authors': DiMR by its released attention, U-ViT's text-to-image."""

import pytest
import torch

from dimr.checkpoints.formats import from_published, to_published
from dimr.checkpoints.formats.dimr import published_name
from dimr.diffusion import multi_scale_loss
from dimr.models.complexity import count_parameters
from dimr.models.conditioning import TextCondition

PARAMETERS = {"dimr_text_2r": 60_408, "uvit_text": 42_756}
"""Counted with the authors' code, as index.json beside the vectors says."""


@pytest.fixture(params=PARAMETERS)
def case(request, vectors):
    tensors = vectors(request.param)
    network = from_published(tensors.part("weights"), num_heads=4)
    assert count_parameters(network) == PARAMETERS[request.param]
    return tensors, network, condition_of(tensors)


def condition_of(tensors):
    """The text of a file; U-ViT's authors have no mask."""
    text = tensors["text"]
    return TextCondition(text, tensors.get("mask", torch.ones(text.shape[:2], dtype=torch.bool)))


def expected_of(tensors):
    return list(tensors.part("output").values()) or [tensors["output"]]


def test_every_prediction(case, relative_error):
    tensors, network, condition = case
    outputs = network(tensors["x"], tensors["timestep"] / 1000, condition)
    for output, expected in zip(outputs, expected_of(tensors), strict=True):
        assert relative_error(output, expected) < 1e-5


def test_each_image_by_itself_at_one_time(case, relative_error):
    tensors, network, condition = case
    for i, step in enumerate(tensors["timestep"]):
        outputs = network(tensors["x"][i : i + 1], step / 1000, condition[i : i + 1])
        for output, expected in zip(outputs, expected_of(tensors), strict=True):
            assert relative_error(output[0], expected[i]) < 1e-5


def test_names_go_both_ways_bitwise(case):
    tensors, network, _ = case
    weights = tensors.part("weights")
    back = to_published(network)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_loss_and_every_gradient(checkpointing, vectors, relative_error):
    tensors = vectors("dimr_text_2r")
    network = from_published(tensors.part("weights"), num_heads=4)
    network.set_checkpointing(checkpointing)
    predictions = network(tensors["x"], tensors["timestep"] / 1000, condition_of(tensors))
    loss = multi_scale_loss(predictions, tensors["noise"])
    assert relative_error(loss, tensors["loss"]) < 1e-5
    loss.mean().backward()
    ours = {published_name(n, network.sizes): p for n, p in network.named_parameters()}
    theirs = tensors.part("grads")
    assert theirs.keys() == ours.keys()
    for name, gradient in theirs.items():
        assert relative_error(ours[name].grad.reshape(gradient.shape), gradient) < 1e-5, name


def test_a_mask_of_the_authors_hides(vectors, relative_error):
    """What is hidden does not matter; were all seen, the outputs would be others."""
    tensors = vectors("dimr_text_2r")
    network = from_published(tensors.part("weights"), num_heads=4)
    text, mask = tensors["text"], tensors["mask"]
    other = torch.where(mask[..., None], text, torch.randn_like(text))
    for tokens, seen, is_theirs in ((other, mask, True), (text, torch.ones_like(mask), False)):
        condition = TextCondition(tokens, seen)
        output = network(tensors["x"], tensors["timestep"] / 1000, condition)[-1]
        partly = ~mask.all(1)  # rows with a hidden token
        error = relative_error(output[partly], tensors["output.1"][partly])
        assert (error < 1e-5) == is_theirs
