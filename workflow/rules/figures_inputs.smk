# What figures are made of, by their definitions.

from dimr.paper.figures.definitions import PublishedCostFigure, define


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
    return available_files(definition.cells(root))


@one_line_errors
def figure_caption(wildcards):
    """What a figure shows, of which runs and how many seeds."""
    return definition_of(wildcards).full_caption(Path(workflow.basedir))


@one_line_errors
def architecture_files(wildcards):
    """Input function: sizes of the variants, and the networks' code."""
    root = Path(workflow.basedir)
    return define("architecture", wildcards.variant, root).files(root)
