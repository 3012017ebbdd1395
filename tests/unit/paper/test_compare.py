"""``dimr compare``: a table of runs made here beside the recorded study."""

import csv
import shutil
from statistics import fmean, stdev

import pytest

from dimr.cli import main
from dimr.config.project import ROOT, Project
from dimr.paper.explain import Explainer
from dimr.paper.tables.definitions import of_seeds, place_of
from dimr.runtime.errors import DimrError

TABLE = "results/demo/digits/table1.csv"


@pytest.fixture
def clone(tmp_path):
    """What is checked in, and a demo's table: of seed 0, one number 0.04 less than recorded."""
    for name in ("experiments", "results/digits"):
        shutil.copytree(ROOT / name, tmp_path / name)
    with open(tmp_path / "results/digits/table1.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        if line["model"] == "DiMR-XS/2R":
            fid = recorded(tmp_path, line["setting"])[0]
            line["fid_digits"] = str(fid - 0.04 if line["setting"] == "guided" else fid)
    (tmp_path / TABLE).parent.mkdir(parents=True)
    with open(tmp_path / TABLE, "w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return tmp_path


def recorded(folder, setting):
    """FID-digits of DiMR-XS/2R as recorded, seed by seed."""
    with open(folder / "results/digits/seeds.csv", newline="") as file:
        return [
            float(line["fid_digits"])
            for line in sorted(csv.DictReader(file), key=lambda line: int(line["seed"]))
            if (line["dataset"], line["model"], line["setting"])
            == ("digits", "dimr-xs-2r", setting)
        ]


def test_a_demos_table_is_of_one_seed(clone):
    """Of five, as the study's, it would train for an hour."""
    place, project = place_of(clone / TABLE), Project(clone)
    demo = place.table(project)
    whole = place_of(clone / "results/digits/table1.csv").table(project)
    assert (demo.seeds, whole.seeds) == (1, 5)
    assert demo == of_seeds(whole, 1)
    assert {run.rpartition("/")[2] for run, _ in demo.cells()} == {"0"}
    assert {run.rpartition("/")[2] for run, _ in whole.cells()} == set("01234")
    with pytest.raises(DimrError, match=r"--seeds: seeds: 0: input should be greater"):
        of_seeds(whole, 0)


def rows(out):
    return {tuple(line.split()[:2]): line.split()[2:] for line in out.splitlines()}


def test_each_row_beside_the_same_seed_and_all_seeds(clone, capsys):
    assert main(["compare", str(clone / TABLE)]) == 0
    out = capsys.readouterr().out
    guided, unguided = (recorded(clone, setting) for setting in ("guided", "unguided"))
    spread = f"{fmean(guided):.2f} ± {stdev(guided):.2f} ({len(guided)})"
    first = guided[0]
    assert rows(out)["DiMR-XS/2R", "guided"] == (
        [f"{first - 0.04:.2f}", f"{first:.2f}", "-0.04", *spread.split()]
    )
    assert rows(out)["DiMR-XS/2R", "unguided"][:3] == [f"{unguided[0]:.2f}"] * 2 + ["0.00"]
    assert "1 seed of each network" in out


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("results/demo/digits/table7.csv", "not made yet: snakemake -- results/demo/digits/"),
        ("results/digits/table4.csv", "not a table of runs"),
        ("results/digits/table8.csv", "not a table of runs"),
    ],
)
def test_what_cannot_be_compared_is_one_line(clone, caplog, table, message):
    assert main(["compare", str(clone / table)]) == 2
    assert message in caplog.text


def test_without_a_record_nothing_is_compared(clone, caplog):
    (clone / "results/digits/seeds.csv").unlink()
    assert main(["compare", str(clone / TABLE)]) == 2
    assert "nothing of the study is recorded" in caplog.text


def test_a_demos_cell_is_not_judged_by_recorded_seeds(clone):
    (cell,) = Explainer(clone / TABLE).explain("DiMR-XS/2R", "fid_digits", "guided")
    assert (cell.verdict, cell.seeds) == ("unchecked", None)
