"""docs/extending.md, done in a copy: a variant, a family and a table, up to their numbers."""

import csv

import pytest
import yaml

pytestmark = pytest.mark.slow

SIZES = '''
@dataclass(frozen=True, kw_only=True)
class PlainSizes(_Patched):
    """Sizes of ``Plain``: a Transformer to whose tokens time and class are added."""

    family = "plain"
    title = "Plain"
    matrices, has_skips = 12, False


FAMILIES: dict'''

NETWORK = '''
"""A Transformer to whose tokens time and class are added."""

from torch import nn

from dimr.models.base import Blocks, Network, initialise, label_embedding, patches_to_image
from dimr.models.blocks import MLP, TimeEmbedding, TransformerBlock
from dimr.models.conditioning import dit_step, labels_of
from dimr.models.sizes import PlainSizes


class Norm(nn.LayerNorm):
    def forward(self, x, cond):
        return super().forward(x)


class Plain(Network):
    family = "plain"
    sizes: PlainSizes

    def __init__(self, sizes=None, **arguments):
        super().__init__(sizes, **arguments)
        sizes = self.sizes
        self.patch = nn.Conv2d(sizes.channels, sizes.dim, sizes.patch, stride=sizes.patch)
        self.label = label_embedding(sizes.num_classes + 1, sizes.dim)
        self.embedding = TimeEmbedding(sizes.dim)
        blocks = (TransformerBlock(sizes.dim, sizes.heads, Norm, MLP) for _ in range(sizes.depth))
        self.blocks = Blocks(blocks)
        self.output = nn.Linear(sizes.dim, sizes.patch**2 * sizes.channels)
        self.apply(initialise)

    def forward(self, x, t, condition):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        label = self.label(labels_of(condition, self.sizes.num_classes))
        tokens = tokens + (self.embedding(dit_step(t)) + label)[:, None]
        for i in range(len(self.blocks)):
            tokens = self.blocks.run(i, tokens, None)
        return [patches_to_image(self.output(tokens), self.sizes.patch)]
'''

FORMAT = '''
"""The names in Plain's published weights."""

from dimr.checkpoints.formats.base import Format
from dimr.models.sizes import PlainSizes


def read_sizes(shapes):
    dim, channels, patch, _ = shapes.of("plain.patch.weight", 4)
    labels, _ = shapes.of("plain.label.weight", 2)
    return {
        "depth": shapes.count("plain.blocks."), "dim": dim, "patch": patch, "channels": channels,
        "input_size": shapes.told_input_size or 16, "num_classes": labels - 1,
        "time_map": shapes.time_map(channels),
    }


FORMATS = (
    Format(
        "plain", PlainSizes, signs=("plain.",), heads={16: 2}.get,
        published_name=lambda name, sizes: f"plain.{name}", read_sizes=read_sizes,
    ),
)
'''

VARIANTS = {
    "dimr": {"tiny": {3: {"layers": [1, 1, 1], "dims": [16, 8, 8], "heads": 2}}},
    "plain": {"xs": {4: {"depth": 2, "dim": 16, "heads": 2}}},
}

TABLE = {
    "title": "A table of another name",
    "seeds": 1,
    "notes": [],
    "columns": [
        {"key": "parameters_m", "title": "Parameters"},
        {"key": "fid_digits", "title": "FID-digits"},
    ],
    "rows": [
        {"name": "DiMR-tiny", "run": "digits-pixel/dimr-tiny-3r", "settings": ["guided"]},
        {"name": "Plain", "run": "digits-pixel/plain-xs-4", "settings": ["guided"]},
    ],
}

BY_HAND = """
import dimr
from dimr.checkpoints.formats import from_published, to_published
from dimr.config.project import PROJECT

network = dimr.build("plain-xs-4", input_size=16, channels=1, num_classes=10, time_map="pixel")
again = from_published(to_published(network))
assert again.sizes == network.sizes, again.sizes
run = PROJECT.run("digits-pixel/plain-xs-4/0")
assert run.network.sizes == network.sizes
print(sorted(variant.name for variant in PROJECT.fitting("digits-pixel")))
"""


def test_a_variant_a_family_and_a_table(project):
    folder, source = project.folder, project.folder / "src/dimr"
    # a variant, and those of the family: entries of variants.yaml
    file = folder / "experiments/variants.yaml"
    variants = yaml.safe_load(file.read_text())
    for family, sizes in VARIANTS.items():
        variants.setdefault(family, {}).update(sizes)
    file.write_text(yaml.safe_dump(variants, sort_keys=False))
    # a family: sizes, network, names in published weights
    sizes = source / "models/sizes.py"
    text = sizes.read_text().replace("\nFAMILIES: dict", SIZES, 1)
    sizes.write_text(text.replace("UViTSizes, DiTSizes)", "UViTSizes, DiTSizes, PlainSizes)", 1))
    (source / "models/plain.py").write_text(NETWORK)
    (source / "checkpoints/formats/plain.py").write_text(FORMAT)
    # a table: one file of any name
    table = folder / "experiments/tables/digits/guidance.yaml"
    table.write_text(yaml.safe_dump(TABLE, sort_keys=False))

    environment = {"PYTHONPATH": str(folder / "src")}
    shown = project.run("python", "-c", BY_HAND, **environment).stdout
    assert "'dimr-tiny-3r'" in shown
    assert "'plain-xs-4'" in shown
    counted = project.run("python", "-m", "dimr", "models", "plain-xs-4", **environment).stdout
    assert "plain-xs-4" in counted

    project.snakemake("--", "results/digits/guidance.csv")
    with open(folder / "results/digits/guidance.csv") as opened:
        dimr, plain = csv.DictReader(opened)
    assert (dimr["model"], plain["model"]) == ("DiMR-tiny", "Plain")
    for row in (dimr, plain):
        assert float(row["fid_digits"]) > 0
        assert float(row["parameters_m"]) < 1
    assert (folder / "results/digits/guidance.png").exists()
