"""Provenance says which code made a result, and whether it was changed after that."""

import re
import shutil

import pytest
from tests.support.results import leave_result, leave_results

from dimr.config.project import ROOT, Project
from dimr.paper.results import available, read_result, read_results
from dimr.runtime.code import source_fingerprint
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, write_json
from dimr.sharing.adopt import survey
from dimr.stages.provenance import collect, fault_of, sealed

RUN = "digits/dimr-xs-2r/0"
CELL = (RUN, "guided")
FILE, RECORD = f"runs/{RUN}/metrics/guided.json", f"runs/{RUN}/provenance/guided.json"
AGAIN = f"regenerate it: snakemake --force -- {FILE}"


@pytest.fixture
def results(tmp_path):
    """A project whose results carry the keys that its configuration asks for."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    leave_results(tmp_path, RUN)
    return tmp_path


def test_what_made_it():
    origin = collect("cpu")
    assert origin["device"] == "cpu"
    assert origin["versions"]["torch"]
    assert origin["command"].startswith("dimr")
    assert origin["code"] == source_fingerprint()
    assert len(origin["git_revision"]) == 40


# --- changes by hand ------------------------------------------------------------------------------


def edit_metrics(project):
    path = project / FILE
    path.write_text(path.read_text().replace("1.5", "1.4"))


def edit_record(project):
    path = project / RECORD
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))


def edit_both(project):
    """As one who knows of the first checksum alone."""
    edit_metrics(project)
    old = read_json(project / RECORD)
    new = sealed({}, project / FILE)
    write_json(project / RECORD, {**old, "metrics_sha256": new["metrics_sha256"]})


def leave_old_record(project):
    record = read_json(project / RECORD)
    del record["metrics_sha256"], record["digest"]
    write_json(project / RECORD, record)


CHANGES = [
    (edit_metrics, r"changed after it was made \(sha256 \w{12}\.\.\., made with \w{12}\.\.\.\)"),
    (edit_record, r"its record \(provenance\) was changed after it was made"),
    (edit_both, r"its record \(provenance\) was changed after it was made"),
    (leave_old_record, r"its record has no checksums \(made by an older version, or by hand\)"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_a_change_by_hand_is_refused_by_all_who_read_metrics(results, change, message):
    runs = results / "runs"
    metrics = {"fid_digits": 1.5, "images": 10}
    key = read_json(results / RECORD)["key"]
    leave_result(runs, *CELL, metrics, key=key, samples={"config": {"seed": 0}})
    assert read_result(runs, *CELL).metrics == metrics
    project = Project(results)
    assert FILE in survey(project).good
    change(results)
    for read in (
        lambda: read_result(runs, *CELL),
        lambda: read_results(project, runs, [CELL]),
        lambda: available(project, runs, [CELL]),
    ):
        with pytest.raises(DimrError, match=message) as caught:
            read()
        assert str(caught.value).startswith(f"{runs / RUN}/metrics/guided.json: ")
        assert str(caught.value).endswith(AGAIN)
        assert "\n" not in str(caught.value)
    found = survey(project)
    assert FILE not in found.good
    (line,) = [line for line in found.lines if line.startswith(FILE)]
    assert re.search(message, line)


def test_a_record_is_the_same_after_it_is_written(tmp_path):
    """Tuples, numbers as keys and text beyond ASCII change on their way through JSON."""
    write_json(tmp_path / "m.json", {"fid": 1.0})
    record = {"betas": (0.9, 0.99), "parts": {10: "a", 9: "b"}, "text": "±", "nan": float("nan")}
    write_json(tmp_path / "r.json", sealed(record, tmp_path / "m.json"))
    assert fault_of(read_json(tmp_path / "r.json"), tmp_path / "m.json") is None
