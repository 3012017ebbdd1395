"""Definitions of figures, and the command that draws them."""

import shutil

import pytest
import yaml

from dimr.cli import main
from dimr.config.project import PROJECT, ROOT, Project
from dimr.data.classes import class_names
from dimr.paper.figures.lookup import define, names, other_names
from dimr.paper.figures.rows import runs_in_words
from dimr.runtime.errors import DimrError

PAPER = {
    "samples", "class_samples", "adaln_pca", "adaln_pca_depths", "td_ln", "architecture",
    "low_fidelity", "training", "cost",
}  # fmt: skip
CLASSES = {
    7: (270, "Arctic wolf"), 8: (980, "volcano"), 9: (250, "Siberian husky"),
    10: (89, "sulphur-crested cockatoo"), 11: (972, "drop-off"), 12: (417, "balloon"),
    13: (291, "lion"), 14: (360, "otter"), 15: (387, "red panda"), 16: (388, "panda"),
    17: (973, "coral reef"), 18: (88, "macaw"),
}  # fmt: skip
"""Of the paper's figures 7 to 18, by number."""


def test_every_figure_is_defined_for_the_paper_and_on_digits():
    assert set(names(PROJECT)) >= PAPER | {f"digits/{name}" for name in PAPER}


@pytest.mark.parametrize(("number", "meant"), CLASSES.items())
def test_figures_7_to_18_are_the_papers_classes(number, meant):
    label, name = meant
    figure = define(f"figure{number}", PROJECT)
    assert (figure.run, figure.setting, figure.label) == (
        "imagenet512/dimr-xl-3r/0", "guided", label,
    )  # fmt: skip
    assert name in class_names(1000)[label].split(", ")
    assert f"class {label}" in figure.filled(figure.title)
    assert f"of class {label}," in figure.full_caption(PROJECT)


def test_numbers_are_further_names_of_defined_figures():
    others = other_names(PROJECT)
    assert not set(others) & set(names(PROJECT))
    for name, meant in others.items():
        assert define(name, PROJECT) == define(meant, PROJECT)
    assert others["figure2"] == "architecture"
    assert others["figure3"] == "adaln_pca"
    assert others["figure4"] == "td_ln"
    assert define("figure6", PROJECT).depths == [7, 14, 21, 28]
    assert [define(f"digits/figure{7 + n}", PROJECT).label for n in range(10)] == list(range(10))


@pytest.mark.parametrize("name", [*names(PROJECT), *other_names(PROJECT)])
def test_committed_figures_name_what_is_there(name):
    definition = define(name, PROJECT)
    for file in definition.files(PROJECT):
        assert file.startswith("runs/") or (ROOT / file).is_file()
    caption = definition.full_caption(PROJECT)
    assert "\n" not in caption
    for run in definition.runs(PROJECT):
        assert run.rpartition("/")[0] in caption
    if name.startswith("digits/"):
        assert all(run.startswith("digits") for run in definition.runs(PROJECT))


def test_a_figure_needs_what_it_shows_and_no_more():
    assert define("digits/td_ln", PROJECT).files(PROJECT) == [
        "runs/digits/dimr-xs-2r/0/model/record.json",
        "runs/digits/dit-xs-2/0/model/record.json",
    ]
    assert len(define("digits/training", PROJECT).files(PROJECT)) == 15  # three models, five seeds


def test_low_fidelity_images_and_the_metrics_beside_them():
    """The study's images are not those that the metrics are of."""
    runs = [f"runs/imagenet256/{run}" for run in ("dimr-xl-2r/published", "dit-xl-2/published")]
    files = define("figure1", PROJECT).files(PROJECT)
    assert sorted(file for file in files if file.startswith("runs/")) == sorted(
        f"{run}/{file}"
        for run in runs
        for file in ("distortion/guided80k.json", "distortion/guided80k.npy",
                     "samples/guided80k/record.json", "metrics/guided.json",
                     "provenance/guided.json")
    )  # fmt: skip
    figure5 = define("figure5", PROJECT)
    names = [row.name for row in figure5.rows(PROJECT)]
    assert names == ["U-ViT-H/2", "DiT-XL/2", "DiMR-XL/2R"]


def test_captions_say_how_many_seeds():
    assert (
        define("digits/cost", PROJECT)
        .full_caption(PROJECT)
        .endswith("dit-xs-2 (5 seeds: 0, 1, 2, 3, 4).")
    )
    assert (
        runs_in_words(["a/b/0", "a/c/published", "a/b/2"])
        == "a/b (2 seeds: 0, 2); a/c (authors' weights)"
    )


@pytest.fixture
def root(tmp_path):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    return tmp_path


