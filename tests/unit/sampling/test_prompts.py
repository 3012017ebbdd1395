"""``dimr sample --prompt``: pictures of texts, and what is refused."""

import json
import logging

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dimr.cli import main
from dimr.config.schema import Words
from dimr.config.variants import load_network_config
from dimr.data.autoencoder import to_uint8
from dimr.data.text.captions_work import write_captions
from dimr.data.text.encoders import prompt_condition
from dimr.data.text.image_captions import ImageCaptions
from dimr.runtime.errors import DimrError
from dimr.sampling.grid import caption_grid, class_grid, heading
from dimr.sampling.model import load_network
from dimr.sampling.picture import PictureOptions, describe, draw_picture, lay_out
from dimr.sampling.prompts import condition_of, read_prompts
from dimr.sampling.sampler import Sampler, in_batches

from .conftest import TEXTS, sampling_of, words_encoder

CPU = torch.device("cpu")
RECORD = {"key": "k", "config": {"dataset": "pairs", "train": {"label_dropout": 0.1}}}
STEPS = "--steps=4"


def run(*arguments):
    return main(["sample", *map(str, arguments)])


def error_of(caplog, *arguments):
    caplog.clear()
    assert run(*arguments) == 2
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "\n" not in record.getMessage()
    return record.getMessage()


def images_of(model, numbers, prompts=TEXTS, negative="", **changes):
    """Images by their numbers, without ``dimr sample``."""
    network, config = load_network(model)
    guidance = {"kind": "constant", "scale": 0.4}
    sampling = sampling_of(**{"seed": 0, "steps": 4, "guidance": guidance, **changes})
    condition = prompt_condition(words_encoder(), prompts, negative)
    sampler = Sampler(network, config, sampling, to_uint8, CPU, condition)
    return np.concatenate(list(sampler.draw(in_batches(numbers, 32))))


def same(picture, other):
    first, second = (np.asarray(one).astype(int) for one in (picture, other))
    return first.shape == second.shape and np.abs(first - second).max() <= 1


def asked(prompts):
    return [word for prompt in prompts for word in ("--prompt", prompt)]


# --- what is drawn --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["dimr", "uvit"])
def test_a_picture_of_prompts_has_them_below(family, text_folder, tmp_path):
    model, out = text_folder(family), tmp_path / "grid.png"
    given = [TEXTS[0], f"  {TEXTS[1]} ", TEXTS[2], TEXTS[0]]  # blanks are none; each once
    assert run("--model", model, "--out", out, STEPS, *asked(given)) == 0
    images = images_of(model, range(3))
    assert images.std() > 10
    assert same(Image.open(out), caption_grid(images, TEXTS, columns=3))


def test_several_images_of_a_prompt_are_a_row(text_folder, tmp_path):
    model, out = text_folder(), tmp_path / "grid.png"
    assert run("--model", model, "--out", out, STEPS, "--per-prompt=4", *asked(TEXTS)) == 0
    numbers = [j * 3 + prompt for prompt in range(3) for j in range(4)]
    rows = np.arange(3).repeat(4)
    headings = [heading(TEXTS, n, "text") for n in range(3)]
    assert same(Image.open(out), class_grid(images_of(model, numbers), rows, headings, columns=4))


def test_prompts_of_a_file(text_folder, tmp_path, caplog):
    file = tmp_path / "prompts.txt"
    file.write_bytes(f"\ufeff{TEXTS[1]}\r\n\n  \n\t{TEXTS[2]}".encode())
    assert read_prompts(file) == list(TEXTS[1:])
    model, out = text_folder(), tmp_path / "grid.png"
    assert run("--model", model, "--out", out, STEPS, "--prompts", file) == 0
    assert same(
        Image.open(out), caption_grid(images_of(model, [0, 1], TEXTS[1:]), TEXTS[1:], columns=2)
    )
    for content, message in {
        b"\n \n": "no prompts",
        b"\xff\xfe": "not readable as text",
        b"a\n\0": "prompts.txt:2: '\\x00' is no caption",
    }.items():
        file.write_bytes(content)
        shown = error_of(caplog, "--model", model, "--out", out, "--prompts", file)
        assert f"{file}" in shown
        assert message in shown
    shown = error_of(caplog, "--model", model, "--out", out, "--prompts", tmp_path / "x")
    assert "x: no such file" in shown


