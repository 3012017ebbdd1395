"""Commands about the project as a whole: configurations, and adopting pulled results."""

import argparse
from pathlib import Path
from typing import Any

from dimr.cli.common import add_step
from dimr.experiment import ROOT, load_run, write_data_config, write_run_config


def add(steps: Any) -> None:
    """Register the subcommands."""
    text = "resolve a run and write (or print) the configuration of each of its phases"
    parser = add_step(steps, "config", config, text)
    parser.add_argument("run", help="dataset/model/seed, or workspace (params.yaml)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")
    parser.add_argument("--print", action="store_true", help="print only, write nothing")

    text = "after `dvc pull`: take over results whose recorded keys agree (snakemake --touch)"
    parser = add_step(steps, "adopt", adopt, text)
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")


def config(options: argparse.Namespace) -> None:
    """``dimr config``."""
    import yaml

    run = load_run(options.run, options.root)
    if options.print:
        phases = {name: part.model_dump(mode="json") for name, part in run.phases().items()}
        print(yaml.safe_dump(phases, sort_keys=False), end="")
        return
    write_run_config(run, options.root / "runs" / run.name / "config")
    write_data_config(run.dataset, options.root / "data" / run.dataset / "config", options.root)


def adopt(options: argparse.Namespace) -> None:
    """``dimr adopt``."""
    import subprocess
    import sys

    from dimr.errors import DimrError
    from dimr.reporting.adoption import survey

    good, bad = survey(options.root)
    for line in bad:
        print(f"not adopted  {line}")
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
        print(f"adopted      {target}")
