"""Forms as automata: whatever way one goes, the poem ends in form; what cannot be written is refused beforehand.

Judged by `nextword.verse.check`, which knows nothing of the automaton.
"""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nextword.corpora import poems
from nextword.errors import UsageError
from nextword.poetry.chinese import ChineseAutomaton, State
from nextword.poetry.plan import at_first
from nextword.verse.check import check, split_lines
from nextword.verse.chinese import rhyme_book
from nextword.verse.forms import find_form
from nextword.verse.patterns import only

MARKS = "，。\n"
FORMS = ("wujue", "qijue", "wulü", "qilü", "如梦令", "忆秦娥", "菩萨蛮", "西江月", "虞美人")


@cache
def characters() -> str:
    """Those of the embedded Tang poems, the most frequent first."""
    counts: dict[str, int] = {}
    for poem in poems()[:2000]:
        for c in "".join(poem["lines"]):
            counts[c] = counts.get(c, 0) + 1
    return "".join(sorted(counts, key=lambda c: (-counts[c], c)))


def automaton(name: str, known: str | None = None, book: str = "", **asked) -> ChineseAutomaton:
    form = find_form(name)
    return ChineseAutomaton(form, rhyme_book(book or form.rhyme_book), (known or characters()) + MARKS, **asked)


def accepts(form: ChineseAutomaton, text: str) -> bool:
    state = form.start()
    for character in text:
        if character not in form.alphabet or not form.allowed(state)[form.alphabet.index(character)]:
            return False
        state = form.step(state, character)
    return form.finished(state)


def wander(form: ChineseAutomaton, rng: random.Random, wasteful: float) -> str:
    """A path drawn at random: as often as `wasteful`, by a character of the rhyme that there is least of."""
    state: State = form.start()
    scarcest = form.plan.pool(form.ways(state)[0].rhymes[0][-1], "中")
    text = ""
    while not form.finished(state):
        allowed = [form.alphabet[i] for i in form.allowed(state).nonzero()[0]]
        assert allowed, f"a dead end after {text!r}"
        rhyming = [c for c in allowed if c in scarcest]
        text += rng.choice(rhyming if rhyming and rng.random() < wasteful else allowed)
        state = form.step(state, text[-1])
    return text


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(FORMS),
    book=st.sampled_from(["", "xinyun", "cilin"]),
    size=st.integers(40, 1500),
    wasteful=st.sampled_from([0.0, 0.5, 1.0]),
    heads=st.integers(0, 3),
    narrow=st.booleans(),
    repeats=st.booleans(),
    borrowing=st.booleans(),
    seed=st.integers(0, 2**32),
)
@example("忆秦娥", "", 131, 0.0, 3, False, False, False, 0)
def test_every_way_ends_in_form(name, book, size, wasteful, heads, narrow, repeats, borrowing, seed) -> None:
    rng = random.Random(seed)
    known = "".join(rng.sample(characters()[:1500], size))
    asked = {(line, 0): rng.choice(known) for line in rng.sample(range(4), heads)}
    chosen = rhyme_book(book or find_form(name).rhyme_book)
    rhymes = [rng.choice(chosen.rhymes)] if narrow else []
    try:
        form = automaton(name, known, book, given=asked, rhymes=rhymes, repeats=repeats, borrowing=borrowing)
    except UsageError:
        return
    lines = split_lines(wander(form, rng, wasteful))
    verdict = check(lines, find_form(name), chosen, borrowing)
    assert verdict.faults == ()
    for (line, place), character in asked.items():
        assert lines[line][place] == character
    once = [(i, line) for i, line in enumerate(lines) if not find_form(name).patterns[0].lines[i].echo]
    first = at_first(find_form(name), asked)  # what is given of an echo stands before it, too
    written = [c for i, line in once for k, c in enumerate(line) if (i, k) not in first]
    assert repeats or len(set(written)) == len(written)
    assert repeats or not set(written) & set(asked.values())


def test_a_rhyme_with_just_enough_characters_is_kept_for_the_rhymes() -> None:
    """Five of them for five rhymes: none may be wasted elsewhere, however often one tries."""
    rhyme = "东风空红中"
    others = [c for c in characters()[:800] if not any(r.rhyme == "一东" for r in rhyme_book("pingshui").readings(c))]
    form = automaton("qilü", "".join(others) + rhyme, rhymes=["一东"])
    for seed in range(5):
        lines = split_lines(wander(form, random.Random(seed), wasteful=1.0))
        assert len(set(rhyme) & {line[-1] for line in lines}) == len(rhyme) - (lines[0][-1] not in rhyme)
        assert check(lines, find_form("qilü")).faults == ()


