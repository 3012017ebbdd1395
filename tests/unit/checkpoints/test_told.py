"""What no shape tells: written beside the weights, read again, told by the user, else asked."""

import argparse
import json
import zipfile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dimr import build
from dimr.checkpoints import (
    ImportOptions,
    read_class_names,
    read_published,
    to_published,
    write_class_names,
    write_model,
)
from dimr.checkpoints.start_weights import read_start
from dimr.config.project import PROJECT
from dimr.config.variants import check_network, load_network_config
from dimr.runtime.errors import DimrError
from dimr.runtime.weight_notes import is_dimr_export

from .conftest import HEADS, WEIGHTS, assert_same, load, weights_of, without_memory

CONFIG = "config.json"
LATENT = {"input_size": 8, "channels": 4, "num_classes": 10, "time_map": "latent"}
GREY = {"input_size": 16, "channels": 1, "num_classes": 10, "time_map": "pixel"}
TWO = {"layers": [3, 2], "dims": [32, 16], "heads": 4}
THREE = {"layers": [2, 2, 2], "dims": [32, 16, 8], "heads": 8}
UVIT = {"depth": 3, "dim": 32, "heads": 4, "patch": 4}
DIT = {"depth": 2, "dim": 32, "heads": 2, "patch": 2}
SIGMA = {**DIT, **LATENT, "learn_sigma": True}
TRAINED = {
    "dimr": ("dimr", "latent", "noise", {**TWO, **LATENT}),
    "dimr, even layers": ("dimr", "latent", "noise", {**TWO, "layers": [4, 2], **LATENT}),
    "dimr of grey pixels": ("dimr", "pixel", "noise", {**THREE, **GREY}),
    "dimr, maps crossed": ("dimr", "pixel", "noise", {**TWO, **LATENT}),
    "uvit": ("uvit", "latent", "noise", {**UVIT, **LATENT}),
    "uvit of grey pixels": ("uvit", "pixel", "noise", {**UVIT, **GREY}),
    "uvit without a null label": (
        "uvit", "latent", "noise", {**UVIT, **LATENT, "has_null_label": False},
    ),
    "uvit of latents with a convolution": (
        "uvit", "latent", "noise", {**UVIT, **LATENT, "final_conv": True},
    ),
    "uvit of pixels without one": ("uvit", "pixel", "noise", {**UVIT, **GREY, "final_conv": False}),
    "dit": ("dit", "latent", "noise", {**DIT, **LATENT}),
    "dit that learns its variance": ("dit", "latent", "hybrid", SIGMA),
    "dit of the authors": ("dit", "linear", "hybrid", SIGMA),
    "dit of grey pixels": ("dit", "pixel", "noise", {**DIT, **GREY}),
}  # fmt: skip
GREY_DIMR, GREY_UVIT = TRAINED["dimr of grey pixels"][3], TRAINED["uvit of grey pixels"][3]


@pytest.fixture
def trained(tmp_path):
    """A model folder as training leaves it."""

    def write(name):
        family, schedule, objective, sizes = TRAINED[name]
        network, folder = build(family, **sizes), tmp_path / "trained"
        value = {"family": family, "schedule": schedule, **network.sizes.arguments()}
        folder.mkdir()
        config = check_network(value, "test")
        write_model(folder, config, network.state_dict(), objective=objective)
        return folder

    return write


def config_of(model):
    return json.loads((model / CONFIG).read_text())


