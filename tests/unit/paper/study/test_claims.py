"""Effects, verdicts and the rule of seeds: what claims are, and what follows for them."""

import numpy as np
import pytest
import yaml
from scipy.stats import ttest_rel
from tests.support.results import frame_of

from dimr.config.project import PROJECT, ROOT
from dimr.config.validation import validate
from dimr.paper.results import recorded
from dimr.paper.statistics import Change
from dimr.paper.study.claims import Claims, expected, load_claims, load_papers, paper_effect
from dimr.paper.study.findings import findings, more_seeds, verdict_of
from dimr.runtime.errors import DimrError

from .study_case import CLAIMS, FIDS, write_case

COMMITTED = ROOT / "experiments/claims.yaml"
OURS, THEIRS = "digits/dimr-xs-2r", "digits/uvit-xs-2"
SMALL = yaml.safe_load(CLAIMS)


def claims(metric=None, **comparison):
    """The small case's claims with another comparison, or another metric that decides."""
    content = yaml.safe_load(CLAIMS)
    (claim,) = content["claims"]
    claim["comparisons"] = [{**claim["comparisons"][0], **comparison}]
    claim["metric"] = metric
    return validate(Claims, content, "claims.yaml")


def test_intervals_are_scipys_of_logarithms_and_verdicts_follow(tmp_path):
    case = write_case(tmp_path)
    frame = recorded(case / "results/digits/seeds.csv")
    found = findings(load_claims(case / "claims.yaml"), load_papers(COMMITTED), frame)
    at = {one.setting: one for one in found}
    for setting, (own, other) in FIDS.items():
        expect = ttest_rel(np.log(own), np.log(other)).confidence_interval(0.95)
        effect = at[setting].effect
        assert (effect.low, effect.high) == pytest.approx(np.expm1([expect.low, expect.high]))
        plain = ttest_rel(own, other).confidence_interval(0.95)
        change = at[setting].changes["fid_digits"]
        assert (change.low, change.high) == pytest.approx((plain.low, plain.high))
        assert at[setting].means == pytest.approx((np.mean(own), np.mean(other)))
        assert at[setting].paper == pytest.approx(4.5 / 6.58 - 1)
        assert at[setting].seeds == 3
    assert [at[setting].verdict for setting in FIDS] == ["shows", "open"]


@pytest.mark.parametrize(
    ("low", "high", "expects", "paper", "verdict"),
    [
        (-0.5, -0.1, "lower", -0.3, "shows"),
        (-0.5, -0.4, "lower", -0.3, "shows"),  # a larger effect than the paper's
        (0.1, 0.4, "lower", -0.3, "opposite"),
        (0.1, 0.4, "higher", 0.5, "shows"),  # the paper's is a rise
        (-0.4, -0.1, "higher", 0.5, "opposite"),
        (-0.2, 0.1, "lower", -0.3, "smaller"),
        (-0.1, 0.2, "higher", 0.5, "smaller"),
        (-0.4, 0.1, "lower", -0.3, "open"),
        (-0.2, 0.1, "lower", None, "open"),
        (None, None, "lower", -0.3, "open"),  # one seed
    ],
)
def test_a_verdict_is_of_the_interval_the_direction_and_the_papers_effect(
    low, high, expects, paper, verdict
):
    assert verdict_of(Change(0.0, low, high), expects, paper) == verdict
    assert verdict_of(None, expects, paper) == "open"


def test_the_papers_effects_are_computed_from_what_it_prints():
    definition, papers = load_claims(COMMITTED), load_papers(COMMITTED)
    found = {
        claim.key: [paper_effect(one, papers, claim.key) for one in claim.comparisons]
        for claim in definition.claims
    }
    assert found["adaln"] == [pytest.approx(5.44 / 5.85 - 1)]
    assert found["adaln_branches"] == [pytest.approx(7.91 / 5.44 - 1)]
    assert found["td_ln"] == [pytest.approx(5.21 / 7.91 - 1)]
    assert found["glu"] == [pytest.approx(4.86 / 5.21 - 1)]
    assert found["loss"] == [pytest.approx(3.65 / 4.86 - 1)]
    assert found["uvit"] == pytest.approx([4.87 / 6.58 - 1, 1.77 / 2.29 - 1])
    assert found["dit"] == pytest.approx([4.87 / 9.62 - 1, 1.77 / 2.27 - 1])
    assert found["first"] == [pytest.approx(1.77 / 2.09 - 1)]
    assert found["distortion"][:2] == pytest.approx([0.292 / 0.635 - 1, 0.292 / 0.71 - 1])
    sides = {
        expected(one, effect, key)
        for key, effects in found.items()
        for claim in definition.claims
        if claim.key == key
        for one, effect in zip(claim.comparisons, effects, strict=True)
        if key == "adaln_branches"
    }
    assert sides == {"higher"}  # FID rises: that is what the paper claims


