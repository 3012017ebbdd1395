"""A study of two models and few numbers, small enough to be checked by hand."""

import csv
import json
import random
import shutil

from dimr.config.project import ROOT
from dimr.paper.study.claims import load_claims

CLAIMS = """
seeds: {least: 2, most: 4}
names: {digits/dimr-xs-2r: Ours, digits/uvit-xs-2: Theirs}
metrics:
  - {key: fid_digits, title: FID-digits, format: "{:.2f}"}
  - {key: recall, title: Recall}
  - {key: low_fidelity_share, title: Low fidelity, format: "{:.1%}", counted: true}
claims:
  - key: resolutions
    title: Several resolutions
    about: What the paper says.
    comparisons:
      - run: digits/dimr-xs-2r
        against: digits/uvit-xs-2
        settings: [unguided, guided]
        paper: {list: table1a, run: DiMR-XL/2R, against: U-ViT-H/2, column: fid_unguided}
        seeds: 3
"""
TEMPLATE = """<!-- by {{ made_by }} -->
# A study
{% for line in short %}
- {{ line }}
{% endfor %}

{{ verdicts }}

[seeds]({{ link("seeds.csv") }})

{% for claim in claims %}
## {{ claim.title }}

{{ claim.about }}

{{ claim.others }}

{{ claim.costs }}
{% endfor %}

{{ runs }}

{{ steps.table }}

{{ copies.table }}

{{ picture("table1.png", "A picture") }}

far from their fellows: {{ outliers | join("; ") }}.

{{ train_minutes }} minutes, {{ total_hours }} hours, {{ tuning_hours }} of tuning
{{ intervals }} intervals

{{ reruns.table if reruns else "not measured" }}
"""
FIDS = {  # by setting: ours, theirs
    "unguided": ([1.0, 1.2, 1.1], [3.0, 3.4, 2.9]),
    "guided": ([1.0, 1.5, 0.8], [1.1, 1.2, 1.0]),
}
SHARED = {
    "training_images": 1000, "images": 2000, "baseline_images": 1000, "reference_images": 547,
    "train": {"steps": 3000, "batch": 32, "warmup_steps": 200, "weight_decay": 0.03,
              "ema_decay": 0.999, "label_dropout": 0.1},
}  # fmt: skip
FACTS = {
    "datasets": {"digits": SHARED, "digits-pixel": SHARED},
    "times": {
        "train": {"jobs": 6, "recorded": 6, "seconds": 1800.0},
        "sample": {"jobs": 12, "recorded": 11, "seconds": 600.0},
        "evaluate": {"jobs": 12, "recorded": 12, "seconds": 300.0},
        "tuning": {"jobs": 6, "recorded": 6, "seconds": 1200.0},
    },
    "git_revisions": ["0123456789abcdef"],
    "uncommitted_changes": False,
    "versions": {"torch": "2.15.0"},
    "devices": ["cpu"],
    "machine": {"cpu": "a processor", "cores": 2},
}


def seed_lines():
    """The lines of ``seeds.csv``."""
    lines = []
    for model in ("real", "reconstruction"):
        lines.append({"model": model, "seed": 0, "setting": "reference", "fid_digits": 0.2,
                      "recall": 0.9, "nearest_ratio": 0.0, "near_copy_share": 1.0})  # fmt: skip
    for setting, both in FIDS.items():
        for model, values in zip(("dimr-xs-2r", "uvit-xs-2"), both, strict=True):
            kind = "none" if setting == "unguided" else "constant"
            for seed, fid in enumerate(values):
                lines.append({
                    "model": model, "seed": seed, "setting": setting, "kind": kind, "scale": 0.7,
                    "solver": "authors", "evaluations": 18, "parameters_m": 1.2, "gmacs": 0.02,
                    "lr": 0.004, "fid_digits": fid, "recall": 0.5 + seed / 100, "images": 200,
                    "class_accuracy": 0.9, "low_fidelity_share": 0.02, "nearest_ratio": 1.1,
                    "near_copy_share": 0.01,
                })  # fmt: skip
    lines.append({**lines[5 + 3], "seed": 0, "model": "dimr-xs-2r", "setting": "evaluations50",
                  "kind": "constant", "evaluations": 50, "fid_digits": 0.95})  # fmt: skip
    return [{"dataset": "digits", **line} for line in lines]


def full_lines():
    """Lines of every run that the committed claims name, with plausible numbers of five seeds."""
    definition, numbers = load_claims(ROOT / "experiments/claims.yaml"), random.Random(0)
    lines = [line for line in seed_lines() if line["setting"] in ("reference", "evaluations50")]
    for run in definition.names:
        (dataset, model), level = run.split("/"), numbers.uniform(0.5, 3.0)
        for setting in definition.settings(run):
            kind = "constant" if setting == "guided" else "none"
            lines += [
                {
                    "dataset": dataset, "model": model, "seed": seed, "setting": setting,
                    "kind": kind, "scale": 0.7, "solver": "authors", "evaluations": 18,
                    "parameters_m": 1.2, "gmacs": 0.02, "lr": 0.004, "images": 2000,
                    "fid_digits": level * numbers.lognormvariate(0, 0.2),
                    "inception_score": 7.0, "precision": 0.7, "recall": 0.9,
                    "class_accuracy": 0.9, "low_fidelity_share": numbers.uniform(0, 0.1),
                    "nearest_ratio": 1.1, "near_copy_share": 0.0,
                }
                for seed in range(5)
            ]  # fmt: skip
    return lines


def write_case(folder, lines=None):
    """Claims, template and results in a folder, laid out as in the repository."""
    write_results(folder / "results/digits", seed_lines() if lines is None else lines)
    (folder / "claims.yaml").write_text(CLAIMS)
    shutil.copy(ROOT / "experiments/published.yaml", folder)
    (folder / "page.md.jinja").write_text(TEMPLATE)
    return folder


def write_results(results, lines):
    """``seeds.csv`` and ``study.json``."""
    results.mkdir(parents=True)
    columns = list(dict.fromkeys(key for line in lines for key in line))
    with open(results / "seeds.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(lines)
    (results / "study.json").write_text(json.dumps(FACTS))
