"""A part of the hostile inputs, as CI has minutes and not an hour: the script runs them all."""

import pytest


@pytest.mark.slow
def test_no_hostile_input_ends_in_a_traceback(matrix):
    """Nor in a hang, in code of a file being run, or in a change of what is no output."""
    assert matrix("hostile", every=20, counted="inputs") >= 200
