"""Pages generated from results: the README's tables, the page on the study, HTML of tables."""

import argparse
from pathlib import Path
from typing import Any

from dimr.config.project import ROOT
from dimr.evaluation.names import FID_TITLES
from dimr.stages.options import add_step


def add(steps: Any) -> None:
    """Register the subcommands."""
    text = "collect every run's numbers, seed by seed, and how they were made, in small files"
    parser = add_step(steps, "study-results", study_results, text, "runs",
                      seeds_csv="table", facts="facts of the study")  # fmt: skip
    parser.add_argument("--metrics", type=Path, nargs="*", required=True, metavar="FILE",
                        help="runs/<run>/metrics/<setting>.json")  # fmt: skip
    parser.add_argument("--logs", type=Path, default=Path("logs"), metavar="PATH",
                        help="folder with the run times of jobs (default: logs)")  # fmt: skip
    parser.add_argument("--add", action="store_true",
                        help="keep what both files have, and add these runs")  # fmt: skip

    text = "write the page on the study: which claims show, with intervals and verdicts"
    parser = add_step(steps, "study", study, text, "results", out="study page")
    parser.add_argument("--claims", type=Path, metavar="FILE",
                        default=ROOT / "experiments/claims.yaml",
                        help="the comparisons (default: experiments/claims.yaml)")  # fmt: skip
    parser.add_argument("--template", type=Path, metavar="FILE",
                        default=ROOT / "docs/digits-study.md.jinja",
                        help="the text (default: docs/digits-study.md.jinja)")  # fmt: skip

    text = "compare a table of runs made here with the recorded study"
    parser = add_step(steps, "compare", compare, text)
    parser.add_argument("table", type=Path, metavar="TABLE",
                        help="results/demo/digits/NAME.csv, or any other CSV of runs")  # fmt: skip
    parser.add_argument("--recorded", type=Path, metavar="FILE",
                        help="the study's numbers, seed by seed (default: seeds.csv of the "
                        "dataset's folder in results)")  # fmt: skip

    text = "list DVC's experiments: a column for each setting's FID and each parameter that differs"
    parser = add_step(steps, "experiments", experiments, text)
    parser.add_argument("--metric", action="append", metavar="KEY",
                        help="a metric of each setting, repeatable "
                        f"(default: {', '.join(FID_TITLES)})")  # fmt: skip
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")

    text = "regenerate the blocks of a document between <!-- from FILE --> and <!-- end -->"
    parser = steps.add_parser("readme", help=text, description=text)
    parser.set_defaults(handler=readme)
    parser.add_argument("documents", type=Path, nargs="*", metavar="FILE",
                        help="default: README.md and the pages with blocks")  # fmt: skip
    parser.add_argument("--check", action="store_true", help="only check: fail if a block is stale")

    text = "write a Markdown file as one self-contained HTML page"
    add_step(steps, "page", page, text, "markdown", out="page")


def study_results(options: argparse.Namespace) -> None:
    """``dimr study-results``."""
    from dimr.config.project import PROJECT
    from dimr.paper.results import cells_of, read_results
    from dimr.paper.study.results import collect_study

    if options.add and not options.metrics:
        print(f"{options.seeds_csv}: has all seeds that the claims ask for")
        return
    cells = cells_of(options.runs, options.metrics)
    made = read_results(PROJECT, options.runs, cells)
    collect_study(made, PROJECT, options.logs, options.seeds_csv, options.facts, options.add)


def study(options: argparse.Namespace) -> None:
    """``dimr study``."""
    from dimr.paper.study.page import write_study

    write_study(options.claims, options.template, options.results, options.out)


def compare(options: argparse.Namespace) -> None:
    """``dimr compare``."""
    from dimr.paper.compare import compare_with_recorded

    print(*compare_with_recorded(options.table, options.recorded), sep="\n")


def experiments(options: argparse.Namespace) -> None:
    """``dimr experiments``."""
    from dimr.sharing.experiments import experiments_text

    print(*experiments_text(options.metric or tuple(FID_TITLES), options.root), sep="\n")


def readme(options: argparse.Namespace) -> None:
    """``dimr readme``: prints what it did."""
    from dimr.paper.documents import check, filled_documents, update

    for document in options.documents or filled_documents(Path()):
        if options.check:
            check(document)
        else:
            print(f"{document}: {'regenerated' if update(document) else 'was up to date'}")


def page(options: argparse.Namespace) -> None:
    """``dimr page``."""
    from dimr.paper.web_page import write_page

    write_page(options.markdown, options.out)
