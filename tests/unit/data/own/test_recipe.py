"""What `dimr dataset new` chooses, and that the configuration takes it."""

import pytest

from dimr.config.project import PROJECT
from dimr.config.schema import Recipe
from dimr.config.validation import validate
from dimr.data.own import Found
from dimr.data.own.look import FoundCaptions
from dimr.data.own.recipe import TIERS, Wishes, choose
from dimr.runtime.errors import DimrError


def found(classes=None, side=96, is_grey=False, captions=None):
    classes = classes or {"a": 100, "b": 101}
    about = ("class folders", classes, sum(classes.values()), 10**6, side, is_grey)
    return Found(*about, sha256="0" * 64, folder="/pictures", captions=captions)


def chosen(wishes=Wishes(), has_inception=False, **about):  # noqa: B008
    """The choice, checked as recipes.yaml would be."""
    choice = choose("own", found(**about), wishes, has_inception)
    recipe = validate(Recipe, choice.recipe, "recipes.yaml")
    return choice, recipe


def test_small_sets_have_an_autoencoder_and_a_classifier_of_their_own():
    choice, recipe = chosen()
    assert choice.network == "dimr-xs-2r"
    assert (recipe.data.image_size, recipe.network.input_size) == (64, 16)
    assert recipe.data.autoencoder.kind == "trained"
    choice, recipe = chosen(Wishes(pixels=True))
    assert choice.network == "dimr-xs-3r"
    assert (recipe.data.autoencoder.kind, recipe.network.input_size) == ("identity", 64)
    assert recipe.evaluate.extractor == "classifier"
    assert list(recipe.sample.settings) == ["unguided", "guided"]
    assert recipe.sample.count == 160  # 201 less 20 and 20, as many of both classes
    assert not recipe.resources


@pytest.mark.parametrize(
    ("size", "width", "channels", "branches"),
    [(16, 16, 3, 2), (32, 32, 3, 3), (64, 64, 3, 3), (128, 16, 4, 2), (256, 32, 4, 2),
     (512, 64, 4, 3)],
)  # fmt: skip
def test_every_size_has_its_input(size, width, channels, branches):
    _, recipe = chosen(Wishes(size=size, pixels=True))
    network = recipe.network
    assert (network.input_size, network.channels, network.branches) == (width, channels, branches)
    kind = "identity" if size <= 64 else "pretrained"
    assert (recipe.data.autoencoder.kind, recipe.data.image_size) == (kind, size)


@pytest.mark.parametrize("images", [10, 2_000, 20_000, 200_000, 2_000_000])
@pytest.mark.parametrize("size", [64, 256, 512])
def test_every_number_of_images_has_a_network_that_is_listed(images, size):
    _, recipe = chosen(Wishes(size=size), classes={"a": images, "b": images})
    assert recipe.sample.count <= 2 * images


def test_larger_sets_have_larger_networks():
    sizes = [chosen(classes={"a": n})[0].network for n in (100, 10_000, 100_000, 10**6)]
    assert sizes == ["dimr-xs-2r", "dimr-s-3r", "dimr-m-3r", "dimr-xl-3r"]
    assert [tier.size for tier in TIERS] == ["xs", "s", "m", "xl"]


def test_one_class_is_not_guided():
    _, recipe = chosen(classes={"all": 20})
    assert recipe.train.label_dropout == 0
    assert {name: one.kind for name, one in recipe.sample.settings.items()} == {"unguided": "none"}


def test_labels_need_not_be_learned():
    _, recipe = chosen(Wishes(unconditional=True))
    assert recipe.train.label_dropout == 1
    assert recipe.sample.settings["unguided"].kind == "unconditional"


def test_metrics_are_inceptions_where_it_is_available():
    _, recipe = chosen(has_inception=True)
    assert recipe.evaluate.extractor == "inception-v3-compat"
    assert recipe.data.classifier is None
    _, recipe = chosen(Wishes(metrics="classifier"), has_inception=True)
    assert recipe.evaluate.extractor == "classifier"
    _, recipe = chosen(Wishes(metrics="inception"))
    assert recipe.evaluate.extractor == "inception-v3-compat"


def test_two_images_a_class_are_enough():
    _, recipe = chosen(classes={"a": 2, "b": 2, "c": 2})
    assert recipe.sample.count == 3
    assert recipe.evaluate.prc_neighborhood <= 2


@pytest.mark.parametrize("name", ["dimr-xs-2r", "dimr-m-3r", "uvit-xs-2", "dit-s-4"])
def test_a_network_that_was_asked_for_fits(name):
    choice, recipe = chosen(Wishes(size=32, network=PROJECT.variants[name]))
    variant = PROJECT.variants[name]
    assert choice.network == name
    assert variant.number in recipe.network.numbers(variant.family)


