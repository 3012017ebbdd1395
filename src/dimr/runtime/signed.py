"""Texts that dimr wrote, and nobody has edited: their last line is a digest of the rest."""

import re

from dimr.runtime.files import digest_of

LAST_LINE = "<!-- written by dimr: {} -->\n"
"""What Markdown and HTML do not show."""


def signed(text: str) -> str:
    """A text with the line that reveals edits."""
    text = text.rstrip() + "\n\n"
    return text + LAST_LINE.format(digest_of(text)[:16])


def is_signed(text: str) -> bool:
    """Whether a text is as ``signed`` gave it."""
    found = re.fullmatch(f"(.*){LAST_LINE.format('[0-9a-f]{16}')}", text, re.DOTALL)
    return found is not None and signed(found[1]) == text
