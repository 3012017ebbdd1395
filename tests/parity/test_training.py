"""Twelve steps of training are those of the authors' trainer."""

import pytest

from dimr.checkpoints.formats import from_published
from dimr.checkpoints.formats.dimr import published_name
from dimr.config.schema import Train
from dimr.diffusion.schedule import SCHEDULES
from dimr.models.conditioning import LabelCondition
from dimr.training import Batch, Engine, TrainState, make_ema, make_optimizer, train_step

STEPS = 12
TRAIN = Train.model_validate({
    "steps": STEPS, "batch": 8, "lr": 2e-3, "betas": (0.99, 0.99), "weight_decay": 0.03,
    "warmup_steps": 4, "ema_decay": 0.9, "label_dropout": 0.0, "objective": "noise",
    "grad_clip": None, "compile": False, "log_every": 1,
})  # fmt: skip
"""As index.json beside the authors' vectors states them."""


@pytest.mark.parametrize("engine", [Engine.plain(), Engine()], ids=["plain", "fused"])
def test_losses_rates_final_weights_and_ema(engine, vectors, relative_error):
    theirs = vectors("training_dimr_2r")
    network = from_published(theirs.part("weights"), num_heads=4, time_map="latent")
    state = TrainState(
        network=network,
        forward=network,
        ema=make_ema(network, TRAIN.ema_decay),
        optimizer=make_optimizer(network, TRAIN, engine.fused),
        schedule=SCHEDULES["latent"](),
        settings=TRAIN,
        engine=engine,
    )
    for step in range(STEPS):
        x, noise, n, labels = (theirs[name][step] for name in ("x", "noise", "n", "y"))
        condition = LabelCondition(labels, network.sizes.num_classes)
        batch = Batch(x, noise, n / 1000, condition if step % 2 else labels)  # either will do
        loss = train_step(state, batch, step)[0]
        assert loss.item() == pytest.approx(theirs["loss"][step].item(), rel=1e-5)
        for group in state.optimizer.param_groups:
            assert group["lr"] == pytest.approx(theirs["learning_rate"][step].item(), rel=1e-6)
    for part, module in (("final", state.network), ("ema", state.ema.module)):
        ours = {published_name(n, network.sizes): p for n, p in module.named_parameters()}
        assert ours.keys() == theirs.part(part).keys()
        for name, tensor in theirs.part(part).items():
            assert relative_error(ours[name].detach().reshape(tensor.shape), tensor) < 1e-5, name
