"""``dimr sample`` and a run's own settings: which is taken, what overrides it, what is said."""

import logging

import pytest
import yaml

from dimr.cli import main
from dimr.config.schema import SampleConfig
from dimr.sampling.own_settings import own_setting, said
from dimr.sampling.request import Request, plan_grid

NONE = {"kind": "none"}
GUIDED = {"kind": "constant", "scale": 0.7, "interval": [0.1, 0.8]}


def write(model, **settings):
    """``config/sample-<setting>.yaml`` of the run, each of (steps, guidance)."""
    folder = model.parent / "config"
    folder.mkdir(exist_ok=True)
    for name, (steps, guidance) in settings.items():
        value = {"seed": 5, "count": 20, "steps": steps, "solver": "multistep"}
        (folder / f"sample-{name}.yaml").write_text(yaml.safe_dump({**value, "guidance": guidance}))
    return model


def drawn(model, name=None, **asked):
    """The phase of a request."""
    from dimr.config.runs import load_network_config

    own = own_setting(model, name)
    request = Request(**asked, own=own.phase if own else None)
    return plan_grid(request, load_network_config(model / "config.json"), 0.1).phase


@pytest.fixture
def model(model_folder):
    return model_folder()


def test_guided_is_preferred_else_the_first(model):
    assert own_setting(model) is None
    write(model, unguided=(8, NONE), power=(9, NONE))
    assert (own_setting(model).name, own_setting(model).phase.steps) == ("power", 9)
    write(model, guided=(7, GUIDED))
    assert own_setting(model).name == "guided"
    assert own_setting(model, "unguided").phase.steps == 8


def test_the_runs_own_setting_is_the_default(model):
    write(model, guided=(7, GUIDED))
    phase = drawn(model)
    assert (phase.steps, phase.solver, phase.seed) == (7, "multistep", 5)
    guidance = phase.guidance
    assert (guidance.kind, guidance.scale, guidance.interval) == ("constant", 0.7, (0.1, 0.8))


def test_what_is_asked_for_overrides_it(model):
    write(model, guided=(7, GUIDED))
    assert drawn(model, steps=9).steps == 9
    assert drawn(model, seed=0).seed == 0
    assert drawn(model, solver="authors").solver == "authors"
    stronger = drawn(model, guidance=2.0).guidance
    assert (stronger.kind, stronger.scale, stronger.interval) == ("constant", 2.0, None)
    assert drawn(model, guidance=0.0).guidance.kind == "none"
    assert drawn(model, power_cosine=(2.0, 1.0)).guidance.kind == "power_cosine"
    limited = drawn(model, interval=(0.2, 0.4)).guidance
    assert (limited.scale, limited.interval) == (0.7, (0.2, 0.4))
    assert drawn(model, unconditional=True).guidance.kind == "unconditional"


def test_without_files_the_defaults_stay(model):
    phase = drawn(model)
    assert (phase.steps, phase.solver, phase.seed, phase.guidance.scale) == (50, "authors", 0, 0.4)


def test_a_run_of_unconditional_settings_needs_no_option(model):
    write(model, guided=(7, {"kind": "unconditional"}))
    assert drawn(model).guidance.kind == "unconditional"
    assert drawn(model, classes=("1",), guidance=0.5).guidance.kind == "constant"


def test_one_line_says_what_was_written_and_how(model, tmp_path, caplog):
    write(model, guided=(4, GUIDED), unguided=(3, NONE))
    caplog.set_level(logging.INFO, logger="dimr")
    out = tmp_path / "grid.png"
    options = ["sample", "--model", str(model), "--out", str(out), "--class=1", "--per-class=2"]
    assert main(options) == 0
    assert caplog.messages[-1] == (
        f"{out}: 2 images: 4 network evaluations, solver multistep, guidance 0.7 at times 0.1 to "
        f"0.8, seed 5 (setting guided of {model.parent})"
    )
    assert main([*options, "--setting=unguided", "--seed=1"]) == 0
    assert caplog.messages[-1].endswith(
        f"3 network evaluations, solver multistep, no guidance, seed 1 (setting unguided of "
        f"{model.parent}, but for --seed)"
    )


@pytest.mark.parametrize(
    ("settings", "name", "message"),
    [
        ({"guided": (4, GUIDED), "unguided": (3, NONE)}, "gided",
         "--setting gided: no such setting of this run (did you mean guided? allowed: guided, "
         "unguided)"),
        ({}, "guided", "has no sample-<setting>.yaml"),
        ({"guided": (4, {"kind": "strong"})}, "guided", "sample-guided.yaml: guidance.kind"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_line(model, tmp_path, caplog, settings, name, message):
    write(model, **settings)
    out = tmp_path / "grid.png"
    code = main(["sample", "--model", str(model), "--setting", name, "--out", str(out)])
    assert code == 2
    (error,) = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert message in error
    assert not out.exists()


def test_a_setting_does_not_go_with_the_workflows_form(model, tmp_path, caplog):
    write(model, guided=(4, GUIDED))
    config = model.parent / "config/sample-guided.yaml"
    command = ["sample", "--model", str(model), "--config", str(config), "--setting", "guided"]
    assert main([*command, "--out", str(tmp_path / "samples")]) == 2
    assert "--setting does not go with --config" in caplog.text


def test_every_kind_of_guidance_has_words():
    words = {
        kind: said(SampleConfig(seed=0, count=10, steps=3, solver="authors",
                               guidance={"kind": kind, "scale": 1.5}))
        for kind in ("none", "constant", "power_cosine", "unconditional")
    }  # fmt: skip
    assert "no guidance" in words["none"]
    assert "guidance 1.5," in words["constant"]
    assert "power-cosine guidance 1.5 1," in words["power_cosine"]
    assert "no class" in words["unconditional"]
