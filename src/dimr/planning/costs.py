"""What a job of the workflow computes and stores: FLOP, images and bytes, from the configuration.

A multiply-accumulate (MAC) is 2 FLOP. Training takes 3 forward passes' worth (forward, and twice as
much backward), sampling one pass an evaluation and two with guidance. Networks are counted on the
meta device (``dimr.models.complexity``), and so is the autoencoder.
"""

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dimr.config.recipes import load_recipe, load_source, training_images
from dimr.config.runs import Run, load_run
from dimr.config.schema import DigitsData, Pretrained, Recipe, SourceData, Step
from dimr.planning.jobs import Job
from dimr.runtime.files import read_json

INCEPTION_MACS = 5_713_232_480
"""Of torch-fidelity's ``inception-v3-compat`` for one image, up to the logits (a test counts)."""
INCEPTION_BYTES = 95_000_000  # its weights file
FEATURES = 2048  # of pool3, for precision and recall
REFERENCE_IMAGES = 10_000  # in an ADM reference batch

SD_AUTOENCODER: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
}
"""Stable Diffusion's autoencoder (83.65M parameters): taken for a published one not at hand."""

TRAINING_BYTES = 2 * 4 * 4
"""A parameter in the state of training: the two newest checkpoints, each with weights, EMA and
AdamW's two moments in float32."""


@dataclass(frozen=True)
class Work:
    """A job's share of a plan.

    Attributes:
        step: what is done: ``train``, ``sample``, ...
        of: the run, dataset or file; ``kind`` is that without seed, as benchmarks name it.
        setting: of guidance, where there is one.
        resource: the step of the recipe's resources; None: a short step, or one that waits for a
            network or a disk.
        flops: what is computed.
        images: images that go through.
        disk: bytes that are left behind.
        gpus: in all nodes, as the recipe says; 0: a CPU.
        digits: its short steps take the times that are known of the digits.
        nothing: there is nothing to compute, and the step is over at once.
        assumed: phrases about what was taken for granted.
    """

    step: str
    of: str
    setting: str = ""
    resource: Step | None = None
    flops: int = 0
    images: int = 0
    disk: int = 0
    gpus: int = 0
    digits: bool = False
    nothing: bool = False
    assumed: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``imagenet256/dimr-xl-2r`` of any of its seeds; a dataset is itself."""
        return "/".join(self.of.split("/")[:2])


def work_of(job: Job, root: Path) -> Work:
    """What a job computes and stores. Its first output says which step it is."""
    for pattern, find in PATTERNS:
        if found := re.fullmatch(pattern, job.outputs[0] if job.outputs else ""):
            return find(root, *found.groups())
    return Work(job.rule, ", ".join(job.outputs[:1]))


# --- datasets -------------------------------------------------------------------------------------


def _source(root: Path, name: str) -> Work:
    return Work("source", name, disk=round(load_source(name, root).gigabytes * 1e9))


def _extractor(_: Path, name: str) -> Work:
    return Work("extractor", name, disk=INCEPTION_BYTES)


def _data_step(root: Path, dataset: str, step: str) -> Work:
    recipe = load_recipe(dataset, root)
    if step == "latents":
        return _latents(root, dataset, recipe)
    if step == "reference":
        return Work(step, dataset, disk=REFERENCE_IMAGES * image_bytes(recipe))
    if step == "autoencoder" and isinstance(recipe.data.autoencoder, Pretrained):
        autoencoder = count_autoencoder(root, dataset, recipe)
        return Work(step, dataset, disk=4 * autoencoder.parameters, assumed=autoencoder.assumed)
    nothing = step == "autoencoder" and recipe.data.autoencoder.kind == "identity"
    return Work(step, dataset, digits=isinstance(recipe.data, DigitsData), nothing=nothing)


def _latents(root: Path, dataset: str, recipe: Recipe) -> Work:
    """Posterior moments in float16, twice the latent's channels; or pixels in uint8."""
    copies = 2 if isinstance(recipe.data, SourceData) and recipe.data.latents.mirror else 1
    images = copies * training_images(recipe, root)
    network = recipe.network
    values = network.channels * network.input_size**2
    digits, kind = isinstance(recipe.data, DigitsData), recipe.data.autoencoder.kind
    size = values if kind == "identity" else 2 * values * 2
    work = Work("latents", dataset, "", "encode", 0, images, images * size, digits=digits)
    if not isinstance(recipe.data.autoencoder, Pretrained):
        return work
    counted = count_autoencoder(root, dataset, recipe)
    flops, gpus = 2 * counted.encode * images, _gpus(recipe, "encode")
    return replace(work, flops=flops, gpus=gpus, assumed=counted.assumed)


def image_side(recipe: Recipe) -> int:
    """Of the images that are drawn and compared, in pixels."""
    data = recipe.data
    return data.latents.image_size if isinstance(data, SourceData) else data.images.image_size


def image_bytes(recipe: Recipe) -> int:
    """Of an image in uint8, three channels."""
    return 3 * image_side(recipe) ** 2


