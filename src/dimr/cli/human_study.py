"""The human study: the rating page, and the raters' answers."""

import argparse
from pathlib import Path
from typing import Any

from dimr.config.project import ROOT, Project
from dimr.config.schema import Study
from dimr.config.validation import load_section
from dimr.stages.options import add_step

EXAMPLES = """\
examples:
  snakemake results/distortion/ratings.html     # then: open it, rate, save the CSV
  dimr distortion ann.csv ben.csv --key results/distortion/key.json --csv rates.csv \\
      --markdown rates.md
CSVs in experiments/ratings/<dataset>/ are read by `snakemake results/distortion/rates.csv`.
"""


def add(steps: Any) -> None:
    """Register the commands."""
    text = "write the page on which people rate images of several models, and its key"
    files = {"out": "rating page", "key": "key of a rating page"}
    add_step(steps, "rating-page", rating_page, text, "study", "runs", **files)
    text = "distortion rates of models from raters' CSVs, beside the published ones"
    tables = {"csv": "table", "markdown": "Markdown table"}
    parser = add_step(steps, "distortion", distortion, text, "key", **tables)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("ratings", type=Path, nargs="*", metavar="RATINGS",
                        help="CSVs saved from the page; none: only the confidence")  # fmt: skip
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")


def rating_page(options: argparse.Namespace) -> None:
    """``dimr rating-page``."""
    from dimr.human_study.rating_page import read_models, write_rating_page

    study = load_section(Study, options.study)
    write_rating_page(study, read_models(study, options.runs), options.out, options.key)


def distortion(options: argparse.Namespace) -> None:
    """``dimr distortion``: the table is printed too."""
    from dimr.human_study.ratings import read_key, read_ratings
    from dimr.paper.published import load_published
    from dimr.paper.tables.human_study import write_distortion_table

    key = read_key(options.key)
    ratings = read_ratings(options.ratings, key)
    published = load_published(Project(options.root)).distortion
    print(write_distortion_table(key, ratings, published, options.csv, options.markdown))
