"""Raters' CSVs, their agreement by hand, and the table that comes of them."""

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest
from tests.support.messages import error_in

from dimr.cli import main
from dimr.human_study.rates import (
    agreement,
    answers_of,
    cohen_kappa,
    krippendorff_alpha,
    rates_of,
)
from dimr.human_study.ratings import read_key, read_ratings
from dimr.paper.published import load_published
from dimr.runtime.errors import DimrError

HEADER = "image,rating,rater,number,time\n"
TIME = "2024-06-13T12:00:00.000Z"
MODELS = {"DiMR-XL/2R": "DiMR", "U-ViT-H/2": "U-ViT", "DiT-XL/2": "DiT"}


NUMBERS = {"ann": 1, "ben": 2, " ": 3}


def table(*rows, number=None):
    """A CSV as the page saves it; each row is image, rating and rater."""
    lines = [f"{','.join(row)},{number or NUMBERS[row[2]]},{TIME}\n" for row in rows]
    return HEADER + "".join(lines)


def spoken(text, rater="ann"):
    """Ratings as pairs: ``a1 b2 c0`` of the images a, b and c."""
    said = {"1": "distorted", "2": "not distorted", "0": "unsure"}
    return [(part[0], said[part[1]], rater) for part in text.split()]


def answered(**raters):
    """Answers of several raters, images by raters."""
    rows = [row for rater, text in raters.items() for row in spoken(text, rater)]
    return answers_of(pd.DataFrame(rows, columns=["image", "rating", "rater"]))


@pytest.fixture
def key(tmp_path):
    """The key of a page with four images of each of three models: a to d, e to h, i to l."""
    file = tmp_path / "key.json"
    confidence = {
        "images": 80000, "mean": 0.8, "quantiles": {"0.01": 0.01, "0.05": 0.2, "0.5": 0.9},
        "low_fidelity": 4000, "shown": 4,
    }  # fmt: skip
    config = {"classifier": "net", "threshold": 0.2, "shown": 4, "seed": 3}
    models = [
        {"name": name, "run": f"imagenet256/{name}", "setting": "guided", "published": published,
         "confidence": confidence, "key": "k", "config": config}
        for name, published in MODELS.items()
    ]  # fmt: skip
    images = {
        image: {"model": list(MODELS)[k // 4], "raters": [1, 2, 3, 4, 5]}
        for k, image in enumerate("abcdefghijkl")
    }
    images["l"]["raters"] = [2, 3, 4, 5, 6]
    value = {"format": "dimr-rating-key-2", "title": "Study", "raters": 6, "per_image": 2,
             "models": models, "images": images}  # fmt: skip
    file.write_text(json.dumps(value))
    return read_key(file)


# --- numbers by hand ------------------------------------------------------------------------------


def test_cohens_kappa_by_hand():
    # 20 both yes, 5 and 10 apart, 15 both no: observed 0.7; chance 0.5 x 0.6 + 0.5 x 0.4 = 0.5
    pairs = np.array([(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15)
    assert cohen_kappa(pd.DataFrame(pairs)) == pytest.approx(0.4)
    assert cohen_kappa(pd.DataFrame(pairs[:, [0, 0]])) == 1
    assert cohen_kappa(pd.DataFrame([[1, 1]] * 4)) is None
    assert cohen_kappa(pd.DataFrame([[1, 1], [1, 0]])) == 0  # one who always says the same


def test_krippendorffs_alpha_by_hand():
    # Units (1,1,1), (1,0), (0,0,0,1), (0,0); the single answer does not count.
    units = [[1, 1, 1], [1, 0], [0, 0, 0, 1], [0, 0], [1]]
    # n = 11; unequal ordered pairs: 2/1 + 6/3 = 4, so 4/11 observed; 5 yes and 6 no by chance
    expected = 1 - (4 / 11) / (2 * 5 * 6 / (11 * 10))
    assert krippendorff_alpha(pd.DataFrame(units)) == pytest.approx(expected)
    # Krippendorff (2011), section A: two observers, ten binary values, alpha = 0.095
    both = pd.DataFrame({"A": map(int, "0100000000"), "B": map(int, "1110010010")})
    assert krippendorff_alpha(both) == pytest.approx(0.095, abs=5e-4)
    assert krippendorff_alpha(pd.DataFrame([[1, 1], [1]])) is None


def test_agreement_of_two_and_of_more():
    both = agreement(answered(ann="a1 b1 c2 d0", ben="a1 b2 c2 d1"))
    # ann did not answer d. Equal: a, c; chance 2/3 x 1/3 + 1/3 x 2/3 = 4/9
    assert (both.images, both.raw, both.kind) == (3, pytest.approx(2 / 3), "Cohen's kappa")
    assert both.kappa == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))
    three = agreement(answered(ann="a1 b1 c2", ben="a1 b2 c2", eve="a1 b2"))
    assert three.kind == "Krippendorff's alpha"
    assert three.raw == pytest.approx((1 + 1 / 3 + 1) / 3)
    units = pd.DataFrame([[1, 1, 1], [1, 0, 0], [0, 0]])
    assert three.kappa == pytest.approx(krippendorff_alpha(units))
    assert agreement(answered(ann="a1 b2", ben="c1")) is None
    same = agreement(answered(ann="a1 b1", ben="a1 b1"))
    assert (same.raw, same.kappa) == (1, None)


def test_each_raters_rate():
    answers = answered(ann="a1 b1 c1 d0", ben="a1 b2 c0 d0", eve="a2 e2", tim="a0")
    assert rates_of(answers).to_dict() == {"ann": 1.0, "ben": 0.5, "eve": 0.0}  # tim said nothing


# --- files ----------------------------------------------------------------------------------------


def test_a_csv_as_spreadsheets_save_it(key, tmp_path):
    file = tmp_path / "r.csv"
    file.write_bytes(
        b"\xef\xbb\xbfrater,image,time,number,rating\r\n"
        b'"Ann ""A"", B",a,2024-06-13T12:00:00Z,1,distorted\r\n\r\n'
    )
    [row] = read_ratings([file], key).to_dict("records")
    assert (row["image"], row["rating"], row["rater"]) == ("a", "distorted", 'Ann "A", B')
    assert row["where"] == f"{file}: line 2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file; expected a line image,rating,rater,number,time"),
        (HEADER, "no ratings in it"),
        ("image,rating,who,time\n", "line 1: columns 'image,rating,who,time'; expected image,"),
        (table(*spoken("a1 z1")), "line 3: image 'z' is not in"),
        (table(*spoken("y1 z1")), "line 2: image 'y', as all of the file's, is not in"),
        (table(("a", "distorded", "ann")), "line 2: rating 'distorded' (did you mean distorted?"),
        (table(("a", "1", "ann")), "line 2: rating '1' (allowed: distorted, not distorted, unsu"),
        (table(*spoken("a1 b1 a2")), "line 4: rater 'ann' has already rated image 'a' ("),
        (table(("a", "unsure", " ")), "line 2: rater is empty"),
        (table(*spoken("a1")).replace(TIME, "noon"), "line 2: time 'noon' is not as in 2024-06"),
        (table(*spoken("a1"), number="7"), "line 2: image 'a' is not shown to number '7'"),
        (table(*spoken("a1 l1")), "line 3: image 'l' is not shown to number '1'"),
        (f"{HEADER}a,unsure,ann,1", "line 2: time '' is not as in 2024-06"),
        (table(("a", "unsure", "ann", "x"), number=1), "Expected 5 fields in line 2, saw 6"),
        (f'{HEADER}"a,unsure', "not readable as CSV ("),
        ("image\0", "line 1: columns"),
    ],
)
def test_bad_ratings_are_one_line(key, tmp_path, text, message, caplog):
    file = tmp_path / "ann.csv"
    file.write_text(text)
    with pytest.raises(DimrError) as caught:
        read_ratings([file], key)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)
    out = ["--csv", str(tmp_path / "t.csv"), "--markdown", str(tmp_path / "t.md")]
    assert main(["distortion", str(file), "--key", str(key.file), *out]) == 2
    assert message in error_in(caplog)
    assert not (tmp_path / "t.csv").exists()


