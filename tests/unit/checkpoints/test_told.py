"""What no shape tells: written beside the weights, read again, told by the user, else asked."""

import argparse
import json
import zipfile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dimr import build
from dimr.checkpoints import ImportOptions, is_dimr_export, read_published, write_model
from dimr.checkpoints.formats import to_published
from dimr.config.project import PROJECT
from dimr.config.variants import check_network
from dimr.runtime.errors import DimrError

from .conftest import weights_of, without_memory

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
LATENT = {"input_size": 8, "channels": 4, "num_classes": 10, "time_map": "latent"}
GREY = {"input_size": 16, "channels": 1, "num_classes": 10, "time_map": "pixel"}
UVIT = {"depth": 3, "dim": 32, "heads": 4, "patch": 4}
DIT = {"depth": 2, "dim": 32, "heads": 2, "patch": 2}
TRAINED = {
    "dimr": ("dimr", "latent", "noise", {"layers": [3, 2], "dims": [32, 16], "heads": 4, **LATENT}),
    "dimr, even layers": (
        "dimr", "latent", "noise", {"layers": [4, 2], "dims": [32, 16], "heads": 2, **LATENT},
    ),
    "dimr of grey pixels": (
        "dimr", "pixel", "noise", {"layers": [2, 2, 2], "dims": [32, 16, 8], "heads": 8, **GREY},
    ),
    "dimr, maps crossed": (
        "dimr", "pixel", "noise", {"layers": [3, 2], "dims": [32, 16], "heads": 4, **LATENT},
    ),
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
    "dit that learns its variance": (
        "dit", "latent", "hybrid", {**DIT, **LATENT, "learn_sigma": True},
    ),
    "dit of the authors": ("dit", "linear", "hybrid", {**DIT, **LATENT, "learn_sigma": True}),
    "dit of grey pixels": ("dit", "pixel", "noise", {**DIT, **GREY}),
}  # fmt: skip


def trained(folder, name):
    """A model folder as training leaves it."""
    family, schedule, objective, sizes = TRAINED[name]
    network = build(family, **sizes)
    config = check_network(
        {"family": family, "schedule": schedule, **network.sizes.arguments()}, "test"
    )
    folder.mkdir()
    write_model(folder, config, network.state_dict(), objective=objective)
    return folder


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("name", TRAINED)
def test_out_and_in_again_is_the_same_model(name, suffix, tmp_path, dimr):
    model = trained(tmp_path / "model", name)
    dimr("export", "--model", model, "--out", tmp_path / f"weights{suffix}")
    dimr("import", tmp_path / f"weights{suffix}", "--out", tmp_path / "again")
    for file in (CONFIG, WEIGHTS):  # and so the same images
        assert (tmp_path / "again" / file).read_bytes() == (model / file).read_bytes()
    record = json.loads((tmp_path / "again/record.json").read_text())
    assert record["matched"]["objective"] == TRAINED[name][2]
    assert record["matched"]["schedule_from"] == "recorded in the file"


def test_what_is_written_beside_the_weights(tmp_path, dimr):
    model = trained(tmp_path / "model", "uvit of latents with a convolution")
    facts = {
        "family": "uvit", "objective": "noise", "schedule": "latent", "time_map": "latent",
        "heads": 4, "has_null_label": True, "final_conv": True,
    }  # fmt: skip
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    with safe_open(model / WEIGHTS, framework="pt") as file:
        assert file.metadata() == {"format": "pt", **texts}
    dimr("export", "--model", model, "--out", tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", **texts, "written_by": "dimr export"}
    dimr("export", "--model", model, "--out", tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        said = json.loads(archive.read("archive/dimr.json"))
        assert said == {**facts, "written_by": "dimr export"}
        assert archive.testzip() is None


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("weights_only", [False, True])
def test_torch_reads_an_export_as_before(mmap, weights_only, tmp_path, dimr):
    model = trained(tmp_path / "model", "dit")
    dimr("export", "--model", model, "--out", tmp_path / "a.pth")
    dimr("export", "--model", model, "--out", tmp_path / "a.safetensors")
    read = torch.load(tmp_path / "a.pth", mmap=mmap, weights_only=weights_only)
    expected = load_file(tmp_path / "a.safetensors")
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], expected[name]) for name in read)