@pytest.mark.parametrize(("name", "borrowing"), [("wujue", False), ("qijue", False), ("qijue", True)])
def test_it_accepts_just_the_poems_that_are_in_form(name: str, borrowing: bool) -> None:
    form = automaton(name, repeats=True, borrowing=borrowing)
    found = {True: 0, False: 0}
    for poem in poems()[:3000:10]:
        if poem["form"] != name or not all(c in form.alphabet for c in "".join(poem["lines"])):
            continue
        a, b, c, d = poem["lines"]
        verdict = check(poem["lines"], find_form(name), borrowing=borrowing)
        in_form = not verdict.faults and not any("poets hardly use" in note for note in verdict.notes)
        assert accepts(form, f"{a}，{b}。\n{c}，{d}。") == in_form, poem
        found[in_form] += 1
    assert min(found.values()) > 10


def test_the_first_line_alone_may_borrow_its_rhyme_and_only_if_it_is_asked_for() -> None:
    qingming = "清明时节雨纷纷，路上行人欲断魂。\n借问酒家何处有，牧童遥指杏花村。"
    known = characters() + qingming
    assert accepts(automaton("qijue", known, repeats=True, borrowing=True), qingming)
    assert not accepts(automaton("qijue", known, repeats=True), qingming)
    in_line_2 = qingming.replace("魂", "云").replace("纷纷", "黄昏")
    assert not accepts(automaton("qijue", known, repeats=True, borrowing=True), in_line_2)
    given = {(0, 6): "纷", (1, 6): "魂"}
    assert accepts(automaton("qijue", known, repeats=True, borrowing=True, given=given, rhymes=["十三元"]), qingming)
    with pytest.raises(UsageError, match="纷魂 do not rhyme"):
        automaton("qijue", known, given=given)


def test_stanzas_stand_in_rows_of_their_own() -> None:
    text = wander(automaton("菩萨蛮"), random.Random(1), 0)
    assert [len(row) for row in text.split("\n")] == [7 + 7 + 5 + 5 + 4, 5 * 4 + 4]
    assert text.replace("\n", "")[7] == "。"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"given": {(1, 1): "月", (1, 3): "色"}}, "is 入 in 平水韵, but 五绝 ("),
        ({"given": {(1, 4): "月"}}, "月 is 入 in 平水韵, but 五绝"),
        ({"given": {(1, 4): "东", (3, 4): "山"}}, "五绝: 东山 do not rhyme in 平水韵"),
        ({"given": {(1, 4): "东"}, "rhymes": ["十五删"]}, "五绝: 东 should be of the rhyme 十五删, and is not"),
        ({"rhymes": ["一董"]}, "五绝 rhymes on level characters, and 一董 of 平水韵 has none"),
        ({"rhymes": ["一东", "四支"]}, "五绝 has 1 rhyme, but 2 are asked for"),
        ({"given": {(4, 0): "春"}}, "五绝 has no line 5"),
        ({"given": {(0, 0): "A"}}, "the model's tokenizer has no 'A'"),
        ({"known": "春天东风空红中"}, "五绝 may need 20 different level characters"),
        ({"known": "山川日月风云夏秋冬", "rhymes": ["十五咸"]}, "五绝 needs 2 rhymes, but of 十五咸"),
    ],
)
def test_the_impossible_is_refused_with_the_reason(asked, reason) -> None:
    with pytest.raises(UsageError) as error:
        automaton("wujue", **asked)
    assert reason in str(error.value)


def test_no_character_is_written_for_a_reading_that_poets_hardly_use() -> None:
    """A given one is read as it must be."""
    book = rhyme_book("pingshui")
    form, characters = only(find_form("wujue"), "仄起首句不入韵"), "".join(book.table) + "，。\n"
    automaton = ChineseAutomaton(form, book, characters)
    allowed = automaton.allowed(automaton.step(automaton.start(), "白"))
    oblique = {automaton.alphabet[i] for i in np.flatnonzero(allowed)}
    assert ("日" in oblique, "庭" in oblique, book.fitting("庭", "仄") != ()) == (True, False, True)
    asked = ChineseAutomaton(form, book, characters, given={(0, 1): "庭"})
    assert asked.allowed(asked.step(asked.start(), "白")).sum() == 1


def test_what_is_given_of_an_echo_is_said_both_times() -> None:
    form = automaton("忆秦娥", given={(2, 0): "秦", (7, 2): "别"})
    lines = split_lines(wander(form, random.Random(1), wasteful=0.0))
    assert (lines[1][-3:], lines[6][-3:]) == (lines[2], lines[7])
    assert (lines[1][4], lines[6][6]) == ("秦", "别")
    with pytest.raises(UsageError, match="line 3 of 忆秦娥 says 秦 once more, not 春"):
        automaton("忆秦娥", given={(1, 4): "秦", (2, 0): "春"})
