"""Which code, versions and commands made a number, and whether it was changed since.

The record of metrics (``runs/<run>/provenance/<setting>.json``) holds the SHA-256 of the metrics'
file, and a digest of its own content, so that changes by hand in either are found.
"""

import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from dimr.runtime.code import git_revision, source_fingerprint
from dimr.runtime.files import sha256
from dimr.runtime.record import DIGEST, is_intact
from dimr.runtime.record import sealed as with_digest

PACKAGES = ["torch", "numpy", "diffusers", "torch-fidelity", "scikit-learn", "snakemake", "dvc"]
METRICS_DIGEST = "metrics_sha256"
"""Where a record holds the SHA-256 of its metrics."""


def collect(device: str = "cpu") -> dict[str, Any]:
    """What made a result: git revision, fingerprint of the code, versions, device and command."""
    revision, changed = git_revision()
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "git_revision": revision,
        "git_dirty": changed,
        "code": source_fingerprint(),
        "versions": versions,
        "device": device,
        "machine": platform.machine(),
        "command": " ".join(["dimr", *sys.argv[1:]]),
    }


def sealed(record: dict[str, Any], metrics: Path) -> dict[str, Any]:
    """A record of metrics with the digests that ``fault_of`` compares; ``metrics`` is written."""
    return with_digest({**record, METRICS_DIGEST: sha256(metrics)})


def fault_of(record: dict[str, Any], metrics: Path) -> str | None:
    """What is wrong with metrics and their record, in words; None: both are unchanged."""
    if METRICS_DIGEST not in record or DIGEST not in record:
        return "its record has no checksums (made by an older version, or by hand)"
    if not is_intact(record):
        return "its record (provenance) was changed after it was made"
    found, made = sha256(metrics), record[METRICS_DIGEST]
    if found != made:
        return f"changed after it was made (sha256 {found[:12]}..., made with {made[:12]}...)"
    return None
