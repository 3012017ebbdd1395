"""Images on the Hugging Face hub: shards are downloaded one by one, each deleted once taken in."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dimr.config.schema import ConfigModel, Source
from dimr.config.validation import validate
from dimr.data.imagenet.parquet import Shard, ShardsSource, complete_set
from dimr.data.imagenet.resumable_store import StoreWork
from dimr.runtime.errors import DimrError
from dimr.runtime.files import key_of, read_json, sha256, write_json
from dimr.runtime.hub import reason


class Listing(ConfigModel):
    """A commit of a repository, and its shards: noted by the first start, for the next ones."""

    revision: str
    shards: list[Shard]


class HubSource(ShardsSource):
    """The parquet shards of a repository, by ``owner/name``.

    ``HF_TOKEN`` opens repositories that need a token; the hub's client reads it.
    """

    kind = "hub"

    def __init__(self, repo: str, config: Source, work: StoreWork) -> None:
        super().__init__(repo, config)
        note = work.folder / f"hub-{key_of(repo)}.json"
        if not note.exists():
            write_json(note, self._list())
        listing = validate(Listing, read_json(note), str(note))
        self.revision, self.shards = listing.revision, listing.shards

    def facts(self) -> dict[str, Any]:
        """Facts, including repository and commit."""
        return {**super().facts(), "repo": self.where, "revision": self.revision}

    def space(self, work: StoreWork) -> int:
        """Space, including room for the shard being downloaded."""
        return super().space(work) + max(shard.size for shard in self.shards)

    @contextlib.contextmanager
    def opened(self, shard: Shard, work: StoreWork) -> Iterator[Path]:
        """The shard: downloaded (or resumed), compared with its checksum, deleted at the end."""
        import huggingface_hub

        try:
            path = Path(
                huggingface_hub.hf_hub_download(
                    self.where,
                    shard.path,
                    repo_type="dataset",
                    revision=self.revision,
                    local_dir=work.folder / "download",
                )
            )
        except Exception as error:  # the client's errors, and those of the libraries below it
            raise self._failed(shard.path, error) from None
        if shard.sha256 not in (None, sha256(path)):
            path.unlink()
            raise DimrError(f"hub: {self.where}: {shard.path}: arrived damaged; start again")
        yield path
        path.unlink()

    def _list(self) -> dict[str, Any]:
        """The commit and its shards."""
        import huggingface_hub

        try:
            info = huggingface_hub.HfApi().dataset_info(self.where, files_metadata=True)
        except Exception as error:
            raise self._failed("list of files", error) from None
        files = {file.rfilename: file for file in info.siblings or []}
        paths = complete_set(list(files), f"hub: {self.where}")
        usual = int(self.config.gigabytes * 1e9 / len(paths))
        shards = []
        for path in paths:
            size, lfs = files[path].size, files[path].lfs
            size = usual if size is None else size
            shards.append({"path": path, "size": size, "sha256": lfs.sha256 if lfs else None})
        return {"revision": info.sha, "shards": shards}

    def _failed(self, what: str, error: Exception) -> Exception:
        """What to raise: a full disk stays what it is."""
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return error
        return DimrError(
            f"hub: {self.where}: {what}: {reason(error)}; the same command resumes, or download it "
            "by hand, then: --source FOLDER"
        )