def matched(model):
    return json.loads((model / "record.json").read_text())["matched"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("name", TRAINED)
def test_out_and_in_again_is_the_same_model(name, suffix, trained, imported, exported):
    model = trained(name)
    again, _ = imported(exported(model, f"weights{suffix}"))
    for file in (CONFIG, WEIGHTS):  # and so the same images
        assert (again / file).read_bytes() == (model / file).read_bytes()
    assert matched(again)["objective"] == TRAINED[name][2]
    assert matched(again)["schedule_from"] == "recorded in the file"


def test_what_is_written_beside_the_weights(trained, exported):
    model = trained("uvit of latents with a convolution")
    facts = {
        "family": "uvit", "objective": "noise", "schedule": "latent", "time_map": "latent",
        "heads": 4, "has_null_label": True, "final_conv": True,
    }  # fmt: skip
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    marked = {"written_by": "dimr export"}
    for path, more in ((model / WEIGHTS, {}), (exported(model, "a.safetensors"), marked)):
        with safe_open(path, framework="pt") as file:
            assert file.metadata() == {"format": "pt", **texts, **more}
    with zipfile.ZipFile(exported(model, "a.pth")) as archive:
        assert json.loads(archive.read("archive/dimr.json")) == {**facts, **marked}
        assert archive.testzip() is None


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_names_of_classes_are_exported_and_imported(suffix, trained, imported, exported, refusal):
    """Not in the model's own weights, which are the same whatever classes are called."""
    model, names = trained("dit"), [f"caf\u00e9 {n}, small" for n in range(10)]
    weights = (model / WEIGHTS).read_bytes()
    again, _ = imported(exported(model, f"nameless{suffix}"))
    assert read_class_names(again) is None
    write_class_names(model, names)
    file = exported(model, f"named{suffix}")
    again, _ = imported(file)
    assert read_class_names(again) == names
    start = read_start(file, load_network_config(again / CONFIG))  # what a training begins from
    assert start.class_names == names
    assert (again / WEIGHTS).read_bytes() == weights
    assert json.loads((again / "record.json").read_text())["files"].keys() >= {"class_names.json"}
    (again / "class_names.json").write_text(json.dumps([*names[1:], "x"]))
    with pytest.raises(DimrError, match=r"class_names\.json: (damaged: has|checksum differs)"):
        read_class_names(again)
    write_class_names(model, names[:3])
    wrong = "recorded in the file: class_names: 3 names for 10 classes"
    assert refusal(exported(model, f"few{suffix}")) == wrong


def test_what_other_programs_call_class_names_is_theirs(tmp_path, imported):
    file = tmp_path / "a.safetensors"
    save_file(weights_of("dit"), file, metadata={"class_names": "{cat}", "heads": "4"})
    model, _ = imported(file, "--schedule", "linear")
    assert read_class_names(model) is None


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("weights_only", [False, True])
def test_torch_reads_an_export_as_before(mmap, weights_only, trained, exported):
    model = trained("dit")
    read = torch.load(exported(model), mmap=mmap, weights_only=weights_only)
    assert_same(read, load(exported(model, "a.safetensors")))


def test_which_files_are_exports(tmp_path, trained, exported):
    model = trained("dit")
    for suffix in (".pth", ".pt", ".safetensors"):
        assert is_dimr_export(exported(model, f"a{suffix}"))
    for path in (model / WEIGHTS, model, tmp_path / "none.pth"):
        assert not is_dimr_export(path)
    others = {
        "plain.pth": lambda path: torch.save(weights_of("dit"), path),
        "old.pth": lambda path: torch.save({}, path, _use_new_zipfile_serialization=False),
        "plain.safetensors": lambda path: save_file(weights_of("dit"), path),
        "empty.pth": lambda path: path.write_bytes(b""),
        "cut.pth": lambda path: path.write_bytes((tmp_path / "a.pth").read_bytes()[:5000]),
        "text.safetensors": lambda path: path.write_text("dimr export"),
    }
    for name, write in others.items():
        write(tmp_path / name)
        assert not is_dimr_export(tmp_path / name), name
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as archive:
        archive.writestr("archive/dimr.json", "[" * 100_000)
    assert not is_dimr_export(tmp_path / "other.pth")


# --- what a file says of itself against what it holds, and what the user says ---------------------


@pytest.mark.parametrize(
    ("weights", "said", "message"),
    [
        ("dit", {"schedule": "cosine"},
         "recorded in the file: schedule: 'cosine': input should be 'latent', 'pixel' or 'linear'"),
        ("dit", {"objective": "velocity"},
         "recorded in the file: objective: 'velocity': input should be 'noise' or 'hybrid'"),
        ("dit", {"heads": "true"}, "recorded in the file: heads: True: input should be a valid"),
        ("dit", {"heads": "3"}, "width 32 cannot be split into 3 heads (recorded in the file)"),
        ("dit", {"family": "dimr", "layers": "4"}, "recorded in the file: layers: 4: input should"),
        ("dit", {"family": "dimr", "layers": "[4]"}, "family dit, not dimr (recorded in the file)"),
        ("dit", {"family": "uvit"}, "family dit, not uvit (recorded in the file)"),
        ("dit", {"has_null_label": "1"}, "recorded in the file: has_null_label: 1: input should"),
        ("dimr_2r_tdrms", {"family": "dimr", "layers": "[5, 2]"},
         "layers [3, 3], not [5, 2] (recorded in the file)"),
        ("uvit_latent", {"final_conv": "true"},
         "final_conv False, not True (recorded in the file)"),
    ],
)  # fmt: skip
def test_what_a_file_says_of_itself_must_be_right(weights, said, message, tmp_path, refusal):
    file, own = tmp_path / "a.safetensors", {"schedule": "linear"} if weights == "dit" else {}
    save_file(weights_of(weights), file, metadata={"heads": "4", **own, **said})
    assert refusal(file).startswith(message)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--schedule", "linear", "schedule: linear (--schedule), latent (recorded in the file): "),
        ("--time-map", "pixel", "time_map: pixel (--time-map), latent (recorded in the file): "),
        ("--heads", 4, "heads: 4 (--heads), 2 (recorded in the file): which?"),
        ("--input-size", 16, "input_size 8, not 16 (--input-size)"),
        ("--classes", 11, "has 11 labels, so 10 classes; --classes 11"),
    ],
)
def test_the_user_and_the_file_disagree(option, value, message, trained, exported, refusal):
    assert refusal(exported(trained("dit")), option, value).startswith(message)


