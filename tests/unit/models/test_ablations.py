"""Networks of the paper's tables 2 and 3, each against its formula written out, or against DiMR."""

import copy

import pytest
import torch
from torch.nn import functional as F

from dimr.models import DiMR
from dimr.models.blocks import MLP, AdaLNZeroConvNeXtBlock

SIZES = {"layers": [4, 3, 2], "dims": [16, 12, 8], "heads": 2}
SIZES |= {"input_size": 8, "channels": 3, "num_classes": 5}
TABLES = [
    {"norm": "adaln_zero", "feed_forward": "mlp", "outputs": "last"},
    {"first": "convnext"},
    {"cascade": "concat"},
    {"branch_skips": True},
    {"norm": "adaln_zero", "first": "convnext", "cascade": "concat", "branch_skips": True},
]


def randomised(module, std=0.3):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return module


def with_weights_of(network, **changes):
    """DiMR with other sizes: the weights of ``network`` where it has them, else random ones."""
    other = randomised(DiMR(**SIZES, **changes))
    other.load_state_dict({**other.state_dict(), **network.state_dict()})
    return other


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    return torch.randn(2, 3, 8, 8), torch.tensor([0.3, 0.8]), torch.tensor([1, 5])


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return randomised(DiMR(**SIZES))


# --- table 2 --------------------------------------------------------------------------------------


def test_blocks_with_adaln_zero_start_as_the_identity():
    """Of either kind, the depthwise convolution too: nothing passes the gates."""
    network = DiMR(**SIZES, norm="adaln_zero")
    for branch, places in ((network.lowest, (7,)), (network.higher[0], (4, 4))):
        dim = branch.input.position.shape[-1]
        x, cond = torch.randn(2, *places, dim), torch.randn(2, dim)
        assert all(torch.equal(block(x, cond), x) for block in branch.stack.blocks)


def test_a_convnext_block_with_adaln_zero_written_out():
    torch.manual_seed(0)
    block = randomised(AdaLNZeroConvNeXtBlock(6, MLP))
    x, cond = torch.randn(2, 5, 4, 6), torch.randn(2, 6)
    found = block(x, cond)
    weights = {name: w.double() for name, w in block.state_dict().items()}

    def linear(name, value):
        return value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def modulated(image, shift, scale):
        centred = image - image.mean(-1, keepdim=True)
        return centred / ((centred**2).mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + scale) + shift

    for image, vector, ours in zip(x.double(), cond.double(), found, strict=True):
        parts = linear("modulation.linear", vector / (1 + (-vector).exp())).view(6, 6)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        padded = torch.zeros(5 + 6, 4 + 6, 6, dtype=torch.float64)
        padded[3:-3, 3:-3] = modulated(image, shift1, scale1)
        mixed = weights["depthwise.bias"].expand(5, 4, 6).clone()
        for i in range(7):
            for j in range(7):
                mixed += padded[i : i + 5, j : j + 4] * weights["depthwise.weight"][:, 0, i, j]
        image = image + gate1 * mixed
        hidden = linear("feed_forward.fc1", modulated(image, shift2, scale2))
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        image = image + gate2 * linear("feed_forward.fc2", hidden)
        assert ((ours - image).norm() / image.norm()).item() < 1e-5


def test_every_branch_embeds_u_vits_step(inputs):
    """1000 t latent, 999 t pixel, and not DiMR's tau: the same as between rows 1 and 2."""
    x, t, labels = inputs
    latent = randomised(DiMR(**SIZES, norm="adaln_zero"), 0.1)
    pixel = DiMR(**SIZES, norm="adaln_zero", time_map="pixel")
    pixel.load_state_dict(latent.state_dict())
    for one, other in zip(latent(x, t * 0.999, labels), pixel(x, t, labels), strict=True):
        torch.testing.assert_close(one, other)
    widths = [branch.embedding.fc2.out_features for branch in (latent.lowest, *latent.higher)]
    assert widths == SIZES["dims"]


# --- table 3 --------------------------------------------------------------------------------------


