"""The network, its loss and its gradients are the authors'."""

import pytest
import torch

from dimr.checkpoints.formats import ConversionError, from_published, to_published
from dimr.checkpoints.formats.dimr import published_name
from dimr.diffusion import multi_scale_loss
from dimr.diffusion.loss import noise_at_scale
from dimr.models import DiMR

FILES = ["dimr_2r_tdrms", "dimr_2r_tdln", "dimr_3r_tdrms"]


@pytest.fixture(params=FILES)
def case(request, vectors):
    tensors = vectors(request.param)
    return tensors, from_published(tensors.part("weights"), num_heads=4, time_map="latent")


def test_every_branch(case, relative_error):
    tensors, network = case
    outputs = network(tensors["x"], tensors["timestep"] / 1000, tensors["y"])
    for r, output in enumerate(outputs):
        assert relative_error(output, tensors[f"output.{r}"]) < 1e-5
    assert r + 1 == len(tensors.part("output"))


def test_one_time_shared_by_the_batch(case, relative_error):
    tensors, network = case
    t = torch.tensor((1.25 + 4) / 8)  # the time whose condition is 1.25
    output = network(tensors["x"], t, tensors["y"])[-1]
    assert relative_error(output, tensors["output_shared_time_1.25"]) < 1e-5


def test_loss_and_targets(case, relative_error):
    tensors, network = case
    predictions = network(tensors["x"], tensors["timestep"] / 1000, tensors["y"])
    targets = tensors.part("target")
    for r, target in targets.items():
        scale = 2 ** (len(targets) - 1 - int(r))
        assert relative_error(noise_at_scale(tensors["eps"], scale), target) < 1e-6
    assert relative_error(multi_scale_loss(predictions, tensors["eps"]), tensors["loss"]) < 1e-5


def test_every_gradient(case, relative_error):
    tensors, network = case
    predictions = network(tensors["x"], tensors["timestep"] / 1000, tensors["y"])
    multi_scale_loss(predictions, tensors["eps"]).mean().backward()
    ours = {published_name(n, network.sizes): p for n, p in network.named_parameters()}
    theirs = tensors.part("grads")
    assert len(theirs) == len(ours)
    for name, gradient in theirs.items():
        mine = ours[name].grad.reshape(gradient.shape)
        assert relative_error(mine, gradient) < 1e-4, name


def test_names_go_both_ways_bitwise(case):
    tensors, network = case
    weights = tensors.part("weights")
    back = to_published(network)
    assert back.keys() == weights.keys()
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_unknown_missing_and_misshapen_tensors_are_refused(vectors):
    weights = vectors("dimr_2r_tdrms").part("weights")
    name = "stages.1.skip_denses.0.weight"
    bad = {
        "foo.bar": {**weights, "foo.bar": torch.zeros(1)},
        "stages.1.skip_denses.0.weight": {k: v for k, v in weights.items() if k != name},
        "skip_denses.0.weight' has shape": {**weights, name: torch.zeros(3, 3)},
        "one too many": {**weights, "stages.0.skip_denses.7.bias": torch.zeros(3)},
        "no tensors": {},
    }
    for message, state_dict in bad.items():
        with pytest.raises(ConversionError, match=message.replace(".", r"\.")):
            from_published(state_dict, num_heads=4)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_network_of_ours_comes_back_the_same(channels, relative_error):
    """Tensors and meaning of time: pixel for images of 1 or 3 channels."""
    time_map = "latent" if channels == 4 else "pixel"
    torch.manual_seed(0)
    network = DiMR(
        layers=[3, 1], dims=[16, 8], heads=2, input_size=8, channels=channels, num_classes=5,
        time_map=time_map,
    )  # fmt: skip
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    again = from_published(to_published(network), num_heads=2)
    assert again.sizes == network.sizes
    x, y = torch.randn(2, channels, 8, 8), torch.tensor([0, 5])
    t = torch.tensor([0.1, 0.7])
    assert relative_error(again(x, t, y)[-1], network(x, t, y)[-1]) < 1e-6
