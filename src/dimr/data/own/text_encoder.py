"""Which encoder reads the captions of one's own images, and why."""

from typing import Any

from dimr.config.variants import Variant
from dimr.data.own.look import Found
from dimr.models.sizes import FAMILIES
from dimr.runtime.errors import DimrError

WIDTH = 128
"""Width of the built-in encoder's tokens."""
CLIP: dict[str, Any] = {
    "kind": "clip", "repo": "openai/clip-vit-large-patch14", "width": 768, "tokens": 77,
    "padding": "seen",
}  # fmt: skip
"""The published encoder, as U-ViT's protocol has it."""

Why = list[tuple[str, str, str]]


def choose_encoder(
    found: Found, asked: str | None, network: Variant | None
) -> tuple[dict[str, Any] | None, Why]:
    """The section ``data.text_encoder`` of a recipe; None: there are no captions.

    Args:
        found: the images.
        asked: ``words`` or ``clip``; None: it is chosen.
        network: the one asked for, if any.

    Returns:
        The section, and (what, value, why) for a person.

    Raises:
        DimrError: what was asked for does not fit the images.
    """
    if found.captions is None:
        if asked:
            raise DimrError(f"--text-encoder: {asked}: {found.folder}: its images have no captions")
        return None, []
    if network and not FAMILIES[network.family].takes_text:
        raise DimrError(
            f"--network: {network.name}: {FAMILIES[network.family].title} takes classes only, and "
            f"{found.folder} has captions (--unconditional: they are not learned)"
        )
    longest = found.captions.longest
    words = f"{longest} word{'s' * (longest > 1)}"
    why = [("captions", f"{found.captions.count:,}", f"the longest has {words}; no labels")]
    if asked == "clip":
        return CLIP, [
            *why,
            ("text encoder", f"{CLIP['repo']}, {CLIP['tokens']} tokens", "as requested"),
        ]
    tokens = min(CLIP["tokens"], longest)
    cut = "longer captions are cut" if tokens < longest else "as many as the longest caption's"
    told = f"embedded, no download; {cut}; --text-encoder clip knows other words, too"
    section = {"kind": "words", "width": WIDTH, "tokens": tokens}
    return section, [*why, ("text encoder", f"words, {tokens} tokens", told)]
