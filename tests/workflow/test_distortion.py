"""The distortion study's part of the workflow."""


def test_what_the_studies_need(stubbed):
    targets = ("results/digits/distortion/rates.csv", "results/distortion/ratings.html")
    done = stubbed.snakemake("-n", "--quiet", "host", "progress", "--", *targets)
    lines = [line.split() for line in done.stdout.splitlines()]
    rules = [words[1].rstrip(":") for words in lines if words[:1] in (["rule"], ["localrule"])]
    jobs = {rule: rules.count(rule) for rule in rules}
    # three models on digits; of the paper's, two have published weights and U-ViT is trained
    assert (jobs["train"], jobs["published"]) == (4, 2)
    assert (jobs["sample"], jobs["distortion"]) == (6, 6)
    assert (jobs["classifier"], jobs["distortion_classifier"]) == (1, 1)
    assert (jobs["rating_page"], jobs["distortion_rates"]) == (2, 1)
    assert "evaluate" not in jobs


def test_what_the_figure_of_low_fidelity_images_needs(stubbed):
    """80,000 images of three models to choose from, and the FID of 50,000."""
    text = stubbed.snakemake("-n", "--", "results/figures/figure5.pdf").stdout
    jobs = [line.strip() for line in text.splitlines() if line.strip().startswith("wildcards: ")]
    settings = [job.rpartition("setting=")[2] for job in jobs if "setting=" in job]
    counts = {setting: settings.count(setting) for setting in settings}
    assert counts == {"guided": 6, "guided80k": 6}  # samples and metrics; samples and scores


def test_a_dataset_without_a_study_is_named(stubbed):
    done = stubbed.snakemake("-n", "results/imagenet64/distortion/ratings.html", check=False)
    assert done.returncode != 0
    message = "no study 'imagenet64' (did you mean imagenet256? allowed: digits, imagenet256)"
    assert message in done.stdout + done.stderr
