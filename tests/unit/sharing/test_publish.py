"""``dimr publish`` to a hub on this machine, by huggingface_hub's own client, and back."""

import json
import sys

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import ModelCard, constants
from safetensors.torch import save_file
from tests.support.hub import TOKEN, running_hub

import dimr
from dimr.checkpoints import read_model, write_class_names, write_model
from dimr.checkpoints.model_card import write_folders_card
from dimr.checkpoints.model_folder import WEIGHTS
from dimr.cli import main
from dimr.config.variants import check_network
from dimr.runtime.files import read_json, sha256, write_json
from dimr.runtime.record import read_record, seal, verify
from dimr.runtime.signed import is_signed
from dimr.stages.provenance import sealed

REPO = "someone/digits"
NETWORK = {"family": "dimr", "layers": [1, 1], "dims": [8, 8], "heads": 2, "norm": "rms",
           "input_size": 8, "channels": 3, "num_classes": 5, "time_map": "pixel",
           "schedule": "latent"}  # fmt: skip
NAMES = ["red", "blue: dark", "7", "# none", "last"]


@pytest.fixture
def hub(monkeypatch):
    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                            hub.url + "/{repo_id}/resolve/{revision}/{filename}")  # fmt: skip
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def make_model(folder, seed=0, key="0123456789abcdef"):
    """A model folder as training leaves it."""
    config = check_network(NETWORK, "test")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = dimr.models.build(config.sizes)
    folder.mkdir(parents=True)
    write_model(folder, config, network.state_dict(), "noise")
    write_class_names(folder, NAMES)
    train = {"steps": 7, "batch": 2, "lr": 0.5, "label_dropout": 0.1}
    content = {"dataset": "digits", "seed": 3, "network": NETWORK, "train": train}
    session = {"device": "cuda", "processes": 4, "versions": {"torch": "9.8"},
               "git_revision": "abc", "git_dirty": True, "command": "/home/me"}  # fmt: skip
    record = {"key": key, "steps": 7, "images": 14, "config": content}
    seal(folder, "model", record, origin={"seconds": 90.0, "sessions": [session]})
    write_folders_card(folder)
    return folder


def measure(model, setting="guided", of=None, **changes):
    """Metrics of images that a model drew, and their record, as ``dimr evaluate`` leaves them."""
    metrics = model.parent / f"metrics/{setting}.json"
    metrics.parent.mkdir(exist_ok=True)
    write_json(metrics, {"fid_digits": 7.125, "near_copy_share": 0.25, "images": 500, **changes})
    drawn = {"seed": 3, "steps": 18, "solver": "authors",
             "guidance": {"kind": "constant", "scale": 0.7}}  # fmt: skip
    record = {
        "key": "fedcba9876543210", "images": 500, "extractor": "digits-0123",
        "reference": {"images": 547, "what": "held-out images, never trained on"},
        "samples": {"model": read_record(of or model), "config": drawn},
        "git_revision": "def", "git_dirty": False, "device": "cpu", "versions": {"torch": "9.9"},
    }  # fmt: skip
    (model.parent / "provenance").mkdir(exist_ok=True)
    write_json(model.parent / f"provenance/{setting}.json", sealed(record, metrics))
    return metrics


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "runs/digits/tiny/3/model")


