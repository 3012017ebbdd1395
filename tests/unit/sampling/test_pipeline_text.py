"""``DiMRPipeline`` of texts: as diffusers' pipelines take them, and what is refused."""

import json
from dataclasses import replace

import pytest
import torch

import dimr
from dimr.config.schema import Words
from dimr.data.text.encoders import prompt_condition
from dimr.diffusion import sample
from dimr.diffusion.guidance import wrap
from dimr.models.conditioning import TextCondition
from dimr.runtime.errors import DimrError
from dimr.sampling.model import load_network

from .conftest import TEXTS, WORDS, draw, quiet, words_encoder

STEPS = {"num_inference_steps": 4, "output_type": "latent"}


@pytest.fixture
def folder(text_folder):
    return text_folder("dimr")


@pytest.fixture
def pipe(folder):
    return quiet(dimr.DiMRPipeline.from_run(folder))


def drawn(pipe, **options):
    """What the solver ends with, from one seed."""
    return pipe(generator=torch.Generator().manual_seed(0), **STEPS, **options).images


def expected(folder, condition, kind="none", **guidance):
    """The same without the pipeline."""
    network, config = load_network(folder)
    noise = torch.randn(len(condition), 3, 8, 8, generator=torch.Generator().manual_seed(0))
    denoise = wrap(network, condition, kind, **guidance)
    return sample(denoise, noise, 4, schedule=config.schedule)


@pytest.mark.parametrize("family", ["dimr", "uvit"])
def test_images_of_prompts(family, text_folder):
    folder = text_folder(family)
    pipe = quiet(dimr.DiMRPipeline.from_run(folder))
    condition = prompt_condition(words_encoder(), TEXTS)
    assert torch.equal(drawn(pipe, prompt=list(TEXTS)), expected(folder, condition))
    guided = drawn(pipe, prompt=TEXTS, guidance_scale=3.0)
    torch.testing.assert_close(guided, expected(folder, condition, "constant", scale=2.0))
    power = drawn(pipe, prompt=TEXTS, guidance_scale=3.0, guidance_power=2.0)
    wanted = expected(folder, condition, "power_cosine", scale=3.0, power=2.0)
    torch.testing.assert_close(power, wanted)
    (image,) = pipe(prompt=TEXTS[0], num_inference_steps=3).images
    assert image.size == (8, 8)


def test_several_images_of_a_prompt_follow_each_other(pipe, folder):
    condition = prompt_condition(words_encoder(), [TEXTS[0]] * 2 + [TEXTS[1]] * 2)
    found = drawn(pipe, prompt=iter(TEXTS[:2]), num_images_per_prompt=2)
    assert torch.equal(found, expected(folder, condition))


def test_a_negative_prompt_stands_for_the_empty_caption(pipe, folder):
    prompts, negative = TEXTS[:2], "a one above a two"
    condition = prompt_condition(words_encoder(), prompts, negative)
    wanted = expected(folder, condition, "constant", scale=1.0)
    for given in (negative, [negative], [negative, negative]):
        found = drawn(pipe, prompt=prompts, negative_prompt=given, guidance_scale=2.0)
        torch.testing.assert_close(found, wanted)
    assert not torch.equal(wanted, drawn(pipe, prompt=prompts, guidance_scale=2.0))


def test_without_a_text(pipe, folder):
    condition = prompt_condition(words_encoder(), ["", ""])
    assert torch.equal(drawn(pipe, num_images=2), expected(folder, condition, "unconditional"))


