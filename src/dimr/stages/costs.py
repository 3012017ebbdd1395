"""What a stage computes and stores: FLOP, images and bytes, from the configuration.

A multiply-accumulate (MAC) is 2 FLOP. Training takes the equivalent of 3 forward passes (forward,
and twice as much backward), sampling one pass per evaluation, or two with guidance. Networks and
the autoencoder are counted on the meta device (``dimr.models.complexity``).
"""

import functools
import json
from dataclasses import dataclass
from typing import Any

from dimr.config.runs import Run
from dimr.config.schema import (
    DigitPairs,
    ImagesData,
    NetworkConfig,
    PretrainedText,
    Recipe,
    Step,
)
from dimr.runtime.files import read_json
from dimr.stages.stage import Target

INCEPTION_MACS = 5_713_232_480
"""MACs of torch-fidelity's ``inception-v3-compat`` per image, up to the logits (a test counts)."""
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
"""Stable Diffusion's autoencoder (83.65M parameters), assumed if a published one is unavailable."""
TEXT_MODELS = {"clip": (12, 49_408), "t5": (24, 32_128)}
"""Layers and vocabulary sizes of the usual text models: CLIP ViT-L/14, a large T5."""
TRAINING_BYTES = 2 * 4 * 4
"""Bytes per parameter in the state of training: the two newest checkpoints, each with weights, EMA
and AdamW's two moments in float32."""


@dataclass(frozen=True)
class Cost:
    """What a target of the workflow takes.

    Attributes:
        stage: what is done: ``train``, ``sample``, ...
        of: the run, dataset or file.
        setting: of guidance, if there is one.
        kind: ``of`` as benchmarks name it (``Target.kind``).
        resource: the step of the recipe's resources; None: a short stage, or one that waits for a
            network or a disk.
        flops: what is computed.
        images: number of images processed.
        disk: bytes that remain.
        gpus: in all nodes, as the recipe says; 0: a CPU.
        nothing: there is nothing to compute, and the stage ends at once.
        digits: its short stages take the known times of the digits.
        assumed: phrases about what was taken for granted.
    """

    stage: str
    of: str
    setting: str = ""
    kind: str = ""
    resource: Step | None = None
    flops: int = 0
    images: int = 0
    disk: int = 0
    gpus: int = 0
    nothing: bool = False
    digits: bool = False
    assumed: tuple[str, ...] = ()


def image_bytes(recipe: Recipe) -> int:
    """Bytes of an image in uint8 with three channels."""
    return 3 * recipe.data.image_size**2


def gpus(recipe: Recipe, step: Step) -> int:
    """GPUs of a step in all nodes."""
    given = recipe.resources.get(step)
    return given.nodes * given.gpus if given else 0


def count_network(run: Run) -> tuple[int, int]:
    """Parameters of a run's network, and MACs of one image and one pass."""
    return _counted(run.network) if run.network else (0, 0)


@functools.cache
def _counted(network: NetworkConfig) -> tuple[int, int]:
    """Once for all stages, guidance settings and seeds of a network: it takes a second."""
    from dimr.models.complexity import complexity

    counted = complexity(network.sizes)
    return counted.parameters, counted.macs


@dataclass(frozen=True)
class AutoencoderCost:
    """Parameters, and MACs of encoding and of decoding one image."""

    parameters: int
    encode: int
    decode: int
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextCost:
    """Parameters, and MACs of embedding one text; both 0 for the encoder of words."""

    parameters: int = 0
    macs: int = 0
    assumed: tuple[str, ...] = ()


def count_text_encoder(target: Target) -> TextCost:
    """Costs of a published text model, by its width: each layer has 12 width^2 parameters.

    The numbers of layers and words are from config.json in the dataset's folder or the one that the
    recipe names; if neither is available, those of the usual models.
    """
    encoder = target.recipe.data.text_encoder
    if not isinstance(encoder, PretrainedText):
        return TextCost()
    root = target.project.root
    assumed: tuple[str, ...] = ()
    layers, words = TEXT_MODELS[encoder.kind]
    published = root / encoder.repo / (encoder.subfolder or "")
    for folder in (root / target.data / "text_encoder", published):
        if (folder / "config.json").is_file():
            config = read_json(folder / "config.json")
            config = config.get("text_config") or config
            layers = config.get("num_hidden_layers") or config.get("num_layers") or layers
            words = config.get("vocab_size", words)
            break
    else:
        assumed = (f"{encoder.repo} has {layers} layers (it is not available here)",)
    weights = 12 * layers * encoder.width**2
    return TextCost(weights + words * encoder.width, weights * encoder.tokens, assumed)


@dataclass(frozen=True)
class CaptionCount:
    """Distinct captions of a dataset."""

    count: int
    assumed: tuple[str, ...] = ()


def count_captions(target: Target) -> CaptionCount:
    """Distinct captions: those of its images, if available; else all of its source's."""
    from dimr.data.digit_pairs import MEANING
    from dimr.data.text.image_captions import CAPTIONS, read_image_captions

    project, data = target.project, target.recipe.data
    folder = project.root / target.images
    if (folder / CAPTIONS).is_file():
        return CaptionCount(len({"", *read_image_captions(folder).texts()}))
    if isinstance(data, ImagesData) and isinstance(data.images, DigitPairs):
        return CaptionCount(1 + len(MEANING))
    assert data.source_name is not None, target.dataset
    said = "no two captions are the same (the images are not made yet)"
    return CaptionCount(project.source(data.source_name).captions or 0, (said,))


def count_autoencoder(target: Target) -> AutoencoderCost:
    """Costs of a published autoencoder on the dataset's images.

    Its configuration is from the dataset's folder or the folder that the recipe names; if neither
    is available, Stable Diffusion's is assumed, which is reported.
    """
    root, recipe = target.project.root, target.recipe
    repo = getattr(recipe.data.autoencoder, "repo", "")
    for folder in (root / target.data / "autoencoder", root / repo):
        if (folder / "config.json").is_file():
            config = json.dumps(read_json(folder / "config.json"))
            return _count_autoencoder(config, recipe.data.image_size)
    counted = _count_autoencoder(json.dumps(SD_AUTOENCODER), recipe.data.image_size)
    said = f"{repo} has the shape of Stable Diffusion's autoencoder (it is not available here)"
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
