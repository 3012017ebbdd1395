"""``dimr sample --config``: a run's images, drawn by its network, as a folder of shards."""

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from dimr.config.phases import section_key
from dimr.config.schema import NetworkConfig, Pretrained, SampleConfig, sampling_problem
from dimr.config.variants import load_network_config
from dimr.runtime.errors import DimrError
from dimr.runtime.files import key_of, sha256
from dimr.runtime.record import RECORD, read_record, recorded_key
from dimr.stages.job import Job
from dimr.stages.options import add_device, add_shards, batch_size
from dimr.stages.shards import processes_for, run_processes
from dimr.stages.stage import Input, Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost

log = logging.getLogger(__name__)

BATCH = 250
AUTOENCODER = (
    "for a model of latents: a folder or a name on the Hugging Face hub (default: that of the "
    "run's dataset, if it is found)"
)


class SampleStage(Stage):
    """Shard by shard: an interrupted command resumes, and several processes share the work."""

    name = "sample"
    about = "generate images with a trained network"
    phase = "sample-{setting}"
    config = SampleConfig
    inputs = (
        Input("model", "a run's model folder: config.json and weights"),
        Input("autoencoder", AUTOENCODER, required=False),
        Input("captions", "for a network of text: the folder of its prompts", required=False),
    )
    outputs: ClassVar = {
        "out": Output(
            "samples", "runs/{run}/samples/{setting}", "with --config a folder; else a .png"
        )
    }
    config_is_required = False  # without one the command draws a picture (dimr.cli.sample)
    resource = "sample"
    resumes = True
    priority = 1

    def sources(self, target: Target) -> dict[str, str]:
        """The model, the dataset's autoencoder, and its captions, if it has any."""
        model = f"runs/{target.run.name}/model"
        sources = {"model": model, "autoencoder": f"{target.data}/autoencoder"}
        if target.recipe.data.text_encoder is not None:
            sources["captions"] = f"{target.data}/captions"
        return sources

    def cost(self, target: Target) -> "Cost":
        """Passes of the network and the decoder; shards of uint8 images, and the same as .npz."""
        from dimr.stages.costs import count_autoencoder, count_network, gpus, image_bytes

        recipe, sample = target.recipe, target.recipe.sample
        setting, count = sample.settings[target.setting], sample.count_at(target.setting)
        passes = setting.passes * (setting.steps or sample.steps)
        flops = round(passes * 2 * count_network(target.run)[1])
        cost = super().cost(target)
        if isinstance(recipe.data.autoencoder, Pretrained):
            counted = count_autoencoder(target)
            flops += 2 * counted.decode
            cost = replace(cost, assumed=counted.assumed)
        return replace(
            cost,
            resource="sample",
            flops=flops * count,
            images=count,
            disk=2 * count * image_bytes(recipe),
            gpus=gpus(recipe, "sample"),
        )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """How passes are computed: speed, and rounding."""
        text = (
            f"images at a time (default: {BATCH}; for a picture 32); changes speed and memory only"
        )
        parser.add_argument("--batch", type=batch_size, metavar="N", help=text)
        parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None,
                            help="torch.compile of the network, if the compiler works "
                            "(default: if enough images are drawn to make up for it)")  # fmt: skip
        parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto",
                            help="precision of matrix products; the solver stays in float32 "
                            "(default: auto: bfloat16 on CUDA, float32 on a CPU)")  # fmt: skip
        add_device(parser)
        group = parser.add_argument_group("a folder of images, as the workflow draws them")
        add_shards(group)

    def work(self, job: Job) -> None:
        """Draw what is missing, or a share of it, and complete the folder."""
        from dimr.data.shards import checksums
        from dimr.sampling import folder as samples
        from dimr.sampling.sampler import labels_in_order

        options, config, out = job.options, job.config, job.options.out
        network = load_network_config(options.model / "config.json")
        if (problem := sampling_problem(config, config.count, network)) is not None:
            raise DimrError(f"{job.path}: {problem}")
        names, prompts = _what_to_draw(job, network)
        code, made_by = job.code, read_record(options.model)
        captions = [recorded_key(options.captions)] if options.captions else []
        autoencoder = _autoencoder_key(options.autoencoder)
        job.key = section_key(config, made_by["key"], *autoencoder, *captions)
        sampler, engine, work_key = _open_sampler(job, code, prompts)
        side = network.input_size * sampler.decode.factor
        work = samples.plan(out, work_key, (side, side), config.count)
        if samples.is_complete(work) and (out / RECORD).is_file():
            log.info("%s: complete, with all of its images: nothing to do", out)
            return
        if options.shard is None:
            work.require_space(work.nbytes)  # for the .npz too, before processes begin
            run_processes(processes_for(options, job.device), options.device, options.threads)

        def add(folder: Path) -> None:
            job.origin["model"] = made_by
            about = {"config": config.model_dump(mode="json"), "engine": engine}
            job.seal(folder, checksums(folder), **about)

        with work.claimed(options.shard):
            _fill(job, work, sampler)
            if options.shard is None:
                labels = labels_in_order(config.count, len(names))
                named = config.guidance.kind != "unconditional"
                about = {"named": named, "captioned": prompts is not None}
                samples.complete(work, labels, names, **about, add=add)


