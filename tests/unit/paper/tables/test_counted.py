"""Tables 4 and 5: our networks and recipes beside what is published, typed here from the facts."""

import csv
import re

import pytest
import torch
import yaml
from tests.support.results import make_table

from dimr import build
from dimr.config.project import PROJECT, ROOT, Project
from dimr.config.schema import Train
from dimr.paper.published import load_published
from dimr.paper.tables.counts import Number, as_printed, chosen_variants, counting_input
from dimr.paper.tables.definitions import find_definitions, write_table
from dimr.paper.tables.render import latex_tabular, latex_text, markdown_lines
from dimr.paper.tables.settings import ALWAYS
from dimr.runtime.errors import DimrError
from dimr.training import make_optimizer
from dimr.training.step import learning_rate

TABLES = {name: ROOT / f"experiments/tables/{name}.yaml" for name in ("table4", "table5")}

# N, D, input; parameters and GMACs of the authors' networks; parameters and GMACs as printed
VARIANTS = {
    "DiMR-M/3R": ("15, 8, 8", "768, 384, 192", "64x64x3", 132941577, 53.53, "132.9M", ""),
    "DiMR-L/3R": ("33, 17, 17", "768, 384, 192", "64x64x3", 284380425, 110.60, "284M", ""),
    "DiMR-XL/2R": ("39, 20", "960, 480", "32x32x4", 505046408, 160.18, "505M", "160"),
    "DiMR-XL/3R": ("39, 20, 20", "960, 480, 240", "64x64x4", 525387372, 206.07, "525M", "206"),
    "DiMR-G/2R": ("57, 29", "1152, 576", "32x32x4", 1056352904, 331.10, "1.06B", "331"),
}
SETTINGS_256 = {
    "steps": "1000000", "epochs": "800", "batch": "1024", "gpus": "16 in 2 nodes",
    "optimizer": "AdamW", "lr": "0.0002", "betas": "0.99, 0.99", "weight_decay": "0.03",
    "lr_schedule": "constant", "warmup_steps": "5000", "ema_decay": "0.9999",
    "label_dropout": "0.1", "objective": "noise", "loss_weights": "0.25, 1.0",
    "schedule": "latent", "solver": "authors", "evaluations": "250", "samples": "50000",
    "guidance_constant": "0.4", "guidance_power_cosine": "",
}  # fmt: skip
SETTINGS_512 = {
    **dict.fromkeys(SETTINGS_256, ""),
    **{key: SETTINGS_256[key] for key in (
        "steps", "epochs", "batch", "optimizer", "lr", "betas", "weight_decay", "lr_schedule",
        "warmup_steps", "schedule", "solver", "evaluations", "samples",
    )},
    "loss_weights": "0.0625, 0.25, 1.0",
}  # fmt: skip
SETTINGS_64 = {
    **{key: SETTINGS_512[key] for key in SETTINGS_256},
    "steps": "300000", "epochs": "240", "lr": "0.0003", "schedule": "", "solver": "",
    "evaluations": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The committed definitions, written once."""
    folder = tmp_path_factory.mktemp("tables")
    for name, path in TABLES.items():
        ends = {"csv": "csv", "markdown": "md", "latex": "tex"}
        files = {kind: folder / f"{name}.{end}" for kind, end in ends.items()}
        write_table(path, PROJECT, folder, files)
    return folder


def read_csv(path):
    with open(path) as file:
        return list(csv.DictReader(file))


@pytest.fixture
def root(root, edit):
    """A copy of experiments/ whose table 4 has one network, as counting takes its time."""
    rows = [{"name": "M", "variant": "uvit-m-4"}]
    edit("tables/table4.yaml", lambda content: content["blocks"][0].update(rows=rows))
    edit("tables/table4.yaml", lambda content: content.update(blocks=content["blocks"][:1]))
    return root


def write(root, name):
    assert make_table(root, name) == 0
    return [root / f"results/{name}.{end}" for end in ("csv", "md", "tex")]


def message_of(root, name, caplog):
    assert make_table(root, name) == 2
    assert not (root / "results").exists()
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    return record.getMessage()


# --- table 4 ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_variants_are_the_papers(written):
    rows = {row["model"]: row for row in read_csv(written / "table4.csv") if row["heads"]}
    assert list(rows) == list(VARIANTS)
    for name, (layers, dims, shape, parameters, gmacs, printed, printed_gmacs) in VARIANTS.items():
        row = rows[name]
        assert (row["layers"], row["dims"], row["input"]) == (layers, dims, shape)
        assert (row["branches"], row["heads"]) == (str(len(dims.split(","))), "16")
        assert int(row["parameters"]) == int(row["parameters_counted"]) == parameters
        assert row["parameters_difference"] == "0"
        assert float(row["gmacs"]) == pytest.approx(gmacs, abs=0.0051)
        assert float(row["gmacs_counted"]) == gmacs
        assert (row["parameters_published"], row["gmacs_published"]) == (printed, printed_gmacs)
        assert row["parameters_agree"] == row["gmacs_agree"] == "yes"
        assert float(row["memory_mb"]) > 500


@pytest.mark.slow
def test_the_patch_and_side_of_every_branch(written):
    rows = {row["model"]: row for row in read_csv(written / "table4.csv")}
    assert (rows["DiMR-XL/2R"]["patches"], rows["DiMR-XL/2R"]["resolutions"]) == ("2, 1", "16, 32")
    assert rows["DiMR-XL/3R"]["resolutions"] == "16, 32, 64"


@pytest.mark.slow
def test_the_ablations_rows_cost_what_the_notes_say(written):
    every = {row["model"]: row for row in read_csv(written / "table4.csv")}
    token, adaln, adaln_branches, branches, glu, scales, td = (
        every[name] for name in (
            "U-ViT-M/4", "+ adaLN-Zero", "adaLN-Zero, three branches", "TD-LN, three branches",
            "+ GLU", "+ multi-scale loss (DiMR-M/3R)", "TD-LN, one branch (a row of ours)",
        )
    )  # fmt: skip
    assert token["parameters_more"] == ""
    d, blocks = 768, 17
    modulation = (d + 1) * (6 * d * blocks + 2 * d) + (256 + 1) * d + (d + 1) * d
    norms, td_norms = 4 * d * blocks + 2 * d, 8 * d * (2 * blocks + 1)
    assert int(adaln["parameters_more"]) == modulation - d - norms == 62155008
    assert int(td["parameters"]) - int(adaln["parameters"]) == td_norms - modulation
    assert int(branches["parameters"]) == int(adaln_branches["parameters"]) + int(
        branches["parameters_more"]
    )
    widths = {768: 15, 384: 9, 192: 9}  # blocks built; biases: 5 D in both
    assert int(glu["parameters_more"]) == -sum(n * 2 * d * d for d, n in widths.items())
    assert int(scales["parameters_more"]) == 0


def test_the_networks_of_digits_are_those_of_its_tables_and_no_other():
    tables = {name: one for name, one in find_definitions(PROJECT).items() if "digits/" in name}
    cells = [cell for one in tables.values() for cell in one.cells()]
    used = {
        run.split("/")[1].removesuffix(f"-{one.trial}").removesuffix(f"-{one.milestone}")
        for run, setting in cells
        if setting != "reference" and (one := PROJECT.run(run))
    }
    listed = {row.variant for block in tables["digits/table4"].blocks for row in block.rows}
    assert listed == used


def test_a_wrong_published_size_is_crossed(root, edit):
    edit("variants.yaml", ["uvit", "m", 4, "published", "parameters"], "132M")
    table, markdown, latex = write(root, "table4")
    (row,) = read_csv(table)
    assert row["parameters_agree"] == "no"
    assert float(row["parameters_difference"]) == 130941060 - 132e6
    assert row["gmacs_agree"] == row["gmacs_published"] == ""
    assert "| ✗ |" in re.sub(" +", " ", markdown.read_text())
    assert "132M & $\\times$" in latex.read_text()


@pytest.mark.parametrize(
    ("number", "agrees"),
    [
        (Number(505046408, 505046408, "505M"), True),
        (Number(505046408, 505046409, "505M"), False),  # one parameter more
        (Number(505046408, 505046408, "506M"), False),
        (Number(1056352904, None, "1.06B"), True),
        (Number(1056352904, None, "1.1B"), True),
        (Number(1056352904, None, "1.05B"), False),
        (Number(160.176, 160.18, 160), True),
        (Number(160.176, 160.19, 160), False),
        (Number(160.176, 160.18, 162), False),
        (Number(76.456, None, 77), True),  # printed rounded up
        (Number(53.531, 53.53), True),
        (Number(53.531), None),
        (Number(None, 53.53), None),
    ],
)
def test_when_a_number_is_met(number, agrees):
    assert number.agrees is agrees


def test_printed_numbers():
    assert as_printed(505046408, like="131M") == "505M"
    assert as_printed(505046408, like="1.06B") == "0.51B"
    assert Number(130941060, None, "131M").difference == -58940
    assert Number(160.5, 160.0, 161).difference == 0.5
    assert Number(160.5).difference is None


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("dimr-m-3r", (64, 3, 1000)),
        ("dimr-m-mlp-last-3r", (64, 3, 1000)),
        ("uvit-m-td-4", (64, 3, 1000)),
        ("dit-s-4", (32, 4, 1000)),
        ("dit-xl-sigma-2", (32, 4, 1000)),
        ("dimr-m-adaln-3r", (64, 3, 1000)),
        ("dimr-xl-concat-2r", (32, 4, 1000)),
        ("dimr-xl-layer-2r", (32, 4, 1000)),
        ("dimr-xs-2r", (8, 4, 10)),
        ("dimr-xs-last-2r", (8, 4, 10)),
        ("dit-xs-sigma-2", (8, 4, 10)),
    ],
)
def test_what_a_variant_is_counted_on(name, shape):
    inputs = counting_input(PROJECT.variant(name), PROJECT)
    assert (inputs["input_size"], inputs["channels"], inputs["num_classes"]) == shape


def test_a_size_that_nothing_takes_is_named(root, edit):
    edit("variants.yaml", ["uvit", "xs", 3], {"depth": 3, "dim": 8, "heads": 2})
    with pytest.raises(DimrError, match=r"uvit-xs-3: no dataset of recipes\.yaml takes it"):
        counting_input(Project(root).variant("uvit-xs-3"), Project(root))


def test_patterns_families_and_datasets_choose():
    def names(*arguments, **options):
        return [one.name for one, _ in chosen_variants(PROJECT, *arguments, **options)]

    two = [name for name in PROJECT.variants if name.endswith("2r") and "-layer-" not in name]
    assert names(["dimr-*-2r"]) == two  # as listed, of which none has another norm
    assert names(["dimr-*-rms-*"])[:2] == ["dimr-xs-rms-3r", "dimr-s-rms-3r"]
    assert names(["dimr-xl-layer-2r"]) == ["dimr-xl-layer-2r"]
    assert not [name for name in names() if "-layer-" in name or "-rms-" in name]
    assert names(["uvit-h-2", "dimr-g-2r"]) == ["dimr-g-2r", "uvit-h-2"]
    assert names(family="dit")[0] == "dit-xs-2"
    on_digits = chosen_variants(PROJECT, ["dimr-*"], dataset="digits")
    assert [(one.name, inputs["input_size"]) for one, inputs in on_digits] == [
        (name, 8) for name in two
    ]


# --- table 5 ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_settings_are_the_papers_and_blank_where_unconfirmed(written):
    rows = read_csv(written / "table5.csv")
    published = {
        side: {row["setting"]: row[f"imagenet{side}_published"] for row in rows}
        for side in (64, 256, 512)
    }
    assert published[256] == SETTINGS_256
    assert published[512] == SETTINGS_512
    assert published[64] == SETTINGS_64
    for side, values in published.items():
        for row in rows:
            met = row[f"imagenet{side}_agree"]
            both = values[row["setting"]] and row[f"imagenet{side}"]
            assert met == ("yes" if both else "")


@pytest.mark.slow
def test_ours_are_the_recipes(written):
    rows = {row["setting"]: row for row in read_csv(written / "table5.csv")}
    recipes = yaml.safe_load((ROOT / "experiments/recipes.yaml").read_text())
    for name in ("imagenet64", "digits", "digits-pixel"):
        train, column = recipes[name]["train"], name.replace("-", "_")
        assert int(rows["steps"][column]) == train["steps"]
        assert float(rows["lr"][column]) == train["lr"]
        assert float(rows["ema_decay"][column]) == train["ema_decay"]
    images = {"imagenet256": 1281167, "digits": 1000}
    for name, count in images.items():
        train = recipes[name]["train"]
        epochs = train["steps"] * train["batch"] / count
        assert float(rows["epochs"][name]) == pytest.approx(epochs)
    assert rows["loss_weights"]["imagenet512"] == "0.0625, 0.25, 1.0"
    assert rows["guidance_power_cosine"]["imagenet256"] == ""
    assert not [name for name in rows["lr"] if name.startswith("digits_") and "publ" in name]


def test_a_setting_that_is_not_the_published_one_is_crossed(root, edit):
    edit("recipes.yaml", ["imagenet256", "train", "betas"], [0.9, 0.99])
    edit("recipes.yaml", ["imagenet256", "train", "steps"], 900000)
    rows = {row["setting"]: row for row in read_csv(write(root, "table5")[0])}
    crossed = [key for key, row in rows.items() if row["imagenet256_agree"] == "no"]
    assert crossed == ["steps", "epochs", "betas"]


def test_what_no_recipe_says_is_what_training_does():
    network = build("dimr-xs-2r", input_size=8, channels=4, num_classes=10)
    content = yaml.safe_load((ROOT / "experiments/recipes.yaml").read_text())["digits"]["train"]
    settings = Train.model_validate({**content, "betas": tuple(content["betas"])})
    optimizer = make_optimizer(network, settings)
    assert ALWAYS["optimizer"] == type(optimizer).__name__
    assert isinstance(optimizer, torch.optim.AdamW)
    assert ALWAYS["lr_schedule"] == "constant"
    late = {learning_rate(step, settings) for step in (settings.warmup_steps, settings.steps)}
    assert late == {settings.lr}


@pytest.mark.slow
def test_reasons_for_blanks_and_sources_are_printed(written):
    text = (written / "table5.md").read_text()
    said = "the text of the paper and the authors' public repository"
    assert f"ImageNet 512: published values from {said}." in text
    assert "Training steps: 500,000 (400 epochs) is reported beside it." in text
    assert "1281167" not in text  # numbers are printed for people


# --- files ----------------------------------------------------------------------------------------


def test_the_committed_tables_of_digits_are_these(tmp_path):
    for name in ("table4", "table5"):
        assert make_table(ROOT, f"digits/{name}", to=tmp_path) == 0
        for end in ("csv", "md", "tex"):
            made = (tmp_path / f"digits/{name}.{end}").read_bytes()
            assert made == (ROOT / f"results/digits/{name}.{end}").read_bytes()


def test_layout():
    lines = markdown_lines(["a", "b|c"], [["x", "1"], ["long", "22"]], [False, True])
    assert lines == [
        "| a    | b\\|c |",
        "|------|-----:|",
        "| x    |    1 |",
        "| long |   22 |",
    ]
    assert latex_text("50% & a_b #1 {x} ~^ \\ $5 ✓ ✗") == (
        r"50\% \& a\_b \#1 \{x\} \textasciitilde{}\textasciicircum{} \textbackslash{} \$5 "
        r"$\checkmark$ $\times$"
    )
    assert latex_text('[a] "b"') == "{[}a] ``b''"
    tabular = latex_tabular(["", "G", "G", "H"], ["n", "a", "b", "a"], [["1"] * 4], [False] * 4)
    assert tabular[0] == r"\begin{tabular}{llll}"
    assert tabular[2] == r" & \multicolumn{2}{c}{G} & \multicolumn{1}{c}{H} \\"
    assert tabular[3] == r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}"
    assert tabular[4:] == [
        r"n & a & b & a \\", r"\midrule", r"1 & 1 & 1 & 1 \\", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_latex_is_balanced_and_plain(written, name):
    text = (written / f"{name}.tex").read_text()
    assert text.isascii()
    for kind in ("table*", "tabular"):
        assert text.count(rf"\begin{{{kind}}}") == text.count(rf"\end{{{kind}}}") >= 1
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert text.replace(r"\$", "").count("$") % 2 == 0
    tabulars = re.findall(r"begin\{tabular\}\{(\w+)\}(.*?)\\end", text, re.DOTALL)
    for columns, body in tabulars:
        lines = [line for line in body.splitlines() if "&" in line and "multicolumn" not in line]
        assert {line.count(" & ") + 1 for line in lines} == {len(columns)}
    assert rf"\label{{tab:{name}}}" in text


# --- mistakes -------------------------------------------------------------------------------------

BAD = [
    ("published.yaml", ["settings", "imagenet256", "stepz"], {"value": 1, "source": "repo"},
     r"published\.yaml: settings\.imagenet256\.stepz: unknown key \(did you mean steps\?"),
    ("published.yaml", ["settings", "imagenet256", "lr"], {"value": 1.0e-4},
     r"settings\.imagenet256\.lr: value 0\.0001 has no source"),
    ("published.yaml", ["settings", "imagenet256", "lr"], {"value": None},
     r"settings\.imagenet256\.lr: a blank value has no source, but a note"),
    ("published.yaml", ["settings", "imagenet256", "lr"], {"value": 1.0, "source": "hearsay"},
     r"settings\.imagenet256\.lr\.source: 'hearsay': .*'repo'"),
    ("published.yaml", ["settings", "imagnet64"], {"blank": "x"},
     r"published\.yaml: settings: unknown name 'imagnet64' \(did you mean imagenet64\?"),
    ("published.yaml", ["variants", "dimr-xl-4r"],
     {"parameters": "1M", "gmacs": 1, "source": "repo"},
     r"published\.yaml: variants: unknown name 'dimr-xl-4r' \(did you mean dimr-xl-3r\?"),
    ("published.yaml", ["variants", "dimr-xl-2r", "parameters"], "505 M",
     r"published\.yaml: variants\.dimr-xl-2r\.parameters: '505 M'"),
    ("tables/table4.yaml", ["kind"], "variant",
     r"table4\.yaml: kind: 'variant' \(did you mean variants"),
    ("tables/table4.yaml", ["titel"], "x",
     r"table4\.yaml: titel: unknown key \(did you mean title"),
    ("tables/table4.yaml", ["blocks", 0, "columns", 0, "key"], "modle",
     r"no key 'modle' \(did you mean model\?"),
    ("tables/table4.yaml", ["blocks", 0, "rows", 0, "variant"], "uvit-n-4",
     r"no variant 'uvit-n-4' \(did you mean uvit-m-4"),
    ("tables/table5.yaml", ["rows", 0, "key"], "stepz",
     r"table5\.yaml: rows\.0: no setting 'stepz' \(did you mean steps\?"),
    ("tables/table5.yaml", ["datasets", 0, "name"], "imagenet65",
     r"no dataset 'imagenet65' \(did you mean imagenet64\?"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "path", "value", "message"), BAD, ids=[b[3][:60] for b in BAD])
def test_mistakes_are_one_line(root, edit, caplog, file, path, value, message):
    edit(file, path, value)
    name = "table5" if "table5" in file else "table4"
    assert re.search(message, message_of(root, name, caplog))


def test_committed_values_are_read():
    published = load_published()
    assert published.settings["imagenet256"].steps.value == 1_000_000
    assert published.variants["dimr-g-2r"].parameters == "1.06B"
