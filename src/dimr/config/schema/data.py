"""Sections about datasets: where images come from, and each step that prepares them."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from dimr.config.schema.base import Batch, ConfigModel, Count, Positive, PositiveFloat, Seed

Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Channels = Annotated[int, Field(gt=0, le=1024)]
ImageSize = Annotated[int, Field(gt=0, le=4096)]
"""Pixels of a side."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Source(ConfigModel):
    """A labelled set of image files, as it is published (``experiments/sources.yaml``).

    ``classes`` are numbered by their sorted WordNet ids. ``images`` is how many there are, with the
    ``known_bad``: names of files that do not decode and are left out. ``md5`` is of official
    archives by file name; ``repo`` is where the hub has the set as parquet.
    """

    classes: Annotated[int, Field(gt=0, le=10**6)]
    images: Positive
    gigabytes: PositiveFloat  # of the image files together, for the estimate of disk space
    repo: str | None = None
    md5: dict[str, Md5] = {}
    known_bad: tuple[str, ...] = ()
    # ignore: images are used as they are stored, as ADM does. A file that applies does not name it.
    exif_orientation: Literal["apply", "ignore"] = Field(
        default="apply", exclude_if=lambda value: value == "apply"
    )


class Images(ConfigModel):
    """Raw images: where from, side in pixels, and the split into training and held-out images."""

    source: Literal["digits"]
    image_size: Annotated[int, Field(gt=0, le=512)]
    train_per_class: Count
    split_seed: Seed


class Autoencoder(ConfigModel):
    """How the small autoencoder is trained: widths, steps, images per step, peak learning rate."""

    kind: Literal["trained"]
    channels: Annotated[
        tuple[Annotated[int, Field(gt=0, le=1024)], ...], Field(min_length=1, max_length=8)
    ]
    steps: Positive
    batch: Batch
    lr: PositiveFloat
    seed: Seed


class Pretrained(ConfigModel):
    """A diffusers autoencoder of the hub (``owner/name``), or in a folder, at a commit."""

    kind: Literal["pretrained"]
    repo: str
    revision: str | None = None  # null: its newest


class Identity(ConfigModel):
    """No autoencoder: the network sees pixels in [-1, 1], of one channel where all are equal."""

    kind: Literal["identity"]
    channels: Literal[1, 3]


AUTOENCODERS: dict[str, type[ConfigModel]] = {
    "trained": Autoencoder,
    "pretrained": Pretrained,
    "identity": Identity,
}
"""The section of an autoencoder by its kind."""


class Latents(ConfigModel):
    """How latents are stored: images per shard."""

    shard_size: Count


class SourceLatents(Latents):
    """Latents of a source's images: side of the centre crop, mirror images too, arithmetic."""

    image_size: ImageSize
    mirror: bool
    dtype: Literal["float32", "float16", "bfloat16"]  # of the autoencoder


class Reference(ConfigModel):
    """What metrics compare with: an ADM reference batch, by its file's name.

    ``sha256`` pins the file; null: whatever lies there under that name.
    """

    file: str
    sha256: Sha256 | None = None


class ReferenceConfig(Reference):
    """``config/reference.yaml``: the batch, and the side of the images that it must hold."""

    image_size: ImageSize


class Classifier(ConfigModel):
    """Training of the digit classifier: steps, images per step, peak learning rate."""

    steps: Positive
    batch: Batch
    lr: PositiveFloat
    seed: Seed


class DigitsData(ConfigModel):
    """How the digits are prepared, one section per stage."""

    images: Images
    autoencoder: Annotated[Autoencoder | Identity, Field(discriminator="kind")]
    latents: Latents
    classifier: Classifier

    def phases(self) -> dict[str, ConfigModel]:
        """Configuration of each stage by name."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class SourceData(ConfigModel):
    """How a dataset is made from a source's images (``source`` names it in sources.yaml)."""

    source: str
    autoencoder: Annotated[Pretrained | Identity, Field(discriminator="kind")]
    latents: SourceLatents
    reference: Reference

    def phases(self) -> dict[str, ConfigModel]:
        """Configuration of each stage by name."""
        size = self.latents.image_size
        return {
            "autoencoder": self.autoencoder,
            "latents": self.latents,
            "reference": ReferenceConfig(**self.reference.model_dump(), image_size=size),
        }


def _data_kind(value: Any) -> str:
    named = value.get("source") if isinstance(value, dict) else getattr(value, "source", None)
    return "[digits]" if named is None else "[source]"


Data = Annotated[
    Annotated[DigitsData, Tag("[digits]")] | Annotated[SourceData, Tag("[source]")],
    Discriminator(_data_kind),
]