def test_which_files_are_exports(tmp_path, dimr):
    model = trained(tmp_path / "model", "dit")
    for suffix in (".pth", ".pt", ".safetensors"):
        dimr("export", "--model", model, "--out", tmp_path / f"a{suffix}")
        assert is_dimr_export(tmp_path / f"a{suffix}")
    assert not is_dimr_export(model / WEIGHTS)
    assert not is_dimr_export(model)
    assert not is_dimr_export(tmp_path / "none.pth")
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
    ("said", "message"),
    [
        ({"schedule": "cosine"}, "says of itself schedule 'cosine' (allowed: latent, pixel, lin"),
        ({"objective": "velocity"}, "says of itself objective 'velocity' (allowed: noise, hybrid)"),
        ({"heads": "true"}, "says of itself heads 'True' (allowed: whole numbers of 1 or more)"),
        ({"heads": "3"}, "width 32 cannot be split into 3 heads (recorded in the file)"),
        ({"family": "dimr", "layers": "4"}, "says of itself layers '4' (allowed: whole numbers"),
        ({"family": "dimr", "layers": "[4]"}, "family dit, not dimr (recorded in the file)"),
        ({"family": "uvit"}, "family dit, not uvit (recorded in the file)"),
        ({"has_null_label": "1"}, "says of itself has_null_label '1' (allowed: True, False)"),
    ],
)
def test_what_a_file_says_of_itself_must_be_right(said, message, tmp_path, error_of):
    file = tmp_path / "dit.safetensors"
    save_file(weights_of("dit"), file, metadata={"schedule": "linear", "heads": "4", **said})
    refused = error_of("import", file, "--out", tmp_path / "model")
    assert refused.startswith(f"{file}: {message}")


def test_a_record_of_other_layers_or_another_end(tmp_path, error_of):
    for name, said, message in (
        ("dimr_2r_tdrms", {"family": "dimr", "layers": "[5, 2]"}, "layers [3, 3], not [5, 2]"),
        ("uvit_latent", {"final_conv": "true"}, "final_conv False, not True"),
    ):
        save_file(weights_of(name), tmp_path / "a.safetensors", metadata={"heads": "4", **said})
        refused = error_of("import", tmp_path / "a.safetensors", "--dry-run")
        assert refused == f"{tmp_path / 'a.safetensors'}: {message} (recorded in the file)"


def test_the_user_and_the_file_disagree(tmp_path, dimr, error_of):
    file = tmp_path / "a.pth"
    dimr("export", "--model", trained(tmp_path / "model", "dit"), "--out", file)
    command = ["import", file, "--out", tmp_path / "again"]
    for option, value, message in (
        ("--schedule", "linear", "noise schedule: linear (--schedule), latent (recorded in"),
        (
            "--time-map",
            "pixel",
            "time map: pixel (--time-map), latent (recorded in the file): which",
        ),
        ("--heads", 4, "number of heads: 4 (--heads), 2 (recorded in the file): which?"),
        ("--classes", 11, "has 11 labels, so 10 classes; --classes 11"),
    ):
        assert message in error_of(*command, option, value)
    dimr(*command, "--schedule", "latent", "--heads", 2, "--classes", 10)


# --- weights under DiT's names --------------------------------------------------------------------


def test_weights_under_dits_names_need_their_schedule(tmp_path, dimr, error_of, capsys):
    """DiT of its authors, DiT trained here and SiT have the same tensors."""
    file, model = tmp_path / "dit.pth", tmp_path / "model"
    torch.save(weights_of("dit"), file)
    dimr("import", file, "--heads", 4, "--dry-run")
    question = (
        "no tensor tells noise schedule and objective, and SiT's weights have the same names: give "
        "--schedule linear for DiT's authors' weights, else --schedule latent or pixel, "
        "--variant RUN or --config"
    )
    assert f"untold   {question}" in capsys.readouterr().out
    refused = error_of("import", file, "--heads", 4, "--out", model)
    assert refused == f"{file}: {question}"
    refused = error_of("import", file, "--heads", 4, "--variant", "dit-xl-2", "--out", model)
    assert not model.exists()
    for schedule, objective in (("linear", "hybrid"), ("latent", None)):
        dimr("import", file, "--heads", 4, "--schedule", schedule, "--out", model)
        assert json.loads((model / CONFIG).read_text())["schedule"] == schedule
        record = json.loads((model / "record.json").read_text())
        assert record["matched"]["objective"] == objective


