"""A recipe for a set of one's own images: every choice with its reason.

The choices follow from the number of images, their size and colours, and from whether
Inception's weights are available. People read them in recipes.yaml, and change them there.
"""

from dataclasses import dataclass
from typing import Any

from dimr.config.schema import Images
from dimr.config.variants import Variant
from dimr.data.own.look import Found
from dimr.data.own.text_encoder import choose_encoder
from dimr.models.sizes import FAMILIES
from dimr.runtime.errors import DimrError

SIZES = (16, 32, 64, 128, 256, 512)
"""Sides that images are cropped to, in pixels."""
PIXELS_UP_TO = 64
"""Larger images are trained on as latents of a published autoencoder; smaller ones, on a CPU, as
latents of the set's own autoencoder."""
AUTOENCODER = "stabilityai/sd-vae-ft-ema"
FACTOR, LATENT_CHANNELS = 8, 4
"""Pixels of a side for each value of a latent's, and its channels."""
TRAINED: dict[str, Any] = {
    "kind": "trained", "channels": [16, 32, 32], "steps": 500, "batch": 16, "lr": 3.0e-3, "seed": 0,
}  # fmt: skip
"""The autoencoder of a small set, as for the digits."""
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
"""torch-fidelity's file, as the ImageNet recipes name it."""
HELD_OUT, HELD_OUT_OF_FEW = 0.2, 0.5
"""Share of the images that metrics compare with; and if a fifth would be only one image."""
LEAST = 2
"""Images to train on, and held out: with fewer, nothing can be measured."""


@dataclass(frozen=True)
class Tier:
    """How sets of up to ``images`` images are trained: which size of network, and how long.

    ``samples`` is the most that are drawn for metrics, ``evaluations`` the network's evaluations.
    """

    images: float
    size: str
    train: dict[str, Any]
    samples: int
    evaluations: int
    gpus: int
    told: str


def _train(steps: int, batch: int, lr: float, **others: Any) -> dict[str, Any]:
    """Settings of training in the order of the recipes; ``others`` replace the usual ones."""
    usual = {
        "betas": [0.99, 0.99], "weight_decay": 0.03, "warmup_steps": steps // 50,
        "ema_decay": 0.9999, "label_dropout": 0.1, "objective": "noise", "grad_clip": None,
        "compile": True, "log_every": 100,
    }  # fmt: skip
    return {"steps": steps, "batch": batch, "lr": lr, **usual, **others}


TIERS = (
    Tier(2_000, "xs", _train(1_500, 16, 4.0e-3, betas=[0.9, 0.99], warmup_steps=100,
                             ema_decay=0.995, log_every=50),
         1_000, 25, 0, "the smallest network, minutes on a CPU; train.steps: more is better"),
    Tier(20_000, "s", _train(50_000, 128, 5.0e-4, betas=[0.9, 0.99]),
         10_000, 50, 1, "a small network, hours on a GPU"),
    Tier(200_000, "m", _train(200_000, 256, 3.0e-4),
         50_000, 50, 1, "a network of the paper's ablation, days on a GPU"),
    Tier(float("inf"), "xl", _train(300_000, 1024, 2.0e-4),
         50_000, 250, 8, "the paper's network"),
)  # fmt: skip
"""By the number of training images, the smallest sets first."""


@dataclass(frozen=True)
class Wishes:
    """What the user said; None: it is chosen.

    Attributes:
        size: side of the crop, in pixels.
        unconditional: whether to learn neither labels nor captions.
        pixels: whether even a small set is trained on without an autoencoder.
        mirror: whether mirror images are trained on, too.
        metrics: ``inception`` or ``classifier``.
        network: a variant of variants.yaml.
        text_encoder: ``words`` or ``clip``.
    """

    size: int | None = None
    unconditional: bool = False
    pixels: bool = False
    mirror: bool = False
    metrics: str | None = None
    network: Variant | None = None
    text_encoder: str | None = None


@dataclass(frozen=True)
class Choice:
    """A recipe, and the reasons for it.

    Attributes:
        recipe: the section of recipes.yaml.
        network: name of the variant in the dataset's table.
        reasons: (what, value, why) for a person, in order.
    """

    recipe: dict[str, Any]
    network: str
    reasons: tuple[tuple[str, str, str], ...]


