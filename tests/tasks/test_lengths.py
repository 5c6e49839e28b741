"""Lengths in buckets: equal shares of the answers, and a mark before the prompts that tells which."""

from bisect import bisect_right
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.errors import DataError, UsageError
from nextword.tasks.lengths import bounds_of, bucket_named, described, mark, mark_of
from nextword.tasks.setup import set_up
from nextword.text.records import Example

ROWS = [{"document": f"doc {i} 说了什么", "summary": "字" * (1 + i % 30)} for i in range(300)]
"""Ten summaries of each length from 1 to 30 characters."""


@given(st.lists(st.integers(1, 40), min_size=1, max_size=80), st.integers(2, 5))
def test_buckets_are_as_equal_as_lengths_allow(lengths, buckets):
    texts = ["word " * length for length in lengths]
    if len(set(lengths)) < buckets:
        with pytest.raises(DataError, match="different length"):
            bounds_of(texts, buckets)
        return
    bounds = bounds_of(texts, buckets)
    held = Counter(bisect_right(bounds, length) for length in lengths)
    assert sorted(held) == list(range(buckets))
    most = max(Counter(lengths).values())
    if len(lengths) >= most * buckets:  # no length fills a bucket by itself
        assert max(held.values()) <= len(lengths) / buckets + most


@pytest.mark.parametrize(
    ("lengths", "buckets", "expected"),
    [
        ([4] * 90 + [7] * 5 + [9] * 5, 2, (7,)),
        ([1] * 5 + [4] * 90 + [9] * 5, 3, (4, 9)),
        ([1] * 5 + [2] * 5 + [4] * 90, 3, (2, 4)),
    ],
)
def test_where_most_answers_have_one_length_the_others_stay_apart(lengths, buckets, expected):
    assert bounds_of(["字" * length for length in lengths], buckets) == expected


def test_buckets_in_words():
    assert described((7, 9)) == "up to 6, 7 to 8, 9 words and more"
    assert described((7,)) == "up to 6, 7 words and more"


def test_a_chinese_character_is_a_word():
    assert bounds_of(["一", "一二", "一二三", "一二三四"], 2) == (3,)


def test_examples_are_marked_and_some_are_not():
    examples = [Example(f"text {i}", "word " * (1 + i % 3)) for i in range(400)]
    marks = [mark_of(example, (2, 3)) for example in examples]
    assert 70 <= marks.count("") <= 130  # one in four
    assert all(found in ("", mark(1 + i % 3)) for i, found in enumerate(marks))
    assert not any(mark_of(example, ()) for example in examples)


def test_lengths_are_those_of_answers_with_their_names():
    chats = [{"text": f"小明：去{i}\n小红：去", "summary": "小明去" if i % 2 else "他去了。"} for i in range(40)]
    task = {"name": "summarization", "length_buckets": 2, "length_bounds": (3,)}
    rows = [row for rows in set_up({"task": task}, [chats]).sources for row in rows]
    assert {row["summary"] for row in rows} == {"①去", "他去了。"}
    assert {row["text"].partition("①")[0] for row in rows} == {"", "length 2\n"}  # of both, by three characters


def test_a_task_with_lengths_learns_their_bounds_from_its_data():
    setup = set_up({"task": {"name": "summarization", "length_buckets": 3}}, [ROWS], valid=[ROWS[:9]])
    assert setup.task.length_bounds == (11, 21)
    rows = [row for rows in setup.sources for row in rows]
    prompts = Counter(row["document"].partition("\n")[0] for row in rows)
    assert {mark(n).strip() for n in (1, 2, 3)} <= prompts.keys()
    assert [row[setup.values["data"]["group_field"]] for row in rows] == [
        row["document"] for row in ROWS
    ]  # held out by text, whatever its mark
    assert any(row["document"].startswith("length 1\n") for row in setup.valid[0])
    again = set_up({"task": setup.task.model_dump()}, [ROWS[:12]])
    assert again.task.length_bounds == (11, 21)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length_buckets": 1}, "length_buckets = 1: expected 2 to 9"),
        ({"length_buckets": 3, "length_bounds": [9]}, r"length_bounds = \[9\]: expected 2 rising numbers"),
        ({"length_bounds": [9]}, r"expected 0 rising numbers"),
        (
            {"length_buckets": 9, "source": 4},
            "length_buckets = 9: the answers have only 4 different lengths. Ask for fewer",
        ),
        ({"length_buckets": 3, "name": "translation"}, "is of summarization, not of translation"),
    ],
)
def test_lengths_that_cannot_be_are_one_line(settings, message):
    rows = ROWS[: settings.pop("source", 300)]
    with pytest.raises((UsageError, DataError), match=message):
        set_up({"task": {"name": "summarization"} | settings, "data": NAMES}, [rows])


NAMES = {"prompt_field": "document", "target_field": "summary"}


@pytest.mark.parametrize(("name", "message"), [("lnog", "Did you mean long"), ("4", "Known: short, medium, long, 1")])
def test_an_unknown_length(name, message):
    with pytest.raises(UsageError, match=message):
        bucket_named(name, (5, 9))