def test_convnext_in_the_first_branch_adds_the_class_to_every_pixel(inputs):
    x, t, labels = inputs
    network = randomised(DiMR(**SIZES, first="convnext"))
    moved = copy.deepcopy(network)
    with torch.no_grad():
        moved.lowest.input.position += network.lowest.label.weight[2]
        moved.lowest.label.weight.zero_()
    two = torch.full_like(labels, 2)
    for one, other in zip(network(x, t, two), moved(x, t, labels), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    kinds = {type(block) for block in network.lowest.stack.blocks}
    assert kinds == {type(network.higher[0].stack.blocks[0])}
    assert len(network.lowest.stack.blocks) == 5


def test_concatenation_can_be_addition(inputs, plain):
    """It is where the Linear adds its two halves, and is not elsewhere."""
    concat = with_weights_of(plain, cascade="concat")
    for branch in concat.higher:
        eye = torch.eye(branch.merge.out_features)
        branch.merge.load_state_dict(
            {"weight": torch.cat([eye, eye], dim=1), "bias": torch.zeros(len(eye))}
        )
    for one, other in zip(concat(*inputs), plain(*inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    with torch.no_grad():  # of the input alone: the top no longer sees the class
        for branch in concat.higher:
            branch.merge.weight[:, branch.merge.out_features :] = 0
    x, t, labels = inputs
    assert torch.equal(concat(*inputs)[-1], concat(x, t, labels.flip(0))[-1])


def test_skips_between_branches_add_to_the_input_of_every_block(inputs, plain):
    skips = with_weights_of(plain, branch_skips=True)
    low, high = skips.lowest, skips.higher[0]
    assert high.skips.sources == [0, 2, 4]  # of 5 blocks, as there are 3
    assert skips.higher[1].skips.sources == [0, 1, 2]  # N = 2 builds 3
    seen, sent = [], []
    for blocks, kept in ((high.stack.blocks, seen), (low.stack.blocks, sent)):
        for block in blocks:
            block.register_forward_hook(lambda _, given, out, kept=kept: kept.append((given, out)))
    skips(*inputs)
    tau = 8 * inputs[1] - 4
    features = low.stack(torch.cat([low.label(inputs[2])[:, None],
                                    low.input(inputs[0]).flatten(1, 2)], 1), tau)  # fmt: skip
    below = [f[:, 1:].view(2, 2, 2, 16) for f in features]
    x = high.input(inputs[0]) + high.cascade(below, tau)
    for i, source in enumerate((0, 2, 4)):
        if i == 2:  # the one out block, after its long skip
            x = high.stack.skips[0](torch.cat([seen[1][1], seen[0][1]], dim=-1))
        image = high.skips.project[i](below[1 + source]).permute(0, 3, 1, 2)
        image = F.interpolate(image, scale_factor=2, mode="nearest").permute(0, 2, 3, 1)
        torch.testing.assert_close(seen[i][0][0], x + image, rtol=1e-4, atol=1e-4)
        x = seen[i][1]
    for branch in skips.higher:
        for project in branch.skips.project:
            torch.nn.init.zeros_(project.weight)
            torch.nn.init.zeros_(project.bias)
    for one, other in zip(skips(*inputs), plain(*inputs), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("changes", TABLES)
def test_every_parameter_learns_and_checkpointing_changes_nothing(inputs, changes):
    torch.manual_seed(0)
    network = randomised(DiMR(**SIZES, **changes), 0.2)
    gradients = []
    for checkpointing in (False, True):
        network.set_checkpointing(checkpointing)
        network.zero_grad()
        sum(p.square().mean() for p in network(*inputs)).backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient.abs().sum() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient)


def test_one_block_or_branch_alone():
    """Depths without a second block below or above to share among."""
    for layers in ([1, 3], [3, 1], [1]):
        sizes = {**SIZES, "layers": layers, "dims": SIZES["dims"][: len(layers)]}
        network = DiMR(**sizes, branch_skips=True, cascade="concat", first="convnext")
        assert len(network(*network.example_inputs(1, "cpu"))) == len(layers)
