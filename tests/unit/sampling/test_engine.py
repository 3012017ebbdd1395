"""The engine's forms of a network draw the same images: pieces, compiling, precision."""

import logging

import numpy as np
import pytest
import torch

from dimr.config.variants import check_network
from dimr.data.autoencoder import to_uint8
from dimr.models.conditioning import LabelCondition
from dimr.sampling.engine import CPU_ROWS, Evaluator, SamplingEngine, sampling_flops
from dimr.sampling.sampler import Sampler, in_batches

from .conftest import draw_all, sampling_of

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GUIDED = {"kind": "constant", "scale": 0.5, "interval": (0.0, 0.6)}
PLAIN, COMPILED = SamplingEngine(False, "float32"), SamplingEngine(True, "float32")


@pytest.fixture
def network(make_network):
    return make_network("dimr")


@pytest.fixture
def draw(network):
    """A function that draws with a form of the network; None: with the plain one."""

    def images(called=None, batch=12, **options):
        sampling = sampling_of(guidance=GUIDED)
        return draw_all(called or network[0], network[1], sampling, batch=batch, **options)

    return images


def spy_on_compile(monkeypatch):
    """In place of the compiler: the function as it is; gives the list of its calls' rows."""
    rows = []

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
    return rows


@pytest.mark.parametrize(("threads", "pieces"), [(1, 4), (2, 2)])
@pytest.mark.parametrize("batch", [1, 5, 12, 100])
def test_a_compiled_network_sees_one_size(batch, threads, pieces, network, draw, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    plain = draw()
    assert plain.std() > 10
    rows = spy_on_compile(monkeypatch)
    called = Evaluator(network[0], COMPILED, batch, guided=True)
    assert rows == []  # nothing is compiled before there is something to draw
    assert np.abs(draw(called, batch) - plain).max() <= 1
    assert called.compiled
    size = 2 * batch if batch < 100 else 200 // pieces
    assert set(rows) == {(size, size)}


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 150, 500])
@pytest.mark.parametrize("engine", [PLAIN, COMPILED])
def test_pieces_make_the_whole(rows, engine, network, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    seen = spy_on_compile(monkeypatch)
    called = Evaluator(network[0], engine, 250, guided=True)
    x = torch.randn(rows, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    t, condition = torch.tensor(0.4), LabelCondition(torch.arange(rows) % 6, 5)
    (found,) = called(x, t, condition)
    torch.testing.assert_close(
        found, network[0](x, t, condition)[-1].detach(), rtol=1e-4, atol=1e-5
    )
    assert not found.requires_grad
    assert bool(seen) == called.compiled == engine.compile
    assert all(size == seen[0] and size[0] <= CPU_ROWS for size in seen)


@pytest.mark.slow
@pytest.mark.parametrize("guided", [True, False])
def test_compiled_by_the_compiler(guided, network, draw, caplog):
    plain = draw()
    called = Evaluator(network[0], COMPILED, 5, guided)
    compiled = draw(called, 5)
    assert called.compiled, caplog.text
    assert np.abs(compiled - plain).max() <= 1
    part = draw(called, 5, indices=[7, 3])  # beside other images
    assert np.abs(part - plain[[7, 3]]).max() <= 1
    assert np.array_equal(draw(called, 5), compiled)


def test_where_the_compiler_fails_sampling_continues(network, draw, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("no C++ compiler\nmore")

    monkeypatch.setattr(torch, "compile", broken)
    called = Evaluator(network[0], COMPILED, 12, guided=True)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(draw(called), draw())
    assert not called.compiled
    (record,) = caplog.records  # once, not with every pass
    assert record.getMessage() == (
        "torch.compile is not usable here (no C++ compiler); sampling without it"
    )


def test_bfloat16_rounds_the_network_and_not_the_state(network, draw):
    called = Evaluator(network[0], SamplingEngine(False, "bfloat16"), 12, guided=True)
    states = []

    def watched(x, t, condition):
        (found,) = called(x, t, condition)
        exact = network[0](x, t, condition)[-1].detach()
        states.append((x.dtype, found.dtype))
        assert 1e-4 < (found - exact).norm() / exact.norm() < 0.05
        return [found]

    rounded = draw(watched)
    assert set(states) == {(torch.float32, torch.float32)}
    assert 0 < np.abs(rounded - draw()).mean() < 10


def test_what_is_decided_for_all_images(network):
    config = check_network(network[1], "test")
    short, long = sampling_of(), sampling_of(count=5_000_000, steps=1000)
    for engine, sampling, device, expected in (
        (SamplingEngine(), short, CPU, PLAIN),
        (SamplingEngine(), long, CPU, COMPILED),
        (SamplingEngine(), short, CUDA, SamplingEngine(False, "bfloat16")),
        (SamplingEngine(True), short, CPU, COMPILED),
        (SamplingEngine(False), long, CPU, PLAIN),
        (SamplingEngine(False, "bfloat16"), short, CPU, SamplingEngine(False, "bfloat16")),
    ):
        assert engine.resolved(config, sampling, device) == expected
    assert PLAIN.facts() == {"compile": False, "precision": "float32"}


def test_the_cost_of_all_images(network):
    config = check_network(network[1], "test")
    alone, everywhere, partly = (
        sampling_flops(config, sampling_of(guidance=guidance))
        for guidance in ({"kind": "none"}, {"kind": "constant", "scale": 0.5}, GUIDED)
    )
    assert everywhere == pytest.approx(2 * alone) != 0
    assert partly == pytest.approx(1.6 * alone)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_cuda(precision, network, draw):
    """As a CUDA graph, and without a wait in the loop (an error where the driver sees one)."""
    plain = draw()
    called = Evaluator(network[0].to(CUDA), SamplingEngine(True, precision), 5, guided=True)

    def to_images(x):
        torch.cuda.set_sync_debug_mode("default")
        found = to_uint8(x.cpu())
        torch.cuda.set_sync_debug_mode("error")
        return found

    config = check_network(network[1], "test")
    sampler = Sampler(called, config, sampling_of(guidance=GUIDED), to_images, CUDA)
    batches = in_batches(range(12), 5)
    list(sampler.draw(batches))  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        drawn = np.concatenate(list(sampler.draw(batches))).astype(int)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert called.compiled
    assert np.abs(drawn - plain).mean() < (0.5 if precision == "float32" else 10)
