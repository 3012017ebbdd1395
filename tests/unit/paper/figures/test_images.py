"""Pictures made of images: samples by class, and those of low confidence."""

import numpy as np
import pytest
from tests.support.shards import write_shards

from dimr.config.project import PROJECT
from dimr.config.schema import Distortion
from dimr.data.classes import class_names, evenly_spaced
from dimr.human_study.confidence import Chosen, summarise, write_scores
from dimr.paper.figures import class_samples, low_fidelity, samples
from dimr.paper.figures.definitions import ClassFigure, LowFidelityFigure, SamplesFigure
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_json

from .conftest import check_legible, leave_metrics

SIDE = 6


def numbered(count):
    """Images whose every value is their number."""
    return np.broadcast_to(
        np.arange(count).astype(np.uint8)[:, None, None, None], (count, SIDE, SIDE, 3)
    )


def leave_samples(runs, run, setting, count=30, classes=10, **names):
    """Images of classes with names, ImageNet's or others; ``names``: some of them, as ``_4``."""
    named = class_names(1000) if classes == 1000 else [f"class {n}" for n in range(classes)]
    named = [names.get(f"_{n}", name) for n, name in enumerate(named)]
    write_shards(
        runs / run / "samples" / setting, [numbered(count)], np.arange(count) % classes,
        kind="pixels", classes=classes, class_names=named,
        scaling_factor=None, key="k", shard_size=7,
    )  # fmt: skip


def definition(**changes):
    row = {"name": "A model", "run": "digits/dimr-xs-2r/0", "setting": "power_cosine"}
    block = {"title": "Digits", "rows": [row, {**row, "setting": "guided"}], **changes}
    return SamplesFigure.model_validate(
        {"kind": "samples", "title": "t", "caption": "c", "per_class": 2, "blocks": [block]}
    )


@pytest.fixture
def drawn_runs(tmp_path):
    for setting in ("power_cosine", "guided"):
        leave_samples(tmp_path, "digits/dimr-xs-2r/0", setting)
    return tmp_path


def test_the_first_images_of_each_class_are_taken(drawn_runs):
    (block,) = samples.load(definition(), drawn_runs)
    assert block.rows == ["A model\npower-cosine", "A model\nguided"]
    assert block.classes == [f"class {n}" for n in range(10)]
    assert block.images.shape == (2, 10, 2, SIDE, SIDE, 3)
    first = block.images[0, :, :, 0, 0, 0]
    assert first.tolist() == [[n, n + 10] for n in range(10)]  # across shards


def test_classes_are_evenly_spaced(drawn_runs):
    (block,) = samples.load(definition(classes=4), drawn_runs)
    assert block.classes == [f"class {n}" for n in (0, 2, 5, 7)]
    assert evenly_spaced(1000, 8) == [0, 125, 250, 375, 500, 625, 750, 875]
    assert evenly_spaced(3, 8) == [0, 1, 2]


