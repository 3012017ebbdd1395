"""What decides the images of a samples folder, down to the weights and the code.

A stage's key tells its configuration and its inputs' keys. A network that was trained again, or
code that was edited, has the same key and draws other images, so work that is resumed must know
more than the key.
"""

import hashlib
from typing import Any

import torch
from torch import nn

from dimr.config.schema import NetworkConfig
from dimr.data.autoencoder import Decoder
from dimr.runtime.files import key_of


def weights_fingerprint(module: nn.Module) -> str:
    """16 hex digits of a network's tensors: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def work_key(
    key: str,
    network: nn.Module,
    config: NetworkConfig,
    decoder: Decoder,
    code: str,
    engine: dict[str, Any],
) -> str:
    """Identifies everything that decides the images, except the device's rounding.

    Args:
        key: of the result.
        network: with the weights that will be used.
        config: of the network.
        decoder: makes images from its output.
        code: fingerprint of the sources that decide the images.
        engine: its facts, resolved: they decide the rounding, which should be the same throughout a
            folder that is made in pieces.
    """
    weights: list[Any] = [weights_fingerprint(network), config.model_dump(mode="json")]
    if decoder.vae is not None:
        weights += [weights_fingerprint(decoder.vae), decoder.facts]
    return key_of(key, *weights, code, engine)
