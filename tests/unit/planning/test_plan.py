"""Plans: FLOP, bytes and hours worked by hand from the paper's figures, and the text of a plan."""

import json
import re
import shutil

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dimr.cli import main
from dimr.config.project import PROJECT, ROOT, Project
from dimr.planning import plan as planning
from dimr.planning.hardware import make_machine, parse_utilisation
from dimr.planning.plan import (
    Estimate,
    PlannedJob,
    chain_seconds,
    cost_of,
    estimate,
    jobs_of,
    summary,
)
from dimr.planning.text import assumptions, duration, plan_json, plan_text, size_text
from dimr.runtime.errors import DimrError
from dimr.runtime.snakemake_messages import complaint
from dimr.stages import costs
from dimr.stages.costs import INCEPTION_MACS, Cost
from dimr.stages.pipeline import Pipeline

XL, G = 160.18e9, 331.10e9  # multiply-accumulates, as published
IMAGES = 1_281_167
H100 = 989e12  # FLOP/s
LONG, SHORT = (f"runs/imagenet256/dimr-xl-2r{run}/0/model" for run in ("", "-400epochs"))
"""The training of 800 epochs, which resumes from that of 400."""


@pytest.fixture
def machine():
    return make_machine(PROJECT)


@pytest.fixture
def cost():
    """A function: the cost of the job that makes a place."""
    return lambda place, project=PROJECT: cost_of(PlannedJob("any", place), Pipeline(project))


@pytest.fixture
def cheap_autoencoder(monkeypatch):
    """Where diffusers need not be imported: an autoencoder of known cost."""
    known = costs.AutoencoderCost(83_653_863, 10**11, 2 * 10**11, ("what was assumed",))
    monkeypatch.setattr(costs, "count_autoencoder", lambda *_: known)
    return known


# --- what a stage computes and stores -------------------------------------------------------------


def test_training_is_six_flop_a_mac_and_image(cost):
    short, long = cost(SHORT), cost(LONG)
    for train in (short, long):
        assert (train.stage, train.kind, train.gpus) == ("train", "imagenet256/dimr-xl-2r", 16)
        assert train.images == 500_000 * 1024
        assert train.flops == pytest.approx(6 * XL * 0.512e9, rel=1e-4)  # 4.92e20
    parameters = 505_046_408
    assert short.disk == parameters * 4 + 2 * parameters * 4 * 4  # a model, two checkpoints
    assert long.disk == parameters * 4 + parameters * 4 * 4  # and three in the end
    alone = cost("runs/imagenet64/dimr-m-3r/0/model")
    assert alone.images == 300_000 * 1024


def test_xl_takes_691_hours_of_an_h100_at_the_assumed_share(cost, machine):
    lines = [estimate(cost(place), machine) for place in (SHORT, LONG)]
    hours = 6 * XL * 1.024e9 / (0.4 * H100) / 3600
    assert hours == pytest.approx(691, abs=1)
    assert sum(line.gpu_hours for line in lines) == pytest.approx(hours, rel=1e-4)
    assert sum(line.seconds for line in lines) == pytest.approx(hours * 3600 / 16, rel=1e-4)
    assert {line.rate.origin for line in lines} == {"assumed"}


@pytest.mark.parametrize(("setting", "passes"), [("guided", 2), ("unguided", 1)])
def test_sampling_is_evaluations_and_decoding(cost, cheap_autoencoder, setting, passes):
    sample = cost(f"runs/imagenet256/dimr-xl-2r/published/samples/{setting}")
    flops = 50_000 * (250 * passes * 2 * XL + 2 * cheap_autoencoder.decode)
    assert sample.flops == pytest.approx(flops, rel=1e-4)
    assert sample.disk == 2 * 50_000 * 256 * 256 * 3  # shards and .npz
    assert sample.assumed == ("what was assumed",)


