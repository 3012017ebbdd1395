"""Training of a run's network."""

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimr.cli.arguments import (
    Record,
    add_device,
    add_output,
    add_step,
    positive,
    refuse_if_changed,
    seconds,
)
from dimr.config.runs import load_section, section_key
from dimr.config.schema import SampleConfig, TrainConfig
from dimr.runtime.errors import DimrError
from dimr.runtime.files import save_png, sha256
from dimr.runtime.record import recorded_key

if TYPE_CHECKING:
    from dimr.training.loop import Training

PREVIEW_STEPS = 25  # network evaluations of a preview: it is to look at, not to measure
PREVIEW_COLUMNS = 6
PREVIEW_CLASSES = 10  # while a thousand classes are drawn, the other GPUs would wait for minutes


def add(steps: Any) -> None:
    """Register the subcommands."""
    parser = add_step(
        steps, "train", train, "train a network, or resume where it stopped",
        "config", "data", state="training states", out="model", log_csv="training log",
    )  # fmt: skip
    add_device(parser)
    parser.add_argument("--stop-after", type=seconds, metavar="SECONDS",
                        help="save and leave with exit code 75 after so long")  # fmt: skip
    parser.add_argument("--checkpoint-every", type=positive, metavar="STEPS",
                        help="default: by time, at most 2%% of it")  # fmt: skip
    parser.add_argument("--preview-every", type=seconds, metavar="SECONDS", default=600.0,
                        help="sample grid now and then; 0: never (default: 600)")  # fmt: skip
    add_output(parser, "--previews", "previews", help="folder of the grids")
    parser.add_argument("--autoencoder", type=Path, metavar="PATH", help="decodes the previews")
    _add_watch(parser)
    _add_engine(parser.add_argument_group(
        "how steps are computed", "Speed and memory; the result changes by rounding only. All may "
        "differ from session to session of a run, as may the number of processes (torchrun).",
    ))  # fmt: skip


def _add_watch(parser: argparse.ArgumentParser) -> None:
    about = "Beside log.csv, which has all losses, speed and memory."
    group = parser.add_argument_group("watching", about)
    add_output(parser, "--tensorboard", "TensorBoard log", group, help="the log for TensorBoard")
    add_output(parser, "--dvclive", "DVCLive log", group, help="the log for DVCLive")
    add_output(parser, "--profile", "trace", group, metavar="FILE",
               help="a trace of a few steps (.json), for Perfetto or Chrome")  # fmt: skip


def _add_engine(group: Any) -> None:
    group.add_argument("--accumulate", type=positive, metavar="N", default=1,
                       help="cut a process's batch into N pieces, one after the other")  # fmt: skip
    group.add_argument("--checkpointing", choices=["none", "block"],
                       help="block: keep the inputs of blocks only, for less memory and 30%% more "
                       "time (default: none)")  # fmt: skip
    group.add_argument("--sharding", choices=["auto", "none", "full"], default="auto",
                       help="spread weights, EMA and optimizer over the processes (default: auto, "
                       "for 0.9 billion parameters or more on several GPUs)")  # fmt: skip
    group.add_argument("--no-compile", action="store_true", help="never torch.compile")
    group.add_argument("--plain", action="store_true",
                       help="the slow reference: eager, tensor by tensor")  # fmt: skip


def train(options: argparse.Namespace) -> None:
    """``dimr train``: one process, or one of those that torchrun started."""
    begun = time.monotonic()  # making ready may take minutes of a job's time
    from torch import OutOfMemoryError

    from dimr.training.distributed import join
    from dimr.training.loop import Limits
    from dimr.training.loop import train as run_training

    with join(options.device, options.threads) as world:
        with world.agreed():
            phase = load_section(TrainConfig, options.config)
            key = section_key(phase, recorded_key(options.data))
            reader = _open_data(phase, options.data)
        try:
            training = _make_training(options, phase, reader, world)
            previews = training.preview is not None
            limits = Limits(
                stop_after=options.stop_after,
                begun=begun,
                checkpoint_every=options.checkpoint_every,
                preview_every=options.preview_every if previews else None,
            )
            run_training(
                training,
                limits,
                options.out,
                options.log_csv,
                key,
                before_export=lambda: refuse_if_changed(options.config, phase),
            )
        except OutOfMemoryError:
            raise DimrError(
                f"{world.device}: out of memory; use a larger --accumulate, --checkpointing block, "
                "or more processes with --sharding full"
            ) from None


