"""Training of a run's network."""

import argparse
from pathlib import Path
from typing import Any

from dimr.cli.common import (
    Record,
    add_device,
    add_step,
    positive,
    recorded_key,
    refuse_if_changed,
)
from dimr.errors import DimrError
from dimr.experiment import load_section, section_key
from dimr.files import sha256
from dimr.settings import SamplePhase, TrainPhase

PREVIEW_STEPS = 25  # network evaluations of a preview: it is to look at, not to measure
PREVIEW_COLUMNS = 6


def add(steps: Any) -> None:
    """Register the subcommands."""
    parser = add_step(
        steps, "train", train, "train a network, or go on where it stopped",
        "config", "data", "out", "log-csv", "state",
    )  # fmt: skip
    add_device(parser)
    parser.add_argument("--stop-after", type=float, metavar="SECONDS",
                        help="save and leave with exit code 75 after so long")  # fmt: skip
    parser.add_argument("--checkpoint-every", type=positive, metavar="STEPS",
                        help="default: by time, at most 2%% of it")  # fmt: skip
    parser.add_argument("--preview-every", type=float, metavar="SECONDS", default=600.0,
                        help="sample grid now and then; 0: never (default: 600)")  # fmt: skip
    parser.add_argument("--previews", type=Path, metavar="PATH", help="folder of the grids")
    parser.add_argument("--autoencoder", type=Path, metavar="PATH", help="decodes the previews")


def train(options: argparse.Namespace) -> None:
    """``dimr train``: state is keyed by the configuration and by the data as they are."""
    from dimr.data.reader import ShardReader
    from dimr.device import prepare_device
    from dimr.reporting.provenance import TRAINING_CODE, code_fingerprint
    from dimr.training.loop import Limits, Training
    from dimr.training.loop import train as run_training

    phase = load_section(TrainPhase, options.config)
    device = prepare_device(options.device, options.threads)
    key = section_key(phase, recorded_key(options.data))
    reader = ShardReader(options.data, phase.train.batch, phase.seed)
    _check_data(reader, phase, options.data)
    wants_previews = bool(options.previews and options.autoencoder and options.preview_every)
    training = Training(
        phase,
        reader,
        # The manifest holds the checksum of every shard: other data, other state.
        options.state / section_key(phase, sha256(options.data / "manifest.json")),
        device=device,
        code=code_fingerprint(*TRAINING_CODE),
        session=Record(device).origin,
        preview=_previewer(options, phase, device) if wants_previews else None,
    )
    limits = Limits(
        stop_after=options.stop_after,
        checkpoint_every=options.checkpoint_every,
        preview_every=options.preview_every if wants_previews else None,
    )
    run_training(
        training,
        limits,
        options.out,
        options.log_csv,
        key,
        before_export=lambda: refuse_if_changed(options.config, phase),
    )


def _check_data(reader: Any, phase: TrainPhase, folder: Path) -> None:
    """Data and network must agree in shape and labels."""
    network = phase.network
    wanted = (network.channels, network.input_size, network.input_size)
    if tuple(reader.sample_shape) != wanted or reader.classes != network.num_classes:
        raise DimrError(
            f"{folder}: images {tuple(reader.sample_shape)} of {reader.classes} classes; the "
            f"network takes {wanted} of {network.num_classes} classes (recipes.yaml: network)"
        )


def _previewer(options: argparse.Namespace, phase: TrainPhase, device: Any) -> Any:
    """A function (step, network) that writes a small grid with guidance 0.5."""

    def preview(step: int, network: Any) -> None:
        import numpy as np

        from dimr.data.decoder import load_decoder
        from dimr.files import atomic_file
        from dimr.sampling.generate import generate, labels_in_order
        from dimr.sampling.grid import class_grid

        classes = phase.network.num_classes
        known = {0.0: "none", 1.0: "unconditional"}  # what a model learned with such label dropout
        guidance = {"kind": known.get(phase.train.label_dropout, "constant"), "scale": 0.5}
        drawing = SamplePhase.model_validate({
            "seed": phase.seed, "count": PREVIEW_COLUMNS * classes, "steps": PREVIEW_STEPS,
            "solver": "authors", "guidance": guidance,
        })  # fmt: skip
        batches = generate(
            network,
            phase.network,
            drawing,
            load_decoder(options.autoencoder, str(device)),
            batch=250,
            device=device,
        )
        images = np.concatenate(list(batches))
        labels = labels_in_order(drawing.count, classes)
        picture = class_grid(
            images, labels, list(map(str, range(classes))), columns=PREVIEW_COLUMNS
        )
        with atomic_file(options.previews / f"step-{step:09d}.png") as path:
            picture.save(path)

    return preview
