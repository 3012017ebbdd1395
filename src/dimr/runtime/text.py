"""Texts that people write: names of classes, captions."""

import unicodedata


def tidy(text: str, longest: int) -> str | None:
    """A text as it is kept everywhere: composed accents (systems differ), single blanks.

    None: it is empty, longer than ``longest`` characters, or holds control characters or invalid
    Unicode.
    """
    tidied = unicodedata.normalize("NFC", " ".join(text.split()))
    kinds = {unicodedata.category(character) for character in tidied}
    return None if not tidied or len(tidied) > longest or kinds & {"Cc", "Cs"} else tidied
