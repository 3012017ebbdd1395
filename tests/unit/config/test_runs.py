"""Runs and params.yaml resolve to one configuration; mistakes are one line that names the key."""

import pytest
from tests.support.experiments import copy_experiments, edit

from dimr.config.phases import section_key, write_phases
from dimr.config.project import PROJECT, Project
from dimr.config.schema import SampleConfig, TrainConfig
from dimr.config.validation import load_section
from dimr.runtime.errors import DimrError

WORKSPACE = PROJECT.run("workspace").phases()


@pytest.fixture
def change(tmp_path):
    """A function that changes values of a copy's params.yaml, and resolves its workspace run."""
    copy_experiments(tmp_path)

    def workspace(changes):
        return edit(tmp_path, "params.yaml", changes).run("workspace")

    return workspace


@pytest.fixture
def change_experiments(tmp_path):
    """A function that changes values of a file of a copy's experiments/."""
    copy_experiments(tmp_path)
    return lambda file, changes: edit(tmp_path, f"experiments/{file}.yaml", changes)


def test_workspace_with_nothing_overridden_is_the_recipe():
    run = PROJECT.run("workspace")
    assert run.settings == ["unguided", "guided", "power_cosine"]  # those that params.yaml names
    recipe = PROJECT.run("digits/dimr-xs-2r/0").phases()
    assert {name: recipe[name] for name in WORKSPACE} == WORKSPACE
    assert set(recipe) - set(WORKSPACE) == {
        *(f"sample-evaluations{n}" for n in (10, 18, 25, 50, 100, 250)),
        *(f"sample-multistep{n}" for n in (10, 18, 25, 50)),
        "distortion",  # of named runs only
    }


def test_an_override_reaches_its_phase_and_no_other(change):
    changed = change({"sample.settings.guided.scale": 0.9}).phases()
    assert [name for name in WORKSPACE if changed[name] != WORKSPACE[name]] == ["sample-guided"]
    assert changed["sample-guided"].guidance.scale == 0.9
    assert change({"evaluate.isc_splits": 5}).phases()["train"] == WORKSPACE["train"]


def test_distances_are_adms_where_published_values_are_and_are_not_named_elsewhere(change):
    """So that what was measured before the choice was there keeps its key."""
    for run in ("imagenet64/dimr-m-3r/0", "imagenet256/dimr-xl-2r/0", "imagenet512/dimr-xl-3r/0"):
        assert PROJECT.run(run).phases()["evaluate"].prc_distances == "float16"
    assert WORKSPACE["evaluate"].prc_distances == "float32"
    assert "prc_distances" not in WORKSPACE["evaluate"].model_dump()
    for named in ("float16", "float32"):
        phase = change({"evaluate.prc_distances": named}).phases()["evaluate"]
        assert phase.prc_distances == named
        assert (section_key(phase) == section_key(WORKSPACE["evaluate"])) == (named == "float32")


@pytest.mark.parametrize(
    ("dataset", "family", "size", "name"),
    [
        ("digits", "dimr", "xl", "dimr-xl-2r"),
        ("digits-pixel", "dimr", "xl", "dimr-xl-3r"),
        ("imagenet64", "dimr", "m", "dimr-m-3r"),
        ("imagenet256", "dimr", "g", "dimr-g-2r"),
        ("imagenet512", "dimr", "xl", "dimr-xl-3r"),
        ("imagenet64", "uvit", "l", "uvit-l-4"),
        ("imagenet256", "uvit", "h", "uvit-h-2"),
        ("imagenet512", "uvit", "h", "uvit-h-4"),
        ("imagenet512", "dit", "xl", "dit-xl-2"),
        ("digits", "uvit", "xs", "uvit-xs-2"),
    ],
)
def test_the_dataset_picks_branches_or_patch(change, dataset, family, size, name):
    chosen = change({"dataset": dataset, "model": {"family": family, "variant": size}})
    named = PROJECT.run(f"{dataset}/{name}/0")
    assert chosen.network == named.network
    assert named.phases()["train"].network.family == family
    assert chosen.network.input_size == PROJECT.recipe(dataset).network.input_size