def edited(root, name, **changes):
    file = root / f"experiments/figures/{name}.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("td_ln", {"kind": "tdln"}, r"td_ln\.yaml: kind: 'tdln' \(did you mean td_ln\?"),
        ("td_ln", {"adlan": 1}, r"td_ln\.yaml: adlan: unknown key \(did you mean adaln\?"),
        ("td_ln", {"adaln": "digits/dimr-xs-2r/0"}, r"digits/dimr-xs-2r/0: dimr without adaLN"),
        ("td_ln", {"td": "digits/dit-xs-2/0"}, r"td: digits/dit-xs-2/0: no TD-LN in its Tr"),
        ("adaln_pca", {"run": "digits/real/0"}, r"digits/real/0: no network without adaLN-Zero"),
        ("adaln_pca", {"depths": [29]}, r"depths: 29 is not in 1\.\.28 of imagenet256/dit-xl-2"),
        ("adaln_pca", {"setting": "gided"}, r"no setting 'gided' \(did you mean guided\?"),
        ("digits/class_samples", {"label": 10}, r"label: 10 is not in 0\.\.9 of digits/dimr-xs"),
        ("digits/training", {"table": "digits/table66"}, r"no table 'digits/table66' \(did you"),
        ("digits/training", {"table": "digits/table4"}, r"table4\.yaml: no row is trained on"),
        ("digits/training", {"dataset": "digitz"}, r"table7\.yaml: no row is trained on 'digitz'"),
        ("digits/cost", {"setting": "gided"}, r"setting: 'gided' \(did you mean guided\?"),
        ("cost", {"block": "ImageNet"}, r"table7\.yaml: no block 'ImageNet'"),
        ("architecture", {"variant": "dimr-xl-4r"}, r"no variant 'dimr-xl-4r' \(did you"),
        ("low_fidelity", {"study": "imagenet"}, r"no study 'imagenet' \(did you mean"),
        ("figure1", {"models": ["DiT-XL"]}, r"models: no model 'DiT-XL' \(did you mean DiT-XL/2\?"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_that_names_the_file(root, name, changes, message):
    edited(root, name, **changes)
    with pytest.raises(DimrError, match=message) as caught:
        define(name, Project(root))
    assert f"experiments/figures/{name}.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_setting_of_samples_is_named(root):
    content = yaml.safe_load((root / "experiments/figures/digits/samples.yaml").read_text())
    content["blocks"][0]["rows"][2]["setting"] = "guide"
    edited(root, "digits/samples", **content)
    with pytest.raises(
        DimrError, match=r"samples\.yaml: digits/dimr-xs-2r/0: no setting 'guide' \(did"
    ):
        define("digits/samples", Project(root))


def test_a_longer_name_says_what_is_shown():
    figure = define("architecture/uvit-h-2", PROJECT)
    assert figure.variant == "uvit-h-2"
    assert figure.filled(figure.title) == "Architecture of uvit-h-2"
    assert define("class_samples/88", PROJECT).label == 88
    with pytest.raises(
        DimrError, match=r"cost\.yaml: 'dimr-g-2r': a figure of kind published_cost"
    ):
        define("cost/dimr-g-2r", PROJECT)
    with pytest.raises(DimrError, match=r"class_samples\.yaml: label: 'wolf': input should be"):
        define("class_samples/wolf", PROJECT)


def test_a_number_of_no_figure_is_named(root):
    (root / "experiments/figures.yaml").write_text("figure4: td_lm\n")
    message = r"experiments/figures\.yaml: figure4: no figure 'td_lm' \(did you mean td_ln\?"
    with pytest.raises(DimrError, match=message):
        define("figure4", Project(root))


@pytest.mark.slow
def test_the_command_writes_pdf_and_png(tmp_path):
    pdf, png = tmp_path / "a/x.pdf", tmp_path / "a/x.png"
    files = ["--out", str(pdf), "--png", str(png)]
    drawn = ["figure", "architecture", "--variant", "dimr-xs-3r", *files]
    assert main(drawn) == 0
    assert pdf.read_bytes().startswith(b"%PDF")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert b"dimr-xs-3r" in pdf.read_bytes()
    before = pdf.read_bytes(), png.read_bytes()
    assert main(drawn) == 0
    assert (pdf.read_bytes(), png.read_bytes()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits/tdln"], "no figure 'digits/tdln' (did you mean digits/td_ln?"),
        (["digits/td_ln"], "runs/digits/dimr-xs-2r/0/model/config.json: no such file"),
        (["digits/td_ln", "--metrics", "m.json"], "--metrics: not used by figure digits/td_ln"),
        (["cost", "--variant", "dimr-g-2r"], "--variant: dimr-g-2r: only for figure architecture"),
    ],
)
def test_the_commands_mistakes_are_one_line(tmp_path, monkeypatch, caplog, arguments, message):
    monkeypatch.chdir(tmp_path)
    files = ["--out", "x.pdf", "--png", "x.png"]
    assert main(["figure", *arguments, *files]) == 2
    (line,) = [record.message for record in caplog.records if record.name == "dimr"]
    assert message in line
    assert "\n" not in line
    assert not list(tmp_path.glob("*x*"))
