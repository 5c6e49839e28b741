"""Poems as examples, and how they are judged."""

from __future__ import annotations

import pytest

from nextword.errors import DataError
from nextword.metrics.verse import judge, verse_scores
from nextword.tasks import poetry
from nextword.tasks.base import Item
from nextword.text.records import ReadConfig, Record
from nextword.verse.layout import header, layout

STORK = ["白日依山尽", "黄河入海流", "欲穷千里目", "更上一层楼"]
TEXT = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"


def prompts(**fields) -> set[str]:
    """Of the same poem with other words at one place, so that all dice are thrown."""
    lines = [["白日依山尽", "黄河入海流", "欲穷千里目", f"更上{c}层楼"] for c in "一二三四五六七八九十百千万"]
    records = [Record({"lines": of_one} | fields, "x:1") for of_one in lines]
    return {poetry.POETRY.examples(record, ReadConfig())[0].prompt for record in records}


def test_a_poem_follows_the_row_that_says_what_it_is() -> None:
    (example,) = poetry.POETRY.examples(Record({"lines": STORK, "form": "五言绝句"}, "x:1"), ReadConfig())
    assert example.target == TEXT
    assert example.prompt in ("五绝|尤||", "五绝|||")
    (same,) = poetry.POETRY.examples(Record({"text": TEXT}, "x:1"), ReadConfig())
    assert same == example
    (bare,) = poetry.POETRY.examples(Record({"text": TEXT.replace("，", "").replace("。\n", "")}, "x:1"), ReadConfig())
    assert bare.target == TEXT
    (odd,) = poetry.POETRY.examples(Record({"lines": ["山中", "月上", "云"]}, "x:1"), ReadConfig())
    assert (odd.target, odd.prompt) == ("山中，月上。\n云，", "|||")
    (couplet,) = poetry.POETRY.examples(Record({"lines": ["山中", "月上"]}, "x:1"), ReadConfig())
    assert (couplet.target, couplet.prompt) == ("山中，月上。", "对联|||")
    named = Record({"lines": ["山中", "月上"], "form": "对联"}, "x:1")
    assert poetry.POETRY.examples(named, ReadConfig()) == [couplet]


@pytest.mark.parametrize("row", [{}, {"text": "1 2 3"}, {"lines": ["春", 3]}, {"lines": "春眠不觉晓"}])
def test_what_is_no_poem_is_named_with_its_place(row) -> None:
    with pytest.raises(DataError, match="x:7: no poem in column 'lines' or 'text'"):
        poetry.POETRY.examples(Record(row, "x:7"), ReadConfig())


HYMN = [
    "Amazing grace! how sweet the sound,",
    "That saved a wretch like me!",
    "I once was lost, but now am found,",
    "Was blind, but now I see.",
]


def test_an_english_poem_is_read_judged_and_counted_by_its_words() -> None:
    text = "\n".join(HYMN)
    (example,) = poetry.POETRY.examples(Record({"text": f"{text}\n", "title": "Grace"}, "x:1"), ReadConfig())
    assert (example.target, example.prompt) == (text, "common metre|||Grace")
    outputs = [text, text.replace("found", "there"), text.replace("wretch", "wretched man"), "春眠不觉晓"]
    items = [Item("common metre|||The Grace", ("",), "x:1")] * 4
    scores = {score.name: score.value for score in poetry.POETRY.scores(outputs, items, False)}
    assert (scores["in-form"], scores["shape"], scores["topic"]) == (25, 50, 75)
    assert scores["rhymes"] == (100 + 75) / 4
    assert scores["tones"] == 50


@pytest.mark.parametrize(("text", "form"), [("the rose", "qijue"), ("春眠不觉晓", "limerick"), ("", "对联")])
def test_what_is_no_verse_in_the_language_of_the_form_is_not_judged(text: str, form: str) -> None:
    assert judge(text, form) is None


def test_what_is_said_is_at_times_left_out() -> None:
    found = prompts(author="王之涣", title="登鹳雀楼")
    assert {"五绝|尤|王之涣|登鹳雀楼", "五绝|||登鹳雀楼", "五绝|尤||登鹳雀楼"} <= found
    assert all(prompt.startswith("五绝|") for prompt in found)


def test_a_row_is_a_row() -> None:
    assert header("七绝", "一东", "李|白", "秋\n思 ") == "七绝|东|李 白|秋 思"
    assert header("菩萨蛮", "第一部") == "菩萨蛮|第一部||"
    assert layout(STORK) == TEXT


def test_scores_tell_shape_tones_and_rhymes_apart() -> None:
    wrong_tone = TEXT.replace("白日", "白云")
    outputs = [TEXT, wrong_tone, TEXT.replace("楼", "山"), "白日依山尽", "no verse"]
    titles = ["山中", "秋思", "", "", ""]
    items = [Item(f"五绝|||{title}", ("",), "x:1") for title in titles]
    scores = {score.name: score.value for score in poetry.POETRY.scores(outputs, items, False)}
    assert (scores["in-form"], scores["shape"]) == (20, 60)
    assert scores["tones"] == (100 + 95 + 100) / 5
    assert scores["rhymes"] == (100 + 100 + 75) / 5
    assert 0 < scores["distinct-1"] < 100
    assert scores["topic"] == 50, "of the two with a title, one has 山"
    assert verse_scores(["白白"], ["五绝"], [""])[4].value == 50
