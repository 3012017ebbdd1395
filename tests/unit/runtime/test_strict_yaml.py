"""YAML is read as YAML 1.2 means it; what is ambiguous, hostile or damaged is one line."""

import pytest
import yaml

from dimr.config.project import ROOT
from dimr.runtime.strict_yaml import DEEPEST, LARGEST, MOST_REPEATED, PARSER, dump, load

FILES = sorted([*(ROOT / "experiments").rglob("*.yaml"), ROOT / "params.yaml"])


# In C where PyYAML was built so, and the one that always exists.
both_parsers = pytest.mark.parametrize("parser", [PARSER, yaml.BaseLoader], ids=["C", "Python"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_projects_files_mean_what_pyyaml_says(path):
    value = load(path.read_text())
    assert repr(value) == repr(yaml.safe_load(path.read_text()))
    assert dump(value) == yaml.safe_dump(value, sort_keys=False)


SCALARS = {
    "1:30": "1:30", "010": "010", "-012": "-012", "1_000": "1_000", "0b11": "0b11",
    "no": "no", "Yes": "Yes", "on": "on", "OFF": "OFF", "y": "y", "2020-01-01": "2020-01-01",
    "true": True, "False": False, "null": None, "~": None, "": None, "nothing": "nothing",
    "0": 0, "-7": -7, "+3": 3, "0x1F": 31, "0o17": 15, "'7'": "7", '"true"': "true",
    "2e-4": 2e-4, "2E-4": 2e-4, "1e5": 1e5, ".5": 0.5, "5.": 5.0, "-1.5e+3": -1500.0,
    "1.2.3": "1.2.3", ".": ".", "-": [None], "+": "+", "!!str 12": "12", "! 12": "12",
    "a b # c": "a b",
}  # fmt: skip


@both_parsers
@pytest.mark.parametrize("text", SCALARS)
def test_plain_values(text, parser):
    found = load(text, parser)
    assert found == SCALARS[text]
    assert type(found) is type(SCALARS[text])


@both_parsers
def test_lists_mappings_and_aliases(parser):
    text = "a: &x [1, {b: 2}]\nc: *x\nd: &n 3\n? e\n: *n\n1: one\n"
    assert load(text, parser) == {"a": [1, {"b": 2}], "c": [1, {"b": 2}], "d": 3, "e": 3, 1: "one"}
    assert load("---\na: 1\n...\n", parser) == {"a": 1}
    assert load("", parser) is load("# only a comment\n", parser) is None


BOMB = "a: &a [" + "x, " * 9 + "]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)  # fmt: skip
REFUSED = {
    "key twice": ("a: 1\nb: 2\na: 3", r"line 3: key 'a' is given twice"),
    "key twice, deeper": ("x: {a: 1, a: 1}", r"line 1: key 'a' is given twice"),
    "keys that are equal": ("1: a\ntrue: b", r"line 2: key True is given twice"),
    "keys that are equal in JSON": ('1: a\n"1": b', r"line 2: key '1' is given twice"),
    "key is a list": ("? [a]\n: b", r"line 1: a list or mapping as a key"),
    "key is a mapping": ("{{a: 1}: 2}", r"line 1: a list or mapping as a key"),
    "merging": ("a: &a {b: 1}\nc:\n  <<: *a", r"line 3: key '<<' \(merging\) is not supported"),
    "bomb": (BOMB, r"line 5: aliases repeat more than 10,000 values"),
    "brackets": ("[" * 100_000, r"line 1: more than 32 lists and mappings within"),
    "braces": ("{a: " * 100_000, r"line 1: more than 32 lists and mappings within"),
    "dashes": ("- " * 100_000, r"line 1: more than 32 lists and mappings within"),
    "indents": ("".join(" " * i + "a:\n" for i in range(900)), r"line 33: more than 32 lists"),
    "within itself": ("&a [1, *a]", r"line 1: alias \*a stands within what it names"),
    "names nothing": ("a: *b", r"line 1: alias \*b names nothing"),
    "large": ("a" * (LARGEST + 1), r"1,048,577 characters; at most 1,048,576 are read"),
    "two documents": ("a: 1\n---\nb: 2", r"line 2: another document begins"),
    "python": ("a: !!python/object/apply:os.getcwd []", r"line 1: tag '.*os.getcwd' is not"),
    "python name": ("!!python/name:os.getcwd", r"line 1: tag '.*os.getcwd' is not allowed"),
    "other tag": ("- !foo {}", r"line 1: tag '!foo' is not allowed"),
    "bytes": ("a: !!binary aaaa", r"line 1: tag '.*binary' is not allowed"),
    "renamed tag": ("%TAG ! tag:yaml.org,2002:python/\n---\n!tuple []", r"line 3: tag '.*tuple'"),
    "infinity": ("a:\n  b: -.inf", r"line 2: -.inf is not a finite number"),
    "not a number": ("a: .NaN", r"line 1: .NaN is not a finite number"),
    "overflow": ("a: 1e999", r"line 1: 1e999 is not a finite number"),
    "digits": ("a: " + "1" * 5000, r"line 1: a number of 5000 digits; allowed are 300"),
    "unclosed": ("a: [1", r"line \d: "),
    "tab": ("a:\n\t- b", r"line 2: found character .*that cannot start any token"),
    "control character": ("a: \x07", r"unacceptable character"),
    "half a character": ("a: \ud800", r"unacceptable character|surrogates not allowed"),
}


@both_parsers
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_one_line_at_once(case, parser):
    text, message = REFUSED[case]
    with pytest.raises(ValueError, match=rf"^[^\n]*{message}") as caught:
        load(text, parser)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@both_parsers
def test_limits_are_those_that_are_stated(parser):
    deepest = "[" * DEEPEST + "]" * DEEPEST
    assert repr(load(deepest, parser)) == deepest
    most = "a: &a [" + "1, " * (MOST_REPEATED - 1) + "]\nb: *a\n"  # the list itself counts
    assert len(load(most, parser)["b"]) == MOST_REPEATED - 1
    with pytest.raises(ValueError, match="line 3: aliases repeat"):
        load(most + "c: *a", parser)
    assert load("a" * LARGEST, parser) == "a" * LARGEST


@pytest.mark.parametrize("text", [*SCALARS, "12e4567", "1e999", "a: b", "<<", "- x", "\t", " "])
def test_what_is_written_is_read_again(text):
    value = {"text": text, text: [text, 1, 2e-7, 1e22, -0.5, True, None, {}], "list": []}
    assert load(dump(value)) == value
    assert list(load(dump(value))) == list(value)
