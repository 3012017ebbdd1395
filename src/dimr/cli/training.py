"""Steps of a run that need the network: train, sample, and the baselines that stand beside it."""

import argparse
from pathlib import Path
from typing import Any

from dimr.cli.common import (
    Record,
    add_device,
    add_step,
    positive,
    read_record,
    recorded_key,
    refuse_if_changed,
)
from dimr.errors import DimrError
from dimr.experiment import load_section, section_key
from dimr.files import atomic_directory, sha256
from dimr.settings import BaselinePhase, SamplePhase, TrainPhase

PREVIEW_STEPS = 25  # network evaluations of a preview: it is to look at, not to measure
PREVIEW_COLUMNS = 6

ASKED = ("classes", "unconditional", "per_class", "seed", "steps", "solver", "guidance",
         "power_cosine")  # fmt: skip
"""Options of ``dimr sample`` that are a person's alone; fields of ``Request``."""
SAMPLE_EXAMPLES = """\
examples:
  dimr sample --model runs/digits/dimr-xs-2r/0/model --class 3 --class 7 --out grid.png
  dimr sample --model runs/imagenet256/dimr-xl-2r/published/model \\
      --autoencoder stabilityai/sd-vae-ft-ema --class goldfish --class n02123045 \\
      --seed 0 --out grid.png
  dimr sample --model runs/digits/dimr-xs-2r/0/model --unconditional --per-class 32 --out any.png
"""


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

    _add_sample(steps)

    parser = add_step(
        steps, "baseline", baseline, "real images or reconstructions, in the form of samples",
        "config", "images", "out",
    )  # fmt: skip
    parser.add_argument("--autoencoder", type=Path, metavar="PATH", help="for reconstructions")
    add_device(parser)


def _add_sample(steps: Any) -> None:
    """``dimr sample`` has two forms: a person's and the workflow's."""
    parser = add_step(steps, "sample", sample, "draw images from a trained network")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = SAMPLE_EXAMPLES
    parser.add_argument("--model", type=Path, required=True, metavar="DIR",
                        help="a run's model folder: config.json and weights")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="PATH",
                        help="the picture (.png); with --config a folder of images")  # fmt: skip
    parser.add_argument("--autoencoder", type=Path, metavar="DIR|NAME",
                        help="of a model of latents: a folder or a name on the Hugging Face hub "
                        "(default: that of the run's dataset, if it is found)")  # fmt: skip
    parser.add_argument("--batch", type=positive, metavar="N",
                        help="images at a time (default: 250; for a picture 32)")  # fmt: skip
    add_device(parser)
    asked = parser.add_argument_group("a picture")
    which = asked.add_mutually_exclusive_group()
    which.add_argument("--class", action="append", dest="classes", metavar="CLASS",
                       help="number, name or WordNet id, as often as wanted: one row each "
                       "(default: all classes, or 8 of many)")  # fmt: skip
    which.add_argument("--unconditional", action="store_true", default=None,
                       help="draw without a class")  # fmt: skip
    asked.add_argument("--per-class", type=positive, metavar="N",
                       help="images of each class, or in all without (default: 8)")  # fmt: skip
    asked.add_argument("--seed", type=int, metavar="N", help="of the noise (default: 0)")
    asked.add_argument("--steps", type=positive, metavar="N",
                       help="network evaluations (default: 50)")  # fmt: skip
    asked.add_argument("--solver", choices=["authors", "singlestep", "multistep", "ancestral"],
                       help="(default: its authors')")  # fmt: skip
    weight = asked.add_mutually_exclusive_group()
    weight.add_argument("--guidance", type=float, metavar="S",
                        help="cond + S (cond - uncond); 0: none (default: 0.4)")  # fmt: skip
    weight.add_argument("--power-cosine", type=float, nargs=2, metavar=("S", "A"),
                        help="uncond + w (cond - uncond), w from 1 to S as noise falls, the later "
                        "the larger A is")  # fmt: skip
    workflow = parser.add_argument_group("a folder of images, as the workflow draws them")
    workflow.add_argument("--config", type=Path, metavar="PATH",
                          help="sample-<setting>.yaml of a run: it says the rest")  # fmt: skip


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

        from dimr.data.autoencoder import load_decoder
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


