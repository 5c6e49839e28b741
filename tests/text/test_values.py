"""Placeholders: values stand before a model as symbols, the same on both sides, and come back exactly."""

import itertools
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.text.number_words import number_words
from nextword.text.placeholders import SYMBOLS
from nextword.text.records import Example
from nextword.text.values import ADDED, PLAIN, hidden, hidden_pair, learned

PIECES = [
    "a",
    "the bus",
    "25",
    "1984",
    "17:45",
    "2,500",
    "12 000",
    "7",
    "-15",
    ".",
    ", ",
    " ",
    "年",
    "①",
    "x@y.org",
    "?",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)


@given(TEXTS)
def test_what_is_hidden_comes_back(text):
    shown = hidden(text)
    assert shown.restored(shown.text).replace(" ", "") == text.replace(" ", "")
    assert "①" in text or shown.restored(shown.text) == text  # which was not apart from digits
    assert "".join(filter(SYMBOLS.__contains__, shown.text))[: len(shown.values)] == SYMBOLS[: len(shown.values)]


@pytest.mark.parametrize(
    ("text", "expected", "values"),
    [
        ("Call 555-0199 at 17:45.", "Call ① at ②.", ["555-0199", "17:45"]),
        ("See https://a.b/c?d=1 for 3.5 kg.", "See ① for ② kg.", ["https://a.b/c?d=1", "3.5"]),
        ("25 men and 25 women", "① men and ② women", ["25", "25"]),
        ("He was born in 1984", "He was born in ①", ["1984"]),
        ("他在１９８４年２：３０买了３本。", "他在①年②买了３本。", ["1984", "2:30"]),
        ("It is -15 there, 3 - 20 here", "It is ① there, 3 - ② here", ["-15", "20"]),
        ("A380, $19.99, 50% and 12,000.", "A①, $②, ③% and ④.", ["380", "19.99", "50", "12,000"]),
        (
            "请写信给ann@x.org吗？见https://a.b/c的第12页",
            "请写信给①吗？见②的第③页",
            ["ann@x.org", "https://a.b/c", "12"],
        ),
        ("3 o'clock, 7 of us", "3 o'clock, 7 of us", []),
        ("① first", "① first", ["①"]),
        ("call +33 612 345 678 or 06 12 34 56 78", "call ① or ②", ["+33 612 345 678", "06 12 34 56 78"]),
        ("有１２，０００人、１２，１３", "有①人、②，③", ["12,000", "12", "13"]),
        ("-2.5万，3億人，25万5千，12万千瓦", "①，②人，③万5千，④千瓦", ["-2.5万", "3億", "25", "12万"]),
        ("(see https://a.b/x_(y)) 12", "(see ①) ②", ["https://a.b/x_(y)", "12"]),
        (" ".join(map(str, range(10, 21))), "① ② ③ ④ ⑤ ⑥ ⑦ ⑧ ⑨ 19 20", list(map(str, range(10, 19)))),
    ],
)
def test_which_values_are_hidden(text, expected, values):
    shown = hidden(text)
    assert (shown.text, list(shown.values.values())) == (expected, values)


def test_a_long_word_takes_no_long_time():
    assert hidden("你" * 100_000 + "12").values == {"①": "12"}
    assert hidden("a.b-c" * 20_000 + "@").values == {}
    for long in ("1" * 100_000, "0,111" * 20_000, "0 1" * 30_000, "12万" * 40_000 + "1"):
        assert hidden(long).values


def test_what_is_to_be_kept_is_hidden_whole():
    shown = hidden("Press Ctrl + C (12) now", ("en", "fr"), kept=[(6, 19)])
    assert (shown.text, shown.restored("Appuie sur ①")) == ("Press ① now", "Appuie sur Ctrl + C (12)")
    assert hidden("version 3.11, 3.5 kg", ("en", "fr"), kept=[(8, 12)]).restored("①, ②") == "3.11, 3,5"
    assert hidden("press a at 3 a.m.", kept=[(6, 7), (11, 12)]).text == "press ① at ② a.m."  # there, and nowhere else
    assert hidden("from 10-20", kept=[(5, 7)]).text == "from ①-20"


def test_what_stands_for_nothing_is_left_out():
    assert hidden("From 10 on").restored("③ Ab ① ② weiter") == "Ab 10 weiter"


def test_values_do_not_run_together():
    assert hidden("25 in 1984, 7").restored("①②年，3①") == "25 1984年，3 25"