def test_latents_take_the_space_that_the_issue_says(cost, cheap_autoencoder):
    small, large = (cost(f"data/imagenet{side}/latents") for side in (256, 512))
    assert small.images == large.images == 2 * IMAGES == 2_562_334
    assert small.disk == 2 * IMAGES * 8 * 32 * 32 * 2
    assert round(small.disk / 1e9) == 42
    assert round(large.disk / 1e9) == 168
    assert small.flops == 2 * cheap_autoencoder.encode * 2 * IMAGES
    pixels = cost("data/imagenet64/latents")  # without mirror images, and nothing is computed
    assert (pixels.images, pixels.disk, pixels.flops) == (IMAGES, IMAGES * 64 * 64 * 3, 0)


def test_sanity_rows_are_read_and_perhaps_encoded_and_decoded(cost, cheap_autoencoder):
    place = "runs/imagenet256/{}/0/samples/reference"
    real, again = (cost(place.format(name)) for name in ("real", "reconstruction"))
    assert (real.flops, real.resource, real.assumed) == (0, None, ())
    assert again.flops == 50_000 * 2 * (cheap_autoencoder.encode + cheap_autoencoder.decode)
    assert (again.resource, again.gpus > 0, again.assumed) == (
        "encode",
        True,
        ("what was assumed",),
    )
    for one in (real, again):
        assert (one.stage, one.images, one.disk) == ("baseline", 50_000, 2 * 50_000 * 256**2 * 3)
    pixels = cost("runs/imagenet64/reconstruction/0/samples/reference")
    assert (pixels.flops, pixels.assumed) == (0, ())


def test_pixels_need_no_decoder(cost):
    sample = cost("runs/imagenet64/dimr-m-3r/0/samples/unguided")
    assert sample.flops == pytest.approx(50_000 * 250 * 2 * 53.53e9, rel=1e-4)
    assert sample.assumed == ()


def test_metrics_are_inception_and_pairs_of_features(cost):
    evaluate = cost("runs/imagenet256/dimr-g-2r/published/metrics/guided.json")
    pairs = 50_000**2 + 10_000**2 + 50_000 * 10_000
    assert evaluate.flops == 2 * (60_000 * INCEPTION_MACS + 2048 * pairs)
    assert evaluate.gpus == 1


@pytest.mark.slow
def test_other_steps(cost, cheap_autoencoder):
    source = cost("data/imagenet/source")
    assert (source.stage, source.of, source.disk) == ("source", "imagenet", 138_000_000_000)
    imported = cost("runs/imagenet256/dimr-g-2r/published/model")
    assert (imported.stage, imported.disk, imported.flops) == ("import", 4 * 1_056_352_904, 0)
    assert cost("data/imagenet256/autoencoder").disk == 4 * cheap_autoencoder.parameters
    assert cost("data/imagenet512/reference").disk == 10_000 * 512 * 512 * 3
    assert cost("data/extractors/a-01234567.pth").stage == "extractor"
    assert cost("runs/digits/real/0/samples/reference").stage == "baseline"
    assert cost("results/partial/table1").of == "results/partial/table1"
    assert cost("somewhere/else").stage == "any"  # a rule that is not known: by its name


def test_the_autoencoder_is_counted_or_what_is_assumed_is_said(cost, tmp_path):
    from diffusers import AutoencoderKL

    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    project, place = Project(tmp_path), "data/imagenet256/autoencoder"
    absent = cost(place, project)
    assert absent.disk == 4 * 83_653_863  # Stable Diffusion's
    assert "stabilityai/sd-vae-ft-ema has the shape of Stable" in absent.assumed[0]
    small = AutoencoderKL(
        block_out_channels=[8, 8], norm_num_groups=4, down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
    )  # fmt: skip
    small.save_pretrained(tmp_path / "data/imagenet256/autoencoder")
    present = cost(place, project)
    assert present.disk == 4 * sum(p.numel() for p in small.parameters())
    assert present.assumed == ()


