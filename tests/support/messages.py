"""What the command line says."""


def error_in(caplog):
    """The one error that was logged, which is one line."""
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    message = record.getMessage()
    assert "\n" not in message
    return message
