"""What a target would cost, before it is asked for."""

import argparse
from pathlib import Path
from typing import Any

from dimr.config.project import ROOT
from dimr.stages.options import add_step

EXAMPLES = """\
examples:
  dimr plan results/table1.csv
  dimr plan results/partial/table1.csv runs/imagenet256/dimr-xl-2r/published/metrics/guided.json
  dimr plan results/table6.csv --gpu a100 --utilisation 0.3 --utilisation sample=0.15
  dimr plan results/table1.csv --measured benchmarks/gpu/*.json
"""


def add(steps: Any) -> None:
    """Register the subcommand."""
    text = "estimate what a target still needs: GPU-hours, wall time and disk, job by job"
    parser = add_step(steps, "plan", plan, text)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="targets, as for snakemake")
    parser.add_argument("--gpu", metavar="NAME", help="a GPU of hardware.yaml (default: h100)")
    parser.add_argument("--utilisation", action="append", default=[], metavar="[STEP=]SHARE",
                        help="share of the GPU's peak that training, or that step (encode, sample, "
                        "evaluate) reaches")  # fmt: skip
    parser.add_argument("--measured", type=Path, nargs="+", action="extend", default=[],
                        metavar="FILE", help="results of make gpu-check (after the targets, "
                        "benchmarks/gpu/*.json); or another benchmark's JSON: gpu, source, and "
                        "images_per_second of one GPU by step and dataset/model (encode: "
                        "dataset)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")


def plan(options: argparse.Namespace) -> None:
    """``dimr plan``."""
    import json

    from dimr.config.project import Project
    from dimr.planning.hardware import make_machine, parse_utilisation
    from dimr.planning.plan import make_plan
    from dimr.planning.text import plan_json, plan_text

    project = Project(options.root)
    given = parse_utilisation(options.utilisation)
    machine = make_machine(project, options.gpu, given, options.measured)
    made = make_plan(options.targets, machine, project)
    lines = [json.dumps(plan_json(made), indent=2)] if options.json else plan_text(made)
    print(*lines, sep="\n")
