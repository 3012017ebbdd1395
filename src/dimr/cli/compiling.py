"""What can be done for a training before its data is available."""

import argparse
from typing import Any

from dimr.stages.options import add_device, add_step


def add(steps: Any) -> None:
    """Register the subcommand."""
    text = "compile a training's step before its data is available: the training starts sooner"
    parser = add_step(steps, "compile", compile_step, text, "config")
    add_device(parser)


def compile_step(options: argparse.Namespace) -> None:
    """``dimr compile``: kernels of a run's ``train.yaml``, for this machine and its threads."""
    from dimr.config.schema import TrainConfig
    from dimr.config.validation import load_section
    from dimr.training.distributed import join
    from dimr.training.train_state import make_train_state, prepare

    config = load_section(TrainConfig, options.config)
    with join(options.device, options.threads) as world:
        prepare(make_train_state(config, world), world)
