"""``dimr train``: a run's network, trained here; the same command resumes (contract C)."""

import argparse
import dataclasses
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dimr.config.schema import TrainConfig
from dimr.config.start import is_run
from dimr.runtime.errors import DimrError
from dimr.runtime.files import key_of, sha256
from dimr.runtime.record import content_key, read_record
from dimr.stages.job import Job
from dimr.stages.options import add_device, add_output, positive, seconds
from dimr.stages.stage import Input, Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost

log = logging.getLogger(__name__)


class TrainStage(Stage):
    """One process, or one of those that torchrun started."""

    name = "train"
    about = "train a network, or resume where it stopped"
    phase = "train"
    config = TrainConfig
    inputs = (
        Input("data"),
        Input(
            "start",
            "what train.from names: the model of a run, a model folder or a file of weights",
            required=False,
        ),
        Input("captions", "encoded captions of the images, for networks of text", required=False),
        Input("autoencoder", "to decode the previews", required=False, keyed=False),
        Input(
            "milestone",
            "model of the same training after fewer steps, whose state is in --state",
            required=False,
            keyed=False,
        ),
    )
    outputs: ClassVar = {
        "out": Output("model", "runs/{run}/model"),
        "log_csv": Output("training log", "runs/{run}/log.csv"),
        "state": Output("training states", "runs/{run}/state"),
        "previews": Output("previews", "runs/{run}/previews", "folder of sample grids", False),
    }
    wildcards: ClassVar = {"run": r"workspace|[\w-]+/[\w-]+/(?:0|[1-9]\d*)"}
    resource = "train"
    resumes = True
    priority = 2

    def sources(self, target: Target) -> dict[str, str]:
        """The encoded dataset, the autoencoder for previews, models that come before this one."""
        sources = {"data": f"{target.data}/latents", "autoencoder": f"{target.data}/autoencoder"}
        if target.recipe.data.text_encoder is not None:
            sources["captions"] = f"{target.data}/captions"
        for name, run in (("start", target.run.start), ("milestone", target.run.before)):
            if run:
                sources[name] = f"runs/{run.name}/model"
        return sources

    def files(self, target: Target) -> dict[str, str]:
        """Weights that no run has made."""
        file = target.run.start_file
        return {"start": file} if file else {}

    def input_key(self, name: str, path: Path, config: TrainConfig) -> str:
        """For weights that no run here made, their content."""
        is_file = name == "start" and not is_run(config.train.start or "")
        return content_key(path) if is_file else super().input_key(name, path, config)

    def places(self, target: Target) -> dict[str, str]:
        """One state for a training and its milestones: each begins where the one before ended."""
        return super().places(target) | {"state": f"runs/{target.run.training}/state"}

    def cost(self, target: Target) -> "Cost":
        """Three forward passes' worth per image; the model, and two checkpoints until it ends."""
        from dimr.stages.costs import TRAINING_BYTES, count_network, gpus

        recipe = target.recipe
        parameters, macs = count_network(target.run)
        images = target.run.own_steps * recipe.train.batch
        # A milestone's checkpoint stays: one of the two counted for its training.
        state = TRAINING_BYTES // 2 if target.run.before else TRAINING_BYTES
        return dataclasses.replace(
            super().cost(target),
            resource="train",
            flops=6 * macs * images,
            images=images,
            disk=(4 + state) * parameters,
            gpus=gpus(recipe, "train"),
        )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """When to save and to stop, what to show, how to compute."""
        add_device(parser)
        parser.add_argument("--stop-after", type=seconds, metavar="SECONDS",
                            help="save and exit with code 75 after this time")  # fmt: skip
        parser.add_argument("--checkpoint-every", type=positive, metavar="STEPS",
                            help="default: by time, so that it takes at most 2%%")  # fmt: skip
        parser.add_argument("--preview-every", type=seconds, metavar="SECONDS", default=600.0,
                            help="time between sample grids at most, besides one after two "
                            "thirds of the steps; 0: none (default: 600)")  # fmt: skip
        about = "Beside log.csv, which has all losses, speed and memory."
        group = parser.add_argument_group("watching", about)
        add_output(parser, "--tensorboard", "TensorBoard log", group, help="log for TensorBoard")
        add_output(parser, "--dvclive", "DVCLive log", group, help="log for DVCLive")
        add_output(parser, "--profile", "trace", group, metavar="FILE",
                   help="a trace of a few steps (.json), for Perfetto or Chrome")  # fmt: skip
        group = parser.add_argument_group(
            "how steps are computed",
            "These change speed and memory, and the result by rounding only. They may differ "
            "between sessions of a run, as may the number of processes (torchrun).",
        )
        group.add_argument("--accumulate", type=positive, metavar="N", default=1,
                           help="split a process's batch into N microbatches")  # fmt: skip
        group.add_argument("--checkpointing", choices=["none", "block"],
                           help="block: keep only the inputs of blocks: less memory, 30%% more "
                           "time (default: none)")  # fmt: skip
        group.add_argument("--sharding", choices=["auto", "none", "full"], default="auto",
                           help="spread weights, EMA and optimizer over the processes (default: "
                           "auto, for 0.9 billion parameters or more on several GPUs)")  # fmt: skip
        group.add_argument("--no-compile", action="store_true", help="never torch.compile")
        group.add_argument("--plain", action="store_true",
                           help="the slow reference: eager, tensor by tensor")  # fmt: skip

    def work(self, job: Job) -> None:
        """Train to the end, or to ``--stop-after``."""
        begun = time.monotonic()  # setting up may take minutes of a job's time
        from torch import OutOfMemoryError

        from dimr.training.distributed import join
        from dimr.training.loop import Limits, train

        options = job.options
        with join(options.device, options.threads) as world:
            with world.agreed():
                reader = _open_data(job)
                captions = _open_captions(job)
            try:
                trainer = _trainer(job, reader, captions, world)
                limits = Limits(
                    stop_after=options.stop_after,
                    begun=begun,
                    checkpoint_every=options.checkpoint_every,
                    preview_every=options.preview_every if trainer.preview else None,
                )
                train(
                    trainer,
                    limits,
                    options.out,
                    options.log_csv,
                    job.key,
                    before_export=job.refuse_if_changed,
                )
            except OutOfMemoryError:
                raise DimrError(
                    f"{world.device}: out of memory; use a larger --accumulate, --checkpointing "
                    "block, or more processes with --sharding full"
                ) from None


