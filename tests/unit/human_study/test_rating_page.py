"""The rating page as a file; tests/browser opens it."""

import base64
import io
import itertools
import json
import re
import shutil
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from dimr.cli import main
from dimr.config.project import ROOT, Project
from dimr.config.schema import Study
from dimr.config.validation import load_section
from dimr.data.classes import class_names
from dimr.human_study.confidence import Chosen, write_scores
from dimr.human_study.rating_page import read_models
from dimr.human_study.ratings import read_key
from dimr.human_study.study import load_study
from dimr.runtime.errors import DimrError
from dimr.runtime.output_kinds import CHOSEN

CLASS_NAMES = class_names(1000)
NAMES = ("DiMR-XS/2R", "U-ViT-XS/2", "DiT-XS/2")
SHOWN = 8
RATERS, PER_IMAGE = 6, 5
CONFIG = {"classifier": "digits", "threshold": 0.2, "shown": SHOWN, "seed": 0}


def put_scores(runs, number, chosen=None, **changes):
    """Scores of a run, with images of its own."""
    random = np.random.default_rng(number)
    chosen = chosen or Chosen(
        random.integers(0, 256, (SHOWN, 8, 8, 3), dtype=np.uint8),
        np.arange(SHOWN) * 100,
        random.random(SHOWN).astype(np.float32),
        random.permutation(100)[:SHOWN],
    )
    summary = {
        "key": f"key{number}", "images": 100, "mean": 0.9, "quantiles": {}, "low_fidelity": 10,
        "shown": SHOWN, "classes": 1000, "inputs": {}, "config": {**CONFIG, **changes},
    }  # fmt: skip
    out = runs / f"digits/model-{number}/0/distortion/guided.json"
    write_scores(out, np.zeros(100, np.float32), chosen, summary)
    return chosen


@pytest.fixture
def study(tmp_path):
    """A study of three models; their images by the model's name."""
    rows = [
        {"name": name, "run": f"digits/model-{k}/0", "setting": "guided"}
        for k, name in enumerate(NAMES)
    ]
    content = {"title": "T", "seed": 0, "raters": RATERS, "per_image": PER_IMAGE, "rows": rows}
    (tmp_path / "study.yaml").write_text(json.dumps(content))
    return {name: put_scores(tmp_path / "runs", k) for k, name in enumerate(NAMES)}


def build(folder, name="a"):
    given = {"study": folder / "study.yaml", "runs": folder / "runs",
             "out": folder / f"{name}.html", "key": folder / f"{name}.json"}  # fmt: skip
    return main(["rating-page", *(str(x) for k, v in given.items() for x in (f"--{k}", v))])