def _make_training(
    options: argparse.Namespace, phase: TrainConfig, reader: Any, world: Any
) -> "Training":
    """The run, with its state's folder; the data is compared with its checksums."""
    from dimr.data.shards import verify
    from dimr.runtime.code import TRAINING, code_fingerprint
    from dimr.training.loop import Training
    from dimr.training.monitoring import Watch
    from dimr.training.state_folder import begin, state_folder

    # The manifest holds the checksum of every shard: other data, other state.
    data = sha256(options.data / "manifest.json")
    (state, *_) = world.gather(state_folder(options.state, phase, data))
    with world.agreed():
        verify(options.data, slice(world.rank, None, world.size))
        if world.is_first:
            begin(state, phase, data)
    engine = _engine(options)
    wants_previews = bool(options.previews and options.autoencoder and options.preview_every)
    how = {"processes": world.size, "engine": dataclasses.asdict(engine)}
    return Training(
        phase,
        reader,
        state,
        device=world.device,
        data=data,
        code=code_fingerprint(*TRAINING),
        session={**Record(world.device).origin, **how} if world.is_first else None,
        preview=_previewer(options, phase, world.device) if wants_previews else None,
        engine=engine,
        world=world,
        watch=Watch(options.tensorboard, options.dvclive, options.profile),
    )


def _engine(options: argparse.Namespace) -> Any:
    from dimr.training.engine import Engine

    engine = Engine.plain() if options.plain else Engine()
    return dataclasses.replace(
        engine,
        compile=engine.compile and not options.no_compile,
        checkpointing=options.checkpointing or engine.checkpointing,
        accumulate=options.accumulate,
        sharding=options.sharding,
    )


def _open_data(phase: TrainConfig, folder: Path) -> Any:
    """The reader of the data, which must agree with the network in shape and labels."""
    from dimr.data.reader import ShardReader

    reader = ShardReader(folder, phase.train.batch, phase.seed)
    _check_data(reader, phase, folder)
    return reader


def _check_data(reader: Any, phase: TrainConfig, folder: Path) -> None:
    """Data and network must agree in shape and labels."""
    network = phase.network
    wanted = (network.channels, network.input_size, network.input_size)
    if tuple(reader.sample_shape) != wanted or reader.classes != network.num_classes:
        raise DimrError(
            f"{folder}: images {tuple(reader.sample_shape)} of {reader.classes} classes; the "
            f"network takes {wanted} of {network.num_classes} classes (recipes.yaml: network)"
        )


def _previewer(options: argparse.Namespace, phase: TrainConfig, device: Any) -> Any:
    """A function (step, network) that writes a small grid with guidance 0.5."""

    def preview(step: int, network: Any) -> None:
        import numpy as np

        from dimr.data.decoder import load_decoder
        from dimr.sampling.generate import generate
        from dimr.sampling.grid import class_grid

        classes = phase.network.num_classes
        known = {0.0: "none", 1.0: "unconditional"}  # what a model learned with such label dropout
        guidance = {"kind": known.get(phase.train.label_dropout, "constant"), "scale": 0.5}
        drawing = SampleConfig.model_validate({
            "seed": phase.seed, "count": PREVIEW_COLUMNS * classes, "steps": PREVIEW_STEPS,
            "solver": "authors", "guidance": guidance,
        })  # fmt: skip
        shown = min(classes, PREVIEW_CLASSES)
        numbers = [k * classes + label for k in range(PREVIEW_COLUMNS) for label in range(shown)]
        batches = generate(
            network,
            phase.network,
            drawing,
            load_decoder(options.autoencoder, str(device)),
            batch=250,
            device=device,
            indices=numbers,
        )
        images, labels = np.concatenate(list(batches)), np.array(numbers) % classes
        picture = class_grid(images, labels, list(map(str, range(shown))), columns=PREVIEW_COLUMNS)
        save_png(picture, options.previews / f"step-{step:09d}.png")

    return preview