def test_published_runs_have_a_schedule_and_sampler_of_their_own():
    run = PROJECT.run("imagenet256/dit-xl-2/published")
    assert (run.network.schedule, run.network.learn_sigma) == ("linear", True)
    phases = run.phases()
    assert "train" not in phases
    assert phases["import"].repo == "facebook/DiT-XL-2-256"
    assert phases["sample-guided"].solver == "ancestral"
    assert phases["sample-guided"].guidance.channels == 3
    run = PROJECT.run("imagenet256/dimr-g-2r/published")
    assert run.network.schedule == "latent"
    assert run.phases()["sample-guided"].solver == "authors"
    assert run.phases()["import"].file == "DiMR-G_2R_800epochs.pth"


def test_a_milestone_is_the_same_training_with_fewer_steps():
    """Its weights, and the longer training resumes from its state."""
    for dataset, model in (("imagenet256", "dimr-xl-2r"), ("imagenet512", "uvit-h-4")):
        short, long = (PROJECT.run(f"{dataset}/{model}{end}/1") for end in ("-400epochs", ""))
        assert long.before == short
        assert short.training == long.training == long.name
        assert (short.own_steps, long.own_steps) == (500_000, 500_000)
        phases, others = short.phases(), long.phases()
        assert (phases["train"].train.steps, others["train"].train.steps) == (500_000, 1_000_000)
        same = phases["train"].train.model_copy(update={"steps": 1_000_000})
        assert phases["train"].model_copy(update={"train": same}) == others["train"]
        assert {**phases, "train": None} == {**others, "train": None}


def test_milestones_follow_each_other(change_experiments):
    """Each resumes from the one before, in whatever order they are written."""
    listed = {"late": 2900, "early": 1000}
    project = change_experiments("recipes", {"digits.milestones": listed})
    whole = project.run("digits/dimr-xs-2r/0")
    names = [whole.before.name, whole.before.before.name]
    assert names == ["digits/dimr-xs-2r-late/0", "digits/dimr-xs-2r-early/0"]
    assert whole.before.before.before is None
    steps = [run.own_steps for run in (whole, whole.before, whole.before.before)]
    assert steps == [whole.recipe.train.steps - 2900, 1900, 1000]
    for name in ("workspace", "digits/real/0"):
        alone = project.run(name)
        assert (alone.before, alone.training) == (None, name)


def test_a_milestone_after_the_last_step_resumes_the_whole_training(change_experiments):
    project = change_experiments("recipes", {"digits.milestones": {"long": 6000, "longer": 9000}})
    longer = project.run("digits/dimr-xs-2r-longer/0")
    names = [longer.before.name, longer.before.before.name]
    assert names == ["digits/dimr-xs-2r-long/0", "digits/dimr-xs-2r/0"]
    assert longer.training == longer.before.training == "digits/dimr-xs-2r/0"
    assert [longer.own_steps, longer.before.own_steps] == [3000, 2000]
    assert project.run("digits/dimr-xs-2r/0").before is None


@pytest.mark.parametrize(
    ("milestones", "message"),
    [
        ({"late": 4000}, r"milestones\.late: 4000 is the last step \(train\.steps\)"),
        ({"late": 0}, r"milestones\.late: 0: .*greater than 0"),
        ({"too-late": 100}, r"milestones\.too-late: 'too-late': .*match pattern"),
    ],
)
def test_milestones_that_are_none(change_experiments, milestones, message):
    project = change_experiments("recipes", {"digits.milestones": milestones})
    with pytest.raises(DimrError, match=r"^recipes\.yaml: digits.*" + message) as caught:
        project.run("digits/dimr-xs-2r/0")
    assert "\n" not in str(caught.value)


