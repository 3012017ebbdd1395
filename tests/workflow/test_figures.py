"""Figures as targets: asking for one makes the runs that it shows, and no others."""

import re


def test_a_figure_trains_what_it_shows(stubbed):
    figures = ("digits/figures/td_ln.pdf", "figures/cost.png", "figures/architecture/dimr-g-2r.pdf")
    text = stubbed.snakemake("-n", "--", *(f"results/{name}" for name in figures)).stdout
    jobs = [line.strip() for line in text.splitlines() if line.strip().startswith("wildcards: ")]
    trained = {job for job in jobs if "run=" in job}
    assert trained == {"wildcards: run=digits/dimr-xs-2r/0", "wildcards: run=digits/dit-xs-2/0"}
    assert "wildcards: place=, figure=cost" in jobs  # without any run: published values only
    assert "wildcards: place=, figure=architecture/dimr-g-2r" in jobs
    assert "rule sample" not in text
    assert "rule evaluate" not in text


def test_the_papers_numbers_need_what_their_figures_need(stubbed):
    def jobs(*names):
        text = stubbed.snakemake("-n", "--", *(f"results/{name}" for name in names)).stdout
        rules = re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE)
        return sorted(set(rules)), set(re.findall(r"wildcards: run=([\w/-]+)", text))

    assert jobs("figures/figure2.pdf") == (["figure"], set())
    assert jobs("figures/figure3.pdf") == (
        ["figure", "published"], {"imagenet256/dit-xl-2/published"},
    )  # fmt: skip
    rules, runs = jobs("digits/figures/figure6.png")
    assert "train" in rules
    assert "sample" not in rules
    assert runs == {"digits/dit-xs-2/0"}
    rules, runs = jobs("figures/figure7.pdf", "figures/figure18.png")
    assert {"train", "sample", "figure"} <= set(rules)
    assert "evaluate" not in rules
    assert runs == {f"imagenet512/dimr-xl-3r{end}/0" for end in ("-400epochs", "")}


def test_a_number_that_means_another_figure_is_drawn_again(stubbed):
    target = "results/figures/figure2.pdf"
    stubbed.snakemake("--", target)
    assert stubbed.planned(target) == set()
    stubbed.edit("experiments/figures.yaml", "figure2", "architecture/dimr-g-2r")
    assert stubbed.planned(target) == {"figure"}


def test_an_unknown_figure_is_named(stubbed):
    done = stubbed.snakemake("-n", "--", "results/digits/figures/td_lm.pdf", check=False)
    assert done.returncode != 0
    assert "no figure 'digits/td_lm' (did you mean digits/td_ln?" in done.stdout + done.stderr
