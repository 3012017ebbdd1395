"""Tables: means and deviations over seeds, blanks where there is no number."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from dimr.data.shards import write_shards
from dimr.errors import DimrError
from dimr.experiment import ROOT, load_run
from dimr.reporting.figures import table_picture
from dimr.reporting.tables import load_table, write_table

DEFINITION = {
    "title": "A table",
    "notes": ["a note"],
    "seeds": 3,
    "columns": [
        {"key": "gmacs", "title": "GMACs", "format": "{:.1f}"},
        {"key": "fid", "title": "FID", "format": "{:.2f}"},
    ],
    "rows": [
        {"name": "Real", "run": "digits/real"},
        {"name": "Ours", "run": "digits/dimr-xs-2r", "settings": ["unguided", "guided"]},
    ],
}
COLOUR = (7, 130, 60)  # no shade of the headings' grey
FIDS = {"unguided": [3.0, 4.0, 8.0], "guided": [1.0, 1.0, 1.0]}


@pytest.fixture
def runs(tmp_path):
    def put(run, setting, metrics, cost):
        for kind, content in [("metrics", metrics), ("provenance", {"cost": cost})]:
            file = tmp_path / run / kind / f"{setting}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content))
        images = np.full((20, 4, 4, 3), COLOUR, dtype=np.uint8)
        write_shards(
            tmp_path / run / "samples" / setting, [images], np.arange(20) % 10, kind="pixels",
            classes=10, class_names=list("0123456789"), scaling_factor=None, key="k", shard_size=20,
        )  # fmt: skip

    put("digits/real/0", "reference", {"fid": 0.5}, {})
    for setting, values in FIDS.items():
        for seed, value in enumerate(values):
            put(f"digits/dimr-xs-2r/{seed}", setting, {"fid": value}, {"gmacs": 2.0})
    return tmp_path


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump(DEFINITION))
    return load_table(path)


def test_mean_and_deviation_over_seeds(runs, table):
    text = write_table(table, runs, runs / "t.csv", runs / "t.md")
    frame = pd.read_csv(runs / "t.csv").set_index(["model", "setting"])
    unguided = frame.loc[("Ours", "unguided")]
    assert unguided["seeds"] == 3
    assert unguided["fid"] == pytest.approx(5.0)
    assert unguided["fid_std"] == pytest.approx(np.std([3, 4, 8], ddof=1), rel=1e-5)
    assert frame.loc[("Real", "reference"), "seeds"] == 1
    assert np.isnan(frame.loc[("Real", "reference"), "gmacs"])
    assert "5.00 ± 2.65" in text
    assert (runs / "t.md").read_text() == text
    assert "- a note" in text
    real = next(line for line in text.splitlines() if "Real" in line)
    assert [cell.strip() for cell in real.split("|")[1:-1]] == ["Real", "reference", "", "0.50"]


def test_markdown_columns_line_up(runs, table):
    text = write_table(table, runs, runs / "t.csv", runs / "t.md")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert re.fullmatch(r"\|(-+\|){2}(-+:\|){2}", lines[1])  # text to the left, numbers right


def test_the_picture_shows_every_line(runs, table):
    table_picture(table, runs, runs / "t.png")
    pixels = np.asarray(Image.open(runs / "t.png"))
    tiles = (pixels == COLOUR).all(-1).sum()
    assert tiles == 3 * 20 * 8 * 8  # three lines of 20 images, enlarged twice


def test_a_missing_metric_is_named(runs, table):
    (runs / "digits/dimr-xs-2r/1/metrics/guided.json").unlink()
    with pytest.raises(DimrError, match=r"dimr-xs-2r/1/metrics/guided\.json: no such file"):
        write_table(table, runs, runs / "t.csv", runs / "t.md")
    assert not (runs / "t.csv").exists()


def test_mistakes_in_a_definition_are_named(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({**DEFINITION, "sedes": 3}))
    with pytest.raises(DimrError, match=r"bad\.yaml: sedes: unknown key \(did you mean seeds"):
        load_table(path)


def test_committed_tables_name_runs_and_settings_that_exist():
    files = list((ROOT / "experiments/tables").glob("*/*.yaml"))
    assert files
    for file in files:
        for run, setting in load_table(file).cells():
            assert setting in load_run(run).settings
