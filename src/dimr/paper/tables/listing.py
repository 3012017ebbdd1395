"""The list of variants for a terminal (``dimr models``), and what in it is not as published."""

from collections.abc import Sequence

from dimr.paper.tables.counts import Counted, Figure
from dimr.paper.tables.layout import text_lines
from dimr.paper.tables.sheets import cell
from dimr.paper.tables.variants import shape_text

HEADS = [
    "variant", "input", "parameters", "authors' code", "published", "met",
    "GMACs", "authors' code", "published", "met", "MB/image",
]  # fmt: skip


def listing(variants: Sequence[Counted]) -> list[str]:
    """One line a variant under a line of headings; the last number is memory for training.

    Where parameters alone were counted, there are no columns of the others.
    """
    body = []
    for one in variants:
        line = [one.listed.name, shape_text(one.input), *_figure(one.parameters, "{:,}")]
        if one.gmacs.ours is not None:
            form = "{:.2f}" if one.gmacs.ours >= 1 else "{:.4f}"
            line += [*_figure(one.gmacs, form), cell(one.memory_mb, "{:,.1f}").text]
        body.append(line)
    heads = HEADS[: len(body[0])]
    return text_lines(heads, body, [False, *[True] * (len(heads) - 1)])


def _figure(figure: Figure, form: str) -> list[str]:
    """Ours, the authors' code's, the printed one, and whether ours is what they say."""
    printed = cell(figure.printed).text
    known = [cell(figure.ours, form).text, cell(figure.counted, form).text, printed]
    return [*known, cell(figure.agrees).text]


def verdicts(variants: Sequence[Counted]) -> tuple[int, list[str]]:
    """How many figures have a published side, and a phrase for each that is not met."""
    checked, wrong = 0, []
    for one in variants:
        for what, figure in (("parameters", one.parameters), ("GMACs", one.gmacs)):
            checked += figure.agrees is not None
            if figure.agrees is False:
                known = " and ".join(str(k) for k in (figure.counted, figure.printed) if k)
                wrong.append(f"{one.listed.name} has {figure.ours} {what}, not {known}")
    return checked, wrong
