"""The forms: known poems fit them, and the rules of regulated verse follow from the patterns."""

from __future__ import annotations

import json
import re
import unicodedata
from itertools import product
from pathlib import Path

import pytest

from nextword.corpora import poems
from nextword.errors import UsageError
from nextword.verse.chinese import BOOKS, Reading, rhyme_book
from nextword.verse.forms import find_form, forms
from nextword.verse.patterns import only
from nextword.verse.regulated import couplet

REGULATED = ("wujue", "qijue", "wulü", "qilü")
LENGTHS = {
    **{"忆江南": 27, "捣练子": 27, "如梦令": 33, "长相思": 36, "生查子": 40, "点绛唇": 41, "浣溪沙": 42, "菩萨蛮": 44},
    **{
        "卜算子": 44,
        "采桑子": 44,
        "诉衷情令": 44,
        "忆秦娥": 46,
        "清平乐": 46,
        "阮郎归": 47,
        "西江月": 50,
        "醉花阴": 52,
    },
    **{
        "浪淘沙令": 54,
        "鹧鸪天": 55,
        "南乡子": 56,
        "虞美人": 56,
        "玉楼春": 56,
        "踏莎行": 58,
        "临江仙": 60,
        "蝶恋花": 60,
    },
    **{"渔家傲": 62, "苏幕遮": 62, "破阵子": 62, "江城子": 70, "满江红": 93, "水调歌头": 95, "念奴娇": 100},
}
"""Characters of each tune, as catalogues give them (双调六十字)."""


@pytest.mark.parametrize("name", LENGTHS)
def test_a_tune_has_the_characters_that_catalogues_count(name: str) -> None:
    (pattern,) = find_form(name).patterns
    assert sum(len(line.beats[0]) for line in pattern.lines) == LENGTHS[name]


def test_every_tune_is_counted() -> None:
    assert {form.name for form in forms() if form.rhyme_book == "cilin"} == set(LENGTHS)


@pytest.mark.parametrize("name", REGULATED)
def test_plain_patterns_keep_the_rules(name: str) -> None:
    """粘, 对, no 三平尾, no 孤平, and rhymes on level tones, from the beats alone."""
    for pattern in find_form(name, rescues=False).patterns:
        second = [line.beats[0][1] for line in pattern.lines]
        for i in range(1, len(second)):
            assert (second[i] == second[i - 1]) == (i % 2 == 0), "对 within couplets, 粘 between them"
        for line in pattern.lines:
            assert line.rhyme == ("a" if line.beats[0][-1] == "平" else "")
            for beats in line.beats:
                for tones in product(*("平仄" if beat == "中" else beat for beat in beats)):
                    assert tones[-3:] != ("平", "平", "平")
                    if tones[-1] == "平" and tones[-4:-2] != ("仄", "仄"):
                        assert tones[:-1].count("平") > 1, f"孤平: {tones}"


def test_first_lines_are_named_as_they_begin() -> None:
    for name in REGULATED:
        for pattern in find_form(name).patterns:
            first = pattern.lines[0]
            assert pattern.name[0] == first.beats[0][1]
            assert ("首句入韵" in pattern.name) == bool(first.rhyme)
        assert len(only(find_form(name, rescues=False), "平起首句入韵").patterns) == 1


def test_the_answer_to_a_line_has_its_tones_opposed() -> None:
    (pattern,) = couplet("海内存知己", rhyme_book("pingshui")).patterns
    assert [line.beats for line in pattern.lines] == [("中中中中中",), ("中平中仄平",)]


def test_names_and_notation() -> None:
    assert find_form("qilv") == find_form("七律") == find_form("qilü")
    own = find_form("8,6:iambic abab cdcd").patterns[0].lines
    assert [line.rhyme for line in own] == list("ababcdcd")
    assert [line.beats[0] for line in own[:2]] == ["-/-/-/-/", "-/-/-/"]
    assert own[3].stanza == 0
    assert own[4].stanza == 1
    for wrong, hint in {
        "qilu2": "qilu",
        "蝶恋": "蝶恋花",
        "10:iambc abab": "iambic",
        "ten:iambic": "SYLLABLES",
    }.items():
        with pytest.raises(UsageError, match=hint):
            find_form(wrong)


