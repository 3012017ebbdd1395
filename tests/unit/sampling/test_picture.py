"""``dimr sample`` without --config: what is drawn, and what the run's own settings decide."""

import logging

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dimr.checkpoints import write_class_names
from dimr.cli import main
from dimr.config.variants import load_network_config
from dimr.data.shards import ShardManifest
from dimr.sampling.folder import read_samples
from dimr.sampling.model import names_of_classes
from dimr.sampling.picture import PictureOptions, describe, draw_picture, lay_out
from dimr.sampling.run_setting import run_setting

from .conftest import sampling_of

SIDE, GAP = 48, 2  # of a tile: images 16 x 16, three times enlarged
RECORD = {"key": "k", "config": {"dataset": "digits", "train": {"label_dropout": 0.1}}}
NONE = {"kind": "none"}
GUIDED = {"kind": "constant", "scale": 0.7, "interval": [0.1, 0.8]}


def run(*arguments):
    return main(["sample", *map(str, arguments)])


@pytest.fixture
def trained(model_folder, vae, tmp_path):
    """A run's model folder beside its dataset's autoencoder."""
    vae.save_pretrained(tmp_path / "data/digits/autoencoder")
    return model_folder("dit", 4, record=RECORD, changes={"schedule": "latent"})


def tiles(picture, rows, columns):
    """The grid's images as (rows, columns, 16, 16, 3); there is nothing beside them but names."""
    pixels = np.asarray(picture)
    assert pixels.shape[0] == rows * (SIDE + GAP)
    margin = pixels.shape[1] - columns * (SIDE + GAP)
    assert margin >= 24
    cut = pixels[:, margin:].reshape(rows, SIDE + GAP, columns, SIDE + GAP, 3)
    return cut[:, :SIDE, :, :SIDE].swapaxes(1, 2)[:, :, ::3, ::3].astype(int)


def drawn(model, rows, columns, **options):
    picture, _ = draw_picture(model, PictureOptions(**options), device=torch.device("cpu"))
    return tiles(picture, rows, columns)


def error_of(caplog, *arguments, code=2):
    caplog.clear()
    assert run(*arguments) == code
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    message = record.getMessage()
    assert message.startswith("dimr: ")
    assert "\n" not in message
    assert record.exc_info is None
    return message


# --- what is drawn --------------------------------------------------------------------------------


def test_a_picture_holds_the_workflows_images(trained, tmp_path):
    config, autoencoder = tmp_path / "sample-guided.yaml", tmp_path / "data/digits/autoencoder"
    guidance = {"kind": "constant", "scale": 0.7}
    sampling = sampling_of(seed=7, count=15, steps=4, guidance=guidance)
    config.write_text(sampling.model_dump_json())
    assert run("--config", config, "--model", trained, "--autoencoder", autoencoder,
               "--out", tmp_path / "samples") == 0  # fmt: skip
    images, labels = read_samples(tmp_path / "samples")

    out = tmp_path / "new/grid.png"
    asked = ["--class", 3, "--class", 1, "--per-class", 3, "--seed", 7, "--steps", 4]
    assert run("--model", trained, "--out", out, *asked, "--guidance", 0.7, "--batch", 2) == 0
    shown = tiles(Image.open(out), rows=2, columns=3)
    for row, label in enumerate((3, 1)):
        wanted = images[labels == label]
        assert wanted.std() > 10
        assert np.abs(shown[row] - wanted).max() <= 1  # another batch: rounding


def test_defaults(trained):
    every = drawn(trained, 5, 8)
    two = drawn(trained, 2, 8, classes=("4", "2", "2"), guidance=0.4, steps=50, seed=0,
                solver="authors", per_class=8)  # fmt: skip
    # a class asked for twice has one row
    assert max(np.abs(two[0] - every[4]).max(), np.abs(two[1] - every[2]).max()) <= 1


def test_options_reach_the_sampler(trained):
    common = {"per_class": 1, "classes": ("2",), "steps": 6}
    pictures = [
        drawn(trained, 1, 1, **{**common, **options})
        for options in (
            {}, {"seed": 1}, {"guidance": 0.0}, {"interval": (0, 0.6)}, {"power_cosine": (3, 1)},
            {"solver": "multistep"}, {"solver": "ancestral"}, {"steps": 7},
        )
    ]  # fmt: skip
    for i, first in enumerate(pictures):
        assert all((first != other).mean() > 0.1 for other in pictures[:i])


