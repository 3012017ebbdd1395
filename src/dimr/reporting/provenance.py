"""Which code, versions and commands made a number, and whether it was changed since.

The record of metrics (``runs/<run>/provenance/<setting>.json``) holds the SHA-256 of the metrics'
file, and a digest of its own content: what is changed by hand, in either, is found.
"""

import hashlib
import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from dimr.experiment import ROOT
from dimr.files import sha256

PACKAGES = ["torch", "numpy", "diffusers", "torch-fidelity", "scikit-learn", "snakemake", "dvc"]
METRICS_DIGEST = "metrics_sha256"
"""Where a record holds the SHA-256 of the metrics that it is of."""
DIGEST = "digest"
"""Where a record holds the digest of its own content."""

NETWORK_FILES = ("blocks", "dit", "multires", "network", "norms", "time", "uvit")
TRAINING_CODE = (
    *(f"models/{name}.py" for name in NETWORK_FILES),
    "diffusion/loss.py",
    "diffusion/schedule.py",
    "diffusion/variational.py",
    "training",
    "compute.py",
    "data/reader.py",
    "distributed.py",
    "randomness.py",
)
"""Sources that decide a training's result, as parts for ``code_fingerprint``."""
SAMPLING_CODE = (
    *(f"models/{name}.py" for name in NETWORK_FILES),
    "diffusion/guidance.py",
    "diffusion/sampler.py",
    "diffusion/schedule.py",
    "diffusion/solver.py",
    "data/decoder.py",
    "compute.py",
    "randomness.py",
    "sampling/engine.py",
    "sampling/generate.py",
)
"""Sources that decide the images of a network."""
ENCODING_CODE = (
    "data/autoencoder.py",
    "data/encode.py",
    "data/imagenet/crop.py",
    "data/imagenet/store.py",
)
"""Sources that decide the latents of an image."""


def code_fingerprint(*parts: str) -> str:
    """16 hex digits of the sources under ``src/dimr`` (all, or only the named parts)."""
    source = Path(__file__).resolve().parents[1]
    files = [f for part in parts or (".",) for f in sorted((source / part).rglob("*.py"))]
    files += [source / part for part in parts if part.endswith(".py")]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(source)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def collect(device: str = "cpu") -> dict[str, Any]:
    """What made a result: git revision, fingerprint of the code, versions, device and command."""
    changes = _git("status", "--porcelain", "--", "src", "experiments", "params.yaml", "workflow")
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "git_revision": _git("rev-parse", "HEAD"),
        "git_dirty": None if changes is None else bool(changes),
        "code": code_fingerprint(),
        "versions": versions,
        "device": device,
        "machine": platform.machine(),
        "command": " ".join(["dimr", *sys.argv[1:]]),
    }


def sealed(record: dict[str, Any], metrics: Path) -> dict[str, Any]:
    """A record of metrics with the digests that ``fault_of`` compares; ``metrics`` is written."""
    content = {**record, METRICS_DIGEST: sha256(metrics)}
    return {**content, DIGEST: _digest(content)}


def fault_of(record: dict[str, Any], metrics: Path) -> str | None:
    """What is wrong with metrics and their record, in words; None: both are as they were made."""
    if METRICS_DIGEST not in record or DIGEST not in record:
        return "its record has no checksums (made by an older version, or by hand)"
    content = {key: value for key, value in record.items() if key != DIGEST}
    if _digest(content) != record[DIGEST]:
        return "its record (provenance) was changed after it was made"
    found, made = sha256(metrics), record[METRICS_DIGEST]
    if found != made:
        return f"changed after it was made (sha256 {found[:12]}..., made with {made[:12]}...)"
    return None


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 of JSON-able content, the same before it is written and after it is read."""
    plain = json.loads(json.dumps(content))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
