"""Files at the root that are generated, or repeat what is said elsewhere, agree with it."""

import json
import re

import pytest
import yaml

from dimr.config.project import PROJECT, ROOT
from dimr.config.schema import SCHEMAS


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_are_those_of_the_code(name):
    committed = json.loads((ROOT / f"workflow/schemas/{name}.json").read_text())
    assert committed == SCHEMAS[name].json_schema(), f"{name}.json: run `make schemas`"


def numbers(schema, name=""):
    """Names and limits of the numbers in a JSON schema that become float32."""
    if isinstance(schema, dict):
        if schema.get("type") == "number":
            yield name, schema
        for key, value in schema.items():
            yield from numbers(value, key if key not in ("anyOf", "prefixItems") else name)
    for value in schema if isinstance(schema, list) else ():
        yield from numbers(value, name)


def test_every_number_has_a_limit():
    """1e300 as a learning rate, decay or guidance scale overflows float32: a traceback in torch."""
    found = [one for name in ("params", "recipes") for one in numbers(SCHEMAS[name].json_schema())]
    assert {"lr", "weight_decay", "scale", "grad_clip"} < {name for name, _ in found}
    free = {name for name, one in found if not {"maximum", "exclusiveMaximum"} & one.keys()}
    assert free == {"interval"}  # which a check of its own keeps between 0 and 1


def test_environment_carries_the_pins_of_the_lock():
    lines = map(str.strip, (ROOT / "requirements.lock").read_text().splitlines())
    lock = [line for line in lines if line and not line.startswith("#")]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"][-1]["pip"] == lock
    assert len(lock) > 100


def test_dvc_stages_name_no_dataset_no_family_and_no_setting():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(stages) == ["config", "data", "train", "sample", "evaluate"]
    settings = [name for one in PROJECT.recipes.values() for name in one["sample"]["settings"]]
    families = [variant.family for variant in PROJECT.variants.values()]
    code = r"src/[\w/.]+|-m dimr"
    named = set(re.findall(r"[\w-]+", re.sub(code, "", str(list(stages.values())))))
    assert "workspace_sample" in named
    assert not named & {*PROJECT.datasets, *settings, *families}
    for stage in stages.values():
        for path in stage["deps"]:
            assert path.startswith("runs/workspace/") or (ROOT / path).exists(), path