def test_without_a_class(trained):
    three = drawn(trained, 1, 3, unconditional=True, steps=4, per_class=3)
    ten = drawn(trained, 2, 8, unconditional=True, steps=4, per_class=10)
    assert np.abs(ten[0, :3] - three[0]).max() <= 1
    assert (ten[1, 2:] == 255).all()  # 8 and 2
    same_noise = drawn(trained, 1, 3, classes=("0",), steps=4, per_class=3, guidance=0.0)
    assert (same_noise[0, 0] != three[0, 0]).mean() > 0.1


def test_classes_of_imagenet_by_name(model_folder):
    folder = model_folder(sizes={"layers": [1], "dims": [8], "num_classes": 1000})
    config = load_network_config(folder / "config.json")
    names = names_of_classes(folder, config)
    asked = lay_out(PictureOptions(("goldfish", "n02123045", "980"), per_class=2), config, names)
    assert asked.names == ["goldfish", "tabby", "volcano"]
    assert asked.rows.tolist() == [0, 0, 1, 1, 2, 2]
    assert asked.indices == [1, 1001, 281, 1281, 980, 1980]
    assert len(lay_out(PictureOptions(), config, names).names) == 8  # a few of many


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_need_no_autoencoder(channels, model_folder, tmp_path):
    folder, out = model_folder("uvit", channels), tmp_path / "grid.png"
    assert run("--model", folder, "--out", out, "--class=1", "--steps=3") == 0
    picture = np.asarray(Image.open(out))  # images 8 x 8, six times enlarged
    assert picture.shape[0] == SIDE + GAP
    assert np.array_equal(picture[..., 0], picture[..., 1]) == (channels == 1)


NAMES = ["Zw\u00f6lf blaue Quadrate", "cafe\u0301", "red circles", "red, green", "7"]


def test_classes_by_the_names_in_the_model_folder(trained, tmp_path, caplog):
    """The picture, the messages and the folder of samples have them."""
    write_class_names(trained, NAMES)
    out, short = tmp_path / "grid.png", ["--steps=3", "--per-class=1"]
    asked = "RED  circles", "zwo\u0308lf blaue Quadrate", "caf\u00e9", 7
    classes = [f"--class={name}" for name in asked]
    assert run("--model", trained, "--out", out, *short, *classes) == 0
    every = drawn(trained, 5, 1, steps=3, per_class=1)
    shown = tiles(Image.open(out), 4, 1)
    assert np.abs(shown[:, 0] - every[[2, 0, 1, 4], 0]).max() <= 1
    assert "no class 'red circels' (did you mean 2 red circles? allowed: 0 Zw\u00f6lf" in error_of(
        caplog, "--model", trained, "--out", out, "--class=red circels"
    )
    assert "no class 'green' (names with it: 3 'red, green'; " in error_of(
        caplog, "--model", trained, "--out", out, "--class=green"
    )
    config = tmp_path / "sample-guided.yaml"
    config.write_text(sampling_of(count=5, steps=3).model_dump_json())
    folder = tmp_path / "samples"
    assert run("--config", config, "--model", trained, "--out", folder,
               "--autoencoder", tmp_path / "data/digits/autoencoder") == 0  # fmt: skip
    assert ShardManifest.read(folder).class_names == NAMES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["a", "b"]', "class_names.json: 2 names for the 5 classes of config.json"),
        ('{"0": "a"}', "class_names.json: should be a list of names, one for each class"),
        ('["a", 1, "c", "d", "e"]', "class_names.json: should be a list of names"),
        ('["a', "class_names.json: not readable as JSON"),
    ],
)
def test_damaged_names_are_one_line(content, message, trained, tmp_path, caplog):
    (trained / "class_names.json").write_text(content)
    assert message in error_of(caplog, "--model", trained, "--out", tmp_path / "grid.png")


def test_the_datasets_autoencoder_is_found(model_folder, vae, tmp_path, caplog):
    folder, out = model_folder(channels=4, record=RECORD), tmp_path / "grid.png"
    options = ["--model", folder, "--out", out, "--class=1", "--steps=3", "--per-class=2"]
    message = error_of(caplog, *options)
    assert f"{folder}: a model of latents: give its autoencoder" in message
    assert "--autoencoder" in message
    assert not out.exists()
    vae.save_pretrained(tmp_path / "elsewhere")
    assert run(*options, "--autoencoder", tmp_path / "elsewhere") == 0
    given = np.asarray(Image.open(out))
    vae.save_pretrained(tmp_path / "data/digits/autoencoder")
    assert run(*options) == 0
    assert np.array_equal(np.asarray(Image.open(out)), given)
    assert given.shape[0] == SIDE + GAP