def test_embeddings_in_place_of_prompts(pipe, folder):
    """As tensors, all of whose tokens are seen, and as conditions; with and without an encoder."""
    encoder = words_encoder()
    given, empty, other = (encoder.encode(texts) for texts in (TEXTS[:2], [""], ["a one"]))
    bare = quiet(dimr.DiMRPipeline(pipe.model, pipe.scheduler))
    guided = {"guidance_scale": 2.0}
    wanted = drawn(pipe, prompt=TEXTS[:2], **guided)
    for found in (
        drawn(pipe, prompt_embeds=given, **guided),
        drawn(bare, prompt_embeds=replace(given, empty=empty), **guided),
        drawn(bare, prompt_embeds=given, negative_prompt_embeds=empty, **guided),
    ):
        torch.testing.assert_close(found, wanted)
    wanted = drawn(pipe, prompt=TEXTS[:2], negative_prompt="a one", **guided)
    for options in (
        {"prompt_embeds": given, "negative_prompt_embeds": other},
        {"prompt_embeds": given, "negative_prompt": "a one"},
        {"prompt": TEXTS[:2], "negative_prompt_embeds": other},
    ):
        torch.testing.assert_close(drawn(pipe, **options, **guided), wanted)
    unguided = drawn(bare, prompt_embeds=given)
    torch.testing.assert_close(unguided, drawn(pipe, prompt=TEXTS[:2]))
    seen = TextCondition(given.tokens, torch.ones_like(given.mask))
    torch.testing.assert_close(drawn(bare, prompt_embeds=given.tokens), expected(folder, seen))
    assert not torch.equal(drawn(bare, prompt_embeds=given.tokens), unguided)


def test_half_precision_takes_texts(pipe):
    exact = drawn(pipe, prompt=TEXTS, guidance_scale=2.0)
    half = drawn(pipe.to(dtype=torch.bfloat16), prompt=TEXTS, guidance_scale=2.0)
    assert half.dtype == torch.float32
    assert 0 < (half - exact).norm() / exact.norm() < 0.2


