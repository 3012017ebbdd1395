"""Commands about finished results and DVC: recording them, and taking over those of others."""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from dimr.config.runs import ROOT
from dimr.runtime.errors import DimrError
from dimr.stages.options import add_step


def add(steps: Any) -> None:
    """Register the subcommands."""
    text = "record finished results for `dvc push` (results/recorded, dvc commit)"
    parser = add_step(steps, "record", record, text)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="runs/RUN or data/DATASET (default: all finished)"
    )
    parser.add_argument("--no-commit", action="store_true", help="write the record, no more")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")

    text = "dvc pull, then adopt; says in one line what is wrong with the remote"
    parser = add_step(steps, "pull", pull, text)
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")

    text = "after `dvc pull`: take over results whose recorded keys agree (snakemake --touch)"
    parser = add_step(steps, "adopt", adopt, text)
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")


def record(options: argparse.Namespace) -> None:
    """``dimr record``."""
    from dimr.sharing import record as recorded
    from dimr.sharing.adopt import survey

    good, bad = survey(options.root)
    done = []
    for name in options.names or recorded.finished(good):
        try:
            recorded.record(name.rstrip("/"), good, bad, options.root)
            done.append(name.rstrip("/"))
        except DimrError as error:
            if options.names:
                raise
            print(f"not recorded  {error}")
    if options.no_commit:
        return
    stages = recorded.add_to_list(done, options.root)
    if not options.names:
        ready, lines = recorded.ready_stages(bad, options.root)
        for line in lines:
            print(f"not recorded  {line}")
        stages += ready
    if not stages:  # dvc commit without a stage commits all
        print("nothing to record")
        return
    command = [sys.executable, "-m", "dvc", "commit", "--quiet", "--force", *stages]
    if subprocess.run(command, cwd=options.root).returncode:
        raise DimrError("dvc commit failed, as above")
    for stage in stages:
        print(f"recorded      {stage}")


def pull(options: argparse.Namespace) -> None:
    """``dimr pull``."""
    from dimr.sharing.remote import pull_all

    for path in pull_all(options.root):
        print(f"nobody recorded {path}")
    adopt(options)


def adopt(options: argparse.Namespace) -> None:
    """``dimr adopt``."""
    from dimr.sharing.adopt import survey
    from dimr.sharing.record import bring_in, recorded_tables

    brought, foreign = bring_in(options.root)
    good, bad = survey(options.root)
    for line in [*foreign, *bad]:
        print(f"not adopted  {line}")
    good += recorded_tables(options.root)
    if not good:
        print("nothing to adopt")
        return
    # --keep-incomplete: whatever goes wrong, what is there stays there
    flags = ["--touch", "--keep-incomplete", "--cores", "1"]
    command = [sys.executable, "-m", "snakemake", *flags, "--", *good]
    done = subprocess.run(command, cwd=options.root, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
        raise DimrError(f"snakemake --touch failed (exit code {done.returncode}), as above")
    for target in good:
        print(f"{'brought in ' if target in brought else 'adopted    '}  {target}")