def test_a_run_tells_schedule_and_objective(tmp_path, dimr, capsys):
    inputs = {"input_size": 8, "channels": 4, "num_classes": 10}
    network = build("dit-xs-sigma-2", **inputs)
    torch.save(to_published(network), tmp_path / "dit.pth")
    run = "digits/dit-xs-sigma-2/0"
    dimr("import", tmp_path / "dit.pth", "--variant", run, "--out", tmp_path / "model")
    assert f"noise schedule latent ({run}), objective noise" in capsys.readouterr().out
    config = json.loads((tmp_path / "model" / CONFIG).read_text())
    assert config == PROJECT.run(run).network.model_dump(mode="json")


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
def test_weights_of_another_objective(settings, key, tmp_path, error_of):
    torch.save({"ema": weights_of("dit"), "args": settings}, tmp_path / "a.pt")
    for more in (["--dry-run"], ["--schedule", "linear", "--out", tmp_path / "model"]):
        refused = error_of("import", tmp_path / "a.pt", "--heads", 4, *more)
        assert refused == (
            f"{tmp_path / 'a.pt'}: its trainer's settings say {key}, as SiT's and others do: "
            "objective not supported (allowed: noise, hybrid)"
        )


def test_settings_of_an_unknown_trainer_tell_nothing(tmp_path, error_of):
    for settings in (
        argparse.Namespace(lr=1), argparse.Namespace(model="vit_base"), {"lr": 1},
        argparse.Namespace(model="DiT-S/2", noise_schedule="cosine"),
    ):  # fmt: skip
        torch.save({"ema": weights_of("dit"), "args": settings}, tmp_path / "a.pt")
        command = ["import", tmp_path / "a.pt", "--heads", 4, "--out", tmp_path / "model"]
        assert "no tensor tells noise schedule" in error_of(*command)


def test_dits_trainer_without_a_label_for_no_class(tmp_path, error_of):
    settings = argparse.Namespace(model="DiT-S/2", num_classes=11)
    torch.save({"ema": weights_of("dit"), "args": settings}, tmp_path / "a.pt")
    refused = error_of("import", tmp_path / "a.pt", "--heads", 4, "--dry-run")
    assert 'settings say 11 classes, and it has 11 labels: none is for "no class"' in refused


# --- DiMR and U-ViT -------------------------------------------------------------------------------


def test_unusual_channels_need_their_maps(tmp_path, dimr, error_of, capsys):
    file, model = tmp_path / "grey.pth", tmp_path / "model"
    torch.save(to_published(build("uvit", **TRAINED["uvit of grey pixels"][3])), file)
    command = ["import", file, "--heads", 4]
    dimr(*command, "--dry-run")
    question = "no tensor tells time map and noise schedule of 1 channels: give --time-map and "
    assert f"untold   {question}" in capsys.readouterr().out
    assert error_of(*command, "--out", model).startswith(f"{file}: {question}")
    assert not model.exists()
    dimr(*command, "--time-map", "pixel", "--schedule", "linear", "--out", model)
    config = json.loads((model / CONFIG).read_text())
    assert (config["time_map"], config["schedule"]) == ("pixel", "linear")


@pytest.mark.parametrize("told", [{"schedule": "latent"}, {"time_map": "latent"}])
def test_time_map_and_schedule_go_together(told, tmp_path):
    """Of DiMR and U-ViT: that is how their authors have them."""
    torch.save(to_published(build("dimr", **TRAINED["dimr of grey pixels"][3])), tmp_path / "a.pth")
    imported = read_published(tmp_path / "a.pth", ImportOptions(heads=8, **told))
    assert (imported.network.time_map, imported.network.schedule) == ("latent", "latent")
    assert imported.noise.untold == ""


