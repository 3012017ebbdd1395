"""A part of the matrix of damage, as CI has minutes and not an hour: the script runs it whole."""

import pytest


@pytest.mark.slow
def test_no_corruption_is_silent(matrix):
    """None that a checksum can show is used, and none ends in a traceback."""
    assert matrix("corruption", every=13, counted="corruptions") >= 100
