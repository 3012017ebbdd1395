"""``dimr sample`` for a person at a shell, beside the workflow's form."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from dimr.cli import main
from dimr.sampling.folder import read_samples

SIDE, GAP = 48, 2  # of a tile: images 16 x 16, three times enlarged
RECORD = {"key": "k", "config": {"dataset": "digits", "train": {"label_dropout": 0.1}}}


def run(*arguments):
    return main(["sample", *map(str, arguments)])


@pytest.fixture
def trained(model_folder, vae, tmp_path):
    """A run's model folder beside its dataset's autoencoder."""
    vae.save_pretrained(tmp_path / "data/digits/autoencoder")
    return model_folder("dit", 4, record=RECORD, changes={"schedule": "latent"})


def tiles(path, rows, columns):
    """The grid's images as (rows, columns, 16, 16, 3); there is nothing beside them but names."""
    picture = np.asarray(Image.open(path))
    assert picture.shape[0] == rows * (SIDE + GAP)
    margin = picture.shape[1] - columns * (SIDE + GAP)
    assert margin >= 24
    cut = picture[:, margin:].reshape(rows, SIDE + GAP, columns, SIDE + GAP, 3)
    return cut[:, :SIDE, :, :SIDE].swapaxes(1, 2)[:, :, ::3, ::3]


def error_of(caplog, *arguments, code=2):
    caplog.clear()
    assert run(*arguments) == code
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    message = record.getMessage()
    assert message.startswith("dimr: ")
    assert "\n" not in message
    assert record.exc_info is None
    return message


def test_a_picture_holds_the_workflows_images(trained, tmp_path):
    config, autoencoder = tmp_path / "sample-guided.yaml", tmp_path / "data/digits/autoencoder"
    config.write_text(json.dumps({
        "seed": 7, "count": 15, "steps": 4, "solver": "authors",
        "guidance": {"kind": "constant", "scale": 0.7, "power": 1.0, "channels": None},
    }))  # fmt: skip
    assert run("--config", config, "--model", trained, "--autoencoder", autoencoder,
               "--out", tmp_path / "samples") == 0  # fmt: skip
    images, labels = read_samples(tmp_path / "samples")

    out = tmp_path / "new/grid.png"
    asked = ["--class", 3, "--class", 1, "--per-class", 3, "--seed", 7, "--steps", 4]
    assert run("--model", trained, "--out", out, *asked, "--guidance", 0.7, "--batch", 2) == 0
    shown = tiles(out, rows=2, columns=3)
    for row, label in enumerate((3, 1)):
        wanted = images[labels == label]
        assert wanted.std() > 10
        assert np.abs(shown[row].astype(int) - wanted).max() <= 1  # another batch: rounding


def test_defaults(trained, tmp_path):
    out = tmp_path / "grid.png"
    assert run("--model", trained, "--out", out) == 0
    every = tiles(out, rows=5, columns=8)
    explicit = [f"--class={label}" for label in (4, "2", 2)]
    assert run("--model", trained, "--out", out, *explicit, "--guidance=0.4", "--steps=50",
               "--seed=0", "--solver=authors", "--per-class=8") == 0  # fmt: skip
    two = tiles(out, rows=2, columns=8)  # a class asked for twice has one row
    assert np.abs(two[0].astype(int) - every[4]).max() <= 1
    assert np.abs(two[1].astype(int) - every[2]).max() <= 1


def test_options_reach_the_sampler(trained, tmp_path):
    out, pictures = tmp_path / "grid.png", []
    for options in ([], ["--seed=1"], ["--guidance=0"], ["--interval", "0", "0.6"],
                    ["--power-cosine", "3", "1"],
                    ["--solver=multistep"], ["--solver=ancestral"], ["--steps=7"]):  # fmt: skip
        assert run("--model", trained, "--out", out, "--per-class=1", "--class=2", "--steps=6",
                   *options) == 0  # fmt: skip
        pictures.append(tiles(out, 1, 1))
    for i, first in enumerate(pictures):
        assert all((first != other).mean() > 0.1 for other in pictures[:i])