def test_inception_has_as_many_macs_as_it_is_said(monkeypatch):
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    kind = inception.FeatureExtractorInceptionV3
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(kind, "load_state_dict", lambda *_, **__: None)
    network = kind("inception-v3-compat", ["2048", "logits_unbiased"])
    images = torch.zeros(1, 3, 299, 299, dtype=torch.uint8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    assert counter.get_total_flops() // 2 == INCEPTION_MACS


# --- how fast -------------------------------------------------------------------------------------


def test_the_digits_take_minutes_on_a_core(cost, machine):
    train = estimate(cost("runs/digits/dimr-xs-2r/0/model"), machine)
    assert train.cost.gpus == 0
    assert train.gpu_hours == 0
    # 285 s of steps (mean of the study's five seeds, two trainings at once), and 35 s to compile
    assert train.seconds == pytest.approx(285 + 35, rel=0.05)
    known = machine.hardware.cpu.seconds
    assert estimate(cost("data/digits/autoencoder"), machine).seconds == known["autoencoder"]
    metrics = cost("runs/digits/dimr-xs-2r/0/metrics/guided.json")
    assert estimate(metrics, machine).seconds == known["evaluate"]
    for dataset in ("digits-pixel", "imagenet64"):  # networks of pixels have no autoencoder
        assert estimate(cost(f"data/{dataset}/autoencoder"), machine).seconds == 0
    assert estimate(cost("data/imagenet64/latents"), machine).seconds is None
    assert estimate(cost("data/imagenet/source"), machine).seconds is None


def test_a_share_that_is_given_goes_before_all_others(cost):
    machine = make_machine(PROJECT, "a100", parse_utilisation(["0.25", "sample=0.5"]))
    line = estimate(cost("runs/imagenet256/dimr-g-2r/0/model"), machine)
    assert line.gpu_hours == pytest.approx(6 * G * 0.512e9 / (0.25 * 312e12) / 3600, rel=1e-4)
    assert line.rate.origin == "given"
    assert machine.gpu_rate("sample", "any").flops == 0.5 * 312e12
    assert machine.gpu_rate("encode", "any").flops == 0.1 * 312e12


def test_a_measured_speed_is_used_for_what_it_was_measured_on(cost, tmp_path):
    path = tmp_path / "measured.json"
    speeds = {"train": {"imagenet256/dimr-xl-2r": 100.0, "imagenet64/dimr-m-3r": 600.0}}
    value = {"gpu": "h200", "source": "a benchmark", "images_per_second": speeds}
    path.write_text(json.dumps(value))
    machine = make_machine(PROJECT, measured=[path])
    assert machine.gpu.name == "NVIDIA H200 SXM"
    for place in (SHORT, LONG.replace("/0/", "/3/")):
        xl = estimate(cost(place), machine)
        assert xl.seconds == pytest.approx(0.512e9 / 100 / 16)
        assert xl.rate.origin == "measured"
    mean = (6 * XL * 100 + 6 * 53.53e9 * 600) / 2
    other = estimate(cost("runs/imagenet256/dimr-g-2r/0/model"), machine)
    assert other.rate.flops == pytest.approx(mean, rel=1e-4)
    assert machine.gpu_rate("sample", "any").origin == "assumed"
    with pytest.raises(DimrError, match="--gpu h100: the measurements are of h200"):
        make_machine(PROJECT, "h100", measured=[path])


def test_files_of_gpu_check_are_read_by_the_name_that_a_gpu_has(cost, tmp_path, caplog):
    """Its JSON holds much else; of several GPUs the one that is asked for counts."""
    paths = []
    for number, gpu in enumerate(("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB")):
        speeds = {"train": {"imagenet256/dimr-g-2r": 50.0 + number}}
        plan = {"gpu": gpu, "source": "make gpu-check", "images_per_second": speeds}
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_text(json.dumps({"format": "x", "small": False, "parts": {}, "plan": plan}))
    assert make_machine(PROJECT, measured=paths[:1]).gpu.name == "NVIDIA H100 SXM"
    with pytest.raises(DimrError, match="--measured: of h100, a100; say which with --gpu"):
        make_machine(PROJECT, measured=paths)
    machine = make_machine(PROJECT, "a100", measured=paths)
    line = estimate(cost("runs/imagenet256/dimr-g-2r/0/model"), machine)
    assert line.rate.flops == pytest.approx(6 * G * 51, rel=1e-4)
    paths[0].write_text(paths[0].read_text().replace("false", "true"))
    assert main(["plan", "results/table1.csv", "--measured", *map(str, paths)]) == 2
    assert "0.json: of a trial with tiny networks (--small): nothing to plan by" in caplog.text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"gpu": "h900"}, r"m\.json: gpu: no 'h900' in hardware\.yaml"),
        ({"speed": 3}, r"m\.json: speed: unknown key"),
        ({"images_per_second": {"train": {"a": 0}}}, r"m\.json: images_per_second\.train\.a: 0"),
        ({"images_per_second": {"drain": {}}}, r"m\.json: images_per_second"),
        ({"images_per_second": {"train": {"imagenet256/nonsuch": 3.0}}}, "no variant 'nonsuch'"),
        ({"images_per_second": {"encode": {"imagenet64": 3.0}}}, "nothing of imagenet64"),
    ],
)
def test_mistakes_in_measurements_are_one_line(tmp_path, value, message):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"gpu": "h100", "source": "s", "images_per_second": {}, **value}))
    with pytest.raises(DimrError, match=message) as caught:
        make_machine(PROJECT, measured=[path])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast", r"--utilisation fast: should be a share in \(0, 1\]"),
        ("1.5", r"1\.5: should be a share"),
        ("sample=0", "should be a share"),
        ("tain=0.2", r"no step 'tain' \(did you mean train\?"),
    ],
)
def test_shares_that_are_none(text, message):
    with pytest.raises(DimrError, match=message):
        parse_utilisation([text])


