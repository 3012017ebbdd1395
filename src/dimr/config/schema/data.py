"""Sections about datasets: where images come from, and each step that prepares them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from dimr.config.schema.base import (
    Batch,
    ConfigModel,
    Count,
    NumClasses,
    Positive,
    PositiveFloat,
    Seed,
)
from dimr.config.schema.text import AnyTextEncoder, Captions

Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Channels = Annotated[int, Field(gt=0, le=1024)]
ImageSize = Annotated[int, Field(gt=0, le=4096)]
"""Pixels of a side."""
ClassName = Annotated[str, Field(min_length=1, max_length=200)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Source(ConfigModel):
    """A set of image files (``experiments/sources.yaml``): a published one, or one's own.

    A published set has a number of ``classes``, in the order of their sorted WordNet ids; ``md5``
    is of official archives by file name; ``repo`` is where the hub has the set as parquet. A set of
    one's own (``dimr dataset new``) has the number of images by name of the class, in the order of
    the labels, a ``sha256`` of its content, and the ``folder`` where it was looked at, which is no
    part of what it is. ``images`` is how many there are, with the ``known_bad``: names of files
    that do not decode and are left out.

    A set with ``captions`` has their number, and in place of classes its parts: ``captioned``, or
    ``train`` and ``val`` where the set itself holds images out. A published one of these has no
    ``sha256``; it is known by its numbers.
    """

    classes: NumClasses | Annotated[dict[ClassName, Positive], Field(min_length=1)]
    images: Positive
    gigabytes: PositiveFloat  # of the image files together, for the estimate of disk space
    folder: str | None = Field(default=None, exclude=True)
    sha256: Sha256 | None = Field(default=None, exclude_if=lambda value: value is None)
    captions: Positive | None = Field(default=None, exclude_if=lambda value: value is None)
    repo: str | None = None
    md5: dict[str, Md5] = {}
    known_bad: tuple[str, ...] = ()
    # ignore: images are used as stored, as in ADM. A file with ``apply`` omits the key.
    exif_orientation: Literal["apply", "ignore"] = Field(
        default="apply", exclude_if=lambda value: value == "apply"
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if isinstance(self.classes, dict):
            if (found := sum(self.classes.values())) != self.images:
                raise ValueError(f"images: {self.images}; classes have {found}")
            if self.sha256 is None and (self.captions is None or self.folder is not None):
                raise ValueError("a set whose classes have names has a sha256: dimr dataset new")
        if self.captions is not None:
            if isinstance(self.classes, int):
                raise ValueError("captions: in place of classes there are parts by name, as val: 9")
            if self.captions < self.images:
                raise ValueError(f"captions: {self.captions} for {self.images} images")
        return self

    @property
    def num_classes(self) -> int:
        """How many classes there are in the store; for a set with captions, parts."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of one's own classes, by label; none for a published set: WordNet has them."""
        return () if isinstance(self.classes, int) else tuple(self.classes)


class Digits(ConfigModel):
    """scikit-learn's digits: side in pixels, and the split into training and held-out images.

    ``validation_per_class`` of those that train nothing are what a recipe's trials compare with:
    no result does.
    """

    CLASSES: ClassVar = 10
    IMAGES: ClassVar = 1797

    source: Literal["digits"]
    image_size: Annotated[int, Field(gt=0, le=512)]
    train_per_class: Count
    # Omitted from the file if 0: images without such a split keep their key.
    validation_per_class: Annotated[int, Field(ge=0)] = Field(
        default=0, exclude_if=lambda value: not value
    )
    split_seed: Seed

    def counts(self) -> tuple[int, int]:
        """Numbers of training and of held-out images; the others are for validation."""
        training = self.train_per_class * self.CLASSES
        return training, self.IMAGES - training - self.validation_per_class * self.CLASSES


class DigitPairs(ConfigModel):
    """Pictures of two of scikit-learn's digits beside or above each other, and what they show.

    Of the 200 combinations (two digits and how they lie) ``heldout_combinations`` are in no
    training picture. The others have ``train_each`` training pictures each, of the digits that
    ``Digits`` trains on (``train_per_class`` of each class, by ``split_seed``); all 200 have
    ``heldout_each`` pictures of the other digits, which train nothing.
    """

    COMBINATIONS: ClassVar = 200

    source: Literal["digit-pairs"]
    image_size: Annotated[int, Field(ge=32, le=512, multiple_of=2)]
    train_per_class: Count
    train_each: Count
    heldout_each: Count
    heldout_combinations: Annotated[int, Field(gt=0, le=100)]
    split_seed: Seed

    def counts(self) -> tuple[int, int]:
        """Numbers of training and of held-out images."""
        seen = self.COMBINATIONS - self.heldout_combinations
        return seen * self.train_each, self.COMBINATIONS * self.heldout_each