def content(path):
    """The page's data, and what is left of the page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text())
    return json.loads(found[1]), path.read_text().replace(found[1], "")


def test_every_image_is_there_once_in_random_order(study, tmp_path):
    assert build(tmp_path) == 0
    data, _ = content(tmp_path / "a.html")
    key = json.loads((tmp_path / "a.json").read_text())
    assert [one["id"] for one in data["images"]] == list(key["images"])
    seen = {name: [] for name in NAMES}
    for one in data["images"]:
        facts = key["images"][one["id"]]
        chosen = study[facts["model"]]
        (place,) = np.flatnonzero(chosen.index == facts["index"])
        seen[facts["model"]].append(int(place))
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(one["png"]))))
        assert (pixels == chosen.images[place]).all()
        assert facts["label"] == chosen.labels[place]
        assert one["label"] == CLASS_NAMES[facts["label"]]
        assert facts["confidence"] == pytest.approx(float(chosen.confidence[place]))
    assert all(sorted(places) == list(range(SHOWN)) for places in seen.values())
    order = [facts["model"] for facts in key["images"].values()]
    assert sum(a != b for a, b in itertools.pairwise(order)) > 6  # mixed, not in blocks
    assert read_key(tmp_path / "a.json").images.keys() == key["images"].keys()


@pytest.mark.usefixtures("study")
def test_every_image_is_shown_to_five_raters_each_in_an_order_of_their_own(tmp_path):
    assert build(tmp_path) == 0
    data, _ = content(tmp_path / "a.html")
    key = json.loads((tmp_path / "a.json").read_text())
    seen = {one["id"]: [] for one in data["images"]}
    for number, shown in enumerate(data["raters"], start=1):
        assert len(set(shown)) == len(shown)
        for index in shown:
            seen[data["images"][index]["id"]].append(number)
    assert seen == {image: facts["raters"] for image, facts in key["images"].items()}
    assert seen == read_key(tmp_path / "a.json").shown_to
    assert all(len(to) == PER_IMAGE for to in seen.values())
    for name in NAMES:  # a like share of every model's images for every rater
        of = [to for image, to in seen.items() if key["images"][image]["model"] == name]
        loads = [sum(number in to for to in of) for number in range(1, RATERS + 1)]
        assert max(loads) - min(loads) <= 1
    first, second, *_ = data["raters"]
    both = set(first) & set(second)
    assert [n for n in first if n in both] != [n for n in second if n in both]


@pytest.mark.usefixtures("study")
def test_raters_are_no_fewer_than_an_image_has(tmp_path, caplog):
    file = tmp_path / "study.yaml"
    file.write_text(file.read_text().replace(f'"raters": {RATERS}', '"raters": 4'))
    assert build(tmp_path) == 2
    assert "raters: 4 are fewer than per_image: 5" in caplog.records[-1].getMessage()


def test_a_model_without_low_fidelity_images_and_a_study_without_any(study, tmp_path, caplog):
    chosen = study[NAMES[1]]
    nothing = Chosen(*(getattr(chosen, field)[:0] for field in CHOSEN))
    for number in (0, 1, 2):
        assert build(tmp_path, f"p{number}") == 0
        data, _ = content(tmp_path / f"p{number}.html")
        assert len(data["images"]) == SHOWN * (3 - number)
        put_scores(tmp_path / "runs", number, nothing)
    assert build(tmp_path) == 2
    assert "there is no low-fidelity image of any model" in caplog.records[-1].getMessage()


@pytest.mark.usefixtures("study")
def test_a_page_that_no_browser_opens_is_refused(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("dimr.human_study.rating_page.LARGEST", 10_000)
    assert build(tmp_path) == 2
    assert "24 images: no browser opens it: lower" in caplog.records[-1].getMessage()
    assert not (tmp_path / "a.html").exists()


@pytest.mark.usefixtures("study")
def test_the_page_says_nothing_of_the_models(tmp_path):
    assert build(tmp_path) == 0
    data, rest = content(tmp_path / "a.html")
    assert data.keys() == {"page", "images", "raters"}
    for one in data["images"]:
        assert one.keys() == {"id", "label", "png"}
        assert re.fullmatch("[0-9a-f]{16}", one["id"])
        kinds = re.findall(b"IHDR|tEXt|iTXt|zTXt|tIME|eXIf", base64.b64decode(one["png"]))
        assert kinds == [b"IHDR"]  # nothing but pixels
    for word in (*NAMES, "dimr", "dit", "vit", "model", "digits", "guided"):
        assert word.lower() not in re.sub(r"text/\w+|edited", "", rest).lower(), word
    assert not re.search(r"https?:|src=\"(?!\")|@import|url\(", rest)  # needs nothing else
    assert "/*" not in rest.split("<style>")[0]
    assert "DATA" not in rest
    assert "SCRIPT*/" not in rest


@pytest.mark.usefixtures("study")
def test_the_same_images_give_the_same_files(tmp_path):
    assert build(tmp_path, "a") == build(tmp_path, "b") == 0
    for kind in ("html", "json"):
        same = [(tmp_path / f"{name}.{kind}").read_bytes() for name in "ab"]
        assert same[0] == same[1]
    ids = json.loads((tmp_path / "a.json").read_text())["images"]
    put_scores(tmp_path / "runs", 7)
    text = (tmp_path / "study.yaml").read_text().replace("model-2", "model-7")
    (tmp_path / "study.yaml").write_text(text)
    assert build(tmp_path, "c") == 0
    other = json.loads((tmp_path / "c.json").read_text())
    same = ids.keys() & other["images"].keys()
    assert len(same) == 2 * SHOWN
    assert all(ids[one] == other["images"][one] for one in same)  # ratings of them still count
    assert other["page"] != json.loads((tmp_path / "a.json").read_text())["page"]


@pytest.mark.usefixtures("study")
def test_models_that_were_chosen_in_other_ways_are_refused(tmp_path, caplog):
    put_scores(tmp_path / "runs", 1, threshold=0.3)
    assert build(tmp_path) == 2
    message = caplog.records[-1].getMessage()
    assert "model-1/0/distortion/guided.json: threshold is 0.3; digits/model-0/0 has 0.2" in message
    assert not (tmp_path / "a.html").exists()


@pytest.mark.usefixtures("study")
def test_scores_that_are_missing_are_named(tmp_path):
    (tmp_path / "runs/digits/model-2/0/distortion/guided.npz").unlink()
    with pytest.raises(DimrError, match=r"model-2/0/distortion/guided\.npz: no such file"):
        read_models(load_section(Study, tmp_path / "study.yaml"), tmp_path / "runs")


@pytest.mark.usefixtures("study")
def test_a_page_in_the_place_of_its_key_is_refused(tmp_path, caplog):
    same = str(tmp_path / "a.html")
    given = ["--study", str(tmp_path / "study.yaml"), "--runs", str(tmp_path / "runs")]
    assert main(["rating-page", *given, "--out", same, "--key", same]) == 2
    assert "is --key too" in caplog.records[-1].getMessage()


@pytest.mark.usefixtures("study")
def test_a_row_that_is_there_twice_is_refused(tmp_path, caplog):
    text = (tmp_path / "study.yaml").read_text().replace(NAMES[2], NAMES[0])
    (tmp_path / "study.yaml").write_text(text)
    assert build(tmp_path) == 2
    assert "study.yaml" in caplog.records[-1].getMessage()
    assert "'DiMR-XS/2R' is listed twice" in caplog.records[-1].getMessage()


def test_the_studies_name_runs_and_settings_that_there_are(tmp_path):
    for path in (ROOT / "experiments/distortion").glob("*.yaml"):
        assert len(load_study(path.stem).rows) == 3
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    file = tmp_path / "experiments/distortion/digits.yaml"
    good = file.read_text()
    for old, new, message in (
        ("setting: power_cosine", "setting: gided", r"digits\.yaml: .*no setting 'gided' \("),
        ("dimr-xs-2r", "dimr-xs-3r", "'dimr-xs-3r' does not fit digits"),
        ("digits/dimr-xs-2r", "imagenet64/dimr-m-3r", "no setting 'power_cosine'"),
        ("{name: DiMR-XS/2R, run: digits/dimr-xs-2r/0, setting: power_cosine}",
         "{name: X, run: imagenet64/dimr-m-3r/0, setting: unguided}", "has no distortion section"),
    ):  # fmt: skip
        file.write_text(good.replace(old, new, 1))
        with pytest.raises(DimrError, match=message):
            load_study("digits", Project(tmp_path))
    with pytest.raises(DimrError, match=r"no study 'digit' .*allowed: digits, imagenet256"):
        load_study("digit", Project(tmp_path))


def test_the_template_is_part_of_the_package():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for name in listed["package-data"]["dimr.human_study"]:
        assert (files("dimr.human_study") / name).is_file()
    assert {"rating_page.html", "rating_page.css", "rating_page.js"} <= set(
        listed["package-data"]["dimr.human_study"]
    )
