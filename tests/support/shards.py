"""Shard folders of arrays, for tests of what reads them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dimr.data.resumable_shards import Assembly
from dimr.data.shards import ShardManifest


def write_shards(
    out: Path,
    batches: Iterable[np.ndarray],
    labels: Sequence[int] | np.ndarray,
    *,
    kind: str,
    class_names: Sequence[str],
    shard_size: int,
    key: str = "k",
    scaling_factor: float | None = None,
    **_: Any,
) -> ShardManifest:
    """Write arrays (n, *shape) as a shard folder ``out``, sample i of which has ``labels[i]``."""
    samples = np.concatenate(list(batches))
    work = Assembly(Path(out), key, kind, samples.shape[1:], len(samples), shard_size)
    for number in range(work.shards):
        chosen = work.samples(number)
        work.write(number, samples[chosen.start : chosen.stop])
    return work.finish(np.asarray(labels), class_names, scaling_factor)
