# What figures are made of, by their definitions: a new figure is one file in experiments/figures.

from dimr.paper.figures.definitions import define, names


@one_line_errors
def definition_of(wildcards):
    """The definition of a figure, whose runs, settings and tables are checked."""
    return define(f"{wildcards.place}{wildcards.figure}", PROJECT)


@one_line_errors
def figure_inputs(wildcards):
    """Input function: a figure's definition, what it shows, and runs that it adds if they exist."""
    figure = definition_of(wildcards)
    for run in figure.runs(PROJECT):
        resolve(run)
    return {
        "definition": f"experiments/figures/{wildcards.place}{wildcards.figure}.yaml",
        "files": figure.files(PROJECT),
        "metrics": available_files(figure.optional_cells(PROJECT)),
    }


@one_line_errors
def figure_caption(wildcards):
    """What a figure shows, of which runs and how many seeds."""
    return definition_of(wildcards).full_caption(PROJECT)


@one_line_errors
def architecture_files(wildcards):
    """Input function: sizes of the variants, and the networks' code."""
    return define("architecture", PROJECT, wildcards.variant).files(PROJECT)