def test_a_saved_pipeline_keeps_its_encoder(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["text_encoder"] == words_encoder().description
    assert "id2label" not in index
    again = quiet(dimr.DiMRPipeline.from_pretrained(tmp_path))
    options = {"prompt": list(TEXTS), "guidance_scale": 2.0}
    assert torch.equal(drawn(again, **options), drawn(pipe, **options))
    again.save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again/model_index.json").read_text())
    assert {**saved, "_name_or_path": ""} == {**index, "_name_or_path": ""}


def test_a_saved_pipeline_of_classes_says_nothing_of_texts(pixel_pipe, tmp_path):
    pixel_pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert sorted(index) == ["_class_name", "_diffusers_version", "model", "scheduler", "vae"]


def test_a_pretrained_encoder_is_fetched_when_a_text_needs_it(pipe, monkeypatch):
    """From where it was taken, at its revision; what it is stands in model_index.json."""
    description = {
        "kind": "t5", "repo": "someone/t5", "revision": "abc", "subfolder": None, "width": 8,
        "tokens": 9, "padding": "hidden", "sha256": 64 * "0",
    }  # fmt: skip
    fetched = []

    def fetch(given, device):
        fetched.append((given["repo"], given["revision"], str(device)))
        return words_encoder()

    monkeypatch.setattr("dimr.sampling.pipeline_text.described", fetch)
    other = quiet(dimr.DiMRPipeline(pipe.model, pipe.scheduler, text_encoder=description))
    assert other.config["text_encoder"] == description
    assert fetched == []
    for _ in range(2):
        assert torch.equal(drawn(other, prompt=TEXTS), drawn(pipe, prompt=TEXTS))
    assert fetched == [("someone/t5", "abc", "cpu")]


# --- mistakes -------------------------------------------------------------------------------------

TOKENS = torch.zeros(2, WORDS.tokens, WORDS.width)
GUIDED = {"prompt": "a one", "guidance_scale": 2.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give prompt, or num_images to draw without a text"),
        ({"class_labels": 1}, "class_labels: this model was trained on text: give prompt"),
        ({"prompt": []}, "no images: give one prompt or more"),
        ({"prompt": ""}, "prompt: '' is no caption"),
        ({"prompt": 3}, "prompt: 3 is no text"),
        ({"prompt": ["a one", None]}, "prompt: None is no text"),
        ({"prompt": b"a one"}, "prompt: b'a one' is no text"),
        ({"prompt": "a red car"}, "the word 'red' is in no caption"),
        ({"prompt": "a one", "num_images": 2}, "num_images_per_prompt says how many"),
        ({"num_images": 2, "num_images_per_prompt": 2}, "num_images_per_prompt: there is no"),
        ({"num_images": 0}, "num_images: 0 is not allowed"),
        ({"num_images": 1, "guidance_scale": 2.0}, "no prompt: there is no guidance without a te"),
        ({"num_images": 1, "negative_prompt": "a one"}, "negative_prompt: without guidance it"),
        *(
            (
                {"prompt": "a one", "num_images_per_prompt": wrong},
                "num_images_per_prompt: .* is not",
            )
            for wrong in (0, -1, 1.5, True, "2", 10**9)
        ),
        ({"prompt": ["a one"] * 40_000, "num_images_per_prompt": 2}, "more than 65536 images"),
        ({"prompt": "a one", "prompt_embeds": TOKENS}, "prompt and prompt_embeds: give one"),
        ({"prompt": "a one", "negative_prompt": "a"}, "negative_prompt: without guidance it"),
        (
            {**GUIDED, "negative_prompt": "a one", "negative_prompt_embeds": TOKENS[:1]},
            "negative_prompt and negative_prompt_embeds: give one of them",
        ),
        ({**GUIDED, "negative_prompt": ["a", "one"]}, "negative_prompt: one text for all images"),
        ({**GUIDED, "negative_prompt": 3}, "negative_prompt: 3 is no text"),
        ({**GUIDED, "negative_prompt": "a car"}, "the word 'car' is in no caption"),
        ({**GUIDED, "negative_prompt_embeds": TOKENS}, "the empty caption's tokens are"),
        *(
            ({"prompt_embeds": wrong}, "prompt_embeds: a TextCondition or a tensor")
            for wrong in (TOKENS[0], TOKENS.int(), "a one", TOKENS.numpy())
        ),
        ({"prompt_embeds": TOKENS[:, :, 1:]}, "text of width 7, not 8: of another encoder"),
        ({"prompt_embeds": TOKENS, "latents": torch.zeros(1, 3, 8, 8)}, "latents of shape"),
    ],
)
def test_a_mistake_is_one_line(options, message, pipe):
    with pytest.raises(ValueError, match=message) as error:
        pipe(**options, **STEPS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["prompt", "negative_prompt", "num_images_per_prompt", "prompt_embeds"],
)
def test_a_model_of_classes_takes_no_texts(name, pixel_pipe):
    with pytest.raises(ValueError, match=f"{name}: this model was trained on classes: give class_"):
        draw(pixel_pipe, **{name: "a one"})


def test_encoders_that_do_not_fit_are_refused(pipe, pixel_pipe):
    with pytest.raises(ValueError, match="text_encoder: this model was trained on classes"):
        dimr.DiMRPipeline(pixel_pipe.model, pixel_pipe.scheduler, text_encoder=words_encoder())
    wide = words_encoder(section=Words(kind="words", width=6, tokens=9))
    with pytest.raises(DimrError, match="a text encoder of width 6; the model takes 8"):
        dimr.DiMRPipeline(pipe.model, pipe.scheduler, text_encoder=wide)
    with pytest.raises(DimrError, match="text_encoder: kind"):
        dimr.DiMRPipeline(pipe.model, pipe.scheduler, text_encoder={"kind": "bert"})
    bare = quiet(dimr.DiMRPipeline(pipe.model, pipe.scheduler))
    for options in ({"prompt": "a one"}, {"prompt_embeds": TOKENS, "guidance_scale": 2.0}):
        with pytest.raises(ValueError, match="no text_encoder: give prompt_embeds"):
            bare(**options, **STEPS)
