"""Networks of text: what they see of it and what not, refusals, and the forms they run in."""

import dataclasses
import itertools

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.nn import functional as F

from dimr import build
from dimr.config.project import PROJECT
from dimr.config.schema import NETWORKS, sampling_problem
from dimr.config.validation import validate
from dimr.diffusion import sample
from dimr.diffusion.guidance import wrap
from dimr.diffusion.schedule import SCHEDULES
from dimr.models import DiMR, DiMRSizes, DiTSizes, UViT, UViTSizes
from dimr.models.blocks import Attention, Seen, attend
from dimr.models.complexity import complexity, count_parameters, on_meta
from dimr.models.conditioning import Condition, LabelCondition, TextCondition
from dimr.runtime.errors import DimrError
from dimr.sampling.engine import Evaluator, SamplingEngine
from dimr.training import Engine, TrainState, make_ema, make_optimizer, train_step
from dimr.training.batches import Draws

TOKENS, WIDTH = 5, 12
TEXT = {"input_size": 8, "channels": 3, "text_dim": WIDTH, "text_tokens": TOKENS}
BRANCHES = {"layers": [2, 1, 1], "dims": [32, 16, 8], "heads": 2, **TEXT}
PATCHED = {"depth": 3, "dim": 32, "heads": 4, "patch": 2, **TEXT}
NETWORKS_OF_TEXT = [
    (DiMR, BRANCHES),
    (DiMR, {**BRANCHES, "layers": [1], "dims": [24], "heads": 3, "time_map": "pixel"}),
    (DiMR, {**BRANCHES, "norm": "layer", "cascade": "concat", "branch_skips": True}),
    (DiMR, {**BRANCHES, "norm": "adaln_zero", "feed_forward": "mlp", "outputs": "last"}),
    *((UViT, {**PATCHED, "time": time}) for time in ("token", "adaln_zero", "td_ln")),
    (UViT, {**PATCHED, "input_size": 4, "time_map": "pixel"}),
]
IDS = [f"{family.__name__}-{i}" for i, (family, _) in enumerate(NETWORKS_OF_TEXT)]
every_network = pytest.mark.parametrize(("family", "sizes"), NETWORKS_OF_TEXT, ids=IDS)


def made(family, sizes, std=0.2):
    torch.manual_seed(0)
    network = family(**sizes)
    for name, parameter in network.named_parameters():
        # of norms that depend on time both ends are drawn, so that it matters
        torch.nn.init.normal_(parameter, std=1.0 if name.endswith((".p0", ".p1")) else std)
    return network


def inputs(network, images=4):
    """Images, times and texts of which the first shows one token, the last all."""
    x, _, condition = network.example_inputs(images, "cpu")
    tokens = torch.randn_like(condition.tokens)
    counts = torch.linspace(1, tokens.shape[1], images).round()
    mask = torch.arange(tokens.shape[1]) < counts[:, None]
    empty = TextCondition(torch.randn_like(tokens[:1]), mask[1:2])
    return torch.randn_like(x), torch.linspace(0.1, 0.9, images), TextCondition(tokens, mask, empty)


def error(ours, expected):
    pairs = zip(ours, expected, strict=True)
    return max(((a - b).norm() / b.norm()).item() for a, b in pairs)


# --- what is seen ---------------------------------------------------------------------------------


@every_network
def test_predictions_depend_on_the_text_of_each_image_only(family, sizes):
    network = made(family, sizes)
    x, t, condition = inputs(network)
    together = network(x, t, condition)
    for i in range(4):
        rows = slice(i, i + 1)
        alone = network(x[rows], t[i], condition[rows])
        assert error(alone, [output[rows] for output in together]) < 1e-5
        other = network(x[rows], t[i], condition[(i + 1) % 4 :][:1])
        assert error(other, alone) > 1e-4
    order = torch.tensor([2, 0, 3, 1])
    turned = network(x[order], t[order], condition[order])
    assert error(turned, [output[order] for output in together]) < 1e-5
    null = network(x, t, condition.null())
    dropped = torch.tensor([True, False, True, False])
    mixed = network(x, t, condition.drop(dropped))
    for a, b, c in zip(mixed, null, together, strict=True):
        assert error([a[dropped], a[~dropped]], [b[dropped], c[~dropped]]) < 1e-5


