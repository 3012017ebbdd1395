"""Figures as targets: asking for one makes the runs that it shows, and no others."""


def test_a_figure_trains_what_it_shows(stubbed):
    figures = ("digits/figures/td_ln.pdf", "figures/cost.png", "figures/architecture/dimr-g-2r.pdf")
    text = stubbed.snakemake("-n", "--", *(f"results/{name}" for name in figures)).stdout
    jobs = [line.strip() for line in text.splitlines() if line.strip().startswith("wildcards: ")]
    trained = {job for job in jobs if "run=" in job}
    assert trained == {"wildcards: run=digits/dimr-xs-2r/0", "wildcards: run=digits/dit-xs-2/0"}
    assert "wildcards: place=, figure=cost" in jobs  # without any run: published values only
    assert "wildcards: variant=dimr-g-2r" in jobs
    assert "rule sample" not in text
    assert "rule evaluate" not in text


def test_an_unknown_figure_is_named(stubbed):
    done = stubbed.snakemake("-n", "--", "results/digits/figures/td_lm.pdf", check=False)
    assert done.returncode != 0
    assert "no figure 'digits/td_lm' (did you mean digits/td_ln?" in done.stdout + done.stderr
