"""What only CUDA reaches: every such place is named here, with the test or the check that runs it.

Tensors "on CUDA" are fake ones: shapes, dtypes and devices without values. An operation that mixes
devices or dtypes fails as on a GPU, and so does reading a value, for which the host would wait.
"""

import ast
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from dimr.cluster.doctor import torch_finding
from dimr.config.project import ROOT
from dimr.data.encode import Encoder, usual_batch
from dimr.diffusion.schedule import SCHEDULES
from dimr.models import DiMRSizes, DiTSizes
from dimr.models.complexity import on_meta
from dimr.models.conditioning import LabelCondition
from dimr.runtime import async_io, device
from dimr.runtime.code import SOURCE
from dimr.runtime.compute import matrix_ceiling, resolve_precision
from dimr.runtime.errors import DimrError
from dimr.sampling import engine as sampling
from dimr.sampling.engine import Evaluator, SamplingEngine
from dimr.training import Engine, TrainState, distributed, make_ema, make_optimizer, train_step
from dimr.training.batches import Draws, stream_batches
from dimr.training.monitoring import peak_memory

CUDA = torch.device("cuda", 0)
NAMES = {"cuda", "pin_memory", "pinned", "non_blocking", "cudagraph_mark_step_begin",
         "fully_shard", "on_gpu"}  # fmt: skip
WORDS = {"cuda", "nccl", "triton.cudagraphs"}

PLACES = {
    "cluster/doctor.py:torch_finding": "test_gpus_are_told",
    "data/encode.py:Encoder.__call__": "test_images_are_encoded_on_a_gpu",
    "data/encode.py:Encoder.vae": "test_images_are_encoded_on_a_gpu",
    "data/encode.py:_read_crops": "benchmarks/encode.py",
    "data/encode.py:encode_images": "benchmarks/encode.py",
    "data/encode.py:usual_batch": "test_images_are_encoded_on_a_gpu",
    "data/latent_folder.py:LatentWork.encode": "benchmarks/encode.py",
    "evaluation/extraction.py:extract_features": "no check: torch-fidelity's network on a GPU",
    "evaluation/extraction.py:load_extractor": "no check: torch-fidelity's network on a GPU",
    "evaluation/fidelity.py:fidelity": "no check: torch-fidelity's network on a GPU",
    "evaluation/measure.py:_compare": "no check: torch-fidelity's network on a GPU",
    "models/blocks.py:attend": "test_a_training_step_stays_on_the_gpu",
    "models/conditioning.py:Condition.to": "test_batches_come_from_pinned_memory",
    "models/depthwise.py:DepthwiseConvolution.forward": "test_a_training_step_stays_on_the_gpu",
    "runtime/async_io.py:Copy.__init__": "test_a_copy_to_the_host_is_waited_for_when_it_is_read",
    "runtime/async_io.py:start_copy": "test_a_copy_to_the_host_is_waited_for_when_it_is_read",
    "runtime/async_io.py:to_device": "test_copies_to_the_gpu_do_not_wait",
    "runtime/compute.py:matrix_ceiling": "test_devices_and_their_memory",
    "runtime/compute.py:resolve_precision": "test_devices_and_their_memory",
    "runtime/device.py:": "test_devices_and_their_memory",
    "runtime/device.py:prepare_device": "test_devices_and_their_memory",
    "runtime/device.py:require_memory": "test_devices_and_their_memory",
    "runtime/device.py:usable_device": "test_devices_and_their_memory",
    "sampling/engine.py:": "test_short_passes_are_recorded_as_graphs",
    "sampling/engine.py:Evaluator.__init__": "test_short_passes_are_recorded_as_graphs",
    "sampling/engine.py:Evaluator._compile": "test_short_passes_are_recorded_as_graphs",
    "sampling/engine.py:Evaluator._evaluate": "test_short_passes_are_recorded_as_graphs",
    "sampling/own_images.py:StoredImages.batch": "test_images_are_encoded_on_a_gpu",
    "stages/shards.py:_shares": "test_each_part_has_a_gpu",
    "stages/shards.py:processes_for": "test_processes_are_one_a_gpu",
    "stages/shards.py:run_processes": "test_a_certain_gpu_is_not_for_several_processes",
    "training/batches.py:Batch.pinned": "test_batches_come_from_pinned_memory",
    "training/batches.py:Batch.to": "test_batches_come_from_pinned_memory",
    "training/batches.py:stream_batches.make": "test_batches_come_from_pinned_memory",
    "training/distributed.py:World.replicate": "test_processes_on_gpus_meet",
    "training/distributed.py:World.shard": "test_a_sharded_resume_is_bitwise",
    "training/distributed.py:World.shards": "test_auto_shards_large_networks_on_several_gpus_only",
    "training/distributed.py:_connect": "test_processes_on_gpus_meet",
    "training/distributed.py:own_device": "test_processes_have_a_device_each",
    "training/monitoring.py:peak_memory": "test_devices_and_their_memory",
}
"""Functions that name CUDA, or ask for the kind of a device, and what runs those lines."""