def _trainer(job: Job, reader: Any, captions: Any, world: Any) -> Any:
    """The run, with its state's folder; the data is compared with its checksums."""
    from dimr.data.captioned_reader import CaptionedReader, prompts_of
    from dimr.data.shards import verify
    from dimr.data.text.folder import verify_captions
    from dimr.training.loop import Trainer
    from dimr.training.monitoring import Watch
    from dimr.training.previews import make_previewer
    from dimr.training.start import Start
    from dimr.training.state_folder import begin, state_folder

    options, config = job.options, job.config
    # The manifest holds the checksum of every shard: other data, other state.
    data = sha256(options.data / "manifest.json")
    names = reader.manifest.class_names
    if captions is not None:
        data, names = key_of(data, sha256(options.captions / "manifest.json")), []
    start = None
    if (named := config.train.start) is not None:
        with world.agreed():
            content = content_key(options.start)
        start = Start(named, options.start, content, names)
    decisive = config, data, start.content if start else ""
    (state, *_) = world.gather(state_folder(options.state, *decisive))
    with world.agreed():
        verify(options.data, slice(world.rank, None, world.size))
        if captions is not None:
            verify_captions(options.captions, slice(world.rank, None, world.size))
        if world.is_first:
            begin(state, *decisive)
            if options.milestone:
                _tell_if_behind(state, options.milestone)
    engine = engine_of(options)
    preview = None
    if options.previews and options.autoencoder and options.preview_every:
        places = options.autoencoder, options.previews, world.device
        preview = make_previewer(config, *places, names, captions and prompts_of(captions))
    how = {"processes": world.size, "engine": dataclasses.asdict(engine)}
    session = {**job.origin, "device": str(world.device), **how}
    return Trainer(
        config,
        reader if captions is None else CaptionedReader(reader, captions),
        state,
        world,
        data=data,
        code=job.code,
        session=session if world.is_first else None,
        preview=preview,
        class_names=names,
        text_encoder=captions and captions.encoder,
        engine=engine,
        watch=Watch(options.tensorboard, options.dvclive, options.profile),
        start=start,
    )


def _tell_if_behind(state: Path, milestone: Path) -> None:
    """Say that steps up to a milestone are taken again, as its state is not here."""
    from dimr.training.checkpoint import newest_step

    ended, found = read_record(milestone).get("steps", 0), newest_step(state) or 0
    if found < ended:
        text = "%s: ended at step %d, but %s is at step %d: the steps in between are trained again"
        log.warning(text, milestone, ended, state, found)


def engine_of(options: argparse.Namespace) -> Any:
    """How the options say that steps are computed."""
    from dimr.training import Engine

    engine = Engine.plain() if options.plain else Engine()
    return dataclasses.replace(
        engine,
        compile=engine.compile and not options.no_compile,
        checkpointing=options.checkpointing or engine.checkpointing,
        accumulate=options.accumulate,
        sharding=options.sharding,
    )


def _open_data(job: Job) -> Any:
    """The reader of the data, which must agree with the network in shape and labels."""
    from dimr.data.reader import ShardReader

    config, folder, start = job.config, job.options.data, job.options.start
    network, named = config.network, config.train.start
    if (named is None) != (start is None):
        says = f"train.from: {named}: give its weights: --start" if named else "no train.from"
        raise DimrError(f"{job.path}: {says}{'' if named else f', but --start {start}'}")
    if start is not None and not start.exists():
        raise DimrError(f"train.from: {start}: no such file")
    _ = job.key  # before all else: the data must have a record
    reader = ShardReader(folder, config.train.batch, config.seed)
    wanted = (network.channels, network.input_size, network.input_size)
    same = network.text_dim is not None or reader.classes == network.num_classes
    if tuple(reader.sample_shape) != wanted or not same:
        raise DimrError(
            f"{folder}: images {tuple(reader.sample_shape)} of {reader.classes} classes; the "
            f"network takes {wanted} of {network.num_classes} classes (recipes.yaml: network)"
        )
    return reader


def _open_captions(job: Job) -> Any:
    """The captions of the data, which must fit the network; None: the network takes classes."""
    network, folder = job.config.network, job.options.captions
    if (network.text_dim is None) != (folder is None):
        needs = "--captions: missing" if folder is None else f"--captions {folder}"
        kind = "text" if network.text_dim else "classes"
        raise DimrError(f"{job.path}: {needs}, and the network is one of {kind}")
    if folder is None:
        return None
    from dimr.data.captioned_reader import open_fitting

    return open_fitting(folder, network)
