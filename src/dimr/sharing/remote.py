"""``dvc pull`` whose failures are one line: which remote, what it lacks, how to fix it."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from dimr.runtime.errors import DimrError


def default_remote(root: Path) -> tuple[str, str]:
    """Name and address of DVC's default remote.

    Raises:
        DimrError: there is none, or it is a folder that does not exist.
    """
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        name = repo.config["core"].get("remote")
        url = repo.config["remote"].get(name, {}).get("url") if name else None
    if not name or not url:
        raise DimrError(
            ".dvc/config: no default remote: dvc remote add --default NAME URL (docs/dvc.md)"
        )
    if not urlsplit(url).scheme and not Path(url).is_dir():
        raise DimrError(
            f"remote {name!r}: no folder {url}: mount it, or say where it is: "
            f"dvc remote modify --local {name} url PATH"
        )
    return name, url


def pull_all(root: Path) -> list[str]:
    """``dvc pull``, without its progress.

    Returns:
        Outputs without a checksum in any lock file: nobody has recorded them.

    Raises:
        DimrError: the remote cannot be reached, or lacks what was recorded.
    """
    name, url = default_remote(root)
    command = [sys.executable, "-m", "dvc", "pull"]
    done = subprocess.run(command, cwd=root, stderr=subprocess.PIPE, text=True)
    return explain(done.stderr, f"remote {name!r} ({url})", root) if done.returncode else []


def explain(messages: str, remote: str, root: Path) -> list[str]:
    """Interpret a failed ``dvc pull``: return unrecorded outputs, raise anything else."""
    warned = re.findall(r"No file hash info found for '(.+?)'", messages)
    unrecorded = {Path(path).relative_to(root.resolve()).as_posix() for path in warned}
    listed = re.search(r"following targets:\n(.*?)\nIs your cache", messages, re.S)
    if listed is None:
        lines = [line for line in messages.splitlines() if line.startswith("ERROR")]
        reason = (lines or [messages.strip() or "no message"])[0].removeprefix("ERROR: ")
        raise DimrError(f"{remote}: {reason}")
    lacking = sorted(set(listed[1].split("\n")) - unrecorded)
    if lacking:
        raise DimrError(
            f"{remote} lacks {len(lacking)} of the recorded results, the first {lacking[0]}: "
            "whoever recorded them must run `dvc push`"
        )
    return sorted(unrecorded)
