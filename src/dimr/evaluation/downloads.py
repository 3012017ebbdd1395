"""Files that metrics need from elsewhere: a reference batch, and the weights of Inception."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import numpy as np

from dimr.config.schema import ReferenceConfig
from dimr.data.npz import check_whole
from dimr.evaluation.extraction import INCEPTION, load_extractor
from dimr.evaluation.image_sets import REFERENCE, NpzImages, check_kind
from dimr.evaluation.reference import NOTE, read_spatial_statistics, read_statistics
from dimr.runtime.atomic import atomic_file, require_space
from dimr.runtime.errors import DimrError
from dimr.runtime.files import sha256, single_line, write_json

SUFFIX = re.compile(r".*-([0-9a-f]{8})\.pth")


def acquire_reference(config: ReferenceConfig, source: str | None, out: Path) -> None:
    """Check an ADM reference batch and put it into the folder ``out``, with a note on what it is.

    ``out`` gets ``reference.npz`` (a hard link where the disk is the same, else a copy) and
    ``reference.json`` (file, sha256, images, whether it holds statistics). Nothing is written
    before everything is checked.

    Args:
        config: the file's name, the side of its images, and its SHA-256 if it is pinned.
        source: the file, or a folder that holds it under its name.
        out: the folder, created if needed.

    Raises:
        DimrError: no source, a damaged file, other images or statistics than expected.
    """
    path = _reference_file(config, source)
    images = NpzImages(path)
    check_kind(str(path), np.dtype(np.uint8), images.shape, config.image_size)
    statistics = read_statistics(path)
    read_spatial_statistics(path)  # refuses invalid ones
    digest = sha256(path)
    if config.sha256 and digest != config.sha256:
        raise DimrError(f"{path}: SHA-256 is {digest}; expected {config.sha256}")
    if not config.sha256:
        check_whole(path)
    _link(path, out / REFERENCE)
    note = {
        "file": path.name,
        "sha256": digest,
        "images": images.shape[0],
        "statistics": statistics is not None,
    }
    write_json(out / NOTE, note)


def acquire_extractor(source: str | None, out: Path) -> None:
    """Check torch-fidelity's Inception weights and put them at ``out``.

    Args:
        source: the file; None: it is downloaded from torch-fidelity's own address.
        out: its name ends in the first 8 hex digits of the file's SHA-256.

    Raises:
        DimrError: another file, one that holds more than tensors, or a failed download.
    """
    digits = expected_digits(out.name)
    with atomic_file(out) as temporary:
        if source is None:
            _download(out.name, temporary)
        else:
            _copy(Path(source), temporary)
        origin = source or f"{out.name}, as downloaded"
        check_digits(temporary, digits, origin)
        try:
            load_extractor(INCEPTION, temporary, ["2048"])
        except DimrError as error:
            raise DimrError(str(error).replace(str(temporary), origin)) from None


def expected_digits(name: str) -> str:
    """The 8 hex digits of the SHA-256 in a weights file's name, as in ``x-6726825d.pth``."""
    match = SUFFIX.fullmatch(name)
    if match is None:
        raise DimrError(f"{name}: expected a name that ends in 8 hex digits and .pth")
    return match[1]


def check_digits(path: Path, digits: str, name: str) -> str:
    """The SHA-256 of a file, which must begin with ``digits``; messages call it ``name``."""
    try:
        digest = sha256(path)
    except OSError as error:
        raise DimrError(f"{name}: not readable ({error.strerror})") from None
    if not digest.startswith(digits):
        raise DimrError(f"{name}: SHA-256 begins with {digest[:8]}; expected {digits}")
    return digest


def _reference_file(config: ReferenceConfig, source: str | None) -> Path:
    if not source:
        raise DimrError(
            f"{config.file}: not downloaded here: set DIMR_REFERENCE to the file, or to the folder "
            "it is in, or pass --source"
        )
    path = Path(source)
    if path.is_dir():
        path = path / config.file
    if not path.is_file():
        raise DimrError(f"{path}: no such file; expected the reference batch {config.file}")
    return path.resolve()  # a link is made to the file, not to a link


def _link(path: Path, out: Path) -> None:
    """A hard link, or a copy where there can be none (another disk, or one without them)."""
    with atomic_file(out) as temporary:
        temporary.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.link(path, temporary)
            return
        require_space(out.parent, path.stat().st_size, out.name)
        shutil.copyfile(path, temporary)


def _copy(path: Path, out: Path) -> None:
    if not path.is_file():
        raise DimrError(f"{path}: no such file")
    require_space(out.parent, path.stat().st_size, out.name)
    shutil.copyfile(path, out)


def _download(name: str, out: Path) -> None:
    """Fetch the file from torch-fidelity's own address, if it is the one there."""
    from torch.hub import download_url_to_file
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    there = URL_INCEPTION_V3.rsplit("/", 1)[1]
    if name != there:
        raise DimrError(f"{name}: torch-fidelity only has {there}; pass --source FILE")
    try:
        download_url_to_file(URL_INCEPTION_V3, str(out), progress=True)
    except Exception as error:  # an OSError, an HTTPException, ...: what networks raise
        raise DimrError(
            f"{name}: could not be downloaded ({single_line(error)[:200]}); fetch it elsewhere and "
            "pass --source FILE"
        ) from None
