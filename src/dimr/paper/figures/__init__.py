"""The paper's figures, one module each: ``make(definition, project, runs)`` returns the figure.

What a figure shows is data (``experiments/figures``, read by ``definitions``). Importing this
package or ``definitions`` imports neither torch nor matplotlib.
"""
