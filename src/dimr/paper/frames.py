"""CSV files as data frames: moved to ``dimr.paper.results``."""

from dimr.paper.results import read_frame as read_frame
