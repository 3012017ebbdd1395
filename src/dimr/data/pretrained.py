"""A published autoencoder, from the Hugging Face hub or a folder, kept beside its dataset."""

from pathlib import Path
from typing import Any

import torch

from dimr.checkpoints.download import reason
from dimr.data.autoencoder import load_autoencoder
from dimr.runtime.errors import DimrError

FILES = ("config.json", "diffusion_pytorch_model.safetensors")


def save_pretrained(repo: str, revision: str | None, out: Path) -> dict[str, Any]:
    """Write the diffusers folder ``out``: float32 safetensors and the complete configuration.

    Args:
        repo: ``owner/name`` on the hub, or a folder.
        revision: commit, branch or tag; None: the newest.
        out: a folder that is there.

    Returns:
        Facts for the record: the commit (None for a folder), parameters, scaling factor.

    Raises:
        DimrError: names the repository or folder and what is wrong with it.
    """
    local = Path(repo).is_dir()
    if local and revision is not None:
        raise DimrError(f"{repo}: is a folder: revision {revision!r} is for the hub; use null")
    source = Path(repo) if local else _fetch(repo, revision)
    try:
        vae = load_autoencoder(source)
    except DimrError as error:
        raise DimrError(str(error).replace(str(source), repo)) from None
    vae.register_to_config(_name_or_path=repo)
    vae.to(torch.float32).save_pretrained(out, safe_serialization=True)
    return {
        "commit": None if local else source.name,
        "params": sum(parameter.numel() for parameter in vae.parameters()),
        "scaling_factor": float(vae.config.scaling_factor),
    }


def _fetch(repo: str, revision: str | None) -> Path:
    """The hub's folder in its client's cache, named by the commit."""
    import huggingface_hub

    if Path(repo).is_absolute() or repo.count("/") != 1 or repo.startswith("."):
        raise DimrError(f"{repo}: no such folder, and not a hub name (owner/name)")
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo, revision=revision, allow_patterns=list(FILES), repo_type="model"
            )
        )
    except Exception as error:  # the client's errors, and those of the network libraries below it
        raise DimrError(
            f"hub: {repo}: {reason(error)}; or download {' and '.join(FILES)} by hand, "
            "and name their folder in recipes.yaml (autoencoder.repo)"
        ) from None