def test_a_trial_is_a_training_with_another_learning_rate_against_images_of_its_own():
    """Whatever learning rate was chosen for the network: what it is compared with, no result is."""
    for dataset, model in (("digits", "dimr-xs-2r"), ("digits", "uvit-xs-2")):
        whole, trial = (PROJECT.run(f"{dataset}/{model}{end}/100") for end in ("", "-lr2"))
        assert (whole.trial, trial.trial, trial.milestone, trial.before) == ("", "lr2", "", None)
        assert trial.training == trial.name
        phases, others = trial.phases(), whole.phases()
        trials = PROJECT.recipe(dataset).trials
        train, other = phases.pop("train").train, others.pop("train").train
        assert train.lr == trials.lr["lr2"] == 2e-3
        assert train.model_copy(update={"lr": other.lr}) == other
        drawn = [step for step in others if step.startswith("sample-")]
        assert (
            {phases[step].count for step in drawn}
            == {trials.count}
            != {others["sample-guided"].count}
        )
        others |= {step: others[step].model_copy(update={"count": trials.count}) for step in drawn}
        compared = [one.pop("evaluate").compared for one in (phases, others)]
        assert compared == ["validation", "heldout"]
        assert phases == others


def test_a_network_has_its_own_learning_rate_wherever_it_is_trained(change_experiments):
    rates = {"digits.learning_rates": {"uvit-xs-2": 0.123}}
    project = change_experiments("recipes", rates)
    usual = project.recipe("digits").train.lr
    for run, lr in (("uvit-xs-2/3", 0.123), ("dit-xs-2/3", usual), ("uvit-xs-2-lr1/3", 1e-3)):
        assert project.run(f"digits/{run}").phases()["train"].train.lr == lr
    params = edit(project.root, "params.yaml", {"model.family": "uvit", "train.lr": None})
    assert params.run("workspace").phases()["train"].train.lr == 0.123
    params = edit(project.root, "params.yaml", {"train.lr": 0.5})
    assert params.run("workspace").phases()["train"].train.lr == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"digits.learning_rates": {"uvit-xs-4": 0.1}},
            r"\.learning_rates: 'uvit-xs-4' does not fit .*did you mean uvit-xs-2",
        ),
        (
            {"digits.data.images.validation_per_class": 0},
            r"trials: data\.images\.validation_per_class: 0: nothing to compare with",
        ),
        ({"digits.milestones": {"lr1": 100}}, r"trials\.lr\.lr1: is a milestone too"),
    ],
)
def test_trials_that_are_none(change_experiments, changes, message):
    project = change_experiments("recipes", changes)
    with pytest.raises(DimrError, match=r"^recipes\.yaml: digits.*" + message) as caught:
        project.run("digits/dimr-xs-2r/0")
    assert "\n" not in str(caught.value)


def test_an_unconditional_model(change):
    with pytest.raises(DimrError, match=r"^params\.yaml: .*unguided\.kind: none: .*uncond"):
        change({"train.label_dropout": 1.0})
    settings = ("unguided", "guided", "power_cosine")
    phases = change({f"sample.settings.{s}.kind": "unconditional" for s in settings}).phases()
    assert phases["train"].train.label_dropout == 1.0
    assert phases["sample-guided"].guidance.kind == "unconditional"


def test_a_setting_may_have_steps_and_a_solver_and_guide_at_some_times(change, tmp_path):
    own = {"steps": 7, "solver": "multistep", "interval": [0.1, 0.5]}
    run = change({f"sample.settings.guided.{key}": value for key, value in own.items()})
    guided = run.phases()["sample-guided"]
    assert (guided.steps, guided.solver) == (7, "multistep")
    assert guided.guidance.interval == (0.1, 0.5)
    assert guided.guidance.passes == pytest.approx(1.4)
    assert [n for n in WORKSPACE if run.phases()[n] != WORKSPACE[n]] == ["sample-guided"]
    write_phases(run.phases(), tmp_path / "config")
    assert load_section(SampleConfig, tmp_path / "config/sample-guided.yaml") == guided
    # a file without an interval does not name it, and has the key that it had before there was one
    assert "interval" not in (tmp_path / "config/sample-unguided.yaml").read_text()
    assert "steps" not in WORKSPACE["sample-guided"].model_dump()["guidance"]


def test_a_setting_may_have_a_count(change):
    run = change({"sample.settings.guided.count": 3000})
    assert run.phases()["sample-guided"].count == 3000
    assert [n for n in WORKSPACE if run.phases()[n] != WORKSPACE[n]] == ["sample-guided"]
    assert (run.is_measured("guided"), run.is_measured("unguided")) == (False, True)
    study = PROJECT.run("imagenet256/dimr-xl-2r/published").phases()
    assert (study["sample-guided80k"].count, study["sample-guided"].count) == (80_000, 50_000)
    assert study["evaluate"].count == 50_000
    assert study["sample-guided80k"].guidance == study["sample-guided"].guidance