@every_network
@pytest.mark.parametrize("hidden", [3.0, 1e30, torch.nan, torch.inf])
def test_what_is_hidden_changes_nothing(family, sizes, hidden):
    network = made(family, sizes)
    x, t, condition = inputs(network)
    tokens = torch.where(condition.mask[..., None], condition.tokens, hidden)
    changed = dataclasses.replace(condition, tokens=tokens.requires_grad_())
    outputs = network(x, t, changed)
    assert all(map(torch.equal, outputs, network(x, t, condition)))
    sum(output.square().sum() for output in outputs).backward()
    assert tokens.grad[condition.mask].abs().amin() > 0
    assert tokens.grad[~condition.mask].abs().amax() == 0
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name


@every_network
def test_a_text_without_its_hidden_tokens_is_the_same_text(family, sizes):
    """A DiMR takes any number of tokens; a U-ViT has positions, which leave with them."""
    network = made(family, sizes)
    x, t, condition = inputs(network)
    condition.mask[2] = torch.tensor([False, True, False, True, True])  # a hole, too
    for i, output in enumerate(network(x, t, condition)[-1]):
        rows, kept = slice(i, i + 1), condition.mask[i]
        short = TextCondition(condition.tokens[rows, kept], condition.mask[rows, kept])
        smaller = network
        if family is UViT:
            smaller = UViT(**{**sizes, "text_tokens": int(kept.sum())})
            before = network.extras - TOKENS
            seen = F.pad(kept, (before, len(network.position) - TOKENS - before), value=True)
            weights = {**network.state_dict(), "position": network.position[seen]}
            smaller.load_state_dict(weights)
        assert error(smaller(x[rows], t[i], short)[-1], output[None]) < 1e-5


def test_a_dimr_takes_texts_of_any_length():
    network = made(DiMR, BRANCHES)
    x, t, condition = inputs(network)
    for more in (1, 72):
        longer = TextCondition(
            F.pad(condition.tokens, (0, 0, 0, more), value=9.0), F.pad(condition.mask, (0, more))
        )
        assert error(network(x, t, longer), network(x, t, condition)) < 1e-5


def test_without_an_empty_caption_no_token_is_seen():
    network = made(DiMR, BRANCHES)
    x, t, condition = inputs(network)
    nothing = dataclasses.replace(condition, empty=None).null()
    assert not nothing.mask.any()
    none_there = TextCondition(condition.tokens[:, :0], condition.mask[:, :0])
    assert error(network(x, t, nothing), network(x, t, none_there)) < 1e-5