def sample(options: argparse.Namespace) -> None:
    """``dimr sample``: a folder of images for the workflow, or a picture for a person."""
    asked = {key: value for key in ASKED if (value := getattr(options, key)) is not None}
    if options.config is None:
        _sample_picture(options, asked)
    elif asked:
        option = "class" if "classes" in asked else next(iter(asked)).replace("_", "-")
        raise DimrError(f"sample: --{option} does not go with --config, which says it")
    else:
        _sample_folder(options)


def _sample_picture(options: argparse.Namespace, asked: dict[str, Any]) -> None:
    if options.out.suffix.lower() != ".png":
        raise DimrError(
            f"--out {options.out}: a picture's name ends in .png (a folder needs --config)"
        )
    from dimr.device import prepare_device
    from dimr.experiment import load_network_config
    from dimr.files import atomic_file
    from dimr.sampling.generate import load_network
    from dimr.sampling.request import Request, draw_grid, label_dropout, open_decoder, plan_grid

    # what was asked is checked before anything large is loaded
    sizes = load_network_config(options.model / "config.json")
    plan = plan_grid(Request(**asked), sizes, label_dropout(options.model))
    device = prepare_device(options.device, options.threads)
    decoder = open_decoder(options.model, sizes, options.autoencoder, str(device))
    network = load_network(options.model)[0].to(device)
    picture = draw_grid(network, sizes, plan, decoder, options.batch or 32, device)
    with atomic_file(options.out) as path:
        picture.save(path)


def _sample_folder(options: argparse.Namespace) -> None:
    from dimr.data.autoencoder import load_decoder
    from dimr.device import prepare_device
    from dimr.sampling.folder import write_samples
    from dimr.sampling.generate import generate, labels_in_order, load_network

    phase = load_section(SamplePhase, options.config)
    device = prepare_device(options.device, options.threads)
    record, made_by = Record(device), read_record(options.model)
    network, sizes = load_network(options.model)
    decoder = load_decoder(options.autoencoder, str(device))
    batches = generate(
        network.to(device), sizes, phase, decoder, batch=options.batch or 250, device=device
    )
    labels = labels_in_order(phase.count, sizes.num_classes)
    names = _class_names(sizes.num_classes)
    key = section_key(phase, made_by["key"])
    with atomic_directory(options.out) as folder:
        write_samples(folder, batches, labels, names, key)
        refuse_if_changed(options.config, phase)
        record.write(folder, key, config=phase.model_dump(mode="json"), model=made_by)


def baseline(options: argparse.Namespace) -> None:
    """``dimr baseline``."""
    import numpy as np

    from dimr.data.autoencoder import is_identity, load_autoencoder, reconstruct
    from dimr.data.digits import load_images
    from dimr.device import prepare_device
    from dimr.sampling.folder import write_samples

    phase = load_section(BaselinePhase, options.config)
    device = prepare_device(options.device, options.threads)
    record = Record(device)
    images, labels = load_images(options.images, "train")
    if phase.count > len(images):
        raise DimrError(
            f"{options.config}: count {phase.count} is more than the {len(images)} training images"
        )
    chosen = np.array(images[: phase.count])
    keys = [recorded_key(options.images)]
    if phase.source == "reconstruction":
        if options.autoencoder is None:
            raise DimrError("baseline: reconstructions need --autoencoder")
        if not is_identity(options.autoencoder):
            chosen = reconstruct(load_autoencoder(options.autoencoder, str(device)), chosen)
        keys.append(recorded_key(options.autoencoder))
    key = section_key(phase, *keys)
    names = _class_names(int(labels.max()) + 1)
    with atomic_directory(options.out) as folder:
        write_samples(folder, [chosen], np.array(labels[: phase.count]), names, key)
        record.write(folder, key, config=phase.model_dump(mode="json"))


def _class_names(classes: int) -> list[str]:
    from dimr.data.classes import class_names, short_name

    return [short_name(name) for name in class_names(classes)]