def test_a_rater_in_two_files(key, tmp_path):
    for name, text in (("x", "a1 b2"), ("y", "c1 b2")):
        (tmp_path / f"{name}.csv").write_text(table(*spoken(text)))
    with pytest.raises(DimrError, match=r"y\.csv: line 3: rater 'ann' has .* \(.*x\.csv: line 3\)"):
        read_ratings([tmp_path / "x.csv", tmp_path / "y.csv"], key)


def test_two_raters_of_one_number(key, tmp_path):
    (tmp_path / "x.csv").write_text(table(*spoken("a1")))
    (tmp_path / "y.csv").write_text(table(*spoken("b1", "eve"), number=1))
    with pytest.raises(DimrError, match=r"y\.csv: line 2: rater 'eve' has the number 1 of 'ann'"):
        read_ratings([tmp_path / "x.csv", tmp_path / "y.csv"], key)


def test_what_is_no_key(tmp_path, key):
    for value in ([], {"format": "dimr-rating-key-2"}, {"format": "dimr-shards-1"}):
        (tmp_path / "k.json").write_text(json.dumps(value))
        with pytest.raises(DimrError, match=r"k\.json: not the key of a rating page"):
            read_key(tmp_path / "k.json")
    value = json.loads(key.file.read_text())
    value["images"]["a"]["model"] = "other"
    (tmp_path / "k.json").write_text(json.dumps(value))
    with pytest.raises(DimrError, match=r"k\.json: not the key of a rating page"):
        read_key(tmp_path / "k.json")


# --- the table ------------------------------------------------------------------------------------


def rates(key, tmp_path, *files):
    out, text = tmp_path / "rates.csv", tmp_path / "rates.md"
    arguments = [*files, "--key", key.file, "--csv", out, "--markdown", text]
    assert main(["distortion", *map(str, arguments)]) == 0
    return list(csv.DictReader(out.open())), text.read_text()