class Reasons:
    """What was chosen, for a person."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def add(self, what: str, value: str, why: str) -> None:
        """One choice."""
        self.lines.append((what, value, why))


def choose(name: str, found: Found, wishes: Wishes, has_inception: bool) -> Choice:
    """The recipe of a set.

    Args:
        name: of the source, and of the dataset.
        found: what is in it.
        wishes: what the user said.
        has_inception: whether Inception's weights are available here.

    Raises:
        DimrError: a size that is not one of ``SIZES``; too few images; an encoder of captions, or a
            network without text, that does not fit them.
    """
    said = Reasons()
    encoder = None
    if wishes.unconditional and wishes.text_encoder:
        raise DimrError("--text-encoder: with --unconditional captions are not learned")
    if not wishes.unconditional:
        encoder, reasons = choose_encoder(found, wishes.text_encoder, wishes.network)
        said.lines += reasons
    side = _side(found, wishes, said)
    split = _split(name, side, found)
    training, heldout = split.counts(found.classes)
    shared = "as the dataset itself defines it"
    if isinstance(split.heldout, float):
        shared = f"{split.heldout:.0%}" + " of each class, one at least" * (not found.captions)
    said.add(
        "split",
        f"{training:,} to train on, {heldout:,} held out",
        f"{shared}; metrics compare with them",
    )
    tier = next(one for one in TIERS if training * (1 + wishes.mirror) <= one.images)
    autoencoder, width, channels = _input(side, found, tier, wishes, said)
    pixels = autoencoder["kind"] == "identity"
    learned = {} if encoder else {"num_classes": 1 if found.captions else len(found.classes)}
    network = _network(width, channels, pixels, learned, wishes, said)
    if wishes.network is None:
        model, why = f"dimr-{tier.size}-{network['branches']}r", tier.told
        said.add("network", model, f"{training:,} training images: {why}")
    else:
        model = wishes.network.name
        said.add("network", model, "as requested")
    data: dict[str, Any] = {
        "images": split.model_dump(mode="json"),
        "autoencoder": autoencoder,
        "latents": {"shard_size": max(100, min(10_000, (1 << 26) // side**2))},
    }
    if wishes.mirror:
        data["latents"]["mirror"] = True
        said.add("mirror", "yes", "each image is also trained on mirrored")
    if encoder:
        data.update(text_encoder=encoder, captions={"shard_size": 1_000})
    classes = network.get("num_classes", 0)
    conditional = classes != 1 and not wishes.unconditional
    train = dict(tier.train)
    sample = _sample(classes, training, heldout, tier, wishes, said)
    if not conditional:
        train["label_dropout"] = 1.0 if wishes.unconditional else 0.0
    evaluate = _evaluate(sample["count"], heldout, wishes, has_inception, said)
    if evaluate["extractor"] == "classifier":
        data["classifier"] = {"steps": 300, "batch": min(100, training), "lr": 3.0e-3, "seed": 0}
    resources = {step: {"gpus": tier.gpus} for step in ("encode", "train", "sample", "evaluate")}
    recipe = {
        "network": network, "data": data, "train": train, "sample": sample, "evaluate": evaluate,
        **({"resources": resources} if tier.gpus else {}),
    }  # fmt: skip
    return Choice(recipe, model, tuple(said.lines))


def _split(name: str, side: int, found: Found) -> Images:
    """What is held out; ``DimrError`` for images that are too few to split."""
    own: tuple[Any, ...] = (Images.OWN_SPLIT,)
    is_split = found.captions is not None and Images.OWN_SPLIT in found.classes
    for held in own if is_split else (HELD_OUT, HELD_OUT_OF_FEW):
        split = Images(source=name, image_size=side, heldout=held, split_seed=0)
        if min(split.counts(found.classes)) >= LEAST:
            return split
    raise DimrError(
        f"{found.folder}: {found.images} images are too few: {LEAST} must be held out, and as many "
        "left to train on"
    )


def _side(found: Found, wishes: Wishes, said: Reasons) -> int:
    """The side of the crop."""
    fitting = [side for side in SIZES if side <= found.least_side]
    most = 256 if found.images > TIERS[1].images else PIXELS_UP_TO
    if wishes.size is not None:
        side = wishes.size
        if side not in SIZES:
            raise DimrError(f"--size: {side} is not allowed ({', '.join(map(str, SIZES))})")
        why = f"as requested; the smallest image's shorter side has {found.least_side} pixels"
        if side > found.least_side:
            why += ", so some are enlarged"
    else:
        side = max([one for one in fitting if one <= most], default=SIZES[0])
        why = f"the smallest image's shorter side has {found.least_side} pixels; --size changes it"
    said.add("size", f"{side} x {side}", f"centre crop; {why}")
    return side


def _input(
    side: int, found: Found, tier: Tier, wishes: Wishes, said: Reasons
) -> tuple[dict[str, Any], int, int]:
    """The autoencoder, and the side and the channels of what networks see."""
    autoencoder: dict[str, Any]
    if side > PIXELS_UP_TO:
        factor = FACTOR
        autoencoder = {"kind": "pretrained", "repo": AUTOENCODER}
        why = f"{AUTOENCODER}: downloaded at the first use, or name a folder"
    elif tier.gpus == 0 and side > SIZES[0] and not wishes.pixels:
        factor = 2 ** (len(TRAINED["channels"]) - 1)
        autoencoder = TRAINED
        why = "a small autoencoder, trained on the set: ten times as fast on a CPU; or --pixels"
    else:
        channels = 1 if found.is_grey else 3
        colours = "all images are grey" if found.is_grey else "colours"
        why = f"{colours}; up to {PIXELS_UP_TO} pixels no autoencoder is needed"
        said.add("input", f"pixels, {channels} channel{'s' * (channels > 1)}", why)
        return {"kind": "identity", "channels": channels}, side, channels
    width = side // factor
    said.add("input", f"latents {LATENT_CHANNELS} x {width} x {width}", why)
    return autoencoder, width, LATENT_CHANNELS


def _network(
    width: int,
    channels: int,
    pixels: bool,
    learned: dict[str, int],
    wishes: Wishes,
    said: Reasons,
) -> dict[str, Any]:
    """What networks need to know of their input; ``learned`` is the number of classes, if any."""
    # As in the paper: 3 for 64 and 512, 2 for 256; the lowest branch has 8 x 8 to 16 x 16 places.
    branches = 3 if width >= 64 or (pixels and width >= 32) else 2
    patch = 4 if pixels and width >= 32 else 2
    asked = wishes.network
    if asked is None:
        said.add("branches", str(branches), f"of inputs {width} x {width}, as in the paper")
    elif FAMILIES[asked.family].has_patch():
        patch = asked.number
    else:
        branches = asked.number
    kind = "pixel" if pixels else "latent"
    return {
        "branches": branches,
        "patches": {"any": [patch]},
        "input_size": width,
        "channels": channels,
        **learned,
        "time_map": kind,
        "schedule": kind,
    }


def _sample(
    classes: int, training: int, heldout: int, tier: Tier, wishes: Wishes, said: Reasons
) -> dict[str, Any]:
    """How many images are drawn, and with which guidance; 0 classes: a prompt per held-out one."""
    most = min(training, tier.samples)
    each = classes or min(heldout, most)
    count = max(each, most // each * each)
    of = "equally many of each class" if classes else "of captions of held-out images in turn"
    said.add("samples", f"{count:,}", f"{of}; as many real images and reconstructions")
    settings: dict[str, dict[str, Any]] = {"unguided": {"kind": "none"}}
    if wishes.unconditional:
        settings = {"unguided": {"kind": "unconditional"}}
        why = "labels are not learned, as requested"
    elif classes == 1:
        why = "one class: there is nothing to guide to"
    elif not classes:
        settings["guided"] = {"kind": "constant", "scale": 1.0}
        why = "without and with classifier-free guidance, which is U-ViT's for text"
    else:
        settings["guided"] = {"kind": "constant", "scale": 0.7}
        why = "without and with classifier-free guidance"
    said.add("settings", ", ".join(settings), why)
    return {"count": count, "steps": tier.evaluations, "solver": "authors", "settings": settings}


def _evaluate(
    count: int,
    heldout: int,
    wishes: Wishes,
    has_inception: bool,
    said: Reasons,
) -> dict[str, Any]:
    """Which features metrics use."""
    inception = wishes.metrics == "inception" or (wishes.metrics is None and has_inception)
    if wishes.metrics:
        why = "as requested"
    else:
        state = "are" if inception else "are not"
        why = f"Inception's weights {state} available here (DIMR_EXTRACTOR)"
    own = "FID-own: features of the set's own classifier, never compared with an Inception FID"
    said.add(
        "metrics",
        "Inception" if inception else "own classifier",
        why if inception else f"{why}. {own}",
    )
    extractor: dict[str, Any] = (
        {"extractor": "inception-v3-compat", "weights": INCEPTION}
        if inception
        else {"extractor": "classifier"}
    )
    return {
        **extractor,
        "isc_splits": 10 if count >= 1_000 else 1,
        "prc_neighborhood": max(1, min(3, count - 1, heldout - 1)),
    }
