"""How figures are written: the same bytes for the same data, both files or none."""

import pytest
from matplotlib.figure import Figure

from dimr.paper.figures import style


def drawn(value=1.0):
    figure = Figure(figsize=(2, 1.5))
    axes = figure.subplots()
    axes.plot([0, value], [0, 1], label="a line")
    axes.imshow([[0, 1], [1, 0]], extent=(0, 1, 0, 1))
    axes.set_title("τ and ×")
    return figure


def save(folder, figure):
    pdf, png = folder / "f.pdf", folder / "f.png"
    style.save(figure, pdf, png, title="A figure", subject="what it shows")
    return pdf.read_bytes(), png.read_bytes()


def test_the_same_data_give_the_same_bytes(tmp_path, monkeypatch):
    first = save(tmp_path, drawn())
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")  # matplotlib's clock, where it has one
    assert save(tmp_path / "again", drawn()) == first
    assert save(tmp_path / "other", drawn(2.0)) != first
    assert b"CreationDate" not in first[0]


def test_metadata_and_fonts_are_in_the_files(tmp_path):
    pdf, png = save(tmp_path, drawn())
    assert b"A figure" in pdf
    assert b"what it shows" in pdf
    assert b"what it shows" in png
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf


def test_a_figure_that_cannot_be_written_leaves_nothing_and_loses_nothing(tmp_path, monkeypatch):
    before = save(tmp_path, drawn())
    figure = drawn(3.0)
    monkeypatch.setattr(figure, "savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(tmp_path, figure)
    assert ((tmp_path / "f.pdf").read_bytes(), (tmp_path / "f.png").read_bytes()) == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["f.pdf", "f.png"]


def test_series_differ_in_colour_dash_and_marker():
    count = len(style.SERIES)
    assert len(set(style.SERIES)) == count == len(set(style.MARKERS))
    assert (
        len({(style.series(n)["color"], str(style.series(n)["linestyle"])) for n in range(count)})
        == count
    )


@pytest.mark.parametrize(("low", "high"), [(1.2, 1.24), (0.6, 2.4), (60, 3000), (1, 1e6)])
def test_logarithmic_axes_have_a_few_plain_ticks(low, high):
    axes = Figure().subplots()
    axes.plot([low, high], [1, 2])
    axes.set_xscale("log")
    style.widen(axes)
    style.plain_log_ticks(axes.xaxis)
    start, end = axes.get_xlim()
    assert end / start >= 2 - 1e-9
    ticks = [tick for tick in axes.get_xticks() if start <= tick <= end]
    assert 2 <= len(ticks) <= 9