def test_a_negative_prompt_stands_for_the_empty_caption(text_folder, tmp_path):
    model, out = text_folder(), tmp_path / "grid.png"
    negative, short = "a one above a two", ["--model", model, "--out", out, STEPS]
    pictures = []
    for options, text in (([], ""), (["--negative-prompt", negative], negative)):
        assert run(*short, *asked(TEXTS), *options) == 0
        pictures.append(np.asarray(Image.open(out)))
        images = images_of(model, range(3), negative=text)
        assert same(pictures[-1], caption_grid(images, TEXTS, columns=3))
    assert not same(*pictures)


def test_without_a_text_the_empty_caption_is_drawn(text_folder):
    model = text_folder()
    options = PictureOptions(unconditional=True, steps=4, per_class=10)
    picture, about = draw_picture(model, options, device=CPU)
    images = images_of(model, range(10), [""], guidance={"kind": "none"})
    rows = np.arange(10) // 8
    assert same(picture, class_grid(images, rows, ["", ""], columns=8))
    assert "10 images: " in about
    assert "no text" in about


def test_options_are_those_of_classes(text_folder):
    model = text_folder()
    config = load_network_config(model / "config.json")

    def decided(**options):
        return lay_out(PictureOptions(**options), config, TEXTS, None, 0.1).sampling

    assert (decided().steps, decided().solver, decided().guidance.scale) == (50, "authors", 0.4)
    found = decided(seed=3, steps=7, solver="multistep", power_cosine=(3, 1), interval=(0.1, 0.5))
    assert (found.seed, found.steps, found.solver) == (3, 7, "multistep")
    assert (found.guidance.kind, found.guidance.interval) == ("power_cosine", (0.1, 0.5))
    assert decided(guidance=0.0).guidance.kind == "none"


def test_the_runs_setting_is_the_default(text_folder, tmp_path, caplog):
    model, out = text_folder(), tmp_path / "grid.png"
    (model.parent / "config").mkdir()
    value = json.loads(sampling_of(seed=5, steps=3).model_dump_json())
    (model.parent / "config/sample-guided.yaml").write_text(yaml.safe_dump(value))
    caplog.set_level(logging.INFO, logger="dimr")
    assert run("--model", model, "--out", out, *asked(TEXTS[:1]), "--per-prompt=2") == 0
    assert caplog.messages[-1] == (
        f"{out}: 2 images: 3 network evaluations, solver authors, guidance 0.5, seed 5 (setting "
        f"guided of {model.parent})"
    )


def test_without_a_prompt_the_datasets_are_drawn(text_folder, tmp_path, caplog):
    """Image i of a few prompts is image i of the run's samples."""
    model, out = text_folder(record=RECORD), tmp_path / "grid.png"
    shown = error_of(caplog, "--model", model, "--out", out)
    assert shown == "dimr: this model was trained on text: give --prompt, what it should draw"
    folder = tmp_path / "data/pairs/captions"
    folder.mkdir(parents=True)
    prompts = [TEXTS[n % 3] for n in (2, 0, 1, 2)] + 5 * ["a one above a two"]
    captions = ImageCaptions([[TEXTS[0]]], [[TEXTS[1]]], prompts)
    write_captions(folder, words_encoder(), captions, 4, "k")
    assert run("--model", model, "--out", out, STEPS) == 0
    images = images_of(model, range(8), prompts[:8])
    assert same(Image.open(out), caption_grid(images, prompts[:8], columns=8))
    folder.rename(tmp_path / "elsewhere")
    assert run("--model", model, "--out", out, STEPS, "--captions", tmp_path / "elsewhere") == 0
    assert same(Image.open(out), caption_grid(images, prompts[:8], columns=8))


def test_a_prompt_that_is_too_long_is_cut_with_a_warning(text_folder, tmp_path, caplog):
    model, out = text_folder(), tmp_path / "grid.png"
    long = f"{TEXTS[0]} and above"
    encoder = words_encoder([*TEXTS, "and"])
    (model / "text_encoder.json").write_text(json.dumps(encoder.description))
    assert run("--model", model, "--out", out, STEPS, "--prompt", long) == 0
    (warning,) = [message for message in caplog.messages if "longer than" in message]
    assert "at its word 10 (above)" in warning


def test_the_condition_of_prompts(text_folder):
    model = text_folder()
    config = load_network_config(model / "config.json")
    found = condition_of(model, config, TEXTS, "a one", None, CPU)
    wanted = words_encoder().encode([*TEXTS, "a one"])
    assert torch.equal(found.tokens, wanted.tokens[:3])
    assert torch.equal(found.null().tokens, wanted.tokens[3:].expand(3, -1, -1))


