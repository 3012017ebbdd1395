# Figures of experiments/figures: the paper's below results/figures, those of a dataset below
# results/<dataset>/figures. A definition names what the figure is made of, so that it is made first.

from dimr.reporting.figures.definitions import PublishedCostFigure, define


localrules:
    figure,
    architecture,


@one_line_errors
def definition_of(wildcards):
    """The definition of a figure, whose runs, settings and tables are checked."""
    return define(f"{wildcards.place}{wildcards.figure}", root=Path(workflow.basedir))


@one_line_errors
def figure_files(wildcards):
    """Input function: models, logs, images or metrics that a figure shows."""
    definition, root = definition_of(wildcards), Path(workflow.basedir)
    for run in definition.runs(root):
        resolve(run)
    return definition.files(root)


@one_line_errors
def figure_metrics(wildcards):
    """Input function: results of ours, as far as they are made, beside published ones."""
    definition, root = definition_of(wildcards), Path(workflow.basedir)
    if not isinstance(definition, PublishedCostFigure):
        return []
    return files_at_hand(definition.cells(root), metrics_file)


@one_line_errors
def figure_caption(wildcards):
    """What a figure shows, of which runs and how many seeds."""
    return definition_of(wildcards).full_caption(Path(workflow.basedir))


@one_line_errors
def architecture_files(wildcards):
    """Input function: sizes of the variants, and the networks' code."""
    root = Path(workflow.basedir)
    return define("architecture", wildcards.variant, root).files(root)


rule figure:
    input:
        definition="experiments/figures/{place}{figure}.yaml",
        files=figure_files,
        metrics=figure_metrics,
    output:
        pdf="results/{place}figures/{figure}.pdf",
        png=report(
            "results/{place}figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
        ),
    log:
        "logs/results/{place}figures/{figure}.log",
    benchmark:
        "logs/results/{place}figures/{figure}.tsv"
    wildcard_constraints:
        place=r"([\w-]+/)?",
        figure=r"\w+",
    conda:
        "../../environment.yml"
    params:
        caption=figure_caption,  # of the report
        metrics=lambda wildcards, input: options(input, "metrics"),
    shell:
        "dimr --log {log} figure {wildcards.place}{wildcards.figure} --runs runs "
        "--out {output.pdf} --png {output.png} {params.metrics}"


rule architecture:
    # Of any variant that `dimr models` lists; nothing is trained.
    input:
        architecture_files,
    output:
        pdf="results/figures/architecture/{variant}.pdf",
        png="results/figures/architecture/{variant}.png",
    log:
        "logs/results/figures/architecture/{variant}.log",
    benchmark:
        "logs/results/figures/architecture/{variant}.tsv"
    wildcard_constraints:
        variant=r"[\w-]+",
    conda:
        "../../environment.yml"
    shell:
        "dimr --log {log} figure architecture --variant {wildcards.variant} "
        "--out {output.pdf} --png {output.png}"
