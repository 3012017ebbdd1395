"""Messages of the command line."""


def error_in(caplog):
    """The only logged error, which must be one line."""
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    message = record.getMessage()
    assert "\n" not in message
    return message