def test_a_setting_of_ones_own(change):
    phases = change({"sample.settings.strong": {"kind": "constant", "scale": 3.0}}).phases()
    assert phases["sample-strong"].guidance.scale == 3.0
    assert phases["sample-guided"] == WORKSPACE["sample-guided"]


def test_dits_own_loss_and_sampler_need_a_learned_variance(change):
    own = {"train.objective": "hybrid", "sample.solver": "ancestral"}
    for key, value in own.items():
        with pytest.raises(DimrError, match=rf"{key}: {value} needs a network that learns"):
            change({**dict.fromkeys(own), key: value})
    network = change({**own, "model": {"family": "dit", "variant": "xs-sigma"}}).network
    assert network.learn_sigma
    with pytest.raises(DimrError, match=r"ancestral needs .*, and train\.objective hybrid"):
        change({"train.objective": None})  # a variance that nothing teaches


# --- mistakes -------------------------------------------------------------------------------------

GUIDED = "sample.settings.guided"
BAD = [
    ("train.stepz", 4, r"train\.stepz: unknown key \(did you mean steps\?.*warmup"),
    ("train.steps", -4, r"train\.steps: -4: .*greater than 0"),
    ("train.steps", "4", r"train\.steps: '4': .*integer"),
    ("train.steps", True, r"train\.steps: True: .*integer"),
    ("train.lr", "fast", r"train\.lr: 'fast': .*valid number"),
    ("train.lr", 1e300, r"train\.lr: 1e\+300: .*less than or equal to 1000000000"),
    ("train.steps", 10**13, r"train\.steps: 10000000000000: .*less than or equal to 10000000000"),
    ("train.batch", 10**6, r"train\.batch: 1000000: .*less than or equal to 100000"),
    ("train.betas", [0.9], r"train\.betas"),
    ("train", None, r"train: None"),
    ("train.label_dropout", 0.0, r"guided\.kind: constant: with train\.label_dropout 0\.0"),
    ("modle", 1, r"modle: unknown key \(did you mean model\?"),
    (
        "model.variant",
        "xxs",
        r"model\.variant: 'xxs' .*did you mean xs\?.*allowed: g, m, s, xl, xl-concat",
    ),
    ("model.variant", "l", r"model\.variant: 'l' .*2 branches.*allowed: g, m, s, xl, xl-concat"),
    ("model.family", "dmir", r"model\.family: no family 'dmir' \(did you mean dimr\?"),
    ("dataset", "digit", r"dataset: no dataset 'digit' \(did you mean digits\?"),
    ("sample.steps", 2, r"sample\.steps: 2"),
    ("sample.count", 10**13, r"sample\.count: 10000000000000: .*less than or equal to 10000000"),
    ("sample.count", 1005, r"sample\.count: 1005 is no multiple of the 10 classes"),
    ("sample.solver", "euler", r"sample\.solver: 'euler': .*'authors'.*'multistep'"),
    ("evaluate.extractor", "inception", r"evaluate\.extractor: 'inception'.*'digits'"),
    ("evaluate.prc_distances", "half", r"evaluate\.prc_distances: 'half': .*'float16'.*'float32'"),
    ("seed", -1, r"seed: -1"),
    ("seed", 2**63, r"seed: 9223372036854775808: .*less than"),
    (f"{GUIDED}.scal", 1.0, rf"{GUIDED}\.scal: unknown key .*scale"),
    (f"{GUIDED}.channels", 5, rf"{GUIDED}\.channels: 5: there are 4"),
    (f"{GUIDED}.interval", [0.5, 0.2], rf"{GUIDED}: interval \[0\.5, 0\.2\] is not 0 <= low <"),
    (f"{GUIDED}.interval", [0.0, 1.5], rf"{GUIDED}: interval \[0\.0, 1\.5\] is not 0 <= low <"),
    (f"{GUIDED}.interval", [0.5, 0.5], rf"{GUIDED}: interval \[0\.5, 0\.5\] is not"),
    (f"{GUIDED}.interval", [0.1], rf"{GUIDED}\.interval"),
    ("sample.settings.unguided.interval", [0.1, 0.5], r"interval \[0\.1, 0\.5\]: kind none guides"),
    (f"{GUIDED}.count", 1005, rf"{GUIDED}\.count: 1005 is no multiple of the 10 classes"),
    (f"{GUIDED}.steps", 2, rf"{GUIDED}\.steps: 2: input should be greater than or equal to 3"),
    (f"{GUIDED}.solver", "euler", rf"{GUIDED}\.solver: 'euler'"),
    (f"{GUIDED}.solver", "ancestral", rf"{GUIDED}\.solver: ancestral needs a network that learns"),
    (f"{GUIDED}.intervall", [0.1, 0.5], rf"{GUIDED}\.intervall: unknown key \(did you mean inter"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD, ids=[f"{k}={v}" for k, v, _ in BAD])
def test_mistakes_in_params_are_one_line(change, key, value, message):
    with pytest.raises(DimrError, match=rf"^params\.yaml: [^\n]*{message}[^\n]*$"):
        change({key: value})


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("recipes", "digits.train.wramup_steps", 3, r"^recipes\.yaml: digits\.train\.wramup_steps"),
        ("recipes", "digits.evaluate.weights", "a-00000000.pth", "digits takes no weights"),
        ("recipes", "digits.network.patches.dti", [2], r"digits\.network.*'dti'"),
        ("recipes", "imagenet64.data.source", "imagnet", "no source 'imagnet' .did you"),
        ("recipes", "imagenet64.data.shards", 3, r"64\.data\.shards: unknown key .*reference"),
        ("recipes", "imagenet64.evaluate.weights", None, "inception-v3-compat needs a weights"),
        ("recipes", "imagenet64.evaluate.weights", "a.pth", "should match pattern"),
        ("recipes", "imagenet64.data.latents.dtype", "int8", r"latents\.dtype: 'int8'"),
        ("sources", "imagenet.md5.x", "abc", r"^sources\.yaml: imagenet\.md5\.x: 'abc'"),
        ("sources", "imagenet.clases", 5, "unknown key .did you mean classes"),
        ("variants", "dimr.xs", {2: {"layers": [1, 1]}}, r"^variants\.yaml: dimr\.xs\.2\.dims: is"),
        ("variants", "dmir", {}, r"^variants\.yaml: no family 'dmir' \(did you mean dimr"),
    ],
)
def test_mistakes_in_experiments_name_their_file(change_experiments, file, key, value, message):
    project = change_experiments(file, {key: value})
    run = (
        "digits/dimr-xs-2r/0" if file == "variants" or "digits" in key else "imagenet64/dimr-m-3r/0"
    )
    with pytest.raises(DimrError, match=message) as caught:
        project.run(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits/dimr-xs/0", "did you mean dimr-xs-2r"),
        ("digits/dimr-m-3r/0", "takes 2 branches"),
        ("digits-pixel/dit-xs-2/0", "takes no dit"),
        ("imagenet/dimr-xs-2r/0", "no dataset 'imagenet'"),
        ("imagenet256/dimr-xs-2r/published", r"no published weights of 'dimr-xs-2r' \(published: "),
        ("digits", "dataset/model/seed"),
        (
            "imagenet256/dimr-xl-2r-800epochs/0",
            r"^recipes\.yaml: imagenet256: no milestone '800epochs' of dimr-xl-2r \(milestones: ",
        ),
        (
            "digits/dimr-xs-2r-400epochs/0",
            r"no milestone '400epochs' .*\(milestones: 8000steps, 16000steps; trials: ",
        ),
        ("imagenet256/dimr-xx-2r-400epochs/0", "no variant 'dimr-xx-2r' .*did you mean dimr-xs-2r"),
        ("imagenet256/dimr-xl-2r-400epochs/published", "no published weights of 'dimr-xl-2r-400ep"),
        *(
            (f"digits/dimr-xs-2r/{seed}", "is none of workspace, dataset/model/seed")
            for seed in ("01", "\u0663", "-1", "1_0", "+1", "9" * 30, "00", " 1", "1\n")
        ),
    ],
)
def test_unknown_runs(name, message):
    with pytest.raises(DimrError, match=message):
        PROJECT.run(name)


