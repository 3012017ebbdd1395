"""Names of classes, and what a person may call them."""

import pytest

from dimr.data.classes import class_index, class_names, evenly_spaced, short_name, wordnet_ids
from dimr.runtime.errors import DimrError

WELSH = "Cardigan, Cardigan Welsh corgi"
PETS = ["tabby, tabby cat", "Egyptian cat", WELSH, "cardigan", "crane", "crane"]
"""Names of ImageNet's, whose synonyms are names too."""
OWN = ["red, green", "Zw\u00f6lf blaue Quadrate", "cafe\u0301", "Cat", "cat", "7", "2", "\u00dc 2"]
"""Names of one's own: a comma is part of a name."""


@pytest.mark.parametrize(
    ("text", "label"),
    [("0", 0), (" 5 ", 5), ("tabby", 0), ("Tabby  CAT", 0), ("egyptian cat", 1),
     ("cardigan welsh corgi", 2), ("tabby, tabby cat", 0), ("cardigan", 3), ("n02123045", 0)],
)  # fmt: skip
def test_a_class_by_number_name_or_synonym(text, label):
    assert class_index(text, PETS) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [("RED,  green", 0), ("zwo\u0308lf blaue QUADRATE", 1), ("caf\u00e9", 2), ("CAFE\u0301", 2),
     ("Cat", 3), ("cat", 4), ("7", 5), (" 2 ", 6), ("3", 3), ("u\u0308 2", 7)],
)  # fmt: skip
def test_a_class_of_ones_own(text, label):
    """Accents in either form; a number is a name before it is a label; names may differ in case."""
    assert class_index(text, OWN) == label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red", r"no class 'red' \(names with it: 0 'red, green'; allowed: 0 'red, green', 1 Zw"),
        (
            "zwolf blaue quadrate",
            r"\(did you mean 1 Zw\u00f6lf blaue Quadrate\? allowed: 0 '",
        ),
        ("CAT", r"class 'CAT' means several: 3 Cat, 4 cat; give the number"),
        ("8", r"no class 8 \(allowed: 0 'red, green', 1 Zw.*, 7 \u00dc 2\)"),
    ],
)
def test_ones_own_classes_are_named(text, message):
    with pytest.raises(DimrError, match=message) as caught:
        class_index(text, OWN)
    assert "\n" not in str(caught.value)


def test_names_for_headings():
    assert [short_name(name) for name in OWN[:3]] == [*OWN[:2], "caf\u00e9"]
    assert [short_name(name) for name in (*PETS[:3], "a\nb")] == [
        "tabby", "Egyptian cat", "Cardigan", "a b",
    ]  # fmt: skip
    assert evenly_spaced(200, 20) == list(range(0, 200, 10))
    assert evenly_spaced(1, 20) == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("6", r"no class 6 \(allowed: 0 tabby, 1 Egyptian cat, 2 Cardigan, .*, 5 crane\)"),
        ("-1", r"no class -1 \(allowed: 0 tabby, "),
        ("tabbi", r"no class 'tabbi' \(did you mean 0 tabby\? allowed: 0 tabby, "),
        ("cat", r"no class 'cat' \(names with it: 0 tabby, 1 Egyptian cat; allowed: "),
        ("crane", r"class 'crane' means several: 4 crane, 5 crane; give the number"),
        ("n01443537", r"no class 'n01443537' \(allowed: 0 tabby"),
        ("", r"no class '' \(allowed"),
        ("\u0663", r"no class '\u0663' \(allowed"),
        ("9" * 5000, r"no class '9{57}...' \(allowed"),
    ],
)
def test_what_is_no_class_is_told_with_what_is_near(text, message):
    with pytest.raises(DimrError, match=message) as caught:
        class_index(text, PETS)
    assert "\n" not in str(caught.value)


def test_digits_have_numbers_only():
    assert class_names(10) == list("0123456789")
    assert wordnet_ids(10) == []
    assert class_index("7", class_names(10)) == 7
    with pytest.raises(DimrError, match=r"no class 'seven' \(allowed: 0 to 9\)"):
        class_index("seven", class_names(10))


def test_many_matches_are_cut():
    names = [f"terrier {letter}" for letter in "abcdefghijklm"]
    with pytest.raises(DimrError, match=r"9 terrier j and 3 more; allowed: 0 to 12 or"):
        class_index("terrier", names)


def test_imagenet_is_in_the_order_of_its_folders():
    names, ids = class_names(1000), wordnet_ids(1000)
    assert len(names) == len(ids) == len(set(ids)) == 1000
    assert ids == sorted(ids)
    known = {
        "tench": 0,
        "goldfish": 1,
        "golden retriever": 207,
        "volcano": 980,
        "toilet tissue": 999,
    }
    for name, label in known.items():
        assert class_index(name, names) == label
        assert short_name(names[label]) == name
    assert class_index("n01443537", names) == 1
    assert class_index("Carassius auratus", names) == 1
    with pytest.raises(DimrError, match=r"did you mean 1 goldfish"):
        class_index("goldfihs", names)
