"""What the metrics of a set of images of one's own are made from, and when they are refused."""

import pytest
from tests.support.own_arrays import add_dataset

from dimr.cli import main
from dimr.runtime.errors import DimrError
from dimr.stages.pipeline import Pipeline

CLASSES = {"blue squares": 60, "été": 40}
INCEPTION = {
    "extractor": "inception-v3-compat", "weights": "weights-inception-2015-12-05-6726825d.pth",
}  # fmt: skip


def inputs(project, dataset):
    run = f"runs/{dataset}/dimr-m-3r/0"
    found = Pipeline(project).result(f"{run}/metrics/unguided.json").inputs
    assert found.pop("samples") == f"{run}/samples/unguided"
    assert found.pop("model") == f"{run}/model"
    return found


def test_metrics_compare_with_the_sets_own_images(tmp_path):
    """With its classifier, or with Inception; ImageNet's with a reference batch, as before."""
    add_dataset(tmp_path, "own", CLASSES)
    project = add_dataset(tmp_path, "seen", CLASSES, **INCEPTION)
    weights = f"data/extractors/{INCEPTION['weights']}"
    assert inputs(project, "own") == {
        "images": "data/own/images", "classifier": "data/own/classifier"
    }  # fmt: skip
    assert inputs(project, "seen") == {"images": "data/seen/images", "extractor_weights": weights}
    assert inputs(project, "imagenet64") == {
        "reference": "data/imagenet64/reference", "extractor_weights": weights
    }  # fmt: skip
    with pytest.raises(DimrError, match="seen: has no classifier"):
        Pipeline(project).key("data/seen/classifier")


def test_the_split_is_counted_before_it_is_made(tmp_path):
    project = add_dataset(tmp_path, "own", CLASSES)
    assert (project.training_images("own"), project.heldout_images("own")) == (80, 20)
    assert (project.training_images("digits"), project.heldout_images("digits")) == (1000, 547)


@pytest.mark.parametrize(
    ("classes", "changes", "message"),
    [
        ({"one": 4}, {}, "metrics need 2 images and more of each: there are 1 held out (data.imag"),
        ({"a": 9, "b": 9}, {"prc_neighborhood": 4},
         "evaluate.prc_neighborhood: 4: 4 are held out, 40 drawn (sample.count): lower it to 3"),
        (CLASSES, {"isc_splits": 41}, "evaluate.isc_splits: 41: 40 drawn: lower it to 40"),
        (CLASSES, {"size": 8},
         "evaluate.extractor: classifier needs 2 training images of 16 pixels or more: there are "
         "80 of 8"),
    ],
)  # fmt: skip
def test_too_few_images_are_refused_before_the_training(tmp_path, classes, changes, message):
    project = add_dataset(tmp_path, "own", classes, **changes)
    with pytest.raises(DimrError) as caught:
        project.run("own/dimr-m-3r/0")
    assert f"recipes.yaml: own: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_column_holds_metrics_of_different_features(tmp_path, caplog):
    """Of two sets, or of digits and a set; their nearest neighbours compare."""
    add_dataset(tmp_path, "own", CLASSES)
    add_dataset(tmp_path, "other", CLASSES)
    table = tmp_path / "experiments/tables/mixed.yaml"
    command = [
        "table", f"--table={table}", "--partial", f"--root={tmp_path}",
        f"--csv={tmp_path / 'mixed.csv'}",
        f"--markdown={tmp_path / 'mixed.md'}", f"--latex={tmp_path / 'mixed.tex'}",
    ]  # fmt: skip

    def made(keys, *datasets):
        columns = ", ".join(f"{{key: {key}, title: {key}}}" for key in keys)
        rows = ", ".join(f"{{name: {one}, run: {one}/dimr-m-3r}}" for one in datasets)
        blocks = f"[{{settings: [unguided], rows: [{rows}]}}]"
        table.write_text(f"{{title: T, columns: [{columns}], blocks: {blocks}}}")
        caplog.clear()
        return main(command)

    for keys in (["fid_own"], ["precision", "nearest_ratio"], ["fid_digits", "fid_own"]):
        for other, said in (("other", "other's classifier"), ("digits-pixel", "digits")):
            assert made(keys, "own", other) == 2
            text = f"column '{keys[0]}': rows of own (own's classifier) and of {other} ({said})"
            assert text in caplog.messages[-1]
    assert made(["nearest_ratio"], "own", "other") == 0
    assert made(["fid", "fid_own", "fid_digits"], "own") == 0
    header = (tmp_path / "mixed.csv").read_text().splitlines()[0].split(",")
    assert [name for name in header if name.startswith("fid")] == ["fid", "fid_own", "fid_digits"]