def test_without_a_class(trained, tmp_path):
    out = tmp_path / "any.png"
    options = ["--model", trained, "--out", out, "--unconditional", "--steps=4", "--per-class"]
    assert run(*options, 3) == 0
    three = tiles(out, rows=1, columns=3)
    assert run(*options, 10) == 0
    ten = tiles(out, rows=2, columns=8)
    assert np.abs(ten[0, :3].astype(int) - three[0]).max() <= 1
    assert (ten[1, 2:] == 255).all()  # 8 and 2
    asked = ["--class=0", "--steps=4", "--per-class=3", "--guidance=0"]
    assert run("--model", trained, "--out", out, *asked) == 0
    first, same_noise = tiles(out, 1, 3)[0, 0], three[0, 0]
    assert (first != same_noise).mean() > 0.1


def test_classes_of_imagenet_by_name(model_folder, tmp_path, monkeypatch):
    from dimr.sampling import request

    seen = {}
    drawn = request.class_grid

    def spy(images, rows, names, **options):
        seen.update(names=names, rows=rows.tolist())
        return drawn(images, rows, names, **options)

    monkeypatch.setattr(request, "class_grid", spy)
    sizes = {"layers": [1], "dims": [8], "num_classes": 1000}
    folder = model_folder(sizes=sizes)
    out = tmp_path / "grid.png"
    options = ["--model", folder, "--out", out, "--steps=3", "--per-class=2"]
    assert run(*options, "--class=goldfish", "--class=n02123045", "--class=980") == 0
    assert seen == {"names": ["goldfish", "tabby", "volcano"], "rows": [0, 0, 1, 1, 2, 2]}
    assert Image.open(out).height == 3 * (SIDE + GAP)
    assert run(*options) == 0  # a few of many
    assert len(seen["names"]) == 8


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_need_no_autoencoder(channels, model_folder, tmp_path):
    folder, out = model_folder("uvit", channels), tmp_path / "grid.png"
    assert run("--model", folder, "--out", out, "--class=1", "--steps=3") == 0
    picture = np.asarray(Image.open(out))  # images 8 x 8, six times enlarged
    assert picture.shape[0] == SIDE + GAP
    assert np.array_equal(picture[..., 0], picture[..., 1]) == (channels == 1)


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
        (["--config=x.yaml", "--interval", "0", "1"], "--interval does not go with --config"),
        (["--config=x.yaml", "--class=3"], "--class does not go with --config"),
        (["--config=x.yaml", "--per-class=3"], "--per-class does not go with --config"),
        (["--config=x.yaml"], "x.yaml: no such file"),
        (["--device=nonsense"], "--device nonsense: not usable here"),
    ],
)
def test_what_does_not_fit_is_one_line(options, message, model_folder, tmp_path, caplog):
    out = tmp_path / "grid.png"
    assert message in error_of(caplog, "--model", model_folder(), "--out", out, *options)
    assert not out.exists()


def test_a_picture_is_a_png(model_folder, tmp_path, caplog):
    message = error_of(caplog, "--model", model_folder(), "--out", tmp_path / "samples")
    assert "a picture's name ends in .png (a folder needs --config)" in message


def test_a_model_that_is_none(tmp_path, caplog):
    message = error_of(caplog, "--model", tmp_path / "x", "--out", tmp_path / "grid.png")
    assert "config.json: no such file" in message


def test_models_that_know_one_kind_of_image_only(model_folder, tmp_path, caplog):
    out = tmp_path / "grid.png"
    never = {**RECORD, "config": {"train": {"label_dropout": 0.0}}}
    folder = model_folder("dimr", record=never)
    asked = ["--model", folder, "--out", out, "--steps=3", "--per-class=1"]
    assert run(*asked) == 0  # the default is then no guidance
    default = out.read_bytes()
    assert run(*asked, "--guidance=0") == 0
    assert out.read_bytes() == default
    for option in (["--guidance=0.4"], ["--unconditional"], ["--power-cosine", "2", "1"]):
        message = error_of(caplog, *asked, *option)
        name = option[0].split("=")[0]
        assert f"{name}: this model has learned no prediction without a class" in message
    always = {**RECORD, "config": {"train": {"label_dropout": 1.0}}}
    folder = model_folder("uvit", record=always)
    asked = ["--model", folder, "--out", out, "--steps=3", "--per-class=1"]
    assert "it needs --unconditional" in error_of(caplog, *asked)
    assert run(*asked, "--unconditional") == 0


def test_help_shows_how(capsys):
    with pytest.raises(SystemExit) as left:
        main(["sample", "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "dimr sample --model runs/digits/dimr-xs-2r/0/model --class 3 --class 7" in shown
    for option in ("--config", "--class", "--power-cosine S A", "--unconditional"):
        assert option in shown
