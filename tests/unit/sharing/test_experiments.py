"""``dimr experiments``: DVC's own CSV as a narrow table."""

import pytest

from dimr.cli import main
from dimr.sharing.experiments import table_of_experiments

CSV = """\
Experiment,rev,typ,Created,runs/workspace/metrics/unguided.json:fid_digits,\
runs/workspace/metrics/guided.json:fid_digits,train.steps,train.compile
,workspace,baseline,,31.06848188400639,31.100489694449237,,
,main,baseline,2026-11-29T00:48:04,!,!,,
other,ccc1f86,branch_commit,2026-11-29T00:55:25,31.06848188400639,31.100489694449237,60,False
less,eacff2d,branch_base,2026-11-29T00:53:50,31.178289772084796,31.213878251772343,50,False
"""


def test_settings_name_their_metrics_and_parameters_their_values():
    heads, *rows = table_of_experiments(CSV)
    assert heads.split("  ")[0] == "Experiment"
    assert [text.strip() for text in heads.split("  ") if text.strip()] == [
        "Experiment", "Made", "unguided fid_digits", "guided fid_digits", "train.steps",
        "train.compile",
    ]  # fmt: skip
    assert [row.split() for row in rows] == [
        ["workspace", "31.07", "31.1"],
        ["main", "2026-11-29", "00:48"],
        ["ccc1f86", "other", "2026-11-29", "00:55", "31.07", "31.1", "60", "False"],
        ["eacff2d", "less", "2026-11-29", "00:53", "31.18", "31.21", "50", "False"],
    ]
    assert max(map(len, [heads, *rows])) <= 110


def test_without_experiments_it_says_how_to_make_one():
    for text in ("", "rev,Created\r\nworkspace,\r\nmain,2026-11-29T06:54:32\r\n"):
        assert table_of_experiments(text) == ["no experiments: dvc exp run -S KEY=VALUE"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "fidd"], "--metric fidd: no such metric (allowed: fid, sfid, fid_digits,"),
        ([], "dvc exp show: "),
    ],
)
def test_what_goes_wrong_is_one_line(tmp_path, caplog, options, message):
    (tmp_path / "experiments").mkdir()
    assert main(["experiments", "--root", str(tmp_path), *options]) == 2
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert message in record.getMessage()
    assert "\n" not in record.getMessage()