def test_what_the_claims_need_is_their_runs_settings_and_seeds():
    definition = claims()
    assert definition.cells() == [
        (f"{run}/{seed}", setting)
        for run in (OURS, THEIRS)
        for setting in ("unguided", "guided")
        for seed in range(3)  # the comparison's own number, above the least
    ]
    committed = load_claims(COMMITTED)
    for run, setting in committed.cells():
        assert setting in PROJECT.run(run).settings
        assert run.rpartition("/")[0] in committed.names
    seeds = {run.rpartition("/")[2] for run, _ in committed.cells()}
    assert seeds >= {"0", "1", "2", "3", "4"}


def series(**values):
    """A frame: numbers of the runs, by metric and setting, in order of seeds."""
    return frame_of({
        (f"{run}/{seed}", setting): {
            metric: of[seed] for metric, by in metrics.items() if seed < len(of := by[setting])
        }
        for run, metrics in values.items()
        for setting in next(iter(metrics.values()))
        for seed in range(max(len(by[setting]) for by in metrics.values()))
    })  # fmt: skip


def test_of_a_share_that_may_be_0_half_an_image_is_added_to_both():
    frame = series(**{
        OURS: {"low_fidelity_share": {"unguided": [0.0, 0.01]}, "images": {"unguided": [200, 200]},
               "fid_digits": {"unguided": [1, 1]}, "recall": {"unguided": [1, 1]}},
        THEIRS: {"low_fidelity_share": {"unguided": [0.02, 0.02]},
                 "fid_digits": {"unguided": [1, 1]}, "recall": {"unguided": [1, 1]}},
    })  # fmt: skip
    (one,) = findings(
        claims("low_fidelity_share", settings=["unguided"]), load_papers(COMMITTED), frame
    )
    ratios = np.array([0.0025, 0.0125]) / 0.0225
    assert one.effect.mean == pytest.approx(np.exp(np.log(ratios).mean()) - 1)
    assert one.means == pytest.approx((0.005, 0.02))


def test_at_an_equal_fid_the_others_share_is_between_its_settings():
    """Seed 0 at half the way, seed 1 at a setting's own FID, seed 2 below all of the other's."""
    settings = ["unguided", "guided"]
    frame = series(**{
        OURS: {"fid_digits": {"unguided": [2.0, 1.0, 0.5], "guided": [9.0, 9.0, 9.0]},
               "low_fidelity_share": {"unguided": [0.1, 0.2, 0.0], "guided": [0.0, 0.0, 0.0]},
               "images": {"unguided": [100] * 3, "guided": [100] * 3}},
        THEIRS: {"fid_digits": {"unguided": [3.0, 3.0, 3.0], "guided": [1.0, 1.0, 1.0]},
                 "low_fidelity_share": {"unguided": [0.5, 0.5, 0.5], "guided": [0.1, 0.1, 0.1]}},
    })  # fmt: skip
    definition = claims(
        "low_fidelity_share", settings=settings, equal_fid=True, paper=None, expects="lower"
    )
    between, beyond = findings(definition, load_papers(COMMITTED), frame)
    assert (between.seeds, between.seeds_text) == (2, "2 of 3")
    assert between.means == pytest.approx((0.15, (0.3 + 0.1) / 2))
    ratios = np.array([0.105, 0.205]) / np.array([0.305, 0.105])
    assert between.effect.mean == pytest.approx(np.exp(np.log(ratios).mean()) - 1)
    assert between.setting_text == "unguided, equal FID"
    assert (beyond.seeds, beyond.effect, beyond.verdict) == (0, None, "open")
    assert beyond.effect_text == "the other always has a lower FID"
    assert len(list(more_seeds(definition, [beyond]))) == 0  # more would not be compared either


