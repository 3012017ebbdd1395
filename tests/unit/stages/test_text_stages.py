"""The stages of text: the encoder of captions, and their embeddings."""

import numpy as np
import pytest
import yaml
from tests.support.experiments import copy_experiments, edit
from tests.support.messages import error_in
from tests.support.text_models import write_clip

from dimr.cli import main
from dimr.config.project import PROJECT
from dimr.config.schema import Words
from dimr.data.image_arrays import write_images
from dimr.data.text.encoders import open_text_encoder
from dimr.data.text.folder import open_captions, verify_captions
from dimr.data.text.image_captions import ImageCaptions
from dimr.runtime.files import read_json
from dimr.runtime.output_kinds import kinds_of_folder
from dimr.runtime.record import read_record, seal, verify
from dimr.stages.costs import count_captions, count_text_encoder
from dimr.stages.pipeline import Pipeline

CAPTIONS = ImageCaptions([["a dog", "the dog"], ["a cat"]], [["one bird"]], ["a cat", "a bird"])
WORDS = {"kind": "words", "width": 16, "tokens": 3}
PUBLISHED = {
    "kind": "clip", "repo": "openai/clip-vit-large-patch14", "width": 768, "tokens": 77,
    "padding": "seen",
}  # fmt: skip


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    counts = {"train": 2, "heldout": 1}
    write_images(
        folder,
        {split: np.zeros((count, 8, 8, 3), np.uint8) for split, count in counts.items()},
        {split: np.zeros(count, np.int64) for split, count in counts.items()},
        dataset="own",
        size=8,
        class_names=["captioned"],
        split="as given",
        key="k",
        captions=CAPTIONS,
    )
    seal(folder, "images", {"key": "k"})
    return folder


def command(tmp_path, name, config, **places):
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config))
    words = [word for option, place in places.items() for word in (f"--{option}", str(place))]
    out = tmp_path / name
    return main([name, "--config", str(file), *words, "--out", str(out)]), out


def test_words_then_captions(images, tmp_path):
    """The two commands; what they make is whole by its records, and of the kinds that they say."""
    code, encoder = command(tmp_path, "text-encoder", WORDS, images=images)
    assert code == 0
    assert {path.name for path in encoder.iterdir()} == {
        "text_encoder.json", "record.json", "provenance.json",
    }  # fmt: skip
    words = ["a", "bird", "cat", "dog", "one", "the"]
    assert read_json(encoder / "text_encoder.json")["vocabulary"] == words
    assert "vocabulary" not in read_record(encoder)
    code, captions = command(
        tmp_path, "captions", {"shard_size": 2}, images=images, **{"text-encoder": encoder}
    )
    assert code == 0
    for folder, kind in ((encoder, "text encoder"), (captions, "captions")):
        verify(folder)
        assert kinds_of_folder(folder, read_record(folder)) == (kind,)
        assert kinds_of_folder(folder, {}) == (kind,)  # its record is damaged
    assert verify_captions(captions).key == read_record(captions)["key"]
    opened = open_captions(captions)
    found = opened.condition(np.arange(opened.count))
    wanted = open_text_encoder(encoder).encode(opened.texts)
    assert np.array_equal(found.tokens.float(), wanted.tokens)


def test_a_published_one_is_kept_whole(images, tmp_path):
    """Captions are embedded without the folder, or the network, that it came from."""
    source = tmp_path / "source"
    model = write_clip(source)
    config = {**PUBLISHED, "repo": str(source), "width": 16}
    code, encoder = command(tmp_path, "text-encoder", config)
    assert code == 0
    source.rename(tmp_path / "gone")
    code, captions = command(
        tmp_path, "captions", {"shard_size": 2}, images=images, **{"text-encoder": encoder}
    )
    assert code == 0
    assert (encoder / "model.safetensors").stat().st_size < 1.2 * sum(
        parameter.nbytes for parameter in model.parameters()
    ) + 10_000
    opened = open_captions(captions)
    assert opened.manifest.tokens == 77
    assert opened.condition([0, 1]).mask.all()
    assert opened.encoder["sha256"] == read_record(encoder)["sha256"]


def test_words_need_images(tmp_path, caplog):
    code, _ = command(tmp_path, "text-encoder", WORDS)
    assert code == 2
    assert error_in(caplog) == "dimr: --images: is needed, for the words of their captions"


def test_captions_do_not_take_the_encoders_place(images, tmp_path, caplog):
    _, encoder = command(tmp_path, "text-encoder", WORDS, images=images)
    file = tmp_path / "captions.yaml"
    file.write_text("shard_size: 2\n")
    assert main(["captions", "--config", str(file), "--images", str(images), "--text-encoder",
                 str(encoder), "--out", str(encoder)]) == 2  # fmt: skip
    assert "holds text encoder, and captions would be written" in error_in(caplog)


def of(project, place):
    pipeline = Pipeline(project)
    one = pipeline.result(place)
    return one.stage.cost(one.target), one


def test_what_the_digits_cost():
    """400 captions and the empty one; words take nothing that is worth counting."""
    cost, one = of(PROJECT, "data/digits-text/captions")
    section = PROJECT.recipe("digits-text").data.text_encoder
    assert isinstance(section, Words)
    assert cost.disk == 401 * section.tokens * section.width * 2
    assert (cost.flops, cost.gpus, cost.assumed) == (0, 0, ())
    assert one.inputs == {
        "images": "data/digits-text/images",
        "text_encoder": "data/digits-text/text_encoder",
    }
    encoder, one = of(PROJECT, "data/digits-text/text_encoder")
    assert encoder.disk == 0
    assert one.inputs == {"images": "data/digits-text/images"}


def test_what_a_published_one_costs(tmp_path, images):
    """85M parameters in CLIP's layers (its paper), one multiplication each for every token."""
    copy_experiments(tmp_path)
    changes = {"digits-text.data.text_encoder": {**PUBLISHED, "repo": "openai/none"}}
    project = edit(tmp_path, "experiments/recipes.yaml", changes)
    cost, one = of(project, "data/digits-text/captions")
    assert cost.disk == 401 * 77 * 768 * 2
    assert cost.flops == pytest.approx(2 * 85e6 * 77 * 401, rel=0.01)
    assert cost.assumed == ("openai/none has 12 layers (it is not available here)",)
    encoder, one = of(project, "data/digits-text/text_encoder")
    assert encoder.disk == pytest.approx(4 * 123e6, rel=0.01)
    assert one.inputs == {}
    (tmp_path / "data/digits-text").mkdir(parents=True)
    images.rename(tmp_path / "data/digits-text/images")
    write_clip(tmp_path / "data/digits-text/text_encoder")
    target = one.target
    assert count_captions(target).count == len({"", *CAPTIONS.texts()})
    assert count_text_encoder(target).assumed == ()
    assert count_text_encoder(target).macs == 77 * 12 * 2 * 768**2  # two layers
