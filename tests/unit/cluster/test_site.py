"""From a recipe's resources and a site file to what sbatch is asked for."""

import pytest
import yaml

from dimr.cluster import slurm
from dimr.cluster.launch import SLURM, rendezvous
from dimr.cluster.site import (
    EXAMPLE,
    Site,
    launcher,
    load_site,
    plan_job,
    seconds_to_train,
    slurm_resources,
    visible_gpus,
)
from dimr.config.project import PROJECT, ROOT
from dimr.config.schema import Resources
from dimr.config.validation import validate
from dimr.runtime.errors import DimrError

PAPER = Resources(nodes=2, gpus=8)
SINFO = """\
cpu*|7-00:00:00|(null)|128|512000|40|(null)
gpu|1-00:00:00|gpu:a100:4(S:0-1)|64|1000000+|10|a100,ib
gpu|1-00:00:00|gpu:a100:8|64|2000000|2|a100
short|30:00|gpu:2|16|64000|1|(null)
long|infinite|(null)|16|64000|1|(null)
"""


def test_training_at_xl_asks_for_two_nodes_of_eight_gpus():
    recipe = PROJECT.recipe("imagenet256")
    assert recipe.resources["train"] == PAPER
    job = plan_job(Site(), "train", recipe.resources["train"], 16)
    assert (job.nodes, job.gpus, job.cpus, job.memory_mb) == (2, 8, 64, 512_000)
    asked = slurm_resources(Site(gpu_type="a100"), job)
    assert asked["gres"] == "gpu:a100:8"
    assert (asked["mpi"], asked["tasks"], asked["nodes"]) == ("srun", 2, 2)
    assert asked["tasks_per_gpu"] == 0


def test_digits_ask_for_one_core_and_no_gpu():
    assert PROJECT.recipe("digits").resources == {}
    job = plan_job(Site(partition="cpu"), "train", None, 1)
    assert (job.nodes, job.gpus, job.cpus, job.minutes, job.partition) == (1, 0, 1, 60, "cpu")
    asked = slurm_resources(Site(), job)
    assert asked["gres"] is asked["mpi"] is asked["tasks"] is None


@pytest.mark.parametrize(
    ("a_node", "nodes", "gpus"), [(8, 2, 8), (4, 4, 4), (16, 2, 8), (3, 8, 2), (1, 16, 1)]
)
def test_a_training_keeps_its_number_of_gpus(a_node, nodes, gpus):
    job = plan_job(Site(gpus_per_node=a_node), "train", PAPER, 16)
    assert (job.nodes, job.gpus) == (nodes, gpus)


def test_independent_work_takes_what_a_node_has():
    job = plan_job(Site(gpus_per_node=4), "sample", Resources(gpus=8), 16)
    assert (job.nodes, job.gpus) == (1, 4)


def test_the_site_replaces_what_the_recipe_asks():
    rules = {"train": {"nodes": 4, "gpus": 2, "hours": 2, "memory_gb": 10, "partition": "a"}}
    site = validate(Site, {"rules": rules, "gpu_partition": "c"}, "site.yaml")
    job = plan_job(site, "train", PAPER, 16)
    assert (job.nodes, job.gpus, job.minutes) == (4, 2, 120)
    assert (job.memory_mb, job.partition) == (10_000, "a")
    assert seconds_to_train(site, job) == 110 * 60


def test_a_site_without_gpus_says_so_where_they_are_asked_for():
    with pytest.raises(DimrError, match=r"gpus_per_node: 0, but recipes.yaml: x.resources.train"):
        plan_job(Site(gpus_per_node=0), "train", PAPER, 16, "x")
    over = validate(Site, {"gpus_per_node": 4, "rules": {"train": {"gpus": 8}}}, "site.yaml")
    with pytest.raises(DimrError, match=r"rules.train.gpus: 8 is more than gpus_per_node 4"):
        plan_job(over, "train", PAPER, 16)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"acount": "x"}, r"site.yaml: acount: unknown key \(did you mean account\?"),
        ({"rules": {"tran": {}}}, r"site.yaml: rules.tran"),
        ({"rules": {"train": {"hour": 1}}}, r"rules.train.hour: unknown key \(did you mean hours"),
        ({"partition": "a b"}, r"site.yaml: partition: 'a b'"),
        ({"margin_minutes": 90}, r"margin_minutes 90 leaves no time of small.hours 1"),
        ({"rules": {"train": {"hours": 0.1}}}, r"margin_minutes 10 leaves no time of rules.train"),
    ],
)
def test_a_mistake_in_a_site_file_is_one_line(value, message):
    with pytest.raises(DimrError, match=message) as caught:
        validate(Site, value, "site.yaml")
    assert "\n" not in str(caught.value)