def test_the_user_and_the_file_agree(trained, exported, imported):
    imported(exported(trained("dit")), "--schedule", "latent", "--heads", 2, "--classes", 10)


# --- weights under DiT's names --------------------------------------------------------------------


def test_weights_under_dits_names_need_their_schedule(file_of, dimr, refusal, imported):
    """DiT of its authors, DiT trained here and SiT have the same tensors."""
    file = file_of(weights_of("dit"))
    question = (
        "no tensor tells noise schedule and objective, and SiT's weights have the same names: give "
        "--schedule linear for the weights of DiT's authors, else --schedule latent or pixel, "
        "--variant RUN or --config"
    )
    assert f"untold   {question}" in dimr("import", file, *HEADS, "--dry-run")
    assert refusal(file, *HEADS) == question
    refusal(file, *HEADS, "--variant", "dit-xl-2")
    for schedule, objective in (("linear", "hybrid"), ("latent", None)):
        model, _ = imported(file, *HEADS, "--schedule", schedule)
        assert config_of(model)["schedule"] == schedule
        assert matched(model)["objective"] == objective


def test_a_run_tells_schedule_and_objective(imported):
    network = build("dit-xs-sigma-2", input_size=8, channels=4, num_classes=10)
    run = "digits/dit-xs-sigma-2/0"
    model, report = imported(to_published(network), "--variant", run)
    assert f"noise schedule latent ({run}), objective noise" in report
    assert config_of(model) == PROJECT.run(run).network.model_dump(mode="json")


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (argparse.Namespace(model="SiT-XL/2"), "model 'SiT-XL/2'"),
        (argparse.Namespace(model="DiT", path_type="Linear"), "path_type 'Linear'"),
        (argparse.Namespace(prediction="velocity", loss_weight=None), "prediction 'velocity'"),
        (argparse.Namespace(train_eps=None, sample_eps=None), "train_eps 'None'"),
        ({"prediction_type": "v_prediction"}, "prediction_type 'v_prediction'"),
        ({"a": argparse.Namespace(objective="pred_v")}, "a.objective 'pred_v'"),
        ({"diffusion": {"predict_xstart": True}}, "diffusion.predict_xstart 'True'"),
    ],
)
def test_weights_of_another_objective(settings, key, refusal):
    for more in (["--dry-run"], ["--schedule", "linear"]):
        assert refusal({"ema": weights_of("dit"), "args": settings}, *HEADS, *more) == (
            f"its trainer's settings say {key}, as SiT's and others do: "
            "objective not supported (allowed: noise, hybrid)"
        )


@pytest.mark.parametrize(
    "settings",
    [{"lr": 1}, *(argparse.Namespace(**one) for one in (
        {"lr": 1}, {"model": "vit_base"}, {"model": "DiT-S/2", "noise_schedule": "cosine"}))],
)  # fmt: skip
def test_settings_of_an_unknown_trainer_tell_nothing(settings, refusal):
    message = refusal({"ema": weights_of("dit"), "args": settings}, *HEADS)
    assert message.startswith("no tensor tells noise schedule")


def test_dits_trainer_without_a_label_for_no_class(refusal):
    settings = argparse.Namespace(model="DiT-S/2", num_classes=11)
    message = refusal({"ema": weights_of("dit"), "args": settings}, *HEADS)
    assert 'settings say 11 classes, and it has 11 labels: none is for "no class"' in message