# --- the workflow's answer ------------------------------------------------------------------------


def test_jobs_are_results_that_would_be_written():
    rows = [
        ("runs/digits/dimr-xs-2r/0/model", "train", "update pending"),
        ("runs/digits/dimr-xs-2r/0/model/record.json", "train", "update pending"),
        ("runs/digits/dimr-xs-2r/0/log.csv", "train", "update pending"),
        ("data/digits/images", "images", "no update"),
        ("results/digits/table1.csv", "table", "update pending"),
        ("results/digits/table1.md", "table", "update pending"),
    ]
    names = ("output_file", "rule", "plan")
    found = jobs_of([dict(zip(names, row, strict=True)) for row in rows], Pipeline(PROJECT))
    assert found == [
        PlannedJob(
            "train",
            "runs/digits/dimr-xs-2r/0/model",
            ("data/digits/latents", "data/digits/autoencoder"),
        ),
        PlannedJob("table", "results/digits/table1"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Building DAG of jobs...\nMissingRuleException:\nNo rule to produce x (if you use "
            "input functions make sure that they don't raise unexpected exceptions).",
            "No rule to produce x",
        ),
        (
            'InputFunctionException in rule a in file "f", line 4:\nError:\n  WorkflowError:\n'
            "    a: no setting 'b'\nWildcards:\n  run=a\nTraceback:\n  File",
            "a: no setting 'b'",
        ),
        (
            'WorkflowError in file "f", line 9:\nparams.yaml: x: unknown key\n'
            "Using workflow specific profile profiles/default for setting default",
            "params.yaml: x: unknown key",
        ),
        ("something else", "something else"),
    ],
)
def test_complaints_become_one_line(text, message):
    assert complaint(text) == message


def test_a_target_is_no_option():
    with pytest.raises(DimrError, match="target '--forceall' should be a file"):
        summary(["--forceall"], ROOT)


