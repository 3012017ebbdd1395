"""The optimizer's groups, the learning rate, and one step against the same step written out."""

import contextlib
import copy
import json

import pytest
import torch

from dimr.checkpoints import read_model
from dimr.config.project import PROJECT
from dimr.config.schema import TrainConfig
from dimr.data.reader import ShardReader
from dimr.diffusion import multi_scale_loss
from dimr.models.complexity import count_parameters, on_meta
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_json
from dimr.runtime.randomness import torch_generator
from dimr.training import Engine
from dimr.training.batches import make_batches
from dimr.training.step import learning_rate, train_step
from dimr.training.train_state import make_train_state

from .conftest import CONFIG, WORLD


def steps(settings, state, latents, number):
    """Take some steps; return the losses of each."""
    reader = ShardReader(latents, settings.train.batch, settings.seed)
    with contextlib.closing(make_batches(settings, reader, state.engine, WORLD)) as batches:
        return [train_step(state, next(batches), step) for step in range(number)]


def test_weight_decay_groups(config):
    state = make_train_state(config(), WORLD)
    decayed, spared = state.optimizer.param_groups
    assert decayed["weight_decay"] == 0.03
    assert spared["weight_decay"] == 0.0
    names = {id(p): name for name, p in state.network.named_parameters()}
    assert {names[id(p)] for p in spared["params"]} == state.network.no_weight_decay()
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


@pytest.mark.parametrize(
    "sizes",
    [
        {"family": "dimr", "layers": [1000, 999], "dims": [8192, 4096], "heads": 2, "norm": "rms"},
        {"family": "uvit", "depth": 999, "dim": 8192, "heads": 2, "patch": 2},
        {"family": "dit", "depth": 999, "dim": 8192, "heads": 2, "patch": 2},
        {"family": "dit", "depth": 1, "dim": 65_536, "heads": 2, "patch": 1, "input_size": 65_536},
    ],
)
def test_a_network_that_no_machine_holds_is_refused_before_it_is_built(
    sizes, tmp_path, monkeypatch
):
    """To build one of a thousand layers, and count it, takes minutes; to place it, all memory."""
    inputs = ("input_size", "channels", "num_classes", "time_map", "schedule")
    network = {key: CONFIG["network"][key] for key in inputs} | sizes
    settings = TrainConfig.model_validate_json(json.dumps({**CONFIG, "network": network}))
    monkeypatch.setattr(torch.nn.Module, "__init__", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(
        DimrError, match=r"^a network of [\d,]+ parameters or more: takes .* memory"
    ):
        make_train_state(settings, WORLD)
    write_json(tmp_path / "config.json", network)
    with pytest.raises(DimrError, match=r"config\.json: a network of [\d,]+ parameters or more"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    "name", ["dimr-xs-3r", "dimr-xs-mlp-last-2r", "uvit-xs-adaln-2", "dit-xs-2"]
)
def test_the_least_that_a_network_has_is_no_more_than_it_has(name):
    listed = PROJECT.variant(name)
    sizes = listed.complete(input_size=16, channels=3, num_classes=7)
    parameters = count_parameters(on_meta(sizes))
    assert 0.5 * parameters < sizes.least_parameters() <= parameters


def test_warm_up(config):
    settings = config().train
    rates = [learning_rate(step, settings) for step in range(7)]
    assert rates == pytest.approx([0, 2e-4, 4e-4, 6e-4, 8e-4, 1e-3, 1e-3])
    assert learning_rate(0, config(warmup_steps=0).train) == 1e-3


def test_a_step_is_adamw_on_the_multi_scale_loss(config, latents):
    """Written out by hand: the noise and times of (seed, step), the loss, one plain AdamW step."""
    settings = config(label_dropout=0.0, warmup_steps=0)
    state = make_train_state(settings, WORLD)
    twin = copy.deepcopy(state.network)
    x, y = ShardReader(latents, 8, 3).batch(0)
    (losses,) = steps(settings, state, latents, 1)

    generator = torch_generator(3, "train", 0)
    t = state.schedule.draw_times(8, generator)
    noise = torch.randn(x.shape, generator=generator)
    predictions = twin(state.schedule.add_noise(x, noise, t), t, y)
    loss = multi_scale_loss(predictions, noise).mean()
    torch.testing.assert_close(losses[0], loss.detach())
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in twin.parameters()]).norm()
    torch.testing.assert_close(losses[-1], norm)
    before = {name: p.detach().clone() for name, p in twin.named_parameters()}
    for name, parameter in state.network.named_parameters():
        gradient = dict(twin.named_parameters())[name].grad
        decay = 0.0 if name in twin.no_weight_decay() else 0.03
        # AdamW's first step: the moments, bias-corrected, are g and g^2
        moved = before[name] * (1 - 1e-3 * decay) - 1e-3 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(parameter.detach(), moved, rtol=1e-4, atol=1e-6, msg=name)


def test_a_loss_at_the_last_scale_only(config, latents):
    """The ablation: every branch predicts and is told of in the log, and the last one counts."""
    settings = config(network={"outputs": "last"})
    state = make_train_state(settings, WORLD)
    (losses,) = steps(settings, state, latents, 1)
    assert losses[0] == losses[2] != losses[1]
    lowest, last = state.network.lowest.output, state.network.higher[-1].output
    assert all((p.grad == 0).all() for p in lowest.parameters())  # which processes can sum: no None
    assert last.conv.weight.grad.abs().sum() > 0


def test_ema_is_the_average(config, latents):
    settings = config(warmup_steps=0)
    state = make_train_state(settings, WORLD)
    reader = ShardReader(latents, 8, 3)
    batches = make_batches(settings, reader, Engine(prefetch=False), WORLD)
    average = [p.detach().clone() for p in state.network.parameters()]
    for step in range(4):
        train_step(state, next(batches), step)
        weights = [p.detach().clone() for p in state.network.parameters()]
        average = [0.9 * a + 0.1 * w for a, w in zip(average, weights, strict=True)]
    for ours, expected in zip(state.ema.module.parameters(), average, strict=True):
        torch.testing.assert_close(ours.detach(), expected)


def test_dropped_labels_become_no_class(config, latents):
    settings = config(label_dropout=0.5, steps=40)
    state = make_train_state(settings, WORLD)
    seen = []

    def forward(x, t, condition):
        seen.append(condition.labels.clone())
        return state.network(x, t, condition)

    state.forward = forward
    steps(settings, state, latents, 40)
    share = (torch.cat(seen) == 10).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.1)


def test_gradient_clipping_bounds_the_norm(config, latents):
    settings = config(grad_clip=1e-3)
    state = make_train_state(settings, WORLD)
    steps(settings, state, latents, 1)
    norm = torch.stack([p.grad.norm() for p in state.network.parameters()]).norm().item()
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_initial_weights_depend_on_the_seed_alone(config):
    torch.manual_seed(1)
    a = make_train_state(config(), WORLD).network.state_dict()
    state = torch.random.get_rng_state()
    b = make_train_state(config(), WORLD).network.state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a[name], b[name]) for name in a)
