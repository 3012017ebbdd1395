"""What the Hugging Face hub's client says, in words that help."""

from dimr.runtime.files import single_line


def reason(error: Exception) -> str:
    """What went wrong, and what the user can do about it."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        return "access is granted by its owners (ask on its page, then set HF_TOKEN)"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such repository, or a private one (then set HF_TOKEN)"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        if constants.HF_HUB_OFFLINE:
            return "not in the cache, and HF_HUB_OFFLINE forbids downloads (unset it)"
        return "the hub cannot be reached and it is not in the cache (check the connection)"
    if isinstance(error, errors.EntryNotFoundError):
        return "the repository has no such file"
    return f"not downloaded ({type(error).__name__}: {single_line(error)[:200]})"
