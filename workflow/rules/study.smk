# The digits study: its numbers seed by seed, the page that they make, and all that belongs to it.


report: "../report/workflow.rst"


localrules:
    study_results,
    study_page,
    page,
    study_front,
    study,
    more_seeds,


from dimr.paper.results import not_recorded
from dimr.paper.study.claims import load_claims

# Names below results/, without suffix; and every (run, setting) of the tables and of the claims.
STUDIED = [name for name in PICTURED if name.startswith("digits/")]
COUNTED = [name for name in PLAIN if name.startswith("digits/") and TABLES[name].exists]
DRAWN = [
    f"digits/figures/{name.removeprefix('digits/')}"
    for name in names(PROJECT)
    if name.startswith("digits/")
]
CLAIMED = one_line_errors(load_claims)(PROJECT.experiments / "claims.yaml").cells()
CELLS = sorted({*CLAIMED, *(cell for name in STUDIED for cell in TABLES[name].cells())})
SEEDS, FACTS = "results/digits/seeds.csv", "results/digits/study.json"
TO_ADD = one_line_errors(not_recorded)(Path(SEEDS), CLAIMED)
# Measured by hand (benchmarks/reruns.py); the page says if it is not there.
RERUNS = "results/digits/reruns.csv"


rule study_results:
    input:
        metrics=[f"runs/{metrics_file(*cell)}" for cell in CELLS],
        provenance=[f"runs/{provenance_file(*cell)}" for cell in CELLS],
    output:
        seeds=SEEDS,
        facts=FACTS,
    log:
        "logs/results/digits/seeds.log",
    benchmark:
        "logs/results/digits/seeds.tsv"
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} study-results --runs runs --logs logs --metrics {input.metrics} "
        "--seeds-csv {output.seeds} --facts {output.facts}"


rule study_page:
    # The pictures are inputs: the page shows those that exist.
    input:
        claims="experiments/claims.yaml",
        published="experiments/published.yaml",
        template="docs/digits-study.md.jinja",
        seeds=SEEDS,
        facts=FACTS,
        reruns=[RERUNS] if Path(RERUNS).is_file() else [],
        pictures=expand("results/{name}.png", name=STUDIED + DRAWN),
    output:
        "docs/digits-study.md",
    log:
        "logs/results/digits/study.log",
    benchmark:
        "logs/results/digits/study.tsv"
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} study --claims {input.claims} --template {input.template} "
        "--results results/digits --out {output}"


rule page:
    # For the report, which shows HTML and pictures: a readable table.
    input:
        "results/digits/{page}.md",
    output:
        report(
            "results/digits/{page}.html",
            caption="../report/page.rst",
            category="Tables",
            labels={"Table": "{page}", "As": "numbers"},
        ),
    log:
        "logs/results/digits/{page}-page.log",
    benchmark:
        "logs/results/digits/{page}-page.tsv"
    wildcard_constraints:
        page=r"(?!study)[\w-]+",
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} page --markdown {input} --out {output}"


use rule page as study_front with:
    # Opens the report (workflow.rst). Not one of its results: Chromium shows none of 2 MB.
    input:
        "docs/digits-study.md",
    output:
        "results/digits/study.html",
    log:
        "logs/results/digits/study-page.log",
    benchmark:
        "logs/results/digits/study-page.tsv"


rule study:
    # Runs are named, too: if results are checked in but runs are not, they are still made.
    input:
        rules.study_results.input,
        expand("results/{name}.csv", name=STUDIED + COUNTED),
        expand("results/{name}.pdf", name=DRAWN),
        "docs/digits-study.md",
        "results/digits/distortion/ratings.html",
        expand("results/{name}.html", name=STUDIED + COUNTED),
        expand("results/{name}.png", name=STUDIED + DRAWN),
        "results/digits/study.html",


rule more_seeds:
    # Adds what claims.yaml asks for and the record lacks; the recorded runs are not needed.
    input:
        metrics=[f"runs/{metrics_file(*cell)}" for cell in TO_ADD],
        provenance=[f"runs/{provenance_file(*cell)}" for cell in TO_ADD],
    log:
        "logs/results/digits/more_seeds.log",
    conda:
        "../../environment.yml"
    params:
        files=f"--seeds-csv {SEEDS} --facts {FACTS}",
    shell:
        "dimr --log {log} study-results --add --runs runs --logs logs {params.files} "
        "--metrics {input.metrics}"
