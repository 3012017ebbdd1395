"""``dimr experiments``: what DVC tells as a narrow table."""

import pytest

from dimr.cli import main
from dimr.sharing.experiments import table_of_experiments

FID = ["fid", "fid_digits"]


def state(name, rev="", made=None, fids=(), experiments=None, **train):
    """A commit or experiment as DVC tells of it."""
    metrics = dict(zip(("unguided", "guided"), fids, strict=False))
    settings = {key: {"fid_digits": fid, "images": 500} for key, fid in metrics.items()}
    data = {
        "timestamp": made,
        "params": {"params.yaml": {"data": {"seed": 0, "train": {"steps": None} | train}}},
        "metrics": {"runs/workspace/metrics.json": {"data": settings}} if fids else {},
    }
    return {"name": name, "rev": rev, "data": data, "experiments": experiments}


def test_settings_name_their_metrics_and_parameters_their_values():
    fids = (31.06848188400639, 31.100489694449237)
    other = state("other", "ccc1f86d", "2026-11-29T00:55:25", fids, steps=60, compile=False)
    less = state("less", "eacff2d1", "2026-11-29T00:53:50", (31.178289, 31.213878), steps=50)
    failed = {"name": "wide", "rev": "1234567890", "data": None}
    experiments = [{"revs": [one]} for one in (other, less, failed)]
    main = state("main", "0" * 40, "2026-11-29T00:48:04", experiments=experiments)
    shown = [state(None, "workspace", fids=fids), main]
    heads, *rows = table_of_experiments(shown, FID)
    assert [text.strip() for text in heads.split("  ") if text.strip()] == [
        "Experiment", "Made", "unguided fid_digits", "guided fid_digits", "train.steps",
        "train.compile",
    ]  # fmt: skip
    assert [row.split() for row in rows] == [
        ["workspace", "31.07", "31.1"],
        ["main", "2026-11-29", "00:48"],
        ["ccc1f86", "other", "2026-11-29", "00:55", "31.07", "31.1", "60", "False"],
        ["eacff2d", "less", "2026-11-29", "00:53", "31.18", "31.21", "50"],
        ["1234567", "wide"],
    ]
    assert max(map(len, [heads, *rows])) <= 110


def test_without_experiments_it_says_how_to_make_one():
    for shown in ([], [state(None, "workspace"), state("main", experiments=[])]):
        assert table_of_experiments(shown, FID) == ["no experiments: dvc exp run -S KEY=VALUE"]


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