def test_characters_have_all_their_readings_in_both_scripts() -> None:
    book = rhyme_book("平水韵")
    assert {reading.tone for reading in book.readings("看")} == {"平", "去"}
    assert [reading.rhyme for reading in book.readings("東")] == [r.rhyme for r in book.readings("东")] == ["一东"]
    assert [reading.rhyme for reading in book.readings("爲")] == [r.rhyme for r in book.readings("为")]
    assert book.readings("x") == ()
    assert "风" in book.characters(book.find_rhyme("东"), "平")
    assert {r.tone for r in rhyme_book("cilin").readings("月")} == {"入"}
    assert {r.tone for r in rhyme_book("xinyun").readings("國")} == {"平"}, "no entering tone in Mandarin"
    with pytest.raises(UsageError, match="一东"):
        book.find_rhyme("一冬")
    with pytest.raises(UsageError, match="pingshui"):
        rhyme_book("pinshui")


TANG = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "poetry" / "tang" / "valid.jsonl"


def test_a_simplified_character_is_read_as_those_it_commonly_stands_for() -> None:
    def classes(character: str) -> list[str]:
        return [reading.rhyme for reading in rhyme_book("pingshui").readings(character)]

    assert classes("花") == ["六麻"], "not 蘤"
    assert classes("蘤") == ["四纸"]
    assert classes("听") == classes("聽"), "not 听 yǐn"
    assert classes("发") == classes("發") == classes("髮") == ["六月"]
    assert classes("后") == classes("後")
    assert set(classes("几")) == set(classes("幾")) | {"四纸"}, "幾, but 几 too"
    assert set(classes("斗")) == {"二十五有"} | set(classes("鬥"))


def test_the_books_hold_chinese_characters_and_nothing_else() -> None:
    for name in BOOKS:
        assert all(unicodedata.category(c) == "Lo" for c in rhyme_book(name).table)


@pytest.mark.skipif(not TANG.is_file(), reason="no shared data beside the checkout")
def test_tones_are_those_that_another_source_records_of_each_place() -> None:
    """The source names one tone where a character has two, by its place in the verse."""
    known, same, both = 0, 0, 0
    for poem in map(json.loads, TANG.read_text(encoding="utf-8").splitlines()):
        for character, tone in zip("".join(poem["lines"]), re.sub("[，。]", "", poem["tones"]), strict=False):
            levels = {reading.tone == "平" for reading in rhyme_book("pingshui").readings(character)}
            if levels and tone in "平仄":
                known, same, both = known + 1, same + ((tone == "平") in levels), both + len(levels) - 1
    assert same > 0.998 * known
    assert both < 0.145 * known


@pytest.mark.parametrize("book", BOOKS)
def test_the_books_know_what_poems_are_written_in(book: str) -> None:
    """Less than one character in 250 of Tang poems is in no shape in a book."""
    known = rhyme_book(book)
    text = "".join("".join(poem["lines"]) for poem in poems()[:500])
    assert sum(not known.readings(character) for character in text) < len(text) / 250


def test_what_the_sources_of_the_books_lack_is_made_up() -> None:
    assert rhyme_book("xinyun").readings("去") == (Reading("去", "十二齐"),)
    assert rhyme_book("xinyun").readings("思") == (Reading("平", "十三支"),)
    assert rhyme_book("cilin").readings("余") == (Reading("平", "第四部"),)
    assert rhyme_book("cilin").readings("拍") == (Reading("入", "第十七部"),)
    assert rhyme_book("pingshui").readings("惭") == (Reading("平", "十三覃"),)