def _gpus(recipe: Recipe, step: Step) -> int:
    given = recipe.resources.get(step)
    return given.nodes * given.gpus if given else 0


# --- runs -----------------------------------------------------------------------------------------


def _model(root: Path, name: str) -> Work:
    run = load_run(name, root)
    parameters, macs = count_network(run)
    if run.weights:
        return Work("import", name, disk=4 * parameters)
    recipe = run.recipe
    images = recipe.train.steps * recipe.train.batch
    disk = (4 + TRAINING_BYTES) * parameters
    return Work("train", name, "", "train", 6 * macs * images, images, disk, _gpus(recipe, "train"))


def _samples(root: Path, name: str, setting: str) -> Work:
    """Shards of uint8 images, and the same again as one .npz."""
    run = load_run(name, root)
    recipe, sample = run.recipe, run.recipe.sample
    disk = 2 * sample.count * image_bytes(recipe)
    if run.network is None:
        return Work("baseline", name, setting, disk=disk, digits=True)
    asked = sample.settings[setting]
    passes = asked.passes * (asked.steps or sample.steps)
    flops, images = round(passes * 2 * count_network(run)[1]), sample.count
    gpus, assumed = _gpus(recipe, "sample"), tuple[str, ...]()
    if isinstance(recipe.data.autoencoder, Pretrained):
        autoencoder = count_autoencoder(root, run.dataset, recipe)
        flops, assumed = flops + 2 * autoencoder.decode, autoencoder.assumed
    work = Work("sample", name, setting, "sample", flops * images, images, disk, gpus)
    return replace(work, assumed=assumed)


def _metrics(root: Path, name: str, setting: str) -> Work:
    """Inception on the samples and the reference, and all pairs of their features."""
    recipe = load_run(name, root).recipe
    if recipe.evaluate.extractor == "digits":
        return Work("evaluate", name, setting, digits=True)
    images, others = recipe.sample.count, REFERENCE_IMAGES
    pairs = images**2 + others**2 + 2 * images * others
    flops = 2 * (INCEPTION_MACS * (images + others) + FEATURES * pairs)
    return Work("evaluate", name, setting, "evaluate", flops, images + others,
                gpus=_gpus(recipe, "evaluate"))  # fmt: skip


def _table(_: Path, name: str) -> Work:
    return Work("table", name, digits=True)


PATTERNS: list[tuple[str, Callable[..., Work]]] = [
    (r"data/([^/]+)/source", _source),
    (r"data/extractors/(.+)", _extractor),
    (r"data/([^/]+)/(images|autoencoder|latents|classifier|reference)", _data_step),
    (r"runs/(.+)/model", _model),
    (r"runs/(.+)/samples/(\w+)", _samples),
    (r"runs/(.+)/metrics/(\w+)\.json", _metrics),
    (r"(results/.+)\.\w+", _table),
]
"""Which step makes a file: by its place, whatever the rule is called."""


# --- counting -------------------------------------------------------------------------------------


def count_network(run: Run) -> tuple[int, int]:
    """Parameters, and MACs of one image and one pass, of a run's network."""
    if run.network is None:
        return 0, 0
    return _count_network(run.network.family, json.dumps(run.network.arguments()))


@functools.cache
def _count_network(family: str, arguments: str) -> tuple[int, int]:
    from dimr.models import FAMILIES, complexity

    counted = complexity(FAMILIES[family], json.loads(arguments))
    return counted.parameters, counted.macs


@dataclass(frozen=True)
class AutoencoderCost:
    """Parameters, and MACs of encoding and of decoding one image."""

    parameters: int
    encode: int
    decode: int
    assumed: tuple[str, ...] = ()


def count_autoencoder(root: Path, dataset: str, recipe: Recipe) -> AutoencoderCost:
    """Of a published autoencoder on the dataset's images.

    Its configuration is that of the dataset's folder or of the folder that the recipe names; where
    neither is at hand, that of Stable Diffusion's is taken, and it is said.
    """
    repo = getattr(recipe.data.autoencoder, "repo", "")
    for folder in (root / f"data/{dataset}/autoencoder", root / repo):
        if (folder / "config.json").is_file():
            config = json.dumps(read_json(folder / "config.json"))
            return _count_autoencoder(config, image_side(recipe))
    counted = _count_autoencoder(json.dumps(SD_AUTOENCODER), image_side(recipe))
    said = f"{repo} has the shape of Stable Diffusion's autoencoder (it is not at hand)"
    return AutoencoderCost(counted.parameters, counted.encode, counted.decode, (said,))


@functools.cache
def _count_autoencoder(config: str, side: int) -> AutoencoderCost:
    import torch
    from diffusers import AutoencoderKL  # slow to import
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = AutoencoderKL.from_config(json.loads(config))
        images = torch.empty(1, 3, side, side)
    with torch.no_grad(), FlopCounterMode(display=False) as encoding:
        latents = network.encode(images).latent_dist.mean
    with torch.no_grad(), FlopCounterMode(display=False) as decoding:
        network.decode(latents)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return AutoencoderCost(
        parameters, encoding.get_total_flops() // 2, decoding.get_total_flops() // 2
    )
