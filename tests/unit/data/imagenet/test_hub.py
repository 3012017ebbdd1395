"""Images from the hub: shard by shard, each deleted once taken in."""

import json
import shutil
import subprocess
import sys
from hashlib import sha256
from types import SimpleNamespace

import huggingface_hub
import pytest
import yaml
from huggingface_hub import errors

from dimr.data.imagenet.resumable_store import StoreWork

from .conftest import KEY, content

COMMIT = "c0ffee"


@pytest.fixture
def hub(miniature, tmp_path, monkeypatch):
    """A stand-in for the hub's client, with the miniature as a data set of three shards."""
    shards = miniature.shards(tmp_path / "hub/data", 3)
    (shards / "validation-00000-of-00001.parquet").write_bytes(b"other")
    hub = SimpleNamespace(downloaded=[], there=[], fail_at=None, spoil=False, listed=0, sizes=True)

    def dataset_info(_, repo, files_metadata):
        assert (repo, files_metadata) == ("who/miniature", True)
        hub.listed += 1
        siblings = [
            SimpleNamespace(
                rfilename=f"data/{path.name}",
                size=path.stat().st_size if hub.sizes else None,
                lfs=SimpleNamespace(sha256=sha256(path.read_bytes()).hexdigest()),
            )
            for path in sorted(shards.iterdir(), reverse=True)
        ]
        readme = SimpleNamespace(rfilename="README.md", size=3, lfs=None)
        return SimpleNamespace(sha=COMMIT, siblings=[readme, *siblings])

    def download(repo, filename, repo_type, revision, local_dir):
        assert (repo, repo_type, revision) == ("who/miniature", "dataset", COMMIT)
        if hub.fail_at == len(hub.downloaded):
            raise errors.LocalEntryNotFoundError("x")
        hub.downloaded.append(filename)
        path = local_dir / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / "hub" / filename, path)
        if hub.spoil:
            path.write_bytes(path.read_bytes()[:-1] + b"x")
        hub.there.append(len(list(path.parent.glob("*.parquet"))))
        return str(path)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return hub


def test_shards_are_downloaded_one_by_one(hub, miniature, take, tmp_path):
    out = take("who/miniature")
    assert hub.downloaded == [f"data/train-0000{i}-of-00003.parquet" for i in range(3)]
    assert hub.there == [1, 1, 1]
    local = take(miniature.class_folders(tmp_path / "images"), tmp_path / "local")
    assert content(out) == content(local)
    source = json.loads((out / "manifest.json").read_text())["source"]
    assert source == {"kind": "hub", "repo": "who/miniature", "revision": COMMIT}
    assert not list(tmp_path.glob(".*"))


def test_a_download_that_was_cut_goes_on(hub, miniature, take, refused, tmp_path):
    hub.fail_at = 2
    message = refused("who/miniature")
    assert message.startswith(
        "hub: who/miniature: data/train-00002-of-00003.parquet: the hub cannot"
    )
    assert "the same command resumes" in message
    hub.fail_at = None
    out = take("who/miniature")
    assert hub.downloaded == [f"data/train-0000{i}-of-00003.parquet" for i in range(3)]
    assert hub.listed == 1  # the commit that was begun with
    local = take(miniature.class_folders(tmp_path / "images"), tmp_path / "local")
    assert content(out) == content(local)


def test_what_arrives_damaged_is_downloaded_again(hub, refused, take, tmp_path):
    hub.spoil = True
    assert "train-00000-of-00003.parquet: arrived damaged" in refused("who/miniature")
    assert not list(StoreWork(tmp_path / "source", KEY).folder.rglob("*.parquet"))
    hub.spoil = False
    take("who/miniature")
    assert len(hub.downloaded) == 4


def test_sizes_that_the_hub_does_not_say(hub, take, tmp_path):
    hub.sizes = False
    hub.fail_at = 0
    with pytest.raises(Exception, match="hub cannot be reached"):
        take("who/miniature", gigabytes=0.03)
    listing = json.loads(
        next(StoreWork(tmp_path / "source", KEY).folder.glob("hub-*.json")).read_text()
    )
    assert [shard["size"] for shard in listing["shards"]] == [10_000_000] * 3
    hub.fail_at = None
    take("who/miniature", gigabytes=0.03)


def test_a_full_disk_stays_what_it_is(hub, take, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(OSError, match="No space left"):
        take("who/miniature")
    assert hub.downloaded == []


def test_refusals_of_the_hub(refused, monkeypatch):
    def gated(*_, **__):
        raise errors.GatedRepoError("x", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", gated)
    message = refused("who/miniature")
    assert message.startswith("hub: who/miniature: list of files: access is granted by its owners")
    assert "HF_TOKEN" in message


def test_offline(miniature, tmp_path):
    (tmp_path / "source.yaml").write_text(yaml.safe_dump(miniature.section()))
    done = subprocess.run(
        [sys.executable, "-m", "dimr", "data", "imagenet", "--config",
         str(tmp_path / "source.yaml"), "--source", "who/what", "--out", str(tmp_path / "store")],
        capture_output=True, text=True, check=False,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    for part in ("who/what", "HF_HUB_OFFLINE", "--source FOLDER"):
        assert part in line
    assert not (tmp_path / "store").exists()
