# What figures are made from, by their definitions: a new figure is one file in experiments/figures.

from dimr.paper.figures.lookup import define, find, names


@one_line_errors
def figure_place(wildcards):
    """Where the definition of a figure is."""
    return find(f"{wildcards.place}{wildcards.figure}", PROJECT)


@one_line_errors
def definition_of(wildcards):
    """The definition of a figure, whose runs, settings and tables are checked."""
    return define(f"{wildcards.place}{wildcards.figure}", PROJECT)


def figure_meant(wildcards):
    """The name by which a figure is drawn, whichever it was asked for by."""
    return figure_place(wildcards).name


@one_line_errors
def figure_inputs(wildcards):
    """Input function: a figure's definition, what it shows, and runs that it adds if they exist."""
    figure = definition_of(wildcards)
    for run in figure.runs(PROJECT):
        resolve(run)
    return {
        "definition": figure_place(wildcards).file,
        "files": figure.files(PROJECT),
        "metrics": available_files(figure.optional_cells(PROJECT)),
    }


@one_line_errors
def figure_caption(wildcards):
    """What a figure shows, from which runs and how many seeds."""
    return definition_of(wildcards).full_caption(PROJECT)
