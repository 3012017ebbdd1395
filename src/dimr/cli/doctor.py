"""What would stop the workflow here."""

import argparse
from pathlib import Path
from typing import Any

from dimr.config.project import ROOT
from dimr.stages.options import add_step


def add(steps: Any) -> None:
    """Register the subcommand."""
    text = "check this machine, and its cluster if there is one; say what to fix, and how"
    parser = add_step(steps, "doctor", doctor, text)
    parser.epilog = "Exit code 1: something needs fixing. 'note' lines may be intended."
    parser.add_argument("--site", type=Path, metavar="FILE",
                        help="site file (default: workflow/profiles/slurm/site.yaml)")  # fmt: skip
    parser.add_argument("--network", action="store_true",
                        help="ask the Hugging Face hub whether it answers (off by default: uses "
                        "the network)")  # fmt: skip
    parser.add_argument("--no-job", action="store_true",
                        help="start no one-second job to check what a node sees")  # fmt: skip
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")


def doctor(options: argparse.Namespace) -> None:
    """``dimr doctor``."""
    import itertools

    from dimr.cluster.doctor import cluster_findings, machine_findings
    from dimr.cluster.site import SITE

    root = options.root.resolve()
    site = options.site or root / SITE
    findings = itertools.chain(
        machine_findings(root, options.network), cluster_findings(root, site, not options.no_job)
    )
    to_fix = 0
    for finding in findings:
        to_fix += finding.state == "fix"
        state = {"ok": "ok", "note": "note", "fix": "TO FIX"}[finding.state]
        print(f"{state:8} {finding.what:16} {finding.found}", flush=True)
    print(f"{to_fix} to fix" if to_fix else "nothing to fix")
    if to_fix:
        raise SystemExit(1)