def _what_to_draw(job: Job, network: NetworkConfig) -> tuple[list[str], Any]:
    """Names of the classes; or, for a network of text, its prompts and their tokens.

    If there are more prompts than images, the first are drawn, one image each. A process that draws
    a share of the images compares a share of the captions' checksums; the one that completes them,
    all.
    """
    from dimr.data.captioned_reader import check_encoder, open_fitting, prompts_of
    from dimr.data.resumable_shards import Part
    from dimr.data.text.folder import verify_captions
    from dimr.sampling.model import names_of_classes

    model, folder, count = job.options.model, job.options.captions, job.config.count
    if (network.text_dim is None) != (folder is None):
        needs = "--captions: missing" if folder is None else f"--captions {folder}: not taken"
        kind = "text" if network.text_dim else "classes"
        raise DimrError(f"{needs}: {model} has learned from {kind}")
    if folder is None:
        return names_of_classes(model, network), None
    verify_captions(folder, (job.options.shard or Part()).slice)
    captions = open_fitting(folder, network)
    check_encoder(captions, model)
    texts, prompts = prompts_of(captions, count)
    if count % len(texts):
        raise DimrError(
            f"{job.path}: count: {count} is no multiple of the {len(texts)} prompts of {folder}, "
            "which must have the same number of images each"
        )
    return texts, prompts


def _autoencoder_key(autoencoder: Path | None) -> list[str]:
    """The key of the dataset's autoencoder; for another that was named, its name."""
    if autoencoder is None:
        return []
    return [recorded_key(autoencoder) if (autoencoder / RECORD).is_file() else str(autoencoder)]


def _batch(job: Job) -> int:
    """Images at a time, at most a shard's."""
    from dimr.sampling.folder import SHARD_SIZE

    return min(job.options.batch or BATCH, SHARD_SIZE, job.config.count)


def _open_sampler(job: Job, code: str, prompts: Any) -> tuple[Any, dict[str, Any], str]:
    """What draws the images, the engine's options, and the key of everything that decides them."""
    from dimr.sampling.engine import SamplingEngine
    from dimr.sampling.fingerprint import work_key
    from dimr.sampling.sampler import open_sampler

    options = job.options
    sampler, evaluator = open_sampler(
        options.model,
        job.config,
        autoencoder=options.autoencoder,
        engine=SamplingEngine(options.compile, options.precision),
        batch=_batch(job),
        device=job.device,
        prompts=prompts,
    )
    engine, decoder = evaluator.engine.facts(), cast(Any, sampler.decode)
    key = job.key
    if prompts is not None:
        key = key_of(key, sha256(options.captions / "manifest.json"))
    decided_by = work_key(key, evaluator.network, sampler.config, decoder, code, engine)
    return sampler, engine, decided_by


def _fill(job: Job, work: Any, sampler: Any) -> None:
    import torch

    from dimr.sampling.folder import fill

    batch = _batch(job)
    try:
        fill(work, sampler.draw, batch, job.options.shard)
    except torch.OutOfMemoryError:
        raise DimrError(
            f"{sampler.device}: too little memory for {batch} images at a time: "
            "the same command with a smaller --batch resumes"
        ) from None