def test_rates_beside_the_published(key, tmp_path):
    texts = {"ann": "a1 b1 c1 d2 e2 f2 g2 h2 i0", "ben": "a1 b1 c2 d2 e2 f2 g2 h1 i0"}
    for rater, text in texts.items():
        (tmp_path / f"{rater}.csv").write_text(table(*spoken(text, rater)))
    found, text = rates(key, tmp_path, tmp_path / "ann.csv", tmp_path / "ben.csv")
    rows = [row for row in found if row["block"] == "Models"]
    assert [row["model"] for row in rows] == [*MODELS, "All"]
    first, second, third, together = rows
    # DiMR: ann calls 3 of 4 distorted, ben 2 of 4
    assert (first["raters"], first["complete"]) == ("2", "4")
    half = 12.706204736432095 * (0.25 / math.sqrt(2)) / math.sqrt(2)  # Student's, 1 degree
    for name, value in (("rate", 5 / 8), ("low", max(0, 5 / 8 - half)), ("high", 1),
                        ("raw", 3 / 4), ("kappa", 0.5)):  # fmt: skip
        assert float(first[name]) == pytest.approx(value), name
    assert (float(second["rate"]), second["kappa"]) == (1 / 8, "0.0")
    assert (third["rate"], third["low"], third["complete"], third["unsure"]) == ("", "", "1", "2")
    # ann 3 of 8, ben 3 of 8
    assert (together["complete"], float(together["rate"]), together["images"]) == ("9", 3 / 8, "")
    shares = [(row["low_fidelity"], row["low_share"], row["threshold"]) for row in rows[:3]]
    assert shares == [("4000", "0.05", "0.2")] * 3
    each = [(row["model"], row["rater"], row["answers"], row["rate"]) for row in found[4:]]
    assert each == [
        ("DiMR-XL/2R", "ann", "4", "0.75"), ("DiMR-XL/2R", "ben", "4", "0.5"),
        ("U-ViT-H/2", "ann", "4", "0.0"), ("U-ViT-H/2", "ben", "4", "0.25"),
    ]  # fmt: skip
    published = {row["model"]: row["published_rate"] for row in rows}
    assert published == {"DiMR-XL/2R": "0.292", "U-ViT-H/2": "0.635", "DiT-XL/2": "0.71", "All": ""}
    assert "29.2%" in text
    assert "62.5%" in text
    assert "all 2 ratings" in text
    assert "Nobody has rated" not in text


def test_the_interval_of_five_raters_by_its_formula(key, tmp_path):
    said = {"ann": "1112", "ben": "1122", "cem": "1111", "dan": "1222", "eve": "1112"}
    files = []
    for number, (rater, words) in enumerate(said.items(), start=1):
        text = " ".join(f"{image}{word}" for image, word in zip("abcd", words, strict=True))
        files.append(tmp_path / f"{rater}.csv")
        files[-1].write_text(table(*spoken(text, rater), number=number))
    first, *_ = rates(key, tmp_path, *files)[0]
    values = np.array([3, 2, 4, 1, 3]) / 4
    half = 2.7764451051977987 * values.std(ddof=1) / math.sqrt(5)  # Student's, 4 degrees
    assert float(first["rate"]) == pytest.approx(0.65)
    assert float(first["low"]) == pytest.approx(0.65 - half)
    assert float(first["high"]) == pytest.approx(min(1, 0.65 + half))


def test_one_rater_has_no_interval(key, tmp_path):
    (tmp_path / "ann.csv").write_text(table(*spoken("a1 b2")))
    first, *_ = rates(key, tmp_path, tmp_path / "ann.csv")[0]
    assert (first["rate"], first["low"], first["high"], first["complete"]) == ("0.5", "", "", "0")


def test_without_ratings_there_are_no_rates(key, tmp_path):
    rows, text = rates(key, tmp_path)
    assert [row["model"] for row in rows] == list(MODELS)
    assert "rate" not in rows[0]
    assert (rows[0]["low_fidelity"], rows[0]["low_share"]) == ("4000", "0.05")
    assert "5.0%" in text
    assert "Nobody has rated these images yet" in text
    assert "a probability below 0.2 by the classifier net" in text


def test_published_rates_have_a_source():
    found = load_published().distortion
    assert {name: (one.rate, one.fid, one.source) for name, one in found.items()} == {
        "U-ViT": (0.635, 2.29, "repo"),
        "DiT": (0.710, 2.27, "repo"),
        "DiMR": (0.292, 1.77, "repo"),
    }


def test_a_published_name_that_is_not_there(key, tmp_path, caplog):
    value = json.loads(key.file.read_text())
    value["models"][0]["published"] = "DiMR-X"
    key.file.write_text(json.dumps(value))
    out = ["--csv", str(tmp_path / "t.csv"), "--markdown", str(tmp_path / "t.md")]
    assert main(["distortion", "--key", str(key.file), *out]) == 2
    assert "published: 'DiMR-X' is not in published.yaml (U-ViT, DiT, DiMR)" in error_in(caplog)