def test_the_example_is_a_site_and_without_one_all_is_the_clusters_default(tmp_path):
    example = load_site(ROOT / EXAMPLE)
    assert example.gpu_partition == "gpu"
    shown = yaml.safe_load((ROOT / EXAMPLE).read_text())
    assert set(shown) == set(Site.model_fields)  # every key is in it
    assert load_site(tmp_path / "none.yaml") == Site()


def test_launchers():
    assert launcher(1) == "dimr"
    assert launcher(8) == "python -m dimr.cluster.launch --nproc-per-node 8 --standalone"
    words = launcher(8, 2, 64).split()
    assert words[0] == "srun"
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=64"} < set(words)
    assert words[-6:] == ["python", "-m", "dimr.cluster.launch", "--nproc-per-node", "8", "--slurm"]


def test_the_nodes_of_a_step_meet_at_the_first():
    first = dict(zip(SLURM, ["412", "0", "2", "0", "127.0.0.1"], strict=True))
    second = {**first, "SLURM_NODEID": "1"}
    one, two = rendezvous(first), rendezvous(second)
    assert one[:-1] == two[:-1]
    assert (one[-1], two[-1]) == ("is_host=true", "is_host=false")
    assert one[one.index("--local-addr") + 1] == "127.0.0.1"
    other = rendezvous({**first, "SLURM_STEP_ID": "1"})
    assert other[other.index("--rdzv-endpoint") + 1] != one[one.index("--rdzv-endpoint") + 1]
    with pytest.raises(DimrError, match="SLURM_STEP_NUM_NODES is not set"):
        rendezvous({k: v for k, v in first.items() if k != "SLURM_STEP_NUM_NODES"})
    for change in ({"SLURM_JOB_ID": "a"}, {"SLURM_LAUNCH_NODE_IPADDR": "a" * 300}):
        with pytest.raises(DimrError, match="do not say where nodes meet"):
            rendezvous({**first, **change})


def test_visible_gpus_are_those_that_are_named(monkeypatch):
    for named, number in (("0,1,2", 3), ("", 0), ("-1", 0), ("GPU-8f,GPU-9a", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert visible_gpus() == number


def test_partitions_as_sinfo_tells_them():
    known, default = slurm.parse_partitions(SINFO)
    assert default == "cpu"
    gpu = known["gpu"]
    assert (gpu.gpus, gpu.gpu_types, gpu.nodes, gpu.minutes) == (8, {"a100"}, 12, 1440)
    assert gpu.features == {"a100", "ib"}
    assert (known["short"].gpus, known["short"].minutes) == (2, 30)
    assert known["long"].minutes is None


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        ({"gpu_partition": "gpu"}, []),
        ({"gpu_partition": "gup"}, ["gpu_partition: no partition 'gup' (did you mean gpu?"]),
        ({}, ["gpu_partition: 'cpu' has no GPUs, which rule encode asks for (with GPUs: gpu, sho"]),
        ({"gpu_partition": "gpu", "gpu_type": "h100"}, ["gpu_type: no node of 'gpu' has 'h100' ("]),
        ({"gpu_partition": "gpu", "constraint": "ib&nvme"},
         ["constraint: no node of 'gpu' has 'nvme' ("]),
        ({"gpu_partition": "gpu", "cpus_per_gpu": 16},
         ["cpus_per_gpu: 128 cores with 8 GPUs, and nodes of 'gpu' have 64"]),
        ({"gpu_partition": "short"},
         ["gpus_per_node: 8: nodes of 'short' have 2",
          "rules.train.hours: 24 is more than partition 'short' allows (0.5 hours)"]),
        ({"gpus_per_node": 0, "partition": "short"},
         ["small.hours: 1 is more than partition 'short' allows"]),
    ],
)  # fmt: skip
def test_what_the_cluster_would_refuse(keys, messages):
    known, default = slurm.parse_partitions(SINFO)
    found = list(slurm.disagreements(Site(**keys), known, default, "site.yaml"))
    assert bool(found) == bool(messages)
    for message in messages:
        assert any(message in one for one in found), found


@pytest.mark.parametrize(
    ("account", "names", "message"),
    [
        ("lab", ["lab", "teaching"], None),
        ("labb", ["lab", "teaching"], "s: account: 'labb' (did you mean lab?"),
        (None, ["lab", "teaching"], "s: account: null; yours: lab, teaching"),
        (None, ["lab"], None),
        ("any", None, None),  # no database of accounts
    ],
)
def test_accounts_that_are_and_are_not_ones_own(account, names, message):
    found = slurm.check_account(Site(account=account), names, "s")
    assert len(found) == (message is not None)
    assert not found or found[0].startswith(message)