def test_unreadable_yaml(tmp_path):
    (tmp_path / "params.yaml").write_text("a: [1,\n")
    with pytest.raises(DimrError, match=r"params\.yaml: not readable as YAML"):
        Project(tmp_path).run("workspace")


# --- files of phases, datasets --------------------------------------------------------------------


def test_files_are_rewritten_only_if_they_differ(tmp_path):
    phases = {**WORKSPACE, **PROJECT.recipe("digits").data.phases()}
    write_phases(phases, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert {file.stem for file in before} == {
        "train", "sample-unguided", "sample-guided", "sample-power_cosine", "evaluate",
        "images", "autoencoder", "latents", "classifier",
    }  # fmt: skip
    write_phases(phases, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    phase = load_section(TrainConfig, tmp_path / "train.yaml")
    assert phase == WORKSPACE["train"]
    assert section_key(phase, "a") == section_key(WORKSPACE["train"], "a")
    assert section_key(phase, "a") != section_key(phase, "b")


def test_a_dataset_of_a_source_has_other_phases():
    phases = PROJECT.recipe("imagenet512").data.phases()
    assert set(phases) == {"autoencoder", "latents", "reference"}
    assert phases["reference"].image_size == 512
    assert PROJECT.training_images("imagenet64") == 1281167
    assert PROJECT.training_images("digits") == 1000


@pytest.fixture
def own(tmp_path):
    """A project whose digits are a set of two classes of one's own, of 60 and 50 images."""
    copy_experiments(tmp_path)
    mine = {"classes": {"red, big": 60, "caf\u00e9": 50}, "images": 110, "gigabytes": 0.1,
            "sha256": 64 * "0", "folder": "/somewhere"}  # fmt: skip
    edit(tmp_path, "experiments/sources.yaml", {"mine": mine})
    images = {"source": "mine", "image_size": 32, "heldout": 0.1, "split_seed": 0}
    return edit(
        tmp_path,
        "experiments/recipes.yaml",
        {
            "digits.data.images": images,
            "digits.network.num_classes": 2,
            "digits.trials": None,
            "digits.sample.count": 98,
            "digits.published": {"dimr-xs-2r": {"repo": "a/b", "file": "c.pth"}},
        },
    )


def test_published_weights_of_ones_own_classes_have_their_names(own):
    phase = own.run("digits/dimr-xs-2r/published").phases()["import"]
    assert phase.class_names == ("red, big", "caf\u00e9")
    others = PROJECT.run("imagenet256/dit-xl-2/published").phases()["import"]
    assert "class_names" not in others.model_dump()  # which would be another key
    for run in (own.run("digits/dimr-xs-2r/0"), PROJECT.run("digits/dimr-xs-2r/0")):
        assert "class_names" not in run.phases()["train"].model_dump()


def test_sanity_rows_are_of_training_images(own, tmp_path):
    """A source's are cropped on the way; there are as many as a network draws, or all."""
    (phase,) = (
        phase
        for name, phase in PROJECT.run("imagenet256/real/0").phases().items()
        if name.startswith("sample")
    )
    assert phase.model_dump() == {"source": "real", "count": 50_000, "image_size": 256}
    for project in (own, PROJECT):
        phase = project.run("digits/reconstruction/0").phases()["sample-reference"]
        count = min(project.recipe("digits").sample.count, project.training_images("digits"))
        assert phase.model_dump() == {"source": "reconstruction", "count": count}
    more = edit(tmp_path, "experiments/recipes.yaml", {"digits.sample.count": 102})
    phases = more.run("digits/real/0").phases()
    assert phases["sample-reference"].count == phases["evaluate"].count == 99


def test_files_of_experiments_are_read_once(tmp_path):
    project = Project(copy_experiments(tmp_path))
    run = project.run("digits/dimr-xs-2r/0")
    for file in ("recipes", "variants"):
        (tmp_path / f"experiments/{file}.yaml").unlink()
    assert project.run("digits/dimr-xs-2r/0") is run
    assert project.run("digits/dimr-xs-2r/1").network == run.network
