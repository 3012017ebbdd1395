"""YAML as people mean it: PyYAML's parser, YAML 1.2's plain values, and nothing that surprises.

PyYAML's own loaders read ``1:30`` as 90, ``010`` as 8, ``no`` as false and ``2e-4`` as text; they
keep the last of two equal keys, and let a few lines of aliases grow to gigabytes. Here PyYAML only
parses (in C, where it can), and values are built from its events, each checked before it is built.
"""

import json
import math
import re
from typing import Any

import yaml
from yaml import events

LARGEST = 1 << 20
"""Most characters of a text."""
DEEPEST = 32
"""Most levels of nested lists and mappings."""
MOST_REPEATED = 10_000
"""Most values that aliases repeat in total."""
DIGITS = 300
"""Most digits of a whole number."""

PARSER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMERIC = frozenset("0123456789+-.")
"""Characters that a number may begin with."""
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")
_UNFINISHED = object()


def load(text: str, parser: Any = PARSER) -> Any:
    """The one document of a YAML text: mappings, lists, text, numbers, true, false and null.

    Args:
        text: the document.
        parser: PyYAML's, in C or Python.

    Raises:
        ValueError: one line, with the line's number: what is not YAML, a key that occurs twice or
            is not a plain value, a tag, several documents, a number that is not finite, or a text
            that is larger, deeper or more repetitive than a configuration can be.
    """
    if len(text) > LARGEST:
        raise ValueError(f"{len(text):,} characters; at most {LARGEST:,} are read")
    try:
        opened = parser(text)
        try:
            return _Builder(opened.get_event).document()
        finally:
            opened.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{error.problem or error.context}") from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise ValueError(" ".join(str(error).split())) from None


class _Builder:
    """Values from the events of one text."""

    def __init__(self, next_event: Any) -> None:
        self._next = next_event
        self._anchors: dict[str, tuple[Any, int]] = {}  # value, and values in it, by name
        self._built = self._repeated = 0

    def document(self) -> Any:
        """The value of the text; None for an empty one."""
        self._next()  # the stream begins
        if isinstance(self._next(), events.StreamEndEvent):
            return None
        value = self._value(self._next(), 0)
        self._next()  # the document ends
        if not isinstance(event := self._next(), events.StreamEndEvent):
            raise _fault(event, "another document begins; one is expected")
        return value

    def _value(self, event: Any, depth: int) -> Any:
        """The value that begins with this event, within ``depth`` lists and mappings."""
        if isinstance(event, events.AliasEvent):
            return self._alias(event)
        before = self._built
        self._built += 1
        if event.anchor is not None:
            self._anchors[event.anchor] = _UNFINISHED, 0
        scalar = isinstance(event, events.ScalarEvent)
        value = _scalar(event) if scalar else self._collection(event, depth + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._built - before
        return value

    def _alias(self, event: Any) -> Any:
        value, size = self._anchors.get(event.anchor, (None, 0))
        if size == 0:
            state = "stands within what it names" if value is _UNFINISHED else "names nothing"
            raise _fault(event, f"alias *{event.anchor} {state}")
        self._built += size
        self._repeated += size
        if self._repeated > MOST_REPEATED:
            raise _fault(event, f"aliases repeat more than {MOST_REPEATED:,} values")
        return value

    def _collection(self, event: Any, depth: int) -> Any:
        if event.tag not in (None, "!"):
            raise _fault(event, f"tag {event.tag!r} is not allowed")
        if depth > DEEPEST:
            raise _fault(event, f"more than {DEEPEST} lists and mappings within one another")
        if isinstance(event, events.MappingStartEvent):
            return self._mapping(depth)
        values = []
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            values.append(self._value(event, depth))
        return values

    def _mapping(self, depth: int) -> dict[Any, Any]:
        values: dict[Any, Any] = {}
        names: set[str] = set()  # as JSON has them, where 1 and "1" are the same
        while not isinstance(event := self._next(), events.MappingEndEvent):
            key = self._value(event, depth)
            if isinstance(key, dict | list):
                raise _fault(event, "a list or mapping as a key; a name is expected")
            name = key if isinstance(key, str) else json.dumps(key)
            if key in values or name in names:
                raise _fault(event, f"key {key!r} is given twice")
            if key == "<<" and event.implicit[0]:
                raise _fault(event, "key '<<' (merging) is not supported")
            names.add(name)
            values[key] = self._value(self._next(), depth)
        return values


def _scalar(event: Any) -> Any:
    """A plain value by YAML 1.2's core schema; quoted ones, and what fits nothing else, are text.

    Numbers with leading zeros are text, too: readers disagree on what they mean.
    """
    text = event.value
    if event.tag not in _TEXT_TAGS:
        raise _fault(event, f"tag {event.tag!r} is not allowed")
    if event.tag is not None or not event.implicit[0]:  # tagged as text, or quoted
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    if _INTEGER.fullmatch(text):
        if len(text) > DIGITS:
            raise _fault(event, f"a number of {len(text)} digits; allowed are {DIGITS}")
        return int(text, 0)
    if not (is_float := _FLOAT.fullmatch(text)) and not _NOT_FINITE.fullmatch(text):
        return text
    if is_float and math.isfinite(value := float(text)):
        return value
    raise _fault(event, f"{text[:40]} is not a finite number")


def _fault(event: Any, problem: str) -> ValueError:
    return ValueError(f"line {event.start_mark.line + 1}: {problem}")


class _Dumper(yaml.SafeDumper):
    """PyYAML's, which also quotes text that only ``load`` reads as a number (``2e-4``)."""


for _kind, _pattern in (("int", _INTEGER), ("float", _FLOAT)):
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _whole, sorted(_NUMERIC))


def dump(value: Any, compact: bool = False) -> str:
    """YAML text that ``load`` reads as the same JSON-able value, keys in their order.

    ``compact``: for people: what holds no list or mapping is on one line, and letters are kept.
    """
    style: dict[str, Any] = {"default_flow_style": None, "allow_unicode": True, "width": 100}
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, **(style if compact else {}))