@pytest.mark.parametrize("images", [2, 9])  # of 4 and 81 tokens: the plain formula, and the fused
@pytest.mark.parametrize("heads", [1, 4])
def test_attention_is_that_over_the_tokens_that_are_there(images, heads):
    torch.manual_seed(0)
    dim, own = 16, images**2
    layer = Attention(dim, heads, text_dim=WIDTH)
    x, text = torch.randn(3, own, dim), torch.randn(3, TOKENS, WIDTH)
    mask = torch.tensor([[True] * 5, [True, False, True, False, False], [False] * 5])
    seen = Seen(F.pad(mask, (own, 0), value=True)[:, None, None], text)
    found = layer(x, seen)
    for i in range(3):
        q, k, v = layer.qkv(x[i]).split(dim, dim=-1)
        text_k, text_v = layer.text(text[i, mask[i]]).split(dim, dim=-1)
        k, v = torch.cat([k, text_k]), torch.cat([v, text_v])
        columns = [slice(start, start + dim // heads) for start in range(0, dim, dim // heads)]
        parts = [
            torch.softmax(q[:, c] @ k[:, c].T / (dim // heads) ** 0.5, dim=-1) @ v[:, c]
            for c in columns
        ]
        torch.testing.assert_close(found[i], layer.out(torch.cat(parts, dim=-1)))


@pytest.mark.parametrize("tokens", [17, 80])
def test_masked_attention_is_the_fused_one(tokens):
    q = torch.randn(2, 4, tokens, 8)
    k, v = torch.randn(2, 2, 4, 30, 8).unbind(0)
    mask = torch.rand(2, 1, 1, 30) < 0.5
    expected = F.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(attend(q, k, v, mask), expected)


# --- forms ----------------------------------------------------------------------------------------


@every_network
def test_checkpointed_and_in_bfloat16(family, sizes):
    network = made(family, sizes)
    x, t, condition = inputs(network)

    def outputs_and_gradients():
        network.zero_grad()
        outputs = network(x, t, condition)
        sum(output.float().square().mean() for output in outputs).backward()
        return [o.detach() for o in outputs], [p.grad.clone() for p in network.parameters()]

    plain, gradients = outputs_and_gradients()
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = outputs_and_gradients()
    assert 0 < error([output.float() for output in rounded], plain) < 0.05
    network.set_checkpointing(True)
    again, same = outputs_and_gradients()
    assert all(map(torch.equal, again + same, plain + gradients))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_embeddings_of_any_precision(dtype):
    for family, sizes in ((DiMR, BRANCHES), (UViT, PATCHED)):
        network = made(family, sizes)
        x, t, condition = inputs(network)
        stored = dataclasses.replace(condition, tokens=condition.tokens.to(dtype))
        outputs = network(x, t, stored)
        assert outputs[-1].dtype == torch.float32
        assert error(outputs, network(x, t, condition)) < 0.05
        assert stored.null().tokens.dtype == dtype  # of an empty caption in float32


@pytest.mark.slow
@pytest.mark.parametrize(("family", "sizes"), [(DiMR, BRANCHES), (UViT, PATCHED)])
def test_a_compiled_network_takes_all_texts_by_one_program(family, sizes):
    network = made(family, sizes)
    programs = CompileCounter()
    compiled = torch.compile(network, backend=programs, fullgraph=True)
    x, t, condition = inputs(network)
    two = Condition.cat([condition[:2], condition[2:].null()])
    alone = dataclasses.replace(condition, empty=None)
    for some in (condition, condition.null(), two, condition[:1].expand(4), alone, alone.null()):
        contiguous = some.map(torch.Tensor.contiguous)
        assert all(map(torch.equal, compiled(x, t, contiguous), network(x, t, some)))
    assert programs.frame_count == 1


@every_network
def test_a_step_learns_from_every_weight_of_the_text(family, sizes):
    network = family(**sizes)
    before = {n: p.clone() for n, p in network.named_parameters() if ".text." in f".{n}"}
    assert before
    for module in network.modules():  # adaLN-Zero is silent at first
        if hasattr(module, "modulation"):
            torch.nn.init.normal_(module.modulation.linear.weight, std=0.1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    sum(output.square().mean() for output in network(*inputs(network))).backward()
    optimizer.step()
    for name, parameter in network.named_parameters():
        assert name not in before or (parameter != before[name]).float().mean() > 0.9, name
    assert not {name for name in network.no_weight_decay() if "text" in name}


TRAIN = PROJECT.run("digits/dimr-xs-2r/0").phases()["train"].train


@pytest.mark.parametrize(("family", "sizes"), [(DiMR, BRANCHES), (UViT, PATCHED)])
def test_training_carries_texts(family, sizes):
    """In microbatches, recomputed and fused or not: the same losses."""
    schedule, losses = SCHEDULES["latent"](), []
    draws = Draws(seed=0, schedule=schedule, label_dropout=0.4, num_classes=0)
    for engine in (Engine.plain(), Engine(accumulate=3)):
        network = made(family, sizes, 0.05)
        network.set_checkpointing(engine.checkpointing == "block")
        ema, optimizer = make_ema(network, 0.9), make_optimizer(network, TRAIN, engine.fused)
        state = TrainState(network, network, ema, optimizer, schedule, TRAIN, engine)
        torch.manual_seed(1)
        batches = [draws.batch(*inputs(network, 6)[::2], step) for step in range(3)]
        of = [batch.condition for batch in batches]
        assert any((one.tokens == one.empty.tokens).all((1, 2)).any() for one in of)  # dropped
        losses.append([train_step(state, batch, step)[0] for step, batch in enumerate(batches)])
    assert torch.allclose(*map(torch.stack, losses), rtol=1e-5)


@pytest.mark.parametrize(("family", "sizes"), [(DiMR, BRANCHES), (UViT, PATCHED)])
def test_guided_sampling_carries_texts(family, sizes):
    network = made(family, sizes, 0.1).eval()
    x, _, condition = inputs(network, 5)
    engine = SamplingEngine(compile=False, precision="float32")
    images = []
    for batch in (2, 5):  # passes of another size
        model = Evaluator(network, engine, batch, guided=True)
        images.append(sample(wrap(model, condition, "constant", scale=1.5), x, 4))
    assert error(images[:1], images[1:]) < 1e-5
    negative = dataclasses.replace(condition, empty=condition[4:])
    other = sample(wrap(model, negative, "constant", scale=1.5), x, 4)
    assert error([other], images[:1]) > 1e-4


# --- sizes and costs ------------------------------------------------------------------------------


@every_network
def test_sizes_count_and_build_the_same_again(family, sizes):
    network = family(**sizes)
    assert network.sizes.num_classes == 0
    again = type(network.sizes)(**network.sizes.arguments())
    assert again == network.sizes
    assert count_parameters(on_meta(again)) == count_parameters(network)
    assert 0.2 * count_parameters(network) < again.least_parameters() <= count_parameters(network)
    many = {"text_tokens": 9000} if family is UViT else {}
    wide = dataclasses.replace(again, text_dim=9000, **many)
    least, counted = wide.least_parameters(), count_parameters(on_meta(wide))
    assert 0.9 * counted < least <= counted


def test_what_a_text_costs():
    """Beside a class: keys and values of each token in each block, and attention to them."""
    inputs = {"input_size": 16, "channels": 3}
    dim, blocks, patches = 32, 3, 64
    dimr = DiMRSizes(layers=(3, 1), dims=(dim, 16), heads=4, text_dim=WIDTH, **inputs)

    def macs(sizes, tokens):
        return complexity(dataclasses.replace(sizes, text_tokens=tokens)).macs

    for few, many in itertools.pairwise((1, 9, 40)):
        each = blocks * (WIDTH * 2 * dim + 2 * patches * dim)
        assert macs(dimr, many) - macs(dimr, few) == (many - few) * each
    assert complexity(dimr).macs == macs(dimr, 77)  # CLIP's, where none is said
    parameters = complexity(dataclasses.replace(dimr, text_dim=None, num_classes=1)).parameters
    assert complexity(dimr).parameters == parameters + blocks * 2 * WIDTH * dim - 2 * dim

    uvit = UViTSizes(depth=3, dim=dim, heads=4, patch=2, text_dim=WIDTH, text_tokens=9, **inputs)
    for few, many in itertools.pairwise((1, 9, 40)):
        squares = (1 + many + patches) ** 2 - (1 + few + patches) ** 2
        linear = WIDTH * dim + 12 * blocks * dim**2 + 2 * dim**2 + dim * 4 * 3  # skip, output
        expected = (many - few) * linear + 2 * blocks * squares * dim
        assert macs(uvit, many) - macs(uvit, few) == expected


def test_the_published_sizes_of_uvits_for_text():
    """U-ViT-S/2 and its deep form on MS-COCO: 45M and 58M parameters in their paper's table 3."""
    inputs = {"input_size": 32, "channels": 4, "text_dim": 768, "text_tokens": 77}
    for depth, printed in ((13, 45), (17, 58)):
        sizes = UViTSizes(depth=depth, dim=512, heads=8, patch=2, final_conv=True, **inputs)
        assert round(complexity(sizes).parameters / 1e6) == printed


def test_build_by_name():
    with torch.device("meta"):
        network = build("dimr-xl-2r", text_dim=768)
        assert network.sizes.num_classes == 0
        assert network.lowest.stack.blocks[0].attention.text.weight.shape == (2 * 960, 768)
        assert build("uvit-h-2", text_dim=768, text_tokens=77).position.shape == (334, 1152)


# --- refusals -------------------------------------------------------------------------------------


def without(sizes, *names):
    return {name: value for name, value in sizes.items() if name not in names}


@pytest.mark.parametrize(
    ("family", "sizes", "message"),
    [
        ("dimr", {**BRANCHES, "num_classes": 10}, "num_classes 10: a network of text has none"),
        ("uvit", {**PATCHED, "num_classes": 10}, "num_classes 10: a network of text has none"),
        ("dit", PATCHED, "text_dim 12: DiT takes classes only"),
        ("dit", without(PATCHED, "text_dim", "text_tokens"), "num_classes 0: at least 1$"),
        ("dimr", without(BRANCHES, "text_dim", "text_tokens"), "at least 1, or .* give text_dim"),
        ("dimr", without(BRANCHES, "text_dim"), "num_classes 0"),
        ("uvit", {**without(PATCHED, "text_dim"), "num_classes": 3}, "tokens 5 without text_dim"),
        ("uvit", without(PATCHED, "text_tokens"), "without text_tokens: U-ViT has a position"),
        ("uvit", {**PATCHED, "has_null_label": False}, "a network of text has no labels"),
        ("dimr", {**BRANCHES, "first": "convnext"}, "first branch of ConvNeXt takes no text"),
    ],
)
def test_sizes_that_do_not_fit(family, sizes, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(family, **sizes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("family", "sizes"), [(DiMR, BRANCHES), (UViT, PATCHED)])
def test_a_network_of_text_takes_no_classes_and_no_other_text(family, sizes):
    network = family(**sizes)
    x, t, condition = network.example_inputs(2, "cpu")
    labels = torch.zeros(2, dtype=torch.long)
    with pytest.raises(TypeError, match=r"^a network of text takes no LabelCondition$"):
        network(x, t, LabelCondition(labels, 3))
    with pytest.raises(TypeError, match=r"^a network of text takes no labels$"):
        network(x, t, labels)
    wider = TextCondition(F.pad(condition.tokens, (0, 4)), condition.mask)
    with pytest.raises(ValueError, match=r"^text of width 16, not 12: of another encoder\?$"):
        network(x, t, wider)
    short = TextCondition(condition.tokens[:, :3], condition.mask[:, :3])
    if family is UViT:
        with pytest.raises(ValueError, match=r"^text of 3 tokens, not 5$"):
            network(x, t, short)
    else:
        assert network(x, t, short)[-1].isfinite().all()


# --- config.json ----------------------------------------------------------------------------------


def test_config_of_a_network_of_text():
    sections = {
        "dimr": {"family": "dimr", **without(BRANCHES, "text_tokens")},
        "uvit": {"family": "uvit", **PATCHED},
    }
    for family, section in sections.items():
        value = {**section, "num_classes": 0, "time_map": "latent", "schedule": "latent"}
        config = validate(NETWORKS[family], value, "config.json")
        plain = config.model_dump(mode="json")
        assert {k: v for k, v in plain.items() if k in value} == value
        assert validate(NETWORKS[family], plain, "config.json") == config
        assert config.sizes.text_dim == WIDTH
        sampling = PROJECT.run("digits/dimr-xs-2r/0").phases()["sample-guided"]
        assert sampling_problem(sampling, 11, config) is None  # no classes to share them among
        classes = without(value, "text_dim", "text_tokens") | {"num_classes": 3}
        of_classes = validate(NETWORKS[family], classes, "config.json").model_dump(mode="json")
        assert not {"text_dim", "text_tokens"} & of_classes.keys()
        for change, message in (
            ({"num_classes": 3}, "num_classes 3: a network of text has none"),
            ({"text_dim": None, "text_tokens": None}, "num_classes 0: at least 1, or"),
            ({"text_dim": 0}, "text_dim: 0: input should be greater than 0"),
            ({"text_dim": "wide"}, "text_dim: 'wide': input should be a valid integer"),
            ({"text_tokens": 10**6}, "text_tokens: 1000000: input should be less than"),
            ({"num_classes": -1}, "num_classes: -1: input should be greater than"),
        ):
            with pytest.raises(DimrError, match=message) as caught:
                validate(NETWORKS[family], {**value, **change}, "config.json")
            assert "\n" not in str(caught.value)
    dit = {"family": "dit", **PATCHED, "num_classes": 0, "schedule": "linear"}
    with pytest.raises(DimrError, match="DiT takes classes only"):
        validate(NETWORKS["dit"], {**dit, "time_map": "latent"}, "config.json")
    assert DiTSizes(**without(PATCHED, "text_dim", "text_tokens"), num_classes=1).text_dim is None