# --- the list -------------------------------------------------------------------------------------


def names_cuda(node):
    """Whether a node is about CUDA: a name, an argument, a plain text, or a device's kind."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.rstrip(":") in WORDS
    if isinstance(node, ast.Compare):
        return isinstance(node.left, ast.Attribute) and ast.unparse(node.left).endswith(
            "device.type"
        )
    names = [getattr(node, name, None) for name in ("attr", "id", "arg")]
    return any(isinstance(name, str) and name in NAMES for name in names)


def places():
    """``file:function`` of each place in the code that only CUDA reaches, or that decides on it."""

    def visit(node, name):
        for child in ast.iter_child_nodes(node):
            inner = name
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inner = f"{name}.{child.name}" if name else child.name
            if names_cuda(child):
                yield inner
            yield from visit(child, inner)

    for file in sorted(SOURCE.rglob("*.py")):
        for name in visit(ast.parse(file.read_bytes()), ""):
            yield f"{file.relative_to(SOURCE)}:{name}"


def test_every_place_is_named():
    assert {*places()} == set(PLACES)


def test_what_runs_them_exists():
    tests = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
    }
    for place, by in PLACES.items():
        known = by in tests or by.startswith("no check: ") or (ROOT / by).is_file()
        assert known, f"{place}: {by}"


# --- training -------------------------------------------------------------------------------------


class Waits(TorchDispatchMode):
    """Notes what a host would wait for: copies between devices, except those that do not wait."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        tensors = [t for t in (*args, result) if isinstance(t, torch.Tensor)]
        copies = str(function).startswith(("aten._to_copy", "aten.copy_"))
        waits = copies and not (kwargs.get("non_blocking") or args[-1] is True)
        if waits and len({t.device.type for t in tensors}) > 1:
            self.found.append(f"{function} {[str(t.device) for t in tensors]}")
        return result