def test_how_images_are_drawn_in_words():
    without = sampling_of(guidance={"kind": "unconditional"})
    assert "no class," in describe(without)
    assert "no text," in describe(without, "text")


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class=3"], "--class: this model was trained on text: give --prompt"),
        (["--prompt=a red car"], "text 'a red car': the word 'red' is in no caption"),
        (["--prompt=a severn"], "(did you mean seven?)"),
        (["--prompt", " "], "--prompt: ' ' is no caption"),
        (["--negative-prompt=a red car", "--prompt=a one"], "the word 'red' is in no caption"),
        (
            ["--negative-prompt=a one", "--prompt=a two", "--guidance=0"],
            "--negative-prompt: without guidance it would change nothing",
        ),
        (["--negative-prompt=a one", "--unconditional"], "--negative-prompt: without guidance"),
        (["--unconditional", "--guidance=1"], "there is no guidance without a text"),
        (["--captions=x", "--prompt=a one"], "--captions: its prompts are drawn where --prompt"),
        (["--captions=x"], "x/manifest.json: no such file"),
        (["--config=x.yaml", "--prompt=a"], "--prompt cannot be combined with --config"),
        (["--config=x.yaml", "--prompts=a"], "--prompts cannot be combined with --config"),
        (["--config=x.yaml", "--negative-prompt=a"], "--negative-prompt cannot be combined with"),
        (
            ["--config=x.yaml", "--text-encoder=a"],
            "--text-encoder cannot be combined with --config",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(options, message, text_folder, tmp_path, caplog):
    out = tmp_path / "grid.png"
    assert message in error_of(caplog, "--model", text_folder(), "--out", out, *options)
    assert not out.exists()


@pytest.mark.parametrize("option", ["prompt", "negative-prompt", "text-encoder", "captions"])
def test_a_model_of_classes_takes_no_prompts(option, model_folder, tmp_path, caplog):
    given = f"--{option}=a three", "--out", tmp_path / "grid.png"
    assert error_of(caplog, "--model", model_folder(), *given) == (
        f"dimr: --{option}: this model was trained on classes: give --class"
    )


@pytest.mark.parametrize("other", ["--class=1", "--unconditional", "--prompts=x"])
def test_prompts_exclude_what_stands_in_their_place(other, text_folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run("--model", text_folder(), "--out", tmp_path / "grid.png", "--prompt=a one", other)
    assert "not allowed with argument --prompt" in capsys.readouterr().err


def test_an_encoder_of_other_sizes_is_refused(text_folder, tmp_path, caplog):
    given = ["--out", tmp_path / "grid.png", "--prompt=a one"]
    model = text_folder(
        "uvit", encoder=words_encoder(section=Words(kind="words", width=6, tokens=9))
    )
    shown = error_of(caplog, "--model", model, *given)
    assert f"{model}: a text encoder of width 6; the model takes 8" in shown
    short = words_encoder(section=Words(kind="words", width=8, tokens=5))
    (model / "text_encoder.json").write_text(json.dumps(short.description))
    shown = error_of(caplog, "--model", model, *given)
    assert f"{model}: a text encoder of 5 tokens; the model takes 9" in shown


def test_a_model_without_its_encoder_says_what_to_give(text_folder, tmp_path, caplog):
    model = text_folder()
    given = ["--model", model, "--out", tmp_path / "grid.png", "--prompt=a one"]
    description = {
        "kind": "clip", "repo": "someone/clip", "revision": None, "subfolder": None, "width": 8,
        "tokens": 9, "padding": "seen", "sha256": 64 * "0",
    }  # fmt: skip
    (model / "text_encoder.json").write_text(json.dumps(description))
    shown = error_of(caplog, *given)
    assert "--text-encoder" in shown
    assert "someone/clip" in shown
    (model / "text_encoder.json").unlink()
    shown = error_of(caplog, *given)
    assert "does not say which text encoder it has learned from" in shown
    dataset = tmp_path / "text_encoder"
    dataset.mkdir()
    (dataset / "text_encoder.json").write_text(json.dumps(words_encoder().description))
    assert run(*given, STEPS, "--text-encoder", dataset) == 0


def test_a_model_trained_without_its_texts_needs_no_prompt(text_folder):
    config = load_network_config(text_folder() / "config.json")
    with pytest.raises(DimrError, match="trained without texts: it needs --unconditional"):
        lay_out(PictureOptions(), config, TEXTS, None, 1.0)
    assert lay_out(PictureOptions(unconditional=True), config, [], None, 1.0).columns == 8
