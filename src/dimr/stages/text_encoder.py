"""``dimr text-encoder``: the frozen encoder of a dataset's captions."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dimr.config.schema import TEXT_ENCODERS, ConfigModel, ImagesData, PretrainedText, Words
from dimr.config.validation import load_choice
from dimr.runtime.errors import DimrError
from dimr.stages.job import Job
from dimr.stages.stage import Input, Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost


class TextEncoderStage(Stage):
    """Words and their vocabulary, or a published text model, kept for machines without network."""

    name = "text_encoder"
    about = "fetch the frozen encoder of captions (or list the words of the captions)"
    phase = "text_encoder"
    config = ConfigModel
    inputs = (Input("images", "whose captions have the words that are known", required=False),)
    outputs: ClassVar = {"out": Output("text encoder", "data/{dataset}/text_encoder")}
    command = "text-encoder"
    is_short = True

    def sources(self, target: Target) -> dict[str, str]:
        """Images for the encoder of words, which knows the words of their captions."""
        data = target.recipe.data
        knows = isinstance(data, ImagesData) and isinstance(data.text_encoder, Words)
        return {"images": target.images} if knows else {}

    def cost(self, target: Target) -> "Cost":
        """A published one takes disk."""
        from dimr.stages.costs import count_text_encoder

        counted = count_text_encoder(target)
        return replace(super().cost(target), disk=4 * counted.parameters, assumed=counted.assumed)

    def load(self, path: Path) -> Any:
        """The configuration of whichever kind."""
        return load_choice(TEXT_ENCODERS, path, "kind")

    def work(self, job: Job) -> None:
        """Write the folder."""
        from dimr.data.text.encoders import DESCRIPTION
        from dimr.runtime.files import write_json

        config, images = job.config, job.options.images
        if isinstance(config, Words) and images is None:
            raise DimrError("--images: is needed, for the words of their captions")
        with job.result() as result:
            if isinstance(config, PretrainedText):
                from dimr.data.text.pretrained import fetch_pretrained, save_pretrained

                encoder = fetch_pretrained(config)
                save_pretrained(encoder, result.folder)
                description = encoder.description
            else:
                from dimr.data.text.image_captions import read_image_captions
                from dimr.data.text.words import describe

                description = describe(config, read_image_captions(images).texts())
            write_json(result.folder / DESCRIPTION, description)
            result.facts = {k: v for k, v in description.items() if k != "vocabulary"}