@pytest.fixture
def fake(monkeypatch):
    """Fake tensors, with autocast as if there were a GPU, in which nothing is pinned."""
    common = "torch.cuda.amp.common.amp_definitely_not_available"
    monkeypatch.setattr(common, lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def on_gpu(sizes):
    """A network whose weights are fake ones on CUDA."""
    with unset_fake_temporarily():
        network = on_meta(sizes)
    for module in network.modules():
        for name, one in module._parameters.items():
            if one is not None:
                moved = torch.empty(one.shape, device=CUDA)
                module._parameters[name] = nn.Parameter(moved, one.requires_grad)
        for name, one in module._buffers.items():
            module._buffers[name] = torch.empty(one.shape, dtype=one.dtype, device=CUDA)
    return network


INPUT = {"input_size": 8, "channels": 4, "num_classes": 10}
DIMR = DiMRSizes(layers=(3, 1), dims=(16, 8), heads=2, **INPUT)
DIT = DiTSizes(depth=1, dim=16, heads=2, patch=4, learn_sigma=True, **INPUT)
SETTINGS = SimpleNamespace(
    lr=1e-3, betas=(0.9, 0.99), weight_decay=0.03, warmup_steps=2, ema_decay=0.9, grad_clip=1.0,
    objective="noise",
)  # fmt: skip


def batch_on_gpu(schedule):
    draws = Draws(0, schedule, 0.1, 10)
    with unset_fake_temporarily():
        batch = draws.batch(torch.zeros(4, 4, 8, 8), torch.zeros(4, dtype=torch.long), 0)
    return batch.map(lambda one: torch.empty(one.shape, dtype=one.dtype, device=CUDA))


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("checkpointing", ["none", "block"])
@pytest.mark.parametrize(("sizes", "objective"), [(DIMR, "noise"), (DIT, "hybrid")])
def test_a_training_step_stays_on_the_gpu(dtype, checkpointing, sizes, objective, monkeypatch):
    """All that is computed lies there, and after the first step the host waits for nothing.

    Except for the backward pass, which torch makes in threads of a real device.
    """
    network = on_gpu(sizes)
    engine = Engine(compile=False, checkpointing=checkpointing)
    network.set_checkpointing(checkpointing == "block")
    seen = []
    linear = next(m for m in network.modules() if isinstance(m, nn.Linear))
    linear.register_forward_hook(lambda *found: seen.append(found[-1].dtype))
    settings = SimpleNamespace(**{**vars(SETTINGS), "objective": objective})
    schedule = SCHEDULES["latent" if objective == "noise" else "linear"]()
    state = TrainState(
        network, network, make_ema(network, 0.9), make_optimizer(network, settings, engine.fused),
        schedule, settings, engine, dtype,
    )  # fmt: skip

    def backward(loss):
        assert (loss.device, loss.dtype, loss.requires_grad) == (CUDA, torch.float32, True)
        for parameter in network.parameters():
            parameter.grad = torch.empty_like(parameter)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    batch = batch_on_gpu(schedule)
    train_step(state, batch, 0)  # allocates moments, and tables on the device
    with Waits() as waits:
        losses = train_step(state, batch, 1)
    assert losses.device == CUDA
    assert losses.dtype == torch.float32
    assert {*seen} == {dtype}
    assert not waits.found


@pytest.mark.usefixtures("fake")
def test_batches_come_from_pinned_memory(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda one: pinned.append(one) or one)
    source = SimpleNamespace(batch=lambda _: (torch.zeros(8, 4, 8, 8), torch.zeros(8).long()))
    with unset_fake_temporarily():
        made = Draws(0, SCHEDULES["latent"](), 0.1, 10).batch(*source.batch(0), 0)
    draws = SimpleNamespace(batch=lambda *_: made.map(lambda one: torch.empty(
        one.shape, dtype=one.dtype)))  # fmt: skip
    with Waits() as waits:
        found = list(stream_batches(source, draws, slice(2, 6), CUDA, range(2), ahead=False))
    tensors = []
    for batch in found:
        batch.map(lambda one: tensors.append(one) or one)
    assert {one.device for one in tensors} == {CUDA}
    assert len(pinned) == len(tensors) == 8
    assert not waits.found


def test_processes_on_gpus_meet(monkeypatch):
    called = {}
    group = SimpleNamespace(
        init_process_group=lambda backend, **kwargs: called.update(backend=backend, **kwargs),
        new_group=lambda backend, **_: f"group of {backend}",
        get_rank=lambda: 1, DistError=torch.distributed.DistError,
    )  # fmt: skip
    monkeypatch.setattr(torch, "distributed", group)
    monkeypatch.setattr(torch.cuda, "set_device", lambda one: called.update(device=one))
    for name, value in {"RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    world = distributed._connect(torch.device("cuda", 1), 2)
    assert (called["backend"], called["device"]) == ("nccl", torch.device("cuda", 1))
    assert called["device_id"] == world.device
    assert (world.rank, world.control) == (1, "group of gloo")
    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", lambda _, **kwargs: kwargs)
    assert world.replicate(None)["device_ids"] == [1]


# --- sampling -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(("flop", "recorded"), [(sampling.LAUNCH_BOUND, True), (0.0, False)])
def test_short_passes_are_recorded_as_graphs(flop, recorded, monkeypatch):
    marked, chosen = [], {}
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marked.append(1))
    monkeypatch.setattr(sampling, "LAUNCH_BOUND", flop)

    def compile(function, dynamic, options):  # noqa: ARG001 as torch's
        chosen.update(options)
        return lambda *arguments: function(*arguments)

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(sampling, "complexity", lambda _: SimpleNamespace(macs=1))
    evaluate = Evaluator(on_gpu(DIMR), SamplingEngine(True, "bfloat16"), 4, guided=True)
    assert (evaluate.unit, evaluate.limit) == (4, 8)
    x, t = torch.empty(6, 4, 8, 8, device=CUDA), torch.empty((), device=CUDA)
    labels = LabelCondition(torch.zeros(6, dtype=torch.long, device=CUDA), 10)
    (found,) = evaluate(x, t, labels)
    assert (found.shape, found.dtype, found.device) == (x.shape, torch.float32, CUDA)
    assert evaluate.compiled
    assert chosen["triton.cudagraphs"] is recorded
    assert len(marked) == 4  # warmed up, recorded, replayed, and the pass


# --- copies, devices, images ----------------------------------------------------------------------


@pytest.mark.usefixtures("fake")
def test_copies_to_the_gpu_do_not_wait(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda one: pinned.append(one) or one)
    with Waits() as waits:
        there = async_io.to_device(torch.zeros(3), CUDA)
    assert there.device == CUDA
    assert len(pinned) == 1
    assert not waits.found


class Event:
    """Of a GPU: recorded, then waited for."""

    def __init__(self):
        self.done = []

    def record(self, stream):
        self.done.append(stream)

    def synchronize(self):
        self.done.append("waited")


def test_a_copy_to_the_host_is_waited_for_when_it_is_read(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: "stream")
    empty, asked = torch.empty, []

    def pinned(*arguments, pin_memory=False, **options):
        asked.append(pin_memory)
        return empty(*arguments, **options)

    monkeypatch.setattr(torch, "empty", pinned)
    copy = async_io.Copy(torch.arange(3.0))
    assert copy._arrived.done == ["stream"]
    np.testing.assert_array_equal(copy(), [0, 1, 2])
    assert copy._arrived.done == ["stream", "waited"]
    assert asked == [True]
    with FakeTensorMode():
        assert isinstance(async_io.start_copy(torch.empty(3, device=CUDA)), async_io.Copy)


def test_devices_and_their_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "usable_device", lambda name, _: torch.device(name))
    assert device.prepare_device() == torch.device("cuda")
    assert resolve_precision("auto", CUDA) == torch.bfloat16
    assert resolve_precision("float32", CUDA) == torch.float32
    properties = SimpleNamespace(total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    device.require_memory(80 << 30, "it", CUDA)
    with pytest.raises(DimrError, match=r"it: takes .* of memory or more; this machine has"):
        device.require_memory((80 << 30) + 1, "it", CUDA)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 123)
    assert peak_memory(CUDA) == 123
    sides = []
    monkeypatch.setattr(torch, "ones", lambda side, *_, **__: sides.append(side) or Product())
    assert matrix_ceiling.__wrapped__(CUDA, torch.bfloat16) > 0
    assert sides == [4096, 8192]


