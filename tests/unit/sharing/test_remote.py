"""What a failed ``dvc pull`` said, as one line."""

import pytest

from dimr.runtime.errors import DimrError
from dimr.sharing.remote import explain

UNRECORDED = "WARNING: No file hash info found for '{root}/{path}'. It won't be created.\n"
FAILED = "ERROR: failed to pull data from the cloud - Checkout failed for following targets:\n{}\n"
END = "Is your cache up to date?\n<https://error.dvc.org/missing-files>\n"


def test_what_the_remote_lacks_is_named(tmp_path):
    messages = UNRECORDED.format(root=tmp_path, path="runs/workspace/model")
    messages += FAILED.format("runs/workspace/model\nresults/b\nresults/a") + END
    with pytest.raises(DimrError) as error:
        explain(messages, "remote 'x' (/x)", tmp_path)
    assert str(error.value) == (
        "remote 'x' (/x) lacks 2 of the recorded results, the first results/a: "
        "whoever recorded them must run `dvc push`"
    )


def test_what_nobody_recorded_is_no_error(tmp_path):
    messages = UNRECORDED.format(root=tmp_path, path="runs/workspace/model")
    messages += FAILED.format("runs/workspace/model") + END
    assert explain(messages, "remote", tmp_path) == ["runs/workspace/model"]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        (
            "WARNING: x\nERROR: unexpected error - s3 is supported, but requires 'dvc-s3'\n\n",
            "unexpected error - s3 is supported, but requires 'dvc-s3'",
        ),
        ("", "no message"),
    ],
)
def test_other_failures_are_their_first_error(tmp_path, messages, reason):
    with pytest.raises(DimrError) as error:
        explain(messages, "remote", tmp_path)
    assert str(error.value) == f"remote: {reason}"
