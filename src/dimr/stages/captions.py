"""``dimr captions``: the captions of a dataset's images, each embedded once."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from dimr.config.schema import Captions
from dimr.stages.job import Job
from dimr.stages.options import add_batch, add_device
from dimr.stages.stage import Input, Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost


class CaptionsStage(Stage):
    """Tokens of every distinct caption and prompt, shard by shard, which an interrupt keeps."""

    name = "captions"
    about = "embed the captions of the images to shards of tokens"
    phase = "captions"
    config = Captions
    inputs = (Input("images"), Input("text_encoder"))
    outputs: ClassVar = {"out": Output("captions", "data/{dataset}/captions")}
    resource = "encode"
    resumes = True

    def sources(self, target: Target) -> dict[str, str]:
        """The raw images, with their captions, and the encoder."""
        return {"images": target.images, "text_encoder": f"{target.data}/text_encoder"}

    def cost(self, target: Target) -> "Cost":
        """Tokens of every distinct caption in float16."""
        from dimr.stages.costs import count_captions, count_text_encoder, gpus

        encoder = target.recipe.data.text_encoder
        assert encoder is not None, target.dataset
        captions, counted = count_captions(target), count_text_encoder(target)
        return replace(
            super().cost(target),
            resource=self.resource,
            flops=2 * counted.macs * captions.count,
            disk=captions.count * encoder.tokens * encoder.width * 2,
            gpus=gpus(target.recipe, "encode") if counted.macs else 0,
            assumed=(*captions.assumed, *counted.assumed),
        )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """How it is computed."""
        add_device(parser)
        add_batch(parser, "texts")

    def work(self, job: Job) -> None:
        """Write the folder."""
        from dimr.data.text.captions_work import write_captions
        from dimr.data.text.encoders import open_text_encoder
        from dimr.data.text.image_captions import read_image_captions

        options = job.options
        write_captions(
            options.out,
            open_text_encoder(options.text_encoder, job.device),
            read_image_captions(options.images),
            job.config.shard_size,
            job.key,
            code=job.code,
            batch=options.batch,
            add=lambda folder, made: job.seal(folder, made.checksums(), captions=made.count),
        )