@pytest.mark.parametrize(
    ("value", "languages", "expected"),
    [
        ("2,500", ("en", "fr"), "2\u202f500"),
        ("1,234,567.89", ("en", "de"), "1.234.567,89"),
        ("2 500,5", ("fr", "de"), "2.500,5"),
        ("１．２３４５６万", ("zh", "de"), "12.345,6"),
        ("−1,000万", ("zh-CN", "en"), "-10,000,000"),
        ("3千万", ("zh", "en"), "30,000,000"),
        ("1亿2,500萬", ("zh", "en"), "125,000,000"),
        ("2.5万亿", ("zh", "ja"), "2.5万亿"),
        ("+33 612 345 678", ("fr", "en"), "+33 612 345 678"),
        ("-3.5", ("en", "fr-CA"), "-3,5"),
        ("2.500,5", ("de", "zh"), "2,500.5"),
        ("12 000", ("fr", "en"), "12,000"),
        ("3.5", ("en", "zh"), "3.5"),
        ("2,500", (), "2,500"),
        ("１２", (), "12"),
        ("12/05/2003", ("en", "fr"), "12/05/2003"),
        ("192.168.0.1", ("en", "fr"), "192.168.0.1"),
        ("www.a.b/2.5", ("en", "fr"), "www.a.b/2.5"),
    ],
)
def test_numbers_are_said_as_the_other_language_writes_them(value, languages, expected):
    assert hidden(value, languages).restored("①") == expected


@pytest.mark.parametrize(
    ("pair", "first", "expected"),
    [
        (("July 28th, 1888", "1888年7月28日"), 0, ("July ①th, ②", "②年7月①日")),
        (("She has 2,000 books", "Elle a 2 000 livres"), 8, ("She has ⑨ books", "Elle a ⑨ livres")),
        (("at 2:30", "在２：３０"), 1, ("at ②", "在②")),
        (("25 and 25", "25 et vingt-cinq"), 0, ("① and 25", "① et vingt-cinq")),
        (("-15", "moins 15"), 0, ("-15", "moins 15")),
        (("from 10", "dix"), 0, ("from 10", "dix")),
        (("2.5万人", "25,000 people"), 0, ("①人", "① people")),
        (("① 25", "25"), 0, ("① 25", "25")),
        (("10 or 11", "11 ou 10"), 8, ("⑨ or 11", "11 ou ⑨")),
    ],
)
def test_of_a_pair_is_hidden_what_both_sides_have(pair, first, expected):
    found = hidden_pair(Example(*pair), SYMBOLS[first:])
    assert (found.prompt, found.target) == expected


@given(TEXTS, TEXTS)
def test_both_sides_have_the_same_placeholders(prompt, target):
    prompt, target = prompt.replace("①", ""), target.replace("①", "")
    for found in (hidden_pair(Example(prompt, target)), learned(Example(prompt, target))):
        sides = [Counter(filter(SYMBOLS.__contains__, side)) for side in (found.prompt, found.target)]
        assert sides[0] == sides[1]
        assert set(sides[0].values()) <= {1}


def test_pairs_are_learned_with_every_placeholder_and_some_without():
    pairs = [Example(f"It is {n} today.", f"今天是{n}。") for n in range(1000, 3000)]
    shown = list(map(learned, pairs))
    plain = sum(one == pair for one, pair in zip(shown, pairs, strict=True))
    assert abs(plain / len(pairs) - 1 / PLAIN) < 0.05
    assert set("".join(one.target for one in shown)) & set(SYMBOLS) == set(SYMBOLS[:4])


def test_half_a_character_is_for_others_to_complain_of():
    assert "\ud800" in learned(Example("\ud800", "x")).prompt


def test_some_pairs_without_a_value_get_one():
    names = ["".join(name) for name in itertools.permutations("abcdef")]
    pairs = [Example(f"Hello {name}?", f"你好{name}们？") for name in names]
    added = [(one, pair) for one, pair in zip(map(learned, pairs), pairs, strict=True) if one != pair]
    assert abs(len(added) / len(pairs) - (1 - 1 / PLAIN) / ADDED) < 0.02
    for one, pair in added:  # at the beginning, or before the punctuation at the end
        first, last = one.prompt[0] in SYMBOLS, one.prompt[-2] in SYMBOLS
        assert first or last
        assert one.prompt.lstrip(SYMBOLS).lstrip().rstrip(SYMBOLS + "?").rstrip() + "?" == pair.prompt
        assert (one.target[0] in SYMBOLS, one.target[-2] in SYMBOLS) == (first, last)


def test_some_numbers_in_words_are_learned_as_placeholders():
    names = ["".join(name) for name in itertools.permutations("abcde")]
    pairs = [Example(f"{name}, I have two books, five.", f"{name}，我有两本书、三五。") for name in names]
    shown = [learned(pair, ("en", "zh-CN")) for pair in pairs]
    inside = [one for one in shown if re.search(r"have [①②③④] books, five", one.prompt)]
    assert len(inside) > len(pairs) / 4
    assert all(re.search(r"我有[①②③④]本书、三五。", one.target) for one in inside)
    assert not any("have ①" in learned(pair, ("en", "ko")).prompt for pair in pairs)
    assert number_words("Ten or two, twenty-two", "Deux ou dix", "en", "fr") == [((0, 3), (8, 11)), ((7, 10), (0, 4))]