def test_jobs_wait_for_what_they_read():
    jobs = [
        PlannedJob("a", "one", ()),
        PlannedJob("b", "two", ("one",)),
        PlannedJob("c", "three", ("one", "exists already")),
        PlannedJob("table", "four"),  # after all others
    ]
    estimates = [
        Estimate(Cost(job.rule, ""), None, s) for job, s in zip(jobs, (5, 2, 7, 1), strict=True)
    ]
    assert chain_seconds(jobs, estimates) == 5 + 7 + 1
    assert chain_seconds([], []) == 0


# --- for people and for machines ------------------------------------------------------------------

PLACES = [
    ("plain_table", "results/table1.csv"),
    ("train", LONG),
    ("train", SHORT),
    ("sample", "runs/imagenet256/dimr-xl-2r/0/samples/guided"),
    ("evaluate", "runs/imagenet256/dimr-xl-2r/0/metrics/guided.json"),
    ("encode", "data/imagenet256/latents"),
    ("source", "data/imagenet/source"),
]


@pytest.fixture
def plan(monkeypatch, machine, cheap_autoencoder):
    """The plan of seven jobs, given in no order."""
    assert cheap_autoencoder.encode == 10**11
    rows = [
        {"rule": rule, "output_file": place, "plan": "update pending"} for rule, place in PLACES
    ]
    monkeypatch.setattr(planning, "summary", lambda *_: rows)
    return planning.make_plan(["results/table1.csv"], machine, PROJECT)


def test_a_plan_in_words(plan):
    lines = plan_text(plan)
    assert lines[0].startswith("Estimates, not measurements")
    table = lines[3 : 3 + len(PLACES)]
    steps = ["source", "encode", "train", "train", "sample", "evaluate", "table"]
    assert [line.split()[0] for line in table] == steps
    assert re.search(r"/dimr-xl-2r-400epochs/0 +345\.5 +16 +21\.6 h +18\.2 GB", table[2])
    assert re.search(r"/dimr-xl-2r/0 +345\.5 +16 +21\.6 h +10\.1 GB", table[3])
    assert re.search(r"source +imagenet +\? +138\.0 GB", table[0])
    assert re.match(r"total +7 jobs", lines[3 + len(PLACES)])
    text = "\n".join(lines)
    assert "NVIDIA H100 SXM, 989 TFLOP/s of dense bf16 (its data sheet)" in text
    assert "train 0.4 (assumed)" in text
    assert "Not estimated (?), because network, disk or CPU decides: source." in text
    assert "- Assumed: what was assumed." in text


def test_totals_are_sums(plan):
    value = json.loads(json.dumps(plan_json(plan)))
    steps, total = value["steps"], value["total"]
    assert total["gpu_hours"] == pytest.approx(sum(s["gpu_hours"] or 0 for s in steps))
    assert total["bytes"] == sum(step["bytes"] for step in steps)
    seconds = [step["seconds"] or 0 for step in steps]
    assert total["seconds_one_after_another"] == pytest.approx(sum(seconds))
    assert total["seconds_at_once"] == pytest.approx(sum(seconds))  # here each waits for the last
    assert value["estimates"] is True
    assert value["assumptions"] == assumptions(plan)
    assert steps[0]["seconds"] is None  # what is not estimated is not 0


def test_nothing_to_do(monkeypatch, capsys):
    monkeypatch.setattr(planning, "summary", lambda *_: [])
    assert main(["plan", "results/table3.csv"]) == 0
    assert capsys.readouterr().out == "nothing to do: all of it exists\n"
    assert main(["plan", "results/table3.csv", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["steps"] == value["assumptions"] == []
    assert value["total"]["gpu_hours"] == 0


def test_durations_and_sizes():
    assert [duration(s) for s in (42, 720, 7199, 27000, 2_488_320)] == [
        "42 s", "12 min", "120 min", "7.5 h", "28.8 days",
    ]  # fmt: skip
    assert [size_text(b) for b in (1.5e6, 42e9, 1.26e12)] == ["1.5 MB", "42.0 GB", "1.26 TB"]
