"""Checks what people write against the configuration's sections; errors are one line."""

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dimr.config.schema import ConfigModel
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_yaml

SHOWN = 200
"""Characters of a wrong value that a message shows at most."""
AnySection = TypeVar("AnySection", bound=ConfigModel)
Kind = TypeVar("Kind")


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections in a field's type, however wrapped: ``dict[str, Guidance | None] | None``."""
    if hasattr(annotation, "model_fields"):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _sections(inner)


def _allowed_keys(section: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Keys that are allowed where an unknown one was met; of a union, those of all its sections."""
    current = [section]
    for part in location[:-1]:
        found = [one.model_fields[part] for one in current if part in one.model_fields]
        if found:  # else a name of the user's own, e.g. of a setting
            current = [inner for field in found for inner in _sections(field.annotation)]
    fields = (item for one in current for item in one.model_fields.items())
    return list(dict.fromkeys(field.alias or name for name, field in fields))


def validate(section: type[AnySection], value: Any, source: str, prefix: str = "") -> AnySection:
    """Check ``value`` against ``section``.

    Raises:
        DimrError: one line with the file (``source``), the key, the value and what is allowed.
    """
    try:
        return section.model_validate_json(json.dumps(value))
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise DimrError(f"{source}: {prefix or 'value'} is not plain YAML ({error})") from None
        first = error.errors(include_url=False)[0]
        location = tuple(
            part for part in first["loc"] if str(part)[:1] != "["
        )  # not pydantic's own
        key = ".".join([*filter(None, [prefix]), *map(str, location)]) or "the whole file"
        if first["type"] == "extra_forbidden":
            allowed = _allowed_keys(section, location)
            message = f"unknown key {did_you_mean(str(location[-1]), allowed)}"
        elif first["type"] == "missing":
            message = "is missing"
        elif first["type"] == "value_error":  # a check of our own, which names its values
            message = first["msg"].removeprefix("Value error, ")
        else:
            shown = repr(first["input"])[:SHOWN]
            message = f"{shown}: {first['msg'][0].lower()}{first['msg'][1:]}"
        raise DimrError(f"{source}: {key}: {message}") from None


def load_section(section: type[AnySection], path: str | Path) -> AnySection:
    """Read and check a YAML file."""
    return validate(section, read_yaml(path), str(path))


def mapping(value: Any, where: str) -> dict[Any, Any]:
    """``value`` if it is a mapping, else ``DimrError``."""
    if not isinstance(value, dict):
        raise DimrError(f"{where}: {value!r} should be a mapping of names")
    return value


def choose(kinds: Mapping[str, Kind], value: Any, key: str, source: str) -> Kind:
    """The one of ``kinds`` that ``key`` of a mapping names.

    Raises:
        DimrError: it names none of them.
    """
    named = value.get(key) if isinstance(value, dict) else None
    if not isinstance(named, str) or named not in kinds:
        shown = repr(named)[:SHOWN]
        raise DimrError(f"{source}: {key}: {shown} {did_you_mean(str(named)[:SHOWN], list(kinds))}")
    return kinds[named]


def load_choice(kinds: Mapping[str, type[AnySection]], path: Path, key: str) -> AnySection:
    """Read a YAML file and check it against the one of ``kinds`` that its ``key`` names."""
    value = read_yaml(path)
    return validate(choose(kinds, value, key, str(path)), value, str(path))


def did_you_mean(name: str, allowed: list[str]) -> str:
    """`` (did you mean ...? allowed: ...)`` for messages about unknown names."""
    close = difflib.get_close_matches(name, allowed, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"({hint}allowed: {', '.join(allowed)})"
