"""Runs and params.yaml resolve to one configuration; mistakes are one line that names the key."""

import shutil
from pathlib import Path

import pytest
import yaml

from dimr.config.recipes import load_recipe, training_images, write_data_config
from dimr.config.runs import ROOT, load_run, load_section, section_key, write_run_config
from dimr.config.schema import SCHEMAS, SampleConfig, TrainConfig
from dimr.runtime.errors import DimrError


@pytest.fixture
def project(tmp_path):
    """A copy of experiments/ and params.yaml, and a function that edits a value in place."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    shutil.copy(ROOT / "params.yaml", tmp_path)

    def edit(file, path, value):
        content = yaml.safe_load((tmp_path / file).read_text())
        *parents, last = path.split(".")
        section = content
        for key in parents:
            section = section[key]
        section[last] = value
        (tmp_path / file).write_text(yaml.safe_dump(content, sort_keys=False))
        return tmp_path

    return edit


def test_workspace_with_nothing_overridden_is_the_recipe():
    run = load_run("workspace")
    assert run.settings == ["unguided", "guided", "power_cosine"]  # those that params.yaml names
    recipe = load_run("digits/dimr-xs-2r/0").phases()
    assert run.phases() == {name: recipe[name] for name in run.phases()}
    assert set(recipe) - set(run.phases()) == {
        *(f"sample-evaluations{n}" for n in (10, 18, 25, 50, 100, 250)),
        *(f"sample-multistep{n}" for n in (10, 18, 25, 50)),
        "distortion",  # of named runs alone
    }


def test_an_override_reaches_its_phase_and_no_other(project):
    root = project("params.yaml", "sample.settings.guided.scale", 0.9)
    changed, plain = load_run("workspace", root).phases(), load_run("workspace").phases()
    assert [name for name in plain if changed[name] != plain[name]] == ["sample-guided"]
    assert changed["sample-guided"].guidance.scale == 0.9
    root = project("params.yaml", "evaluate.isc_splits", 5)
    assert load_run("workspace", root).phases()["train"] == plain["train"]


def test_the_dataset_says_the_number_of_branches(project):
    network = load_run("workspace", project("params.yaml", "model.variant", "xl")).network
    assert network.layers == (39, 20)
    assert network.input_size == 8


@pytest.mark.parametrize(
    ("dataset", "family", "size", "name"),
    [
        ("digits", "dimr", "xl", "dimr-xl-2r"),
        ("digits-pixel", "dimr", "xl", "dimr-xl-3r"),
        ("imagenet64", "dimr", "m", "dimr-m-3r"),
        ("imagenet256", "dimr", "xl", "dimr-xl-2r"),
        ("imagenet256", "dimr", "g", "dimr-g-2r"),
        ("imagenet512", "dimr", "xl", "dimr-xl-3r"),
        ("imagenet64", "uvit", "l", "uvit-l-4"),
        ("imagenet256", "uvit", "h", "uvit-h-2"),
        ("imagenet512", "uvit", "h", "uvit-h-4"),
        ("imagenet512", "dit", "xl", "dit-xl-2"),
        ("digits", "uvit", "xs", "uvit-xs-2"),
    ],
)
def test_the_dataset_picks_branches_or_patch(project, dataset, family, size, name):
    project("params.yaml", "dataset", dataset)
    root = project("params.yaml", "model", {"family": family, "variant": size})
    chosen = load_run("workspace", root)
    assert chosen.network == load_run(f"{dataset}/{name}/0").network
    assert load_run(f"{dataset}/{name}/0").phases()["train"].network.family == family


def test_published_runs_have_a_schedule_and_sampler_of_their_own():
    run = load_run("imagenet256/dit-xl-2/published")
    assert (run.network.schedule, run.network.learn_sigma) == ("linear", True)
    phases = run.phases()
    assert "train" not in phases
    assert phases["import"].repo == "facebook/DiT-XL-2-256"
    assert phases["sample-guided"].solver == "ancestral"
    assert phases["sample-guided"].guidance.channels == 3
    run = load_run("imagenet256/dimr-g-2r/published")
    assert run.network.schedule == "latent"
    assert run.phases()["sample-guided"].solver == "authors"
    assert run.phases()["import"].file == "DiMR-G_2R_800epochs.pth"


def test_an_unconditional_model(project):
    root = project("params.yaml", "train.label_dropout", 1.0)
    with pytest.raises(
        DimrError, match=r"params\.yaml: .*settings\.unguided\.kind: none: .*uncond"
    ):
        load_run("workspace", root)
    for setting in ("unguided", "guided", "power_cosine"):
        root = project("params.yaml", f"sample.settings.{setting}.kind", "unconditional")
    phases = load_run("workspace", root).phases()
    assert phases["train"].train.label_dropout == 1.0
    assert phases["sample-guided"].guidance.kind == "unconditional"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.label_dropout", 0.0, r"guided\.kind: constant: with train\.label_dropout 0\.0"),
        ("sample.settings.guided.channels", 5, r"settings\.guided\.channels: 5: there are 4"),
        ("sample.count", 1005, r"sample\.count: 1005 is no multiple of the 10 classes"),
    ],
)
def test_guidance_that_cannot_be(project, key, value, message):
    with pytest.raises(DimrError, match=message):
        load_run("workspace", project("params.yaml", key, value))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"interval": [0.5, 0.2]}, r"guided: interval \[0\.5, 0\.2\] is not 0 <= low < high <= 1"),
        ({"interval": [0.0, 1.5]}, r"guided: interval \[0\.0, 1\.5\] is not 0 <= low < high <= 1"),
        ({"interval": [0.5, 0.5]}, r"guided: interval \[0\.5, 0\.5\] is not"),
        ({"interval": [0.1]}, r"guided\.interval"),
        ({"kind": "none", "interval": [0.1, 0.5]}, r"interval \[0\.1, 0\.5\]: kind none guides"),
        ({"steps": 2}, r"guided\.steps: 2: input should be greater than or equal to 3"),
        ({"solver": "euler"}, r"guided\.solver: 'euler'"),
        ({"solver": "ancestral"}, r"guided\.solver: ancestral needs a network that learns"),
        ({"intervall": [0.1, 0.5]}, r"guided\.intervall: unknown key \(did you mean interval\?"),
    ],
)
def test_settings_that_cannot_be(project, setting, message):
    for key, value in setting.items():
        root = project("params.yaml", f"sample.settings.guided.{key}", value)
    with pytest.raises(DimrError, match=rf"^params\.yaml: sample\.settings\..*{message}") as caught:
        load_run("workspace", root)
    assert "\n" not in str(caught.value)


def test_a_setting_may_have_steps_and_a_solver_and_guide_at_some_times(project, tmp_path):
    plain = load_run("workspace").phases()
    for key, value in {"steps": 7, "solver": "multistep", "interval": [0.1, 0.5]}.items():
        root = project("params.yaml", f"sample.settings.guided.{key}", value)
    run = load_run("workspace", root)
    guided = run.phases()["sample-guided"]
    assert (guided.steps, guided.solver) == (7, "multistep")
    assert guided.guidance.interval == (0.1, 0.5)
    assert guided.guidance.passes == pytest.approx(1.4)
    assert [n for n in plain if run.phases()[n] != plain[n]] == ["sample-guided"]
    write_run_config(run, tmp_path / "config")
    assert load_section(SampleConfig, tmp_path / "config/sample-guided.yaml") == guided
    # a file without an interval does not name it, and has the key that it had before there was one
    assert "interval" not in (tmp_path / "config/sample-unguided.yaml").read_text()
    assert "steps" not in plain["sample-guided"].model_dump()["guidance"]


def test_a_setting_of_ones_own(project):
    root = project("params.yaml", "sample.settings.strong", {"kind": "constant", "scale": 3.0})
    phases = load_run("workspace", root).phases()
    assert phases["sample-strong"].guidance.scale == 3.0
    assert phases["sample-guided"] == load_run("workspace").phases()["sample-guided"]


def test_dits_own_loss_and_sampler_need_a_learned_variance(project):
    for key, value in (("train.objective", "hybrid"), ("sample.solver", "ancestral")):
        root = project("params.yaml", key, value)
        with pytest.raises(DimrError, match=rf"{key}: {value} needs a network that learns"):
            load_run("workspace", root)
        project("params.yaml", key, None)
    project("params.yaml", "train.objective", "hybrid")
    project("params.yaml", "sample.solver", "ancestral")
    root = project("params.yaml", "model", {"family": "dit", "variant": "xs-sigma"})
    assert load_run("workspace", root).network.learn_sigma
    root = project("params.yaml", "train.objective", None)  # a variance that nothing teaches
    with pytest.raises(DimrError, match=r"ancestral needs .*, and train\.objective hybrid"):
        load_run("workspace", root)


BAD = [
    ("train.stepz", 4, r"params\.yaml: train\.stepz: unknown key \(did you mean steps\?.*warmup"),
    ("train.steps", -4, r"train\.steps: -4: .*greater than 0"),
    ("train.steps", "4", r"train\.steps: '4': .*integer"),
    ("train.steps", True, r"train\.steps: True: .*integer"),
    ("train.lr", "fast", r"train\.lr: 'fast': .*valid number"),
    ("train.lr", 1e300, r"train\.lr: 1e\+300: .*less than or equal to 1000000000"),
    ("train.steps", 10**13, r"train\.steps: 10000000000000: .*less than or equal to 10000000000"),
    ("train.batch", 10**6, r"train\.batch: 1000000: .*less than or equal to 100000"),
    ("sample.count", 10**13, r"sample\.count: 10000000000000: .*less than or equal to 10000000"),
    ("seed", 2**63, r"seed: 9223372036854775808: .*less than"),
    ("train.betas", [0.9], r"train\.betas"),
    ("train", None, r"params\.yaml: train: None"),
    ("modle", 1, r"modle: unknown key \(did you mean model\?"),
    ("model.variant", "xxs", r"model\.variant: 'xxs' .*did you mean xs\?.*allowed: g, xl, xs"),
    ("model.variant", "m", r"model\.variant: 'm' .*2 branches.*allowed: g, xl, xs"),
    ("model.family", "dmir", r"model\.family: no family 'dmir' \(did you mean dimr\?"),
    ("dataset", "digit", r"no dataset 'digit' \(did you mean digits\?"),
    ("sample.steps", 2, r"sample\.steps: 2"),
    ("sample.solver", "euler", r"sample\.solver: 'euler': .*'authors'.*'multistep'"),
    ("sample.settings.guided.scal", 1.0, r"settings\.guided\.scal: unknown key .*scale"),
    ("evaluate.extractor", "inception", r"evaluate\.extractor: 'inception'.*'digits'"),
    ("seed", -1, r"seed: -1"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD, ids=[f"{k}={v}" for k, v, _ in BAD])
def test_mistakes_in_params_are_one_line(project, key, value, message):
    root = project("params.yaml", key, value)
    with pytest.raises(DimrError, match=message) as caught:
        load_run("workspace", root)
    assert str(caught.value).startswith("params.yaml: ")
    assert "\n" not in str(caught.value)


def test_mistakes_in_experiments_name_their_file(project):
    root = project("experiments/recipes.yaml", "digits.train.wramup_steps", 3)
    with pytest.raises(DimrError, match=r"recipes\.yaml: digits\.train\.wramup_steps: unknown key"):
        load_run("digits/dimr-xs-2r/0", root)


def test_mistakes_in_variants_name_their_file(project):
    root = project("experiments/variants.yaml", "dimr.xs", {2: {"layers": [1, 1]}})
    with pytest.raises(DimrError, match=r"variants\.yaml: dimr\.xs\.2\.dims: is missing"):
        load_run("digits/dimr-xs-2r/0", root)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits/dimr-xs/0", "did you mean dimr-xs-2r"),
        ("digits/dimr-m-3r/0", "takes 2 branches"),
        ("imagenet/dimr-xs-2r/0", "no dataset 'imagenet'"),
        ("digits", "dataset/model/seed"),
    ],
)
def test_unknown_runs(name, message):
    with pytest.raises(DimrError, match=message):
        load_run(name)


def test_unreadable_yaml(project):
    root = project("params.yaml", "seed", 0)
    (root / "params.yaml").write_text("a: [1,\n")
    with pytest.raises(DimrError, match=r"params\.yaml: not readable as YAML"):
        load_run("workspace", root)


def test_files_are_rewritten_only_if_they_differ(tmp_path):
    run = load_run("workspace")
    write_run_config(run, tmp_path)
    write_data_config("digits", tmp_path / "data")
    files = sorted(tmp_path.rglob("*.yaml"))
    assert {f.stem for f in files} == {
        "train", "sample-unguided", "sample-guided", "sample-power_cosine", "evaluate",
        "images", "autoencoder", "latents", "classifier",
    }  # fmt: skip
    before = {f: f.stat().st_mtime_ns for f in files}
    write_run_config(run, tmp_path)
    write_data_config("digits", tmp_path / "data")
    assert {f: f.stat().st_mtime_ns for f in files} == before
    phase = load_section(TrainConfig, tmp_path / "train.yaml")
    assert phase == run.phases()["train"]
    assert section_key(phase, "a") == section_key(run.phases()["train"], "a")
    assert section_key(phase, "a") != section_key(phase, "b")


def test_the_schemas_are_those_of_the_code():
    import json

    for name, schema in SCHEMAS.items():
        committed = json.loads((ROOT / f"workflow/schemas/{name}.json").read_text())
        assert committed == schema.json_schema(), (
            f"workflow/schemas/{name}.json: run `make schemas`"
        )


def numbers(schema, name=""):
    """Names and limits of the numbers in a JSON schema that become float32."""
    if isinstance(schema, dict):
        if schema.get("type") == "number":
            yield name, schema
        for key, value in schema.items():
            yield from numbers(value, key if key not in ("anyOf", "prefixItems") else name)
    for value in schema if isinstance(schema, list) else ():
        yield from numbers(value, name)


def test_every_number_has_a_limit():
    """1e300 as a learning rate, decay or guidance scale overflows float32: a traceback in torch."""
    found = [one for name in ("params", "recipes") for one in numbers(SCHEMAS[name].json_schema())]
    assert {"lr", "weight_decay", "scale", "grad_clip"} < {name for name, _ in found}
    free = {name for name, one in found if not {"maximum", "exclusiveMaximum"} & one.keys()}
    assert free == {"interval"}  # which a check of its own keeps between 0 and 1


@pytest.mark.parametrize("seed", ["01", "\u0663", "-1", "1_0", "+1", "9" * 30, "00", " 1", "1\n"])
def test_a_run_has_one_name(seed):
    with pytest.raises(DimrError, match="is none of workspace, dataset/model/seed"):
        load_run(f"digits/dimr-xs-2r/{seed}")


def test_environment_carries_the_pins_of_the_lock():
    lock = [
        line.strip()
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if line and not line.lstrip().startswith("#")
    ]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"][-1]["pip"] == lock
    assert len(lock) > 100


def test_dvc_stages_cover_every_phase_and_setting():
    """dvc.yaml lists by hand what the recipe names: the two must agree."""
    text = (ROOT / "dvc.yaml").read_text()
    phases = [f"runs/workspace/config/{name}.yaml" for name in load_run("workspace").phases()]
    stages = yaml.safe_load(text)["stages"]
    dependencies = {d for s in stages.values() for d in s.get("deps", [])}
    assert {d for d in dependencies if d.startswith("runs/workspace/config/")} == set(phases)
    for setting in load_run("workspace").settings:
        assert f"runs/workspace/metrics/{setting}.json" in stages["evaluate"]["metrics"]
    for stage, content in stages.items():
        if stage != "config":
            assert content["cmd"].startswith("snakemake --allowed-rules "), stage
        for dependency in content["deps"]:
            made = dependency.startswith(("runs/", "data/"))
            assert made or Path(ROOT / dependency).exists(), dependency


def test_a_dataset_of_a_source_has_other_steps():
    assert set(load_recipe("imagenet256").data.phases()) == {"autoencoder", "latents", "reference"}
    assert set(load_recipe("digits").data.phases()) == {
        "images", "autoencoder", "latents", "classifier",
    }  # fmt: skip
    assert load_recipe("imagenet512").data.phases()["reference"].image_size == 512
    assert training_images(load_recipe("imagenet64")) == 1281167
    assert training_images(load_recipe("digits")) == 1000


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        (
            "recipes",
            "imagenet64.data.source",
            "imagnet",
            "no source 'imagnet' .did you",
        ),
        (
            "recipes",
            "imagenet64.data.shards",
            3,
            r"64\.data\.shards: unknown key .*reference",
        ),
        ("recipes", "imagenet64.evaluate.weights", None, "inception-v3-compat needs a weights"),
        ("recipes", "digits.evaluate.weights", "a-00000000.pth", "digits takes no weights"),
        ("recipes", "imagenet64.evaluate.weights", "a.pth", "should match pattern"),
        ("recipes", "imagenet64.data.latents.dtype", "int8", r"latents\.dtype: 'int8'"),
        ("sources", "imagenet.md5.x", "abc", r"sources\.yaml: imagenet\.md5\.x: 'abc'"),
        ("sources", "imagenet.clases", 5, "unknown key .did you mean classes"),
    ],
)
def test_mistakes_about_sources_are_named(project, file, key, value, message):
    root = project(f"experiments/{file}.yaml", key, value)
    dataset = "digits" if key.startswith("digits") else "imagenet64"
    with pytest.raises(DimrError, match=message):
        load_recipe(dataset, root)


def test_a_source_has_no_sanity_rows():
    with pytest.raises(DimrError, match=r"imagenet256 has no sanity rows"):
        load_run("imagenet256/real/0")
