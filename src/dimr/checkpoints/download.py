"""What is published on the Hugging Face hub, through its own client and cache."""

from pathlib import Path

from dimr.checkpoints.read import SUFFIXES
from dimr.runtime.errors import DimrError
from dimr.runtime.hub import reason


def fetch(repo: str, file: str, revision: str | None = None) -> Path:
    """A file of a repository, or one of its folders, downloaded unless it is in the cache.

    ``HF_HUB_OFFLINE=1`` allows only the cache; ``HF_TOKEN`` and ``HF_HOME`` work as usual.

    Args:
        repo: ``owner/name``.
        file: a checkpoint's path in it, or a folder's (``transformer``).
        revision: a commit, branch or tag; None: the newest.

    Raises:
        DimrError: what failed, and how to continue by hand.
    """
    import huggingface_hub

    try:
        if file.endswith(SUFFIXES):
            return Path(huggingface_hub.hf_hub_download(repo, file, revision=revision))
        snapshot = huggingface_hub.snapshot_download(
            repo, allow_patterns=[f"{file}/*"], revision=revision
        )
        if (folder := Path(snapshot, file)).is_dir():
            return folder
        why = "the repository has no such folder"
    except Exception as error:  # the client's errors, and those of the network libraries below it
        why = reason(error)
    raise DimrError(
        f"hub: {repo}: {file}: {why}; or download it by hand, then: "
        "dimr import PATH --config CONFIG --out MODEL"
    )
