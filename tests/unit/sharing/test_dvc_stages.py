"""dvc.yaml is what the stages say, and each stage of it depends on the code of its result."""

import pytest
import yaml

from dimr.config.project import PROJECT, ROOT
from dimr.runtime.code import work_files
from dimr.sharing.dvc_stages import dvc_yaml, run_stages


def test_the_file_in_the_repository_is_current():
    assert (ROOT / "dvc.yaml").read_text() == dvc_yaml(PROJECT), "run: make dvc.yaml"


@pytest.mark.slow
def test_the_code_of_a_result_is_covered():
    """A folder that is named covers all of its files; ``depthwise.py`` was once in no list."""
    stages = yaml.safe_load(dvc_yaml(PROJECT))["stages"]
    for stage in run_stages(PROJECT):
        deps = stages[stage.name]["deps"]
        for file in work_files(type(stage).__module__):
            path = file.relative_to(ROOT)
            assert any(path.is_relative_to(dep) for dep in deps), f"{stage.name}: {path}"
    networks = [ROOT / "src/dimr/models" / f"{name}.py" for name in ("depthwise", "dimr", "dit")]
    for network in networks:
        assert network in work_files("dimr.stages.train")


def test_stages_depend_on_records_not_on_folders():
    stages = yaml.safe_load(dvc_yaml(PROJECT))["stages"]
    names = [stage.name for stage in run_stages(PROJECT)]
    assert {"images", "encode", "train", "sample", "evaluate"} < set(names)
    outs = {out for name in names for out in stages[name]["outs"]}
    for name in names:
        assert not outs & set(stages[name]["deps"])