# --- DiMR and U-ViT -------------------------------------------------------------------------------


def test_unusual_channels_need_their_maps(file_of, dimr, refusal, imported):
    file = file_of(to_published(build("uvit", **GREY_UVIT)))
    question = "no tensor tells time map and noise schedule of 1 channels: give --time-map and "
    assert f"untold   {question}" in dimr("import", file, *HEADS, "--dry-run")
    assert refusal(file, *HEADS).startswith(question)
    model, _ = imported(file, *HEADS, "--time-map", "pixel", "--schedule", "linear")
    config = config_of(model)
    assert (config["time_map"], config["schedule"]) == ("pixel", "linear")


@pytest.mark.slow
@pytest.mark.parametrize("told", [{"schedule": "latent"}, {"time_map": "latent"}])
def test_time_map_and_schedule_go_together(told, file_of):
    """Of DiMR and U-ViT: that is how their authors have them."""
    file = file_of(to_published(build("dimr", **GREY_DIMR)))
    imported = read_published(file, ImportOptions(heads=8, **told))
    assert (imported.network.time_map, imported.network.schedule) == ("latent", "latent")
    assert imported.noise.untold == ""


@pytest.mark.parametrize(
    ("name", "channels", "time_map"), [("uvit_latent", 4, "latent"), ("uvit_pixel", 3, "pixel")]
)
def test_usual_channels_are_as_published_and_the_report_says_so(name, channels, time_map, imported):
    _, report = imported(weights_of(name), *HEADS)
    said = f"time map {time_map}, noise schedule {time_map} (as published for {channels} channels)"
    assert f"{said}, objective noise" in report


def test_a_final_convolution_says_nothing_of_the_time_map(imported, exported):
    conv = {"final_layer.weight": torch.randn(4, 4, 3, 3), "final_layer.bias": torch.randn(4)}
    weights = {**weights_of("uvit_latent"), **conv}
    model, report = imported(weights, *HEADS)
    assert "time map latent" in report
    assert "ends in a convolution" in report
    assert "no label" not in report
    assert (config_of(model)["time_map"], config_of(model)["final_conv"]) == ("latent", True)
    assert_same(load(exported(model)), weights)


def test_a_run_without_a_convolution_is_not_one_with_it(file_of):
    network = PROJECT.run("digits/uvit-xs-2/0").network
    assert "final_conv" not in network.model_dump()
    sizes, wanted = network.sizes.arguments(), ImportOptions(network=network)
    assert read_published(file_of(to_published(build("uvit", **sizes))), wanted).network == network
    with_conv = file_of(to_published(build("uvit", **sizes, final_conv=True)))
    with pytest.raises(DimrError, match=r"final_conv True, not False"):
        read_published(with_conv, wanted)


@pytest.mark.slow
def test_whether_the_last_label_is_a_class(imported):
    """11 labels of a U-ViT: by its authors' habit, unless somebody says it."""

    def labels(name, *told):
        config = config_of(imported(weights_of(name), *HEADS, *told)[0])
        return config["num_classes"], config["has_null_label"]

    rows = len(weights_of("uvit_latent")["label_emb.weight"])
    assert labels("uvit_latent") == (rows - 1, True)
    assert labels("uvit_latent", "--classes", rows - 1) == (rows - 1, True)
    assert labels("uvit_latent", "--classes", rows) == (rows, False)
    rows = len(weights_of("uvit_pixel")["label_emb.weight"])
    assert labels("uvit_pixel") == (rows, False)
    assert labels("uvit_pixel", "--classes", rows - 1) == (rows - 1, True)


def test_so_many_classes_that_no_label_is_left(refusal):
    weights = weights_of("uvit_latent")
    rows = len(weights["label_emb.weight"])
    message = f"has {rows} labels, so {rows - 1} or {rows} classes"
    assert message in refusal(weights, *HEADS, "--classes", rows + 1)


def test_a_published_variant_says_its_classes(file_of):
    """1,001 labels of a pixel model of the paper's size: 1,000 classes and "no class"."""
    sizes = {"input_size": 64, "channels": 3, "num_classes": 1000, "time_map": "pixel"}
    with torch.device("meta"):
        names = to_published(build("uvit-m-4", **sizes))
    shapes = {name: tensor.shape for name, tensor in names.items()}
    network = read_published(file_of(without_memory(shapes)), ImportOptions()).network
    assert (network.num_classes, network.has_null_label) == (1000, True)
