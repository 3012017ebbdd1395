"""Commands about finished results: recording them, taking over those of others, publishing."""

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
    parser.add_argument("--no-commit", action="store_true", help="only write the record")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")

    text = "dvc pull, then adopt; reports problems with the remote in one line"
    parser = add_step(steps, "pull", pull, text)
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")

    text = "after `dvc pull`: take over results whose recorded keys match (snakemake --touch)"
    parser = add_step(steps, "adopt", adopt, text)
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")

    text = "what DVC's stages of the workspace run do before and after Snakemake (dvc.yaml)"
    parser = add_step(steps, "workspace", workspace, text)
    parser.add_argument("when", choices=["before", "after"])
    parser.add_argument("step", choices=["data", *STEPS])
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")

    text = (
        "push a run's model with its card (what it is, training, metrics of these weights) to the "
        "Hugging Face hub, where DiMRPipeline.from_pretrained opens it"
    )
    parser = add_step(steps, "publish", publish, text)
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER",
                        help="a run's model folder")  # fmt: skip
    parser.add_argument("--repo", required=True, metavar="OWNER/NAME", help="created if missing")
    parser.add_argument("--private", action="store_true", help="create it as private")
    parser.add_argument("--revision", metavar="BRANCH", help="created if missing (default: main)")
    text = "license of the weights, as named on the hub: apache-2.0 (default: stated as unknown)"
    parser.add_argument("--license", metavar="ID", help=text)
    text = "for a model of latents: folder or hub name (default: that of the run's dataset)"
    parser.add_argument("--autoencoder", metavar="FOLDER", help=text)
    text = "for a model of text: folder or hub name (default: that of the run's dataset)"
    parser.add_argument("--text-encoder", metavar="FOLDER", help=text)
    parser.add_argument("--dry-run", action="store_true", help="list the files, print the card")
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


def publish(options: argparse.Namespace) -> None:
    """``dimr publish``."""
    from dimr.sharing.publish import Publication
    from dimr.sharing.publish import publish as push

    names = ("model", "repo", "private", "revision", "license", "autoencoder", "text_encoder")
    asked = Publication(**{name: getattr(options, name) for name in names})
    for line in push(asked, Project(options.root), options.dry_run):
        print(line)