# --- the run's own settings -----------------------------------------------------------------------


def write(model, **settings):
    """``config/sample-<setting>.yaml`` of the run, each of (steps, guidance)."""
    folder = model.parent / "config"
    folder.mkdir(exist_ok=True)
    for name, (steps, guidance) in settings.items():
        value = {"seed": 5, "count": 20, "steps": steps, "solver": "multistep"}
        (folder / f"sample-{name}.yaml").write_text(yaml.safe_dump({**value, "guidance": guidance}))
    return model


def decided(model, **asked):
    """How images are drawn where this is asked for."""
    own, config = run_setting(model), load_network_config(model / "config.json")
    setting = own.sampling if own else None
    return lay_out(PictureOptions(**asked), config, "abcde", setting, 0.1).sampling


@pytest.fixture
def model(model_folder):
    return model_folder()


def test_guided_is_preferred_else_the_first(model):
    assert run_setting(model) is None
    write(model, unguided=(8, NONE), power=(9, NONE))
    assert (run_setting(model).name, run_setting(model).sampling.steps) == ("power", 9)
    write(model, guided=(7, GUIDED))
    assert run_setting(model).name == "guided"
    assert run_setting(model, "unguided").sampling.steps == 8


def test_the_runs_own_setting_is_the_default_and_options_override_it(model):
    before = decided(model)
    assert (before.steps, before.solver, before.seed) == (50, "authors", 0)
    assert before.guidance.scale == 0.4
    write(model, guided=(7, GUIDED))
    own = decided(model)
    assert (own.steps, own.solver, own.seed) == (7, "multistep", 5)
    own = own.guidance
    assert (own.kind, own.scale, own.interval) == ("constant", 0.7, (0.1, 0.8))
    for name, value in {"steps": 9, "seed": 0, "solver": "authors"}.items():
        assert getattr(decided(model, **{name: value}), name) == value
    stronger = decided(model, guidance=2.0).guidance
    assert (stronger.kind, stronger.scale, stronger.interval) == ("constant", 2.0, None)
    assert decided(model, guidance=0.0).guidance.kind == "none"
    assert decided(model, power_cosine=(2.0, 1.0)).guidance.kind == "power_cosine"
    limited = decided(model, interval=(0.2, 0.4)).guidance
    assert (limited.scale, limited.interval) == (0.7, (0.2, 0.4))
    assert decided(model, unconditional=True).guidance.kind == "unconditional"


def test_a_run_of_unconditional_settings_needs_no_option(model):
    write(model, guided=(7, {"kind": "unconditional"}))
    assert decided(model).guidance.kind == "unconditional"
    assert decided(model, classes=("1",), guidance=0.5).guidance.kind == "constant"
    assert decided(model, guidance=0.0).guidance.kind == "none"


