"""A run's model folder, opened for sampling: network, autoencoder, and what its run recorded."""

from pathlib import Path
from typing import Any

from dimr.checkpoints.model_folder import CLASS_NAMES, read_class_names, read_model
from dimr.config.schema import NetworkConfig
from dimr.data.autoencoder import Decoder, load_decoder
from dimr.data.beside import recorded_config, result_beside
from dimr.data.classes import class_names
from dimr.models import Network
from dimr.models.sizes import PIXEL_CHANNELS
from dimr.runtime.errors import DimrError

DIT_GUIDED_CHANNELS = 3
"""Published DiTs guide only this many of their four noise channels."""


def load_network(folder: Path) -> tuple[Network, NetworkConfig]:
    """The network of a run's ``model/`` folder, float32, in evaluation mode, and its config.json.

    Raises:
        DimrError: a missing or damaged file, or weights of another network (names the tensor).
    """
    network, config = read_model(folder)
    return network.float().eval(), config  # imported weights may have half precision


def names_of_classes(model: Path, config: NetworkConfig) -> list[str]:
    """What a model's classes are called, by label (``dimr.data.classes``).

    Args:
        model: its folder; if it does not have the names (older versions): those of
            ``class_names``.
        config: its config.json.

    Raises:
        DimrError: names that are damaged, or of another number of classes.
    """
    names = read_class_names(model)
    if names is None:
        return class_names(config.num_classes)
    if len(names) != config.num_classes:
        found = f"{len(names)} names for the {config.num_classes} classes of config.json"
        raise DimrError(f"{model / CLASS_NAMES}: {found}")
    return names


def open_decoder(
    model: Path, config: NetworkConfig, given: str | Path | None = None, device: str = "cpu"
) -> Decoder:
    """From a model's solver output to images; a model of latents needs its autoencoder for it.

    Args:
        model: the ``model/`` folder of a run.
        config: its config.json.
        given: folder or hub name of the autoencoder; None: where the model's record names its
            dataset, ``data/<dataset>/autoencoder`` in the nearest folder above that has one.
        device: where to put it.

    Raises:
        DimrError: a model of latents without an autoencoder, or with one for other latents.
    """
    found = given or result_beside(model, "autoencoder")
    if found is None and config.channels not in PIXEL_CHANNELS:
        raise DimrError(
            f"{model}: a model of latents: give its autoencoder, a folder or a hub name "
            "(--autoencoder, vae=)"
        )
    decoder = load_decoder(found, device)
    vae: Any = decoder.vae
    if vae is not None and vae.config.latent_channels != config.channels:
        raise DimrError(
            f"{found}: latents of {vae.config.latent_channels} channels; {model} takes "
            f"{config.channels}"
        )
    return decoder


def label_dropout(model: Path) -> float | None:
    """The share of labels that training dropped, if the model's record states it.

    0: the model has learned nothing without a class; 1: nothing with one.
    """
    train = recorded_config(model).get("train")
    return train.get("label_dropout") if isinstance(train, dict) else None


def own_solver(config: NetworkConfig) -> str:
    """What a network's authors sampled it with: DiT's published weights by ``ancestral`` steps."""
    is_dits = config.schedule == "linear" and config.sizes.learns_variance
    return "ancestral" if is_dits else "authors"
