"""What follows from the stages' definitions: places, inputs, keys, commands."""

import argparse

import pytest
from tests.support.experiments import copy_experiments, edit

from dimr.cli import make_parser
from dimr.config.phases import section_key
from dimr.config.project import PROJECT, Project
from dimr.runtime.errors import DimrError
from dimr.runtime.output_kinds import FILES, FOLDERS, GROWING
from dimr.runtime.record import content_key, seal
from dimr.stages.pipeline import STAGES, Pipeline

RUN = "runs/digits/dimr-xs-2r/0"


@pytest.fixture
def pipeline():
    return Pipeline(PROJECT)


@pytest.mark.parametrize(
    ("place", "stage"),
    [
        ("data/imagenet/source", "source"),
        ("data/digits/images", "images"),
        ("data/digits/latents", "encode"),
        ("data/imagenet256/reference", "reference"),
        ("data/extractors/weights-inception-2015-12-05-6726825d.pth", "extractor"),
        (f"{RUN}/model", "train"),
        (f"{RUN}/log.csv", "train"),
        ("runs/workspace/model", "train"),
        ("runs/imagenet256/dimr-xl-2r/published/model", "published"),
        ("runs/digits/real/0/samples/reference", "baseline"),
        (f"{RUN}/samples/guided", "sample"),
        (f"{RUN}/metrics/guided.json", "evaluate"),
        (f"{RUN}/provenance/guided.json", "evaluate"),
        (f"{RUN}/distortion/guided.json", "distortion"),
    ],
)
def test_a_place_says_which_stage_makes_it(pipeline, place, stage):
    assert pipeline.find(place).stage is STAGES[stage]


@pytest.mark.parametrize(
    "place",
    ["results/table1.csv", f"{RUN}/state", f"{RUN}/previews", "runs/digits/dimr-xs-2r/01/model"],
)
def test_other_places_are_made_by_no_stage(pipeline, place):
    """Nor is the state of a training, which rules must not declare (contract C)."""
    assert pipeline.find(place) is None


def test_inputs_are_places_that_stages_make(pipeline):
    seen, waiting = (
        set(),
        [f"{RUN}/metrics/guided.json", "runs/imagenet256/dimr-xl-2r/0/metrics/guided.json"],
    )
    while waiting:
        place = waiting.pop()
        seen.add(place)
        one = pipeline.result(place)
        names = {each.name for each in one.stage.inputs}
        required = {each.name for each in one.stage.inputs if each.required}
        assert required <= set(one.inputs) <= names, place
        waiting += one.inputs.values()
    assert {"data/digits/autoencoder", "data/imagenet/source", "data/imagenet256/reference"} <= seen


def test_a_key_is_of_the_configuration_and_of_the_keyed_inputs(pipeline):
    run = PROJECT.run("digits/dimr-xs-2r/0")
    phases, data = run.phases(), run.recipe.data
    images = section_key(data.images)
    autoencoder = section_key(data.autoencoder, images)
    latents = section_key(data.latents, images, autoencoder)
    model = section_key(phases["train"], latents)  # previews' autoencoder is no part of it
    samples = section_key(phases["sample-guided"], model, autoencoder)
    classifier = section_key(data.classifier, images)
    metrics = section_key(phases["evaluate"], samples, images, classifier)
    assert pipeline.key(f"{RUN}/metrics/guided.json") == metrics


def test_results_of_a_run_come_after_what_they_are_made_from(pipeline):
    for name in ("digits/dimr-xs-2r/0", "digits/reconstruction/0", "imagenet256/dimr-xl-2r/0"):
        results = pipeline.results(PROJECT.run(name))
        places = [one.place for one in results]
        assert len(set(places)) == len(places)
        for number, one in enumerate(results):
            later = set(places[number:])
            assert not later & set(one.inputs.values()), one.place


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("runs/digits/dimr-xs-2r/0/samples/nonsuch", "no setting 'nonsuch' .allowed: unguided"),
        ("runs/digits/nonsuch/0/model", "no variant 'nonsuch'"),
        ("data/nonsuch/images", "no dataset 'nonsuch'"),
        ("data/imagenet256/classifier", "imagenet256: has no classifier"),
    ],
)
def test_what_the_configuration_lacks_is_one_line(pipeline, place, message):
    with pytest.raises(DimrError, match=message):
        pipeline.key(place)


def test_a_setting_with_a_count_of_its_own_has_samples_but_no_metrics(pipeline):
    run = PROJECT.run("imagenet256/dit-xl-2/published")
    places = [one.place for one in pipeline.results(run)]
    folder = f"runs/{run.name}"
    assert f"{folder}/samples/guided80k" in places
    assert f"{folder}/metrics/guided.json" in places
    assert f"{folder}/metrics/guided80k.json" not in places
    with pytest.raises(DimrError, match=r"published: guided80k has no metrics: its count of"):
        pipeline.key(f"{folder}/metrics/guided80k.json")
    costs = [
        one.stage.cost(one.target)
        for name in ("guided", "guided80k")
        for one in [pipeline.result(f"{folder}/samples/{name}")]
    ]
    assert [cost.images for cost in costs] == [50_000, 80_000]
    assert costs[1].flops * 5 == costs[0].flops * 8
    assert costs[1].disk * 5 == costs[0].disk * 8


