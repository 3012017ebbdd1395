"""Commands about finished results and DVC: recording them, and taking over those of others."""

import argparse
from pathlib import Path
from typing import Any

from dimr.config.project import ROOT, Project
from dimr.sharing.workspace import STEPS, Workspace
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

    text = "what DVC's stages of the workspace run do before and after Snakemake (dvc.yaml)"
    parser = add_step(steps, "workspace", workspace, text)
    parser.add_argument("when", choices=["before", "after"])
    parser.add_argument("step", choices=["data", *STEPS])
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")


def record(options: argparse.Namespace) -> None:
    """``dimr record``."""
    from dimr.sharing.record import record_all

    for line in record_all(Project(options.root), options.names, not options.no_commit):
        print(line)


def pull(options: argparse.Namespace) -> None:
    """``dimr pull``."""
    from dimr.sharing.remote import pull_all

    for path in pull_all(options.root):
        print(f"nobody recorded {path}")
    adopt(options)


def adopt(options: argparse.Namespace) -> None:
    """``dimr adopt``."""
    from dimr.sharing import adopt

    for line in adopt.adopt(Project(options.root)):
        print(line)


def workspace(options: argparse.Namespace) -> None:
    """``dimr workspace``."""
    run = Workspace(Project(options.root))
    if options.when == "after":
        run.after(options.step)
        return
    for line in run.before(options.step):
        print(line)
