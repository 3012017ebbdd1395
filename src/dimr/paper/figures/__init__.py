"""The paper's figures, one module each: data in, a matplotlib ``Figure`` out.

What a figure shows is data (``experiments/figures``, read by ``definitions``); ``make`` puts the
two together. Importing this package or ``definitions`` imports neither torch nor matplotlib.
"""