@pytest.fixture
def publish(model, capsys, caplog):
    """Run the command; its output, or of one that fails for the user's fault, its line."""

    def run(*more, fails=False, repo=REPO, folder=model):
        caplog.clear()
        words = ["publish", "--model", str(folder), "--repo", repo, *map(str, more)]
        assert main(words) == (2 if fails else 0), caplog.text
        if not fails:
            return capsys.readouterr().out
        (line,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
        assert "\n" not in line
        return line.removeprefix("dimr: ")

    return run


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_pushed_loads_again(model, hub, publish, tmp_path, monkeypatch):
    before = files_of(tmp_path)
    measure(model)
    before |= files_of(model.parent)
    assert publish().startswith(f"published  {hub.url}/{REPO}/commit/")
    assert files_of(tmp_path) == before  # DVC may hold the folder
    assert f"Bearer {TOKEN}" in hub.authorized

    pushed = hub.repos[REPO]["files"]["main"]
    assert set(pushed) == {
        "README.md", "model_index.json", "scheduler/scheduler_config.json",
        *(f"model/{name}" for name in ("config.json", WEIGHTS, "class_names.json", "record.json")),
    }  # fmt: skip
    assert pushed[f"model/{WEIGHTS}"] == (model / WEIGHTS).read_bytes()
    assert not any(b"/home/me" in content for content in pushed.values())

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    pipeline = dimr.DiMRPipeline.from_pretrained(REPO, cache_dir=tmp_path / "cache")
    ours = dimr.DiMRPipeline.from_run(model)
    assert pipeline.class_names == ours.class_names == NAMES
    for one in (pipeline, ours):
        one.set_progress_bar_config(disable=True)
    drawn = [
        one([1, 2], num_inference_steps=3, output_type="pt", guidance_scale=2.0,
            generator=torch.Generator().manual_seed(0)).images
        for one in (pipeline, ours)
    ]  # fmt: skip
    torch.testing.assert_close(*drawn)

    hub.save(REPO, tmp_path / "fetched")
    verify(tmp_path / "fetched/model")
    assert read_model(tmp_path / "fetched/model")[1] == read_model(model)[1]
    assert dimr.DiMRPipeline.from_run(tmp_path / "fetched/model").class_names == NAMES


def test_the_card_has_the_metrics_of_these_weights_only(model, hub, publish, tmp_path, caplog):
    measure(model)
    other = make_model(tmp_path / "runs/digits/other/0/model", seed=1)
    measure(model, "of_others", of=other, fid_digits=1.0)
    changed = measure(model, "changed", fid_digits=2.0)
    changed.write_text(changed.read_text().replace("2.0", "1.5"))
    shown = publish("--dry-run")
    assert hub.asked == []
    warned = caplog.text
    assert "metrics/of_others.json: not known to be of these weights" in warned
    assert "metrics/changed.json: changed after it was made" in warned

    card = ModelCard(shown[shown.index("---") :])
    results = {(one.metric_type, one.metric_config): one for one in card.data.eval_results}
    assert set(results) == {("fid_digits", "guided"), ("near_copy_share", "guided")}
    fid = results["fid_digits", "guided"]
    assert (fid.metric_name, fid.metric_value) == ("FID-digits", 7.125)
    assert fid.metric_args == {"features": "digits-0123"}
    assert results["near_copy_share", "guided"].metric_args is None
    assert (fid.dataset_type, fid.dataset_name) == ("digits", "held-out images, never trained on")
    for part in ("| FID-digits | 7.125 |", "kind constant, scale 0.7", "seed 3", "18 evaluations",
                 "solver authors", "547 images: held-out", "features: digits-0123", "git def",
                 sha256(model.parent / "metrics/guided.json"), "it is no Inception FID",
                 f'from_pretrained("{REPO}")', "scikit-learn"):  # fmt: skip
        assert part in shown, part
    listed = [line.split() for line in shown[: shown.index("---")].splitlines() if line]
    assert [str((model / WEIGHTS).stat().st_size), f"model/{WEIGHTS}"] in [
        [size.replace(",", ""), name] for size, name in listed
    ]
    assert publish("--dry-run") == shown


def test_the_folders_own_card(model, publish, hub):
    """No metrics exist when training ends; all else is said, and nothing that is not known."""
    text = (model / "README.md").read_text()
    assert is_signed(text)
    card = ModelCard(text)
    assert card.data.eval_results is None
    assert (card.data.license, card.data.library_name) == ("unknown", "diffusers")
    for part in ("7 steps, 14 images", "seed 3", "| learning rate | 0.5 |", "red, blue: dark, 7",
                 "4 x cuda, torch 9.8, git abc with uncommitted changes", "None is recorded",
                 "nobody has stated one"):  # fmt: skip
        assert part in text, part
    assert "README.md" not in read_json(model / "record.json")["files"]
    publish("--license", "apache-2.0")
    pushed = ModelCard(hub.repos[REPO]["files"]["main"]["README.md"].decode())
    assert pushed.data.license == "apache-2.0"
    assert "`apache-2.0`, as stated" in pushed.text


def test_a_card_that_was_edited_is_pushed_as_it_is(model, publish, hub, caplog):
    measure(model)
    edited = (model / "README.md").read_text().replace("# DiMR on digits", "# Mine")
    (model / "README.md").write_text(edited)
    publish()
    assert hub.repos[REPO]["files"]["main"]["README.md"].decode() == edited
    assert "README.md: was edited" in caplog.text


def test_a_branch_and_a_private_repository(publish, hub):
    publish("--private", "--revision", "v1")
    assert hub.repos[REPO]["private"]
    assert hub.repos[REPO]["files"]["main"] == {}
    assert f"model/{WEIGHTS}" in hub.repos[REPO]["files"]["v1"]
    publish("--private")  # again, now to main
    assert f"model/{WEIGHTS}" in hub.repos[REPO]["files"]["main"]
    hub.repos[REPO] |= {"private": False, "files": {"main": {}}}
    assert "exists and is public" in publish("--private", fails=True)
    assert hub.repos[REPO]["files"]["main"] == {}


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "the hub does not know the token"), (403, "the token may not write there"),
     (404, "no such repository"), (500, "not uploaded (HfHubHTTPError")],
)  # fmt: skip
def test_what_the_hub_refuses_is_one_line(status, message, publish, hub):
    hub.refuses = status
    assert publish(fails=True).startswith(f"hub: {REPO}: ")
    assert message in publish(fails=True)


