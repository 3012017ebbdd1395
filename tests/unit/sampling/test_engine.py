"""The engine's forms of a network draw the same images: pieces, compiling, precision."""

import logging

import numpy as np
import pytest
import torch

from dimr.config.runs import check_network
from dimr.config.schema import SampleConfig
from dimr.data.autoencoder import to_uint8
from dimr.models.conditioning import LabelCondition
from dimr.sampling.engine import CPU_ROWS, Engine, Evaluator, sampling_flops
from dimr.sampling.generate import generate

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def phase(**changes):
    values = {
        "seed": 1, "count": 12, "steps": 6, "solver": "authors",
        "guidance": {"kind": "constant", "scale": 0.5, "interval": (0.0, 0.6)}, **changes,
    }  # fmt: skip
    return SampleConfig.model_validate(values)


@pytest.fixture
def network(make_network):
    return make_network("dimr")


def evaluator(network, engine, batch, guided=True):
    return Evaluator(network[0], check_network(network[1], "test"), engine, batch, guided)


def draw(network, called, batch, **options):
    sizes = check_network(network[1], "test")
    batches = generate(called, sizes, phase(), to_uint8, batch=batch, device=CPU, **options)
    return np.concatenate(list(batches)).astype(int)


def spy_on_compile(monkeypatch, rows):
    """In place of the compiler: the function as it is, whose calls are looked at."""

    def compile(function, **options):
        assert options["dynamic"] is False
        assert options["options"]["triton.cudagraphs"] is False

        def compiled(x, t, condition):
            assert x.is_contiguous()
            assert t.shape == ()
            rows.append((len(x), len(condition)))
            return function(x, t, condition)

        return compiled

    monkeypatch.setattr(torch, "compile", compile)


@pytest.mark.parametrize(("threads", "pieces"), [(1, 4), (2, 2)])
@pytest.mark.parametrize("batch", [1, 5, 12, 100])
def test_a_compiled_network_sees_one_size(batch, threads, pieces, network, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    plain = draw(network, network[0], 12)
    assert plain.std() > 10
    rows = []
    spy_on_compile(monkeypatch, rows)
    called = evaluator(network, Engine(True, "float32"), batch)
    assert rows == []  # nothing is compiled before there is something to draw
    assert np.abs(draw(network, called, batch) - plain).max() <= 1
    assert called.compiled
    assert len(set(rows)) == 1
    size = rows[0][0]
    assert size == (2 * batch if batch < 100 else 200 // pieces)


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 150, 500])
@pytest.mark.parametrize("compiled", [False, True])
def test_pieces_make_the_whole(rows, compiled, network, monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    if compiled:
        spy_on_compile(monkeypatch, seen)
    called = evaluator(network, Engine(compiled, "float32"), 250)
    x = torch.randn(rows, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y, t = LabelCondition(torch.arange(rows) % 6, 5), torch.tensor(0.4)
    (found,) = called(x, t, y)
    expected = network[0](x, t, y)[-1]
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)
    assert not found.requires_grad
    assert all(size == seen[0] and size[0] <= CPU_ROWS for size in seen)


@pytest.mark.slow
@pytest.mark.parametrize("guided", [True, False])
def test_compiled_by_the_compiler(guided, network, caplog):
    plain = draw(network, network[0], 12)
    called = evaluator(network, Engine(True, "float32"), 5, guided)
    compiled = draw(network, called, 5)
    assert called.compiled, caplog.text
    assert np.abs(compiled - plain).max() <= 1
    part = draw(network, called, 5, indices=[7, 3])  # beside other images
    assert np.abs(part - plain[[7, 3]]).max() <= 1
    assert np.array_equal(draw(network, called, 5), compiled)


def test_where_the_compiler_fails_sampling_goes_on(network, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("no C++ compiler\nmore")

    monkeypatch.setattr(torch, "compile", broken)
    called = evaluator(network, Engine(True, "float32"), 12)
    with caplog.at_level(logging.WARNING):
        drawn = draw(network, called, 12)
    assert np.array_equal(drawn, draw(network, network[0], 12))
    assert not called.compiled
    (record,) = caplog.records  # once, not with every pass
    assert record.getMessage() == (
        "torch.compile is not usable here (no C++ compiler); sampling without it"
    )


def test_bfloat16_rounds_the_network_and_not_the_state(network):
    called = evaluator(network, Engine(False, "bfloat16"), 12)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    t, y = torch.tensor(0.4), LabelCondition(torch.arange(4), 5)
    (found,) = called(x, t, y)
    expected = network[0](x, t, y)[-1].detach()
    error = ((found - expected).norm() / expected.norm()).item()
    assert found.dtype == torch.float32
    assert 1e-4 < error < 0.05
    states = []

    def watched(x, t, y):
        states.append(x.dtype)
        return called(x, t, y)

    drawn = draw(network, watched, 12)
    assert set(states) == {torch.float32}
    assert 0 < np.abs(drawn - draw(network, network[0], 12)).mean() < 10


def test_what_is_decided_for_a_phase(network):
    sizes = check_network(network[1], "test")
    short, long = phase(), phase(count=5_000_000, steps=1000)
    assert Engine().resolved(sizes, short, CPU) == Engine(False, "float32")
    assert Engine().resolved(sizes, long, CPU) == Engine(True, "float32")
    assert Engine().resolved(sizes, short, CUDA) == Engine(False, "bfloat16")
    assert Engine(True).resolved(sizes, short, CPU).compile is True
    assert Engine(False).resolved(sizes, long, CPU).compile is False
    assert Engine(False, "bfloat16").resolved(sizes, short, CPU).precision == "bfloat16"
    assert Engine(False, "float32").facts() == {"compile": False, "precision": "float32"}


def test_the_cost_of_a_phase(network):
    sizes = check_network(network[1], "test")
    alone = sampling_flops(sizes, phase(guidance={"kind": "none"}))
    everywhere = sampling_flops(sizes, phase(guidance={"kind": "constant", "scale": 0.5}))
    assert alone > 0
    assert everywhere == pytest.approx(2 * alone)
    assert sampling_flops(sizes, phase()) == pytest.approx(1.6 * alone)  # interval [0, 0.6]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_cuda(precision, network):
    """As a CUDA graph, and without a wait in the loop (an error where the driver sees one)."""
    plain = draw(network, network[0], 12)
    on_device = network[0].to(CUDA), network[1]
    called = evaluator(on_device, Engine(True, precision), 5)
    sizes = check_network(network[1], "test")

    def images():
        batches = generate(called, sizes, phase(), to_images, batch=5, device=CUDA)
        return np.concatenate(list(batches)).astype(int)

    def to_images(x):
        torch.cuda.set_sync_debug_mode("default")
        found = to_uint8(x.cpu())
        torch.cuda.set_sync_debug_mode("error")
        return found

    images()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        drawn = images()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert called.compiled
    assert np.abs(drawn - plain).mean() < (0.5 if precision == "float32" else 10)