def test_only_seeds_that_both_have_are_compared():
    metrics = {"recall": {"unguided": [1] * 3}, "low_fidelity_share": {"unguided": [0] * 3}}
    frame = series(**{
        OURS: {"fid_digits": {"unguided": [1.0, 1.1, 1.2]}, **metrics},
        THEIRS: {"fid_digits": {"unguided": [2.0, 2.1]},
                 **{key: {"unguided": by["unguided"][:2]} for key, by in metrics.items()}},
    })  # fmt: skip
    (one,) = findings(claims(settings=["unguided"]), load_papers(COMMITTED), frame)
    assert (one.seeds, one.means) == (2, pytest.approx((1.05, 2.05)))


def test_a_comparison_that_is_open_gets_more_seeds_up_to_the_most(tmp_path):
    case = write_case(tmp_path)
    frame = recorded(case / "results/digits/seeds.csv")
    for change, lines in (({"seeds": 3}, 1), ({"seeds": 4}, 0), ({"settings": ["unguided"]}, 0)):
        definition = claims(**change)  # the last shows
        found = findings(definition, load_papers(COMMITTED), frame)
        said = list(more_seeds(definition, found))
        assert len(said) == lines


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paper": {"list": "table2x"}},
         r"comparisons\.0\.paper: no list 'table2x' in published\.yaml \(did you mean table2"),
        ({"paper": {"run": "U-ViT-H/3"}},
         r"paper: table1a: no row 'U-ViT-H/3' in published\.yaml \(did you mean U-ViT-H/2"),
        ({"paper": {"list": "table1b", "run": "U-ViT-L/4"}},
         r"published\.yaml has no fid_unguided of table1b, U-ViT-L/4"),
        ({"paper": {"colum": "fid"}}, r"paper\.colum: unknown key \(did you mean column"),
        ({"paper": None}, r"expects: lower or higher, as the paper has no number here"),
        ({"expects": "higher"}, r"\.expects: higher: the paper's effect is lower"),
        ({"distortion": {"run": "DiMR", "against": "DiT"}}, r"paper and distortion: one effect"),
        ({"paper": None, "distortion": {"run": "DiMR", "against": "DiTT"}},
         r"distortion: no model 'DiTT' in published\.yaml \(did you mean DiT"),
        ({"seeds": 5}, r"claims\.resolutions\.comparisons\.0\.seeds: 5 is not 2 to 4"),
        ({"seeds": 1}, r"seeds: 1 is not 2 to 4"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_that_names_the_comparison(tmp_path, change, message):
    case = write_case(tmp_path)
    content = yaml.safe_load(CLAIMS)
    comparison = content["claims"][0]["comparisons"][0]
    paper = change.get("paper")
    whole = {"paper": {**comparison["paper"], **paper}} if paper else {}
    comparison.update(change | whole)
    (case / "claims.yaml").write_text(yaml.safe_dump(content))
    frame = recorded(case / "results/digits/seeds.csv")
    with pytest.raises(DimrError, match=r"claims\.yaml: .*" + message) as caught:
        findings(load_claims(case / "claims.yaml"), load_papers(COMMITTED), frame)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": {"least": 5, "most": 4}}, r"seeds: least: 5 is more than most: 4"),
        ({"claims": [{**SMALL["claims"][0], "metric": "recal"}]},
         r"claims\.resolutions\.metric: 'recal' \(did you mean recall"),
        ({"claims": SMALL["claims"] * 2}, r"claims: two are 'resolutions'"),
    ],
)  # fmt: skip
def test_mistakes_of_the_whole_file_are_named(tmp_path, change, message):
    file = tmp_path / "claims.yaml"
    file.write_text(yaml.safe_dump({**SMALL, **change}))
    with pytest.raises(DimrError, match=r"claims\.yaml: .*" + message):
        load_claims(file)
