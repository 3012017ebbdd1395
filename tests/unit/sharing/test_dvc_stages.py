"""dvc.yaml is what the stages say, and each stage of it depends on the code of its result."""

import pytest
import yaml

from dimr.config.project import ROOT
from dimr.runtime.code import work_files
from dimr.sharing.dvc_stages import dvc_yaml
from dimr.sharing.workspace import STEPS
from dimr.stages.pipeline import STAGES


def test_the_file_in_the_repository_is_current():
    assert (ROOT / "dvc.yaml").read_text() == dvc_yaml(), "run: make dvc.yaml"


@pytest.mark.slow
def test_the_code_of_a_result_is_covered():
    """A folder that is named covers all of its files; ``depthwise.py`` was once in no list."""
    stages = yaml.safe_load(dvc_yaml())["stages"]
    for step in STEPS:
        deps = stages[step]["deps"]
        for file in work_files(type(STAGES[step]).__module__):
            path = file.relative_to(ROOT)
            assert any(path.is_relative_to(dep) for dep in deps), f"{step}: {path}"
    networks = [ROOT / "src/dimr/models" / f"{name}.py" for name in ("depthwise", "dimr", "dit")]
    for network in networks:
        assert network in work_files("dimr.stages.train")


def test_stages_depend_on_records_not_on_folders():
    stages = yaml.safe_load(dvc_yaml())["stages"]
    outs = {str(out) for step in ("data", *STEPS) for out in stages[step]["outs"]}
    folders = {out for out in outs if "." not in out}
    assert len(folders) == 5
    for step in STEPS:
        assert not folders & set(stages[step]["deps"])


def test_data_are_no_output():
    """DVC would delete them: before it runs an experiment, and where its lock has none of them."""
    assert "- data/" not in dvc_yaml()