class Product:
    """A matrix whose product with itself costs nothing."""

    def __matmul__(self, _):
        return Value()


class Value:
    """The product: a value is read off it."""

    def __getitem__(self, _):
        return SimpleNamespace(item=lambda: 0.0)


def test_gpus_are_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    assert "2 GPUs (NVIDIA H200)" in str(torch_finding())


def test_processes_are_one_a_gpu(monkeypatch):
    from dimr.stages.shards import processes_for

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert processes_for(SimpleNamespace(processes=None), "cuda") == 3
    assert processes_for(SimpleNamespace(processes=None), "cuda:1") == 1
    assert processes_for(SimpleNamespace(processes=2), "cuda") == 2


@pytest.mark.usefixtures("fake")
def test_images_are_encoded_on_a_gpu(monkeypatch, tmp_path):
    """In channels-last, where convolutions are fastest; moments come back by ``Copy``."""
    from dimr.data import encode as module

    seen = []

    network = nn.Module()
    monkeypatch.setattr(nn.Module, "to", lambda one, *a, **k: seen.append((a, k)) or one)
    monkeypatch.setattr(module, "load_autoencoder", lambda *_: network)
    monkeypatch.setattr(module, "posterior_moments", lambda _, x: seen.append(x) or x)
    monkeypatch.setattr(module, "start_copy", lambda x: x)
    monkeypatch.setattr(Encoder, "kind", "posterior", raising=False)
    encode = Encoder(tmp_path, 8, CUDA, True, "bfloat16")
    found = encode(torch.zeros(2, 8, 8, 3, dtype=torch.uint8))
    moved, typed, x = seen
    assert moved == ((), {"memory_format": torch.channels_last})
    assert typed == ((torch.bfloat16,), {})
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert (found.shape, found.device) == ((4, 3, 8, 8), CUDA)
    assert usual_batch(256, True) == 8 * usual_batch(256, False)