def test_usual_channels_are_as_published_and_the_report_says_so(tmp_path, dimr, capsys):
    for name, channels, time_map in (("uvit_latent", 4, "latent"), ("uvit_pixel", 3, "pixel")):
        torch.save(weights_of(name), tmp_path / "a.pth")
        dimr("import", tmp_path / "a.pth", "--heads", 4, "--out", tmp_path / "model")
        assert (
            f"time map {time_map}, noise schedule {time_map} (as published for {channels} channels)"
            ", objective noise"
        ) in capsys.readouterr().out


def test_a_final_convolution_says_nothing_of_the_time_map(tmp_path, dimr, capsys):
    conv = {"final_layer.weight": torch.randn(4, 4, 3, 3), "final_layer.bias": torch.randn(4)}
    torch.save({**weights_of("uvit_latent"), **conv}, tmp_path / "a.pth")
    dimr("import", tmp_path / "a.pth", "--heads", 4, "--out", tmp_path / "model")
    report = capsys.readouterr().out
    assert "time map latent" in report
    assert "ends in a convolution" in report
    assert "no label" not in report
    config = json.loads((tmp_path / "model" / CONFIG).read_text())
    assert (config["time_map"], config["final_conv"]) == ("latent", True)
    dimr("export", "--model", tmp_path / "model", "--out", tmp_path / "b.safetensors")
    assert load_file(tmp_path / "b.safetensors").keys() == {*weights_of("uvit_latent"), *conv}


def test_a_run_without_a_convolution_is_not_one_with_it(tmp_path):
    network = PROJECT.run("digits/uvit-xs-2/0").network
    assert "final_conv" not in network.model_dump()
    plain = build("uvit", **network.sizes.arguments())
    torch.save(to_published(plain), tmp_path / "a.pth")
    assert read_published(tmp_path / "a.pth", ImportOptions(network=network)).network == network
    with_conv = build("uvit", **network.sizes.arguments(), final_conv=True)
    torch.save(to_published(with_conv), tmp_path / "b.pth")
    with pytest.raises(DimrError, match=r"final_conv True, not False"):
        read_published(tmp_path / "b.pth", ImportOptions(network=network))


def test_whether_the_last_label_is_a_class(tmp_path, dimr, error_of):
    """11 labels of a U-ViT: by its authors' habit, unless somebody says it."""
    file, model = tmp_path / "a.pth", tmp_path / "model"

    def labels(*told):
        dimr("import", file, "--heads", 4, "--out", model, *told)
        config = json.loads((model / CONFIG).read_text())
        return config["num_classes"], config["has_null_label"]

    torch.save(weights_of("uvit_latent"), file)
    rows = len(weights_of("uvit_latent")["label_emb.weight"])
    assert labels() == labels("--classes", rows - 1) == (rows - 1, True)
    assert labels("--classes", rows) == (rows, False)
    command = ["import", file, "--heads", 4, "--out", model, "--classes", rows + 1]
    assert f"has {rows} labels, so {rows - 1} or {rows} classes" in error_of(*command)
    torch.save(weights_of("uvit_pixel"), file)
    rows = len(weights_of("uvit_pixel")["label_emb.weight"])
    assert labels() == (rows, False)
    assert labels("--classes", rows - 1) == (rows - 1, True)


def test_a_published_variant_says_its_classes(tmp_path):
    """1,001 labels of a pixel model of the paper's size: 1,000 classes and "no class"."""
    sizes = {"input_size": 64, "channels": 3, "num_classes": 1000, "time_map": "pixel"}
    with torch.device("meta"):
        names = to_published(build("uvit-m-4", **sizes))
    shapes = {name: tensor.shape for name, tensor in names.items()}
    torch.save(without_memory(shapes), tmp_path / "a.pth")
    network = read_published(tmp_path / "a.pth", ImportOptions()).network
    assert (network.num_classes, network.has_null_label) == (1000, True)
