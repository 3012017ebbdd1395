"""A study of two models and few numbers, small enough to be checked by hand."""

import csv
import json

CLAIMS = """
names: {digits/dimr-xs-2r: Ours, digits/uvit-xs-2: Theirs}
metrics:
  - {key: fid_digits, title: FID-digits, better: lower, format: "{:.2f}"}
  - {key: recall, title: Recall, better: higher}
claims:
  - key: resolutions
    title: Several resolutions
    comparisons:
      - {run: digits/dimr-xs-2r, against: digits/uvit-xs-2, settings: [unguided, guided]}
"""
TEMPLATE = """<!-- by {{ made_by }} -->
# A study

## In short

{% for title in short.claims.mixed %}
Mixed: {{ title }}
{% endfor %}

{{ short.table }}

[seeds]({{ link("seeds.csv") }})

## {{ claims.resolutions.title }}

{{ claims.resolutions.table }}

{{ claims.resolutions.others }}

{{ claims.resolutions.costs }}

{{ steps.table }}

{{ copies.table }}

{{ picture("table1.png", "A picture") }}

far from their fellows: {{ outliers | join("; ") }}.

{{ train_minutes }} minutes, {{ total_hours }} hours, {{ intervals }} intervals
"""
FIDS = {  # by setting: ours, theirs
    "unguided": ([1.0, 1.2, 1.1], [3.0, 3.4, 2.9]),
    "guided": ([1.0, 1.5, 0.8], [1.1, 1.2, 1.0]),
}
FACTS = {
    "datasets": {"digits": {"training_images": 1000, "images": 1000, "reference_images": 797}},
    "times": {
        "train": {"jobs": 6, "recorded": 6, "seconds": 1800.0},
        "sample": {"jobs": 12, "recorded": 11, "seconds": 600.0},
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
                    "fid_digits": fid, "recall": 0.5 + seed / 100, "nearest_ratio": 1.1,
                    "near_copy_share": 0.01,
                })  # fmt: skip
    lines.append({**lines[5 + 3], "seed": 0, "model": "dimr-xs-2r", "setting": "evaluations50",
                  "kind": "constant", "evaluations": 50, "fid_digits": 0.95})  # fmt: skip
    return [{"dataset": "digits", **line} for line in lines]


def write_case(folder, lines=None):
    """Claims, template and results in a folder, laid out as in the repository."""
    results = folder / "results/digits"
    results.mkdir(parents=True)
    lines = seed_lines() if lines is None else lines
    columns = list(dict.fromkeys(key for line in lines for key in line))
    with open(results / "seeds.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(lines)
    (results / "study.json").write_text(json.dumps(FACTS))
    (folder / "claims.yaml").write_text(CLAIMS)
    (folder / "page.md.jinja").write_text(TEMPLATE)
    return folder