def test_a_training_and_its_milestone_have_one_state_and_models_of_their_own(pipeline):
    """The longer one waits for the other, which changes nothing of what it should be."""
    short, long = (
        pipeline.result(f"runs/imagenet256/dimr-xl-2r{end}/0/model") for end in ("-400epochs", "")
    )
    places = [one.stage.places(one.target) for one in (short, long)]
    state = "runs/imagenet256/dimr-xl-2r/0/state"
    assert [each.pop("state") for each in places] == [state, state]
    assert not set(places[0].values()) & set(places[1].values())
    assert places[1]["log_csv"] == "runs/imagenet256/dimr-xl-2r/0/log.csv"
    assert long.inputs == {**short.inputs, "milestone": short.place}
    alone = section_key(long.stage.config_of(long.target), pipeline.key("data/imagenet256/latents"))
    assert pipeline.key(long.place) == alone != pipeline.key(short.place)


def test_what_is_made_has_the_key_that_it_should_have(tmp_path):
    pipeline = Pipeline(Project(copy_experiments(tmp_path)))
    place = f"{RUN}/model"
    assert not pipeline.is_made(place)
    for key, is_made in (("another", False), (pipeline.key(place), True)):
        seal(tmp_path / place, "model", {"key": key})
        assert pipeline.is_made(place) == is_made
    (tmp_path / place / "record.json").write_text("{")
    assert not pipeline.is_made(place)


def test_a_training_is_made_from_the_run_that_it_starts_from(tmp_path):
    copy_experiments(tmp_path)
    before = Pipeline(PROJECT)
    start = "digits/dimr-xs-2r/0"
    pipeline = Pipeline(edit(tmp_path, "params.yaml", {"train.from": start}))
    model = pipeline.result("runs/workspace/model")
    assert model.inputs["start"] == f"{RUN}/model"
    config = model.stage.config_of(model.target)
    keys = [pipeline.key(place) for place in ("data/digits/latents", f"{RUN}/model")]
    assert pipeline.key(model.place) == section_key(config, *keys) != before.key(model.place)
    assert keys[1] == before.key(f"{RUN}/model")
    places = [one.place for one in pipeline.results(model.target.run)]
    assert places.index(f"{RUN}/model") < places.index("runs/workspace/model")


def test_a_key_follows_the_content_of_a_file_that_training_starts_from(tmp_path):
    copy_experiments(tmp_path)
    (tmp_path / "my weights").mkdir()

    def key(path="my weights"):
        project = edit(tmp_path, "params.yaml", {"train.from": path})
        return Pipeline(project).key("runs/workspace/model")

    files = {"config.json": "{}", "class_names.json": "[]", "w.safetensors": "1"}
    found = []
    for name, text in files.items():
        (tmp_path / "my weights" / name).write_text(text)
        found.append(key())
    (tmp_path / "my weights/record.json").write_text("{}")  # which tells where it was made
    assert key() == found[-1]
    (tmp_path / "my weights/w.safetensors").write_text("2")
    changed = key()
    assert len({*found, changed}) == 4
    (tmp_path / "my weights/w.safetensors").write_text("1")
    assert key() == found[-1]
    file = "my weights/w.safetensors"
    same_file = key(file)
    assert same_file != found[-1]
    (tmp_path / "my weights/class_names.json").write_text('["a"]')
    assert key(file) != same_file
    missing = key("nonsuch")  # no error: a plan or a table may not need it
    assert missing == key("nonsuch")
    assert missing not in found


def test_a_model_stays_made_when_the_file_that_it_started_from_is_gone(tmp_path):
    copy_experiments(tmp_path)
    (tmp_path / "w.pth").write_text("weights")
    project, place = edit(tmp_path, "params.yaml", {"train.from": "w.pth"}), "runs/workspace/model"
    key = Pipeline(project).key(place)
    one = Pipeline(project).result(place)
    facts = {"start": {"content": content_key(tmp_path / "w.pth")}}
    seal(tmp_path / place, "model", {"key": key, **facts})
    (tmp_path / "w.pth").unlink()
    assert Pipeline(project).is_made(place)
    assert Pipeline(project).files(one.stage, one.target) == {"start": "w.pth"}
    changed = edit(tmp_path, "params.yaml", {"train.steps": 3})
    one = Pipeline(changed).result(place)
    assert not Pipeline(changed).is_made(place)
    with pytest.raises(DimrError, match=r"w.pth: no such file, and runs/workspace/model is to be"):
        Pipeline(changed).files(one.stage, one.target)


def test_a_command_and_the_pipeline_give_one_key(tmp_path):
    """Also for a path that leads to the model of a run: it is known by its content."""
    copy_experiments(tmp_path)
    stage = STAGES["train"]
    seal(tmp_path / f"{RUN}/model", "model", {"key": "of the run"})
    (tmp_path / f"{RUN}/model/config.json").write_text("{}")
    for start, is_recorded in ((RUN.removeprefix("runs/"), True), (f"{RUN}/model", False)):
        project = edit(tmp_path, "params.yaml", {"train.from": start})
        config = project.run("workspace").phases()["train"]
        key = stage.input_key("start", tmp_path / f"{RUN}/model", config)
        assert (key == "of the run") == is_recorded
        assert stage.input_key("data", tmp_path / f"{RUN}/model", config) == "of the run"
        model = Pipeline(project).result("runs/workspace/model")
        files = stage.files(model.target)
        assert files == ({} if is_recorded else {"start": f"{RUN}/model"})


def test_each_stage_has_a_command_with_its_inputs_and_outputs():
    actions = make_parser()._actions
    (commands,) = [a.choices for a in actions if isinstance(a, argparse._SubParsersAction)]
    for stage in STAGES.values():
        parser = commands[(stage.command or stage.name).split()[0]]
        options = {option for action in parser._actions for option in action.option_strings}
        names = [each.name for each in stage.inputs] + list(stage.outputs)
        assert {f"--{name.replace('_', '-')}" for name in names} <= options


def test_outputs_are_of_known_kinds():
    for stage in STAGES.values():
        for output in stage.outputs.values():
            assert output.kind in FOLDERS or output.kind in FILES or output.kind in GROWING
