"""How variants are trained and sampled, for machines without pydantic and PyYAML.

phases.json holds what recipes.yaml and variants.yaml say about a few runs; `python
benchmarks/phases.py` writes it (a test compares). Reading it takes only the standard library and
the networks' sizes.
"""

import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

from dimr.models.sizes import FAMILIES

FILE = Path(__file__).with_suffix(".json")
RUNS = {"dimr-xs-2r": "digits", "dimr-m-3r": "imagenet64", "dimr-xl-2r": "imagenet256",
        "dimr-g-2r": "imagenet256"}  # fmt: skip
SMALL = {"layers": [1, 1], "dims": [16, 8], "heads": 2, "input_size": 8, "num_classes": 10}
"""In place of a network's own sizes: the same code in seconds on a CPU."""


def phase_of(variant, batch=None, precision="float32", small=False):
    """The training phase of a variant, compiled, with another batch: attributes as in TrainConfig.

    ``guidance`` and ``evaluations`` are those of the run's guided samples.
    """
    content = json.loads(FILE.read_text())[variant]
    network = content["network"] | (SMALL if small else {})
    family = FAMILIES[network["family"]]
    own = {field.name for field in fields(family)}
    sizes = family(**{name: value for name, value in network.items() if name in own})
    train = content["train"] | {"compile": True, "precision": precision}
    train["batch"] = batch or train["batch"]
    return SimpleNamespace(
        **{**content, "network": SimpleNamespace(**network, sizes=sizes),
           "train": SimpleNamespace(**train)}
    )  # fmt: skip


def phases():
    """What the project's files say."""
    from dimr.config.project import PROJECT

    found = {}
    for variant, dataset in RUNS.items():
        run = PROJECT.run(f"{dataset}/{variant}/0")
        train = json.loads(run.phases()["train"].model_dump_json())
        setting = "guided" if "guided" in run.settings else run.settings[0]
        sample = json.loads(run.phases()[f"sample-{setting}"].model_dump_json())
        more = {"guidance": sample["guidance"], "evaluations": sample["steps"]}
        found[variant] = {**train, **more}
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(phases(), indent=1) + "\n")
