"""Text encoders by their descriptions: a dataset's, a model's; and whether two are the same.

A dataset's ``text_encoder`` folder and a model's folder have ``text_encoder.json``, the encoder's
description. For a pretrained one the dataset's folder has the weights too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dimr.config.schema import TEXT_ENCODERS, PretrainedText
from dimr.config.validation import choose, validate
from dimr.data.beside import result_beside
from dimr.data.text.base import TextEncoder as TextEncoder
from dimr.models.conditioning import TextCondition
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json
from dimr.runtime.record import verify

DESCRIPTION = "text_encoder.json"
FACTS: dict[str, dict[str, type]] = {
    "words": {"embedding": int, "vocabulary": list},
    "clip": {"sha256": str},
    "t5": {"sha256": str},
}
"""What a description has besides the keys of its section, by kind."""
COMPARED = {"words": ("embedding",), "clip": ("padding", "sha256"), "t5": ("padding", "sha256")}
"""What embeddings depend on besides kind, width and number of tokens."""

# --- opening --------------------------------------------------------------------------------------


def open_text_encoder(folder: Path, device: Any = "cpu") -> TextEncoder:
    """The encoder in a dataset's ``text_encoder`` folder.

    Raises:
        DimrError: one line that names the file that is missing or damaged.
    """
    folder = Path(folder)
    verify(folder)
    description = read_description(folder)
    if description["kind"] == "words":
        return _words(description, device)
    from dimr.data.text.pretrained import load_pretrained

    return load_pretrained(folder, description, device)


def encoder_of_model(
    model: Path, given: str | Path | None = None, device: Any = "cpu"
) -> TextEncoder:
    """The encoder of the captions that a model has learned from.

    Args:
        model: its folder, with ``text_encoder.json``.
        given: where a pretrained encoder is, a folder or a hub name; None: of the dataset in the
            model's record, ``data/<dataset>/text_encoder`` in the nearest folder above that has
            it. ``words`` needs none. A model trained by others does not name its encoder: a
            dataset's folder given here is accepted unchecked.
        device: where it computes.

    Raises:
        DimrError: one line: the model has none, its encoder is not there, or another is.
    """
    model = Path(model)
    place = given or result_beside(model, "text_encoder")
    verify(model, DESCRIPTION)
    if not (model / DESCRIPTION).exists():
        if place is None or not (Path(place) / DESCRIPTION).is_file():
            raise DimrError(
                f"{model}: does not say which text encoder it has learned from: give the folder "
                "of a dataset's (--text-encoder, text_encoder=), as `dimr text-encoder` makes it"
            )
        return open_text_encoder(Path(place), device)
    description = read_description(model)
    if place is None and description["kind"] != "words":
        raise DimrError(
            f"{model}: a model of text: give its encoder, a folder or a hub name "
            f"(--text-encoder, text_encoder=); it is {description['repo']}"
        )
    return described(description, place, device, where=str(model))


def described(
    description: Mapping[str, Any],
    place: str | Path | None = None,
    device: Any = "cpu",
    where: str = "the model",
) -> TextEncoder:
    """The encoder that a description describes.

    Args:
        description: whole (``check_description``).
        place: where a pretrained encoder is, a folder or a hub name; None: as described.
        device: where it computes.
        where: what learned from it, for messages.

    Raises:
        DimrError: one line: it is missing, or another is there.
    """
    if description["kind"] == "words":
        return _words(description, device)
    from dimr.data.text.pretrained import fetch_pretrained

    place = place or str(description["repo"])
    if (Path(place) / DESCRIPTION).is_file():
        encoder = open_text_encoder(Path(place), device)
    else:
        encoder = fetch_pretrained(_section_at(str(place), description), device)
    if problem := same_encoder(encoder.description, description):
        raise DimrError(f"{place}: not the text encoder that {where} has learned from: {problem}")
    return encoder


def _words(description: Mapping[str, Any], device: Any) -> TextEncoder:
    from dimr.data.text.words import WordsEncoder

    return WordsEncoder(description, device)


# --- descriptions ---------------------------------------------------------------------------------


def read_description(folder: Path) -> dict[str, Any]:
    """The description of an encoder in a folder.

    Raises:
        DimrError: the file is missing or damaged, also by the record's checksum.
    """
    verify(folder, DESCRIPTION)
    return check_description(read_json(folder / DESCRIPTION), str(folder / DESCRIPTION))


def check_description(value: Any, where: str) -> dict[str, Any]:
    """A description, unchanged; ``DimrError`` if invalid, in one line that begins with ``where``.

    An embedding of words that this version does not know is an error, too.
    """
    from dimr.data.text.words import EMBEDDING

    section = choose(TEXT_ENCODERS, value, "kind", where)
    validate(section, {k: v for k, v in value.items() if k in section.model_fields}, where)
    facts = FACTS[value["kind"]]
    for key, kind in facts.items():
        if type(value.get(key)) is not kind:
            raise DimrError(f"{where}: {key}: should be of type {kind.__name__}")
    if not all(isinstance(word, str) for word in value.get("vocabulary", ())):
        raise DimrError(f"{where}: vocabulary: should be a list of words")
    if value.get("embedding", EMBEDDING) != EMBEDDING:
        found = f"{value['embedding']}; this version of dimr has {EMBEDDING}"
        raise DimrError(f"{where}: embedding: {found}")
    return value


def _section_at(place: str, description: Mapping[str, Any]) -> PretrainedText:
    """The section of a pretrained encoder's description, with another place: folder or hub name.

    Commit and subfolder are known only for the place in the description.
    """
    section = PretrainedText(**{key: description[key] for key in PretrainedText.model_fields})
    where: dict[str, Any] = {"repo": place}
    if place != section.repo:
        where["revision"] = None
        if not (Path(place) / (section.subfolder or "")).is_dir():
            where["subfolder"] = None
    return section.model_copy(update=where)


def same_encoder(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """Why two encoders' embeddings differ, by their descriptions.

    Words that only one knows make no difference, nor does the origin of a pretrained one.

    Returns:
        One line without a file's name; None: they are the same.
    """
    for key in ("kind", "width", "tokens", *COMPARED.get(a.get("kind", ""), ())):
        if a.get(key) != b.get(key):
            found, other = a.get(key), b.get(key)
            if key == "sha256":
                repos = f"{a.get('repo')} and {b.get('repo')}"
                return f"the weights differ ({repos}; sha256 {found:.8}, not {other:.8})"
            return f"{key} is {found}, not {other}"
    return None


# --- prompts --------------------------------------------------------------------------------------


def prompt_condition(
    encoder: TextEncoder, prompts: Sequence[str], negative: str = ""
) -> TextCondition:
    """The condition of images that prompts describe, one for each.

    Args:
        encoder: of the model.
        prompts: 1 or more.
        negative: what guidance leads away from; empty: the empty caption.

    Returns:
        Tokens (N, L, D) float32, mask (N, L), and ``negative`` in place of "no text" (1, L, D).

    Raises:
        DimrError: a text that the encoder cannot embed.
    """
    found = encoder.encode([*prompts, negative])
    return replace(found[:-1], empty=found[-1:])
