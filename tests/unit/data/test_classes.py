"""Names of classes, and what a person may call them."""

import pytest

from dimr.data.classes import class_index, class_names, short_name, wordnet_ids
from dimr.runtime.errors import DimrError

PETS = ["tabby, tabby cat", "Egyptian cat", "corgi, Cardigan", "cardigan", "crane", "crane"]


@pytest.mark.parametrize(
    ("text", "label"),
    [("0", 0), (" 5 ", 5), ("tabby", 0), ("Tabby  CAT", 0), ("egyptian cat", 1), ("corgi", 2),
     ("tabby, tabby cat", 0), ("cardigan", 3)],
)  # fmt: skip
def test_a_class_by_number_name_or_synonym(text, label):
    assert class_index(text, PETS) == label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("6", r"no class 6 \(allowed: 0 to 5\)"),
        ("-1", r"no class -1 \(allowed: 0 to 5\)"),
        ("corgy", r"no class 'corgy' \(did you mean 2 corgi\? allowed: 0 to 5 or a name\)"),
        ("cat", r"no class 'cat' \(names with it: 0 tabby, 1 Egyptian cat; allowed: "),
        ("crane", r"class 'crane' means several: 4 crane, 5 crane; give the number"),
        ("n01443537", r"no class 'n01443537' \(allowed: 0 to 5 or a name\)"),
        ("", r"no class '' \(allowed"),
        ("\u0663", r"no class '\u0663' \(allowed"),
        ("9" * 5000, r"no class '9{60}' \(allowed"),
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
    with pytest.raises(DimrError, match=r"9 terrier j and 3 more; allowed"):
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