class Images(ConfigModel):
    """Images of one's own: the source, side of the centre crop, and the split.

    ``heldout`` is the share of each class that trains nothing, at least one image; or ``val``: the
    images that a set with captions itself holds out. Which ones, and the order of all, is drawn by
    ``split_seed``.
    """

    OWN_SPLIT: ClassVar = "val"

    source: str  # of sources.yaml
    image_size: Annotated[int, Field(gt=0, le=512)]
    heldout: Annotated[float, Field(gt=0, le=0.9)] | Literal["val"]
    split_seed: Seed

    def heldout_of(self, images: int, name: str = "") -> int:
        """How many of the images of a class of that name are held out.

        With a share, at least one image is left to train on.
        """
        if isinstance(self.heldout, str):
            return images if name == self.heldout else 0
        return max(1, min(images - 1, round(self.heldout * images)))

    def counts(self, classes: Mapping[str, int]) -> tuple[int, int]:
        """Numbers of training and of held-out images, given the classes' numbers by name."""
        heldout = sum(self.heldout_of(images, name) for name, images in classes.items())
        return sum(classes.values()) - heldout, heldout


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
    """How latents are stored: images per shard; with ``mirror`` the mirror images too."""

    shard_size: Count
    # Omitted from the file if false: what was encoded before keeps its key.
    mirror: bool = Field(default=False, exclude_if=lambda value: not value)


class SourceLatents(ConfigModel):
    """Latents of a source's images: side of the centre crop, mirror images too, arithmetic."""

    shard_size: Count
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


LEAST_CLASSIFIED = 16
"""Least side, in pixels, that a dataset's own classifier takes."""


class Classifier(ConfigModel):
    """Training of a dataset's own classifier: steps, images per step, peak learning rate."""

    steps: Positive
    batch: Batch
    lr: PositiveFloat
    seed: Seed


EMBEDDED: dict[str, type[Digits] | type[DigitPairs]] = {
    "digits": Digits,
    "digit-pairs": DigitPairs,
}
"""The section of images that the package makes itself, by the name of their source."""


def _images_kind(value: Any) -> str:
    named = value.get("source") if isinstance(value, dict) else getattr(value, "source", None)
    return f"[{named}]" if named in EMBEDDED else "[images]"


AnyImages = Annotated[
    Annotated[Digits, Tag("[digits]")]
    | Annotated[DigitPairs, Tag("[digit-pairs]")]
    | Annotated[Images, Tag("[images]")],
    Discriminator(_images_kind),
]


class ImagesData(ConfigModel):
    """How a dataset is prepared whose images, cropped, are two arrays: training and held-out.

    The digits, and images of one's own. Everything that metrics need comes from the set itself, but
    Inception's weights. With a ``text_encoder`` networks learn from the images' captions, in place
    of classes.
    """

    images: AnyImages
    autoencoder: Annotated[Autoencoder | Pretrained | Identity, Field(discriminator="kind")]
    latents: Latents
    classifier: Classifier | None = None  # null: metrics do not need one
    text_encoder: AnyTextEncoder | None = None  # null: classes
    captions: Captions | None = None

    @model_validator(mode="after")
    def _captions_are_encoded(self) -> Self:
        if (self.text_encoder is None) != (self.captions is None):
            raise ValueError("text_encoder and captions: a dataset has both or neither")
        return self

    @property
    def source_name(self) -> str | None:
        """The source in sources.yaml; None: the digits, which are embedded."""
        return self.images.source if isinstance(self.images, Images) else None

    @property
    def image_size(self) -> int:
        """Side of the images that are drawn and compared, in pixels."""
        return self.images.image_size

    def phases(self) -> dict[str, ConfigModel]:
        """Configuration of each stage by name."""
        sections = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: section for name, section in sections.items() if section is not None}


class SourceData(ConfigModel):
    """How a dataset of ImageNet's size is made from a source's images, shard by shard.

    Metrics compare with ADM's reference batch. Networks learn classes.
    """

    text_encoder: ClassVar = None

    source: str  # of sources.yaml
    autoencoder: Annotated[Pretrained | Identity, Field(discriminator="kind")]
    latents: SourceLatents
    reference: Reference

    @property
    def source_name(self) -> str:
        """As in ``ImagesData``."""
        return self.source

    @property
    def image_size(self) -> int:
        """Likewise."""
        return self.latents.image_size

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
    return "[images]" if named is None else "[source]"


Data = Annotated[
    Annotated[ImagesData, Tag("[images]")] | Annotated[SourceData, Tag("[source]")],
    Discriminator(_data_kind),
]
