"""Commands about the project as a whole: its networks and configurations."""

import argparse
from pathlib import Path
from typing import Any

from dimr.config.phases import write_run
from dimr.config.project import ROOT, Project
from dimr.sharing.workspace import RUN, Workspace
from dimr.stages.options import add_step


def add(steps: Any) -> None:
    """Register the subcommands."""
    text = "resolve a run and write (or print) the configuration of each of its phases"
    parser = add_step(steps, "config", config, text)
    parser.add_argument("run", help="dataset/model/seed, or workspace (params.yaml)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")
    parser.add_argument("--print", action="store_true", help="print it, and write nothing")

    text = "list the variants: parameters, GMACs, activation memory, against the published figures"
    parser = add_step(steps, "models", models, text)
    parser.add_argument("names", nargs="*", metavar="NAME", help="names or patterns, 'dimr-*-2r'")
    parser.add_argument("--family", help="only this family: dimr, uvit, dit")
    parser.add_argument("--dataset", help="only variants that it supports, at its input size")
    parser.add_argument("--parameters", action="store_true", help="only count parameters (faster)")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")


def config(options: argparse.Namespace) -> None:
    """``dimr config``."""
    import yaml

    project = Project(options.root)
    if options.print:
        phases = project.run(options.run).phases().items()
        shown = {name: part.model_dump(mode="json") for name, part in phases}
        print(yaml.safe_dump(shown, sort_keys=False), end="")
        return
    if options.run == RUN:
        Workspace(project).write_config()
    else:
        write_run(project, options.run, options.root)


def models(options: argparse.Namespace) -> None:
    """``dimr models``; a figure that is not the published one ends it with an error."""
    from dimr.config.project import Project
    from dimr.paper.tables.counts import check_names, chosen_variants, count
    from dimr.paper.tables.variants import listing, verdicts
    from dimr.runtime.errors import DimrError
    from dimr.runtime.progress import progress_bar

    project = Project(options.root)
    check_names(project)
    chosen = chosen_variants(project, options.names, options.family, options.dataset)
    counted = [
        count(one, project, inputs, options.parameters)
        for one, inputs in progress_bar(chosen, description="counting", unit="variant")
    ]
    print(*listing(counted), sep="\n")
    checked, wrong = verdicts(counted)
    if wrong:
        raise DimrError(f"variants.yaml, published.yaml: {'; '.join(wrong)}")
    print(f"published figures: {checked}, all met" if checked else "published figures: none")
