"""Images of one's own: a folder, or parquet files, recognised, looked through and taken in.

``look`` says what is there, for ``dimr dataset new``; ``OwnSource`` is what ``dimr data`` takes it
into the store from (``dimr.data.imagenet.acquire``).
"""

from dimr.data.own.look import Found, look

__all__ = ["Found", "look"]