def test_one_line_says_what_was_written_and_how(model, tmp_path, caplog):
    write(model, guided=(4, GUIDED), unguided=(3, NONE))
    caplog.set_level(logging.INFO, logger="dimr")
    out = tmp_path / "grid.png"
    options = ["--model", model, "--out", out, "--class=1", "--per-class=2"]
    assert run(*options) == 0
    assert caplog.messages[-1] == (
        f"{out}: 2 images: 4 network evaluations, solver multistep, guidance 0.7 at times 0.1 to "
        f"0.8, seed 5 (setting guided of {model.parent})"
    )
    assert run(*options, "--setting=unguided", "--seed=1") == 0
    assert caplog.messages[-1].endswith(
        f"3 network evaluations, solver multistep, no guidance, seed 1 (setting unguided of "
        f"{model.parent}, except --seed)"
    )
    for kind, words in {
        "none": "no guidance,", "constant": "guidance 1.5,", "unconditional": "no class,",
        "power_cosine": "power-cosine guidance 1.5 1,",
    }.items():  # fmt: skip
        assert words in describe(sampling_of(guidance={"kind": kind, "scale": 1.5}))


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "name", "message"),
    [
        ({"guided": (4, GUIDED), "unguided": (3, NONE)}, "gided",
         "--setting gided: no such setting of this run (did you mean guided? allowed: guided, "
         "unguided)"),
        ({}, "guided", "has no sample-<setting>.yaml"),
        ({"guided": (4, {"kind": "strong"})}, "guided", "sample-guided.yaml: guidance.kind"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line(model, tmp_path, caplog, settings, name, message):
    write(model, **settings)
    out = tmp_path / "grid.png"
    assert message in error_of(caplog, "--model", model, "--setting", name, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class=seven"], r"dimr: no class 'seven' (allowed: 0 to 4)"),
        (["--class=5"], "dimr: no class 5 (allowed: 0 to 4)"),
        (["--steps=2"], "--steps: 2 is too few"),
        (["--solver=ancestral"], "--solver: ancestral needs a network that learns its variance"),
        (["--guidance=-1"], "--guidance.scale: -1.0: input should be greater"),
        (["--power-cosine", "0.5", "1"], "--power-cosine: scale 0.5 of power_cosine is below 1"),
        (["--power-cosine", "2", "0"], "--power-cosine.power: 0.0: input should be greater"),
        (["--unconditional", "--guidance=0.4"], "--unconditional: there is no guidance without"),
        (["--interval", "0.6", "0.2"], "--interval: interval [0.6, 0.2] is not 0 <= low < high"),
        (["--interval", "0.5", "1.2"], "--interval: interval [0.5, 1.2] is not 0 <= low < high"),
        (["--interval", "0", "1", "--guidance=0"], "--interval: interval [0.0, 1.0]: kind none"),
        (
            ["--config=x.yaml", "--interval", "0", "1"],
            "--interval cannot be combined with --config",
        ),
        (["--config=x.yaml", "--class=3"], "--class cannot be combined with --config"),
        (["--config=x.yaml", "--per-class=3"], "--per-class cannot be combined with --config"),
        (["--config=x.yaml", "--setting=guided"], "--setting cannot be combined with --config"),
        (["--config=x.yaml"], "x.yaml: no such file"),
        (["--device=nonsense"], "--device nonsense: not usable here"),
    ],
)
def test_what_does_not_fit_is_one_line(options, message, model_folder, tmp_path, caplog):
    out = tmp_path / "grid.png"
    assert message in error_of(caplog, "--model", model_folder(), "--out", out, *options)
    assert not out.exists()


def test_a_picture_is_a_png_of_a_model(model_folder, tmp_path, caplog):
    message = error_of(caplog, "--model", model_folder(), "--out", tmp_path / "samples")
    assert "a picture's name ends in .png (a folder needs --config)" in message
    message = error_of(caplog, "--model", tmp_path / "x", "--out", tmp_path / "grid.png")
    assert "config.json: no such file" in message


def test_models_that_know_one_kind_of_image_only(model_folder, tmp_path, caplog):
    out = tmp_path / "grid.png"
    never = {**RECORD, "config": {"train": {"label_dropout": 0.0}}}
    asked = ["--model", model_folder("dimr", record=never), "--out", out, "--steps=3"]
    assert run(*asked) == 0  # the default is then no guidance
    default = out.read_bytes()
    assert run(*asked, "--guidance=0") == 0
    assert out.read_bytes() == default
    for option in (["--guidance=0.4"], ["--unconditional"], ["--power-cosine", "2", "1"]):
        name = option[0].split("=")[0]
        message = f"{name}: this model has learned no prediction without a class"
        assert message in error_of(caplog, *asked, *option)
    always = {**RECORD, "config": {"train": {"label_dropout": 1.0}}}
    asked = ["--model", model_folder("uvit", record=always), "--out", out, "--steps=3"]
    assert "it needs --unconditional" in error_of(caplog, *asked)
    assert run(*asked, "--unconditional") == 0


def test_a_published_dit_has_its_own_sampler(model_folder):
    config = load_network_config(model_folder("dit", 4) / "config.json")
    sampling = lay_out(PictureOptions(("1",)), config, "abcde").sampling
    assert (sampling.solver, sampling.guidance.channels) == ("ancestral", 3)


def test_help_shows_how(capsys):
    with pytest.raises(SystemExit) as left:
        main(["sample", "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "dimr sample --model runs/digits/dimr-xs-2r/0/model --class 3 --class 7" in shown
    for option in ("--config", "--class", "--power-cosine S A", "--unconditional", "--processes N"):
        assert option in shown
