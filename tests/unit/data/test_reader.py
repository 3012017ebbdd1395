from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.shards import write_shards

from dimr.data import shards as module
from dimr.data.reader import ShardReader
from dimr.runtime.errors import DimrError

COUNT = 23


def write(out: Path, data: np.ndarray, kind: str, shard_size: int = 10) -> Path:
    """Shards of ``data`` in which sample i has label i, so that a label tells the sample."""
    write_shards(
        out,
        [data],
        np.arange(len(data)),
        kind=kind,
        class_names=[str(i) for i in range(len(data))],
        scaling_factor=0.25 if kind == "posterior" else None,
        shard_size=shard_size,
    )
    return out


@pytest.fixture
def pixels(tmp_path: Path) -> tuple[Path, np.ndarray]:
    data = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 5, 3), np.uint8)
    return write(tmp_path / "p", data, "pixels"), data


@pytest.fixture
def posterior(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    mean = generator.normal(0, 3, (COUNT, 4, 2, 3)).astype(np.float16)
    std = generator.uniform(0.1, 2, (COUNT, 4, 2, 3)).astype(np.float16)
    folder = write(tmp_path / "z", np.concatenate([mean, std], axis=1), "posterior")
    return folder, mean.astype(np.float32), std.astype(np.float32)


@pytest.mark.parametrize("batch", [1, 4, 10, 23, 40, 70])
def test_each_sample_once_an_epoch(pixels: tuple[Path, np.ndarray], batch: int) -> None:
    reader = ShardReader(pixels[0], batch, seed=0)
    epochs = 4
    steps = -(-epochs * COUNT // batch)
    stream = torch.cat([reader.batch(step)[1] for step in range(steps)])[: epochs * COUNT]
    orders = stream.reshape(epochs, COUNT).tolist()
    assert all(sorted(order) == list(range(COUNT)) for order in orders)
    assert len({tuple(order) for order in orders}) == epochs  # shuffled again


def test_stream_does_not_depend_on_the_batch_size(pixels: tuple[Path, np.ndarray]) -> None:
    small, large = ShardReader(pixels[0], 4, seed=3), ShardReader(pixels[0], 12, seed=3)
    joined = torch.cat([small.batch(step)[0] for step in range(12)])
    assert torch.equal(joined, torch.cat([large.batch(step)[0] for step in range(4)]))


@pytest.mark.parametrize("shard_size", [1, 7, 23, 100])
def test_samples_are_those_of_their_labels(tmp_path: Path, shard_size: int) -> None:
    data = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 5, 3), np.uint8)
    folder = write(tmp_path / "p", data, "pixels", shard_size)
    reader = ShardReader(folder, 9, seed=0)
    assert reader.sample_shape == (3, 4, 5)
    for step in range(6):
        x, labels = reader.batch(step)
        assert (x.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert x.shape == (9, 3, 4, 5)
        expected = data[labels.numpy()].transpose(0, 3, 1, 2) / 127.5 - 1
        np.testing.assert_allclose(x.numpy(), expected, atol=1e-6)


def test_starting_at_any_step_gives_the_same(
    posterior: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    running = ShardReader(posterior[0], 5, seed=7)
    batches = [running.batch(step) for step in range(15)]
    for step in (14, 0, 9, 4):
        x, labels = ShardReader(posterior[0], 5, seed=7).batch(step)
        assert torch.equal(x, batches[step][0])
        assert torch.equal(labels, batches[step][1])
    other = ShardReader(posterior[0], 5, seed=8).batch(0)
    assert not torch.equal(other[0], batches[0][0])


def test_reading_leaves_the_global_generators_alone(
    posterior: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    ShardReader(posterior[0], 5, seed=7).batch(3)
    assert torch.equal(before, torch.get_rng_state())


def test_posterior_draws_have_the_stored_mean_and_std(
    posterior: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    folder, mean, std = posterior
    draws = 4000
    reader = ShardReader(folder, COUNT * 100, seed=0)
    assert reader.sample_shape == (4, 2, 3)
    parts = [reader.batch(step) for step in range(draws // 100)]
    x = torch.cat([part[0] for part in parts]).numpy()
    labels = torch.cat([part[1] for part in parts]).numpy()
    z = (x / 0.25 - mean[labels]) / std[labels]  # standard normal, if scale, mean and std are right
    by_sample = z[np.argsort(labels, kind="stable")].reshape(COUNT, draws, *mean.shape[1:])
    # 552 means with standard error 1/sqrt(draws), 552 variances with sqrt(2/draws): 5 sigma
    assert np.abs(by_sample.mean(axis=1)).max() < 5 / np.sqrt(draws)
    assert np.abs(by_sample.var(axis=1) - 1).max() < 5 * np.sqrt(2 / draws)
    successive = (by_sample[:, 1:] * by_sample[:, :-1]).mean(axis=1)
    assert np.abs(successive).max() < 5 / np.sqrt(draws)


def test_each_epoch_draws_anew(posterior: tuple[Path, np.ndarray, np.ndarray]) -> None:
    reader = ShardReader(posterior[0], COUNT, seed=0)
    (first, a), (second, b) = reader.batch(0), reader.batch(1)
    first, second = first[a.argsort()], second[b.argsort()]
    assert (first != second).float().mean() > 0.99


def test_zero_std_gives_the_scaled_mean(tmp_path: Path) -> None:
    data = np.zeros((3, 4, 2, 2), np.float16)
    data[:, :2] = np.arange(3).reshape(3, 1, 1, 1) + 1
    x, labels = ShardReader(write(tmp_path / "z", data, "posterior"), 3, seed=0).batch(0)
    expected = (0.25 * (labels.float() + 1)).reshape(3, 1, 1, 1).expand(3, 2, 2, 2)
    assert torch.equal(x, expected)


@pytest.mark.parametrize("limit", [0, 10**9])
def test_what_was_read_does_not_stay_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Resident memory does not grow with the dataset, and unmapping changes no batch."""
    data = np.random.default_rng(0).integers(0, 256, (4000, 64, 64, 3), np.uint8)
    reader = ShardReader(write(tmp_path / "p", data, "pixels", 500), 100, seed=0)
    monkeypatch.setattr(module, "MAPPED_BYTES", limit)
    for step in range(40):
        x, labels = reader.batch(step)
        expected = data[labels.numpy()].transpose(0, 3, 1, 2) / np.float32(127.5) - 1
        assert np.array_equal(x.numpy(), expected.astype(np.float32))
    left = resident_pages(tmp_path / "p")
    assert left == 0 if limit == 0 else left > data.nbytes / 2


def resident_pages(folder: Path) -> int:
    """Bytes of the folder's shards that are counted to this process."""
    found, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:  # the first line of a mapping
            ours = str(folder) in line and "labels" not in line
        elif ours and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


def test_a_far_step_costs_nothing(posterior: tuple[Path, np.ndarray, np.ndarray]) -> None:
    x, _ = ShardReader(posterior[0], 5, seed=0).batch(10**12)
    assert x.shape == (5, 4, 2, 3)


def test_bad_arguments_and_folders_are_named(pixels: tuple[Path, np.ndarray]) -> None:
    folder, _ = pixels
    with pytest.raises(DimrError, match="batch_size: 0"):
        ShardReader(folder, 0, seed=0)
    with pytest.raises(DimrError, match="step: -1"):
        ShardReader(folder, 1, seed=0).batch(-1)
    path = folder / "00002.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DimrError, match=r"00002\.npy: truncated"):
        ShardReader(folder, 1, seed=0)
    with pytest.raises(DimrError, match=r"none/manifest\.json: no such file"):
        ShardReader(folder / "none", 1, seed=0)