def test_every_pixel_is_in_the_picture_where_it_should_be(drawn_runs):
    blocks = samples.load(definition(), drawn_runs)
    figure = samples.draw(blocks)
    check_legible(figure)
    canvas = figure.axes[0].images[0].get_array()
    rows = [canvas[row * (len(canvas) // 2)][:, 0] for row in range(2)]
    for row in rows:
        kept = [int(value) for value in row if value != 255]
        assert kept == [n for label in range(10) for n in [label] * SIDE + [label + 10] * SIDE]


def test_too_few_images_of_a_class_are_named(tmp_path):
    for setting in ("power_cosine", "guided"):
        leave_samples(tmp_path, "digits/dimr-xs-2r/0", setting, count=15)
    with pytest.raises(DimrError, match=r"power_cosine: 1 images of class 5, not 2"):
        samples.load(definition(), tmp_path)


def test_rows_of_other_classes_are_refused(drawn_runs):
    import shutil

    shutil.rmtree(drawn_runs / "digits/dimr-xs-2r/0/samples/guided")
    leave_samples(drawn_runs, "digits/dimr-xs-2r/0", "guided", classes=5)
    with pytest.raises(DimrError, match="Digits: rows of different classes"):
        samples.load(definition(), drawn_runs)


def class_figure(label, **changes):
    value = {
        "kind": "class_samples", "title": "t", "caption": "c", "run": "digits/dimr-xs-2r/0",
        "setting": "guided", "label": label, "images": 9, "columns": 3, **changes,
    }  # fmt: skip
    return ClassFigure.model_validate(value)


def test_images_of_a_class_are_in_the_order_of_drawing(drawn_runs):
    block = class_samples.load(class_figure(4), drawn_runs)
    assert block.images[:, :, 0, 0, 0, 0].tolist() == [[4, 14, 24]]
    assert block.title == "class 4 (class 4)"
    lines = class_samples.load(class_figure(4, columns=2), drawn_runs)  # all there are
    assert lines.images[:, :, 0, 0, 0, 0].tolist() == [[4, 14], [24, 255]]
    one = class_samples.load(class_figure(4, images=1, columns=1), drawn_runs)
    assert one.images[:, :, 0, 0, 0, 0].tolist() == [[4]]


def test_images_of_a_class_fill_the_width(drawn_runs):
    figure = class_samples.make(class_figure(4), PROJECT, drawn_runs)
    check_legible(figure)
    (axes,) = figure.axes
    assert axes.get_position().x0 == 0
    assert axes.get_position().x1 == pytest.approx(1)
    shown = axes.images[0].get_array()[0, :, 0]
    assert [int(value) for value in shown if value != 255] == [4] * SIDE + [14] * SIDE + [24] * SIDE


def test_a_class_is_named_with_its_synonyms(tmp_path):
    run = "imagenet512/dimr-xl-3r/0"
    leave_samples(tmp_path, run, "guided", count=271, classes=1000)
    block = class_samples.load(class_figure(270, run=run, columns=1), tmp_path)
    assert block.title == "white wolf, Arctic wolf, Canis lupus tundrarum (class 270)"


@pytest.mark.parametrize(
    ("name", "heading", "title"),
    [
        ("cost $5, not $6", "cost $5, not\n$6", "cost $5, not $6 (class 4)"),
        ("Zwo\u0308lf Quadrate", "Zw\u00f6lf\nQuadrate", "Zwo\u0308lf Quadrate (class 4)"),
        ("\u9752\u3044", "class 4", "Class 4"),
        ("4", "4", "Class 4"),
        ("x" * 100, "\n".join([*3 * ["x" * 12], 9 * "x" + "..."]), f"{77 * 'x'}... (class 4)"),
    ],
)
def test_names_of_ones_own_are_shown_as_they_are(name, heading, title, tmp_path):
    """Commas, dollar signs, accents; letters that no font has; and what is too long."""
    for setting in ("power_cosine", "guided"):
        leave_samples(tmp_path, "digits/dimr-xs-2r/0", setting, _4=name)
    figure = samples.make(definition(), PROJECT, tmp_path)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_xticklabels()[4].get_text().replace(r"\$", "$") == heading
    block = class_samples.load(class_figure(4), tmp_path)
    assert block.title.replace(r"\$", "$") == title
    class_samples.make(class_figure(4), PROJECT, tmp_path).draw_without_rendering()


# --- low confidence -------------------------------------------------------------------------------

STUDY = [f"digits/{model}/0" for model in ("dimr-xs-2r", "uvit-xs-2", "dit-xs-2")]
CONFIDENCE = np.linspace(0, 1, 200, endpoint=False, dtype=np.float32)[::-1]  # image 199 is lowest


@pytest.fixture
def scored_runs(tmp_path):
    settings = Distortion(classifier="digits", threshold=0.2, shown=5, seed=0)
    for number, run in enumerate(STUDY):
        leave_metrics(tmp_path, run, "power_cosine", {"fid_digits": 1.25 + number})
        leave_samples(tmp_path, run, "power_cosine", count=200)
        write_json(tmp_path / run / "samples/power_cosine/record.json", {"key": f"s{number}"})
        leave_scores(tmp_path, run, settings, f"s{number}", CONFIDENCE * (1 + number))
    return tmp_path


def leave_scores(runs, run, settings, samples, confidence):
    file = runs / run / "distortion/power_cosine.json"
    file.parent.mkdir(exist_ok=True)
    summary = {
        "key": "k", "config": settings.model_dump(), "inputs": {"samples": samples}, "classes": 10,
        **summarise(confidence, settings),
    }  # fmt: skip
    chosen = Chosen(numbered(5), np.arange(5), confidence[:5], np.arange(5))  # the raters' images
    write_scores(file, confidence, chosen, summary)


def low(**changes):
    value = {"kind": "low_fidelity", "title": "t", "caption": "c", "study": "digits", "shown": 16}
    return LowFidelityFigure.model_validate({**value, **changes})


def shown_of(model):
    return set(model.images[:, 0, 0, 0].tolist())


def test_low_fidelity_images_are_drawn_from_those_below_the_threshold(scored_runs):
    models = low_fidelity.load(low(), PROJECT, scored_runs)
    assert [model.lines[0] for model in models] == [
        "DiMR-XS/2R, power-cosine: FID-digits 1.25",
        "U-ViT-XS/2, power-cosine: FID-digits 2.25",
        "DiT-XS/2, power-cosine: FID-digits 3.25",
    ]
    assert [model.lines[1] for model in models] == [
        "own class below 0.2: 40 of 200 images, 20.0%",
        "own class below 0.2: 20 of 200 images, 10.0%",
        "own class below 0.2: 14 of 200 images, 7.0%",
    ]
    # numbered() counts, so that a pixel is the image's number: the last ones are the lowest
    assert all(len(shown_of(model)) == 16 for model in models[:2])
    assert shown_of(models[0]) < set(range(160, 200))
    assert shown_of(models[1]) < set(range(180, 200))
    assert shown_of(models[2]) == set(range(186, 200))  # all there are
    for image, caption in zip(models[0].images, models[0].captions, strict=True):
        number = int(image[0, 0, 0])
        assert caption == f"class {number % 10} {CONFIDENCE[number]:.2f}"
    figure = low_fidelity.draw(models)
    check_legible(figure)
    assert sum(len(axes.images) for axes in figure.axes) == 16 + 16 + 14


def test_the_same_share_of_some_models(scored_runs):
    """Figure 1: the same rejection rate; the raters' images do not limit it."""
    names = ["DiT-XS/2", "DiMR-XS/2R"]
    models = low_fidelity.load(low(models=names, share=0.3, shown=8), PROJECT, scored_runs)
    assert [model.lines[0].split(",")[0] for model in models] == names
    assert [model.lines[1] for model in models] == [
        "least confident, own class up to 0.885: 60 of 200 images, 30.0%",
        "least confident, own class up to 0.295: 60 of 200 images, 30.0%",
    ]
    assert all(shown_of(model) < set(range(140, 200)) for model in models)
    assert shown_of(models[0]) == shown_of(models[1])  # the same ranks
    more = low_fidelity.load(low(models=names, share=0.3), PROJECT, scored_runs)
    assert (more[0].images[:8] == models[0].images).all()


def test_a_model_without_low_fidelity_images_has_a_heading_alone(scored_runs):
    settings = Distortion(classifier="digits", threshold=0.2, shown=5, seed=0)
    leave_scores(scored_runs, STUDY[1], settings, "s1", np.ones(200, np.float32))
    models = low_fidelity.load(low(), PROJECT, scored_runs)
    assert models[1].lines[1] == "own class below 0.2: 0 of 200 images, 0.0%"
    assert len(models[1].images) == 0
    check_legible(low_fidelity.draw(models))


def test_scores_of_other_images_are_refused(scored_runs):
    settings = Distortion(classifier="digits", threshold=0.2, shown=5, seed=0)
    leave_scores(scored_runs, STUDY[1], settings, "older", CONFIDENCE)
    with pytest.raises(DimrError, match=r"uvit.*cosine\.json: not of the images in .*samples"):
        low_fidelity.load(low(), PROJECT, scored_runs)


def test_published_rates_stand_beside_their_models():
    model = low_fidelity.LowFidelity(["A: FID 1.7", "b", "published: c"], numbered(3), ["x"] * 3)
    check_legible(low_fidelity.draw([model, model]))