@pytest.mark.parametrize(("images", "heldout"), [(4, 2), (6, 3), (8, 2), (100, 20)])
def test_of_few_images_of_one_class_half_are_held_out(images, heldout):
    _, recipe = chosen(classes={"all": images})
    assert recipe.data.images.heldout_of(images) == heldout


@pytest.mark.parametrize("images", [2, 3])
def test_too_few_to_measure_anything(images):
    with pytest.raises(DimrError, match=f"^/pictures: {images} images are too few: 2 must be"):
        chosen(classes={"all": images})


def test_grey_images_have_one_channel_and_small_ones_are_not_enlarged():
    _, recipe = chosen(Wishes(pixels=True), is_grey=True, side=40)
    assert (recipe.network.channels, recipe.data.image_size) == (1, 32)


def test_mirror_images_are_said_and_counted():
    choice, recipe = chosen(Wishes(mirror=True))
    assert recipe.data.latents.mirror
    assert "mirror" in [what for what, *_ in choice.reasons]


def test_a_size_that_is_none():
    with pytest.raises(DimrError, match=r"--size: 48 is not allowed \(16, 32, 64, 128, 256, 512\)"):
        chosen(Wishes(size=48))


# --- captions -------------------------------------------------------------------------------------

CAPTIONED = {"classes": {"captioned": 201}, "captions": FoundCaptions(900, 12, "a cat")}


def test_captions_are_learned_in_place_of_classes():
    choice, recipe = chosen(**CAPTIONED)
    assert recipe.network.num_classes == 0
    assert recipe.data.text_encoder.model_dump() == {"kind": "words", "width": 128, "tokens": 12}
    assert recipe.data.captions.shard_size == 1000
    assert recipe.train.label_dropout == 0.1
    assert recipe.sample.settings["guided"].model_dump()["scale"] == 1.0
    assert {"captions", "text encoder"} <= {what for what, *_ in choice.reasons}
    assert (recipe.network_input["text_dim"], recipe.network_input["text_tokens"]) == (128, 12)
    assert not PROJECT.variants[choice.network].complete(**taken(recipe)).num_classes


def taken(recipe):
    return {key: value for key, value in recipe.network_input.items() if key != "schedule"}


def test_captions_of_many_words_are_cut():
    captions = FoundCaptions(201, 200, "a cat")
    choice, recipe = chosen(classes={"captioned": 201}, captions=captions)
    assert recipe.data.text_encoder.tokens == 77
    (why,) = [why for what, _, why in choice.reasons if what == "text encoder"]
    assert "longer captions are cut" in why


def test_clip_is_as_in_u_vits_protocol():
    _, recipe = chosen(Wishes(text_encoder="clip"), **CAPTIONED)
    assert recipe.data.text_encoder == PROJECT.recipe("coco256").data.text_encoder


@pytest.mark.parametrize(("images", "heldout"), [(201, 40), (10, 2), (5000, 1000), (30_000, 6000)])
def test_every_prompt_is_drawn_as_often(images, heldout):
    _, recipe = chosen(classes={"captioned": images}, captions=FoundCaptions(images, 5, "a"))
    assert recipe.data.images.counts({"captioned": images})[1] == heldout
    assert recipe.sample.count % min(heldout, recipe.sample.count) == 0


def test_the_split_of_a_set_is_its_own():
    classes, captions = {"train": 50, "val": 7}, FoundCaptions(120, 9, "a cat")
    _, recipe = chosen(classes=classes, captions=captions)
    assert recipe.data.images.heldout == "val"
    assert recipe.data.images.counts(classes) == (50, 7)
    assert recipe.sample.count == 49
    _, recipe = chosen(classes=classes)  # classes that are called so are classes
    assert recipe.data.images.heldout == 0.2


def test_captions_need_not_be_learned():
    _, recipe = chosen(Wishes(unconditional=True), **CAPTIONED)
    assert (recipe.network.num_classes, recipe.data.text_encoder) == (1, None)
    assert recipe.sample.settings["unguided"].kind == "unconditional"


@pytest.mark.parametrize(
    ("wishes", "about", "problem"),
    [
        (
            Wishes(text_encoder="clip"),
            {},
            "--text-encoder: clip: /pictures: its images have no",
        ),
        (Wishes(text_encoder="words", unconditional=True), CAPTIONED, "with --unconditional"),
        (
            Wishes(network=PROJECT.variants["dit-s-4"]),
            CAPTIONED,
            "--network: dit-s-4: DiT takes",
        ),
    ],
)
def test_encoders_and_networks_that_do_not_fit(wishes, about, problem):
    with pytest.raises(DimrError, match=f"^{problem}" if "with" not in problem else problem):
        chosen(wishes, **about)