@pytest.mark.usefixtures("hub")
def test_no_token_no_network(publish, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub cannot be reached (check the connection)" in publish(fails=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids uploads" in publish(fails=True)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    assert "no token: `hf auth login`, or set HF_TOKEN" in publish(fails=True)
    assert "README.md" in publish("--dry-run")  # needs neither


@pytest.mark.parametrize("repo", ["digits", "a/b/c", "a b/c", "-x/y"])
def test_bad_names(repo, publish):
    assert "OWNER/" in publish(f"--repo={repo}", "--dry-run", fails=True)


def test_what_is_no_sound_model_is_refused(model, publish, hub, tmp_path):
    nothing = publish(fails=True, folder=tmp_path / "none")
    assert nothing == f"{tmp_path / 'none'}: not a run's model folder (it has no config.json)"
    (model / "class_names.json").write_text("[]")
    assert "class_names.json: damaged" in publish(fails=True)
    write_class_names(model, NAMES)
    whole = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(whole[:-1] + b"\x01")
    assert "checksum differs" in publish(fails=True)

    (model / WEIGHTS).write_bytes(whole)
    network, _ = read_model(model)
    name, first = next(iter(network.named_parameters()))
    with torch.no_grad():
        first.view(-1)[0] = float("nan")
    save_file(network.state_dict(), model / WEIGHTS)
    (model / "record.json").unlink()
    assert f"tensor {name!r} holds values that are not finite" in publish(fails=True)
    assert hub.repos == {}

    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "model_index.json").write_text("{}")
    assert "push_to_hub" in publish(fails=True, folder=saved)


@pytest.mark.parametrize("how", ["push_to_hub", "save_pretrained"])
def test_diffusers_own_push_has_the_same_card(how, model, hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    pipeline = dimr.DiMRPipeline.from_run(model)
    if how == "push_to_hub":
        pipeline.push_to_hub(REPO)
    else:
        pipeline.save_pretrained(str(tmp_path / "x"), push_to_hub=True, repo_id=REPO)
    pushed = hub.repos[REPO]["files"]["main"]
    card = pushed["README.md"].decode()
    assert "7 steps, 14 images" in card
    assert f'from_pretrained("{REPO}")' in card
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "diffusers"
    assert json.loads(pushed["model_index.json"])["id2label"]["0"] == "red"


def test_exported_and_imported_weights_have_a_card(tmp_path):
    """Beside the file, of what is known; in the folder, that their training is not."""
    model, out, back = make_model(tmp_path / "run/model"), tmp_path / "out.pth", tmp_path / "back"
    assert main(["export", "--model", str(model), "--out", str(out)]) == 0
    exported = ModelCard.load(out.with_suffix(".md"))
    assert "| steps | 7 |" in exported.content
    assert "out.pth" in exported.content
    assert main(["import", str(out), "--out", str(back)]) == 0
    imported = ModelCard.load(back / "README.md")
    assert "| steps | 7 |" not in imported.content
    assert "unknown" in imported.content.lower()
    verify(back)


def test_a_model_is_written_where_the_hubs_client_is_missing(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    model = make_model(tmp_path / "model")
    assert not (model / "README.md").exists()
    assert "card" in caplog.text
    verify(model)
