"""What the Hugging Face hub's client says, in words that help."""

from dimr.runtime.files import single_line

TOKEN = "`hf auth login`, or set HF_TOKEN"


def reason(error: Exception, what: str = "downloaded") -> str:
    """What went wrong, and what the user can do about it.

    Args:
        error: of the client, or of the network libraries below it.
        what: should have happened: ``downloaded`` or ``uploaded``.
    """
    from huggingface_hub import constants, errors

    if what == "uploaded" and (told := _of_upload(error)):
        return told
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
    return f"not {what} ({type(error).__name__}: {single_line(error)[:200]})"


def _of_upload(error: Exception) -> str | None:
    """What went wrong with an upload; None: nothing that is known."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids uploads (unset it)"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"no token: {TOKEN} to one that may write"
    if isinstance(error, errors.HFValidationError):
        return f"no name of a repository (OWNER/NAME): {single_line(error)[:200]}"
    if not isinstance(error, errors.HfHubHTTPError):
        is_network = isinstance(error, errors.HTTPError | ConnectionError | TimeoutError)
        return "the hub cannot be reached (check the connection)" if is_network else None
    status = error.response.status_code
    if status == 401:
        return f"the hub does not know the token: {TOKEN} to one that may write"
    if status == 403:
        return f"the token may not write there: {TOKEN} to one that may, of an account that may"
    return None
