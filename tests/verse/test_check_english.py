"""The English checker against famous poems, and against the same poems spoilt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.cli import run
from nextword.errors import UsageError
from nextword.verse.check_english import check, guess_form, split_lines
from nextword.verse.forms import find_form

POEMS = {
    "common-metre": """Amazing grace! how sweet the sound,
        That saved a wretch like me!
        I once was lost, but now am found,
        Was blind, but now I see.""",
    "ballad": """The sun came up upon the left,
        Out of the sea came he!
        And he shone bright, and on the right
        Went down into the sea.

        The fair breeze blew, the white foam flew,
        The furrow follow'd free;
        We were the first that ever burst
        Into that silent sea.""",
    "heroic-couplets": """Hope springs eternal in the human breast:
        Man never is, but always to be blest.
        The soul, uneasy and confined from home,
        Rests and expatiates in a life to come.
        Know then thyself, presume not God to scan;
        The proper study of mankind is man.""",
    "limerick": """There was a young lady whose chin
        Resembled the point of a pin;
        So she had it made sharp,
        And purchased a harp,
        And played several tunes with her chin.""",
    "haiku": """An old silent pond,
        a frog jumps into the pond:
        splash! Silence again.""",
    "shakespearean-sonnet": """My mistress’ eyes are nothing like the sun;
        Coral is far more red than her lips’ red;
        If snow be white, why then her breasts are dun;
        If hairs be wires, black wires grow on her head.
        I have seen roses damask’d, red and white,
        But no such roses see I in her cheeks;
        And in some perfumes is there more delight
        Than in the breath that from my mistress reeks.
        I love to hear her speak, yet well I know
        That music hath a far more pleasing sound;
        I grant I never saw a goddess go;
        My mistress, when she walks, treads on the ground:
        And yet, by heaven, I think my love as rare
        As any she belied with false compare.""",
    "petrarchan-sonnet": """When I consider how my light is spent,
        Ere half my days, in this dark world and wide,
        And that one Talent which is death to hide
        Lodged with me useless, though my Soul more bent
        To serve therewith my Maker, and present
        My true account, lest he returning chide;
        Doth God exact day-labour, light denied?
        I fondly ask. But patience, to prevent
        That murmur, soon replies, God doth not need
        Either man's work or his own gifts; who best
        Bear his mild yoke, they serve him best. His state
        Is Kingly. Thousands at his bidding speed
        And post o'er Land and Ocean without rest:
        They also serve who only stand and wait.""",
}
KNOWN_FAULTS = {
    **{"heroic-couplets": {("rhyme", 4)}, "limerick": {("repeat", 5)}, "shakespearean-sonnet": {("stress", 7)}},
}
"""Home with come, and chin with chin; of perfumes the dictionary knows the verb alone."""


@pytest.mark.parametrize("name", POEMS)
def test_a_famous_poem_is_in_form_and_its_form_is_guessed(name: str) -> None:
    lines = split_lines(POEMS[name])
    faults = check(lines, find_form(name)).faults
    assert {(fault.rule, fault.line) for fault in faults} == KNOWN_FAULTS.get(name, set())
    assert guess_form(lines).name == name


def test_a_fault_is_found_at_its_place() -> None:
    lines = split_lines(POEMS["common-metre"])
    form = find_form("common-metre")
    spoilt = {
        ("rhyme", 4, 6): [*lines[:3], "Was blind, but now am old."],
        ("repeat", 4, 6): [*lines[:3], "Was blind, but not like me."],
        ("stress", 2, 3): [lines[0], "A sinner became free!", *lines[2:]],
        ("stress", 3, 2): [*lines[:2], "I suppose not, but now am found", lines[3]],
        ("length", 3, 0): [*lines[:2], "I once was lost, and now I am at last found", lines[3]],
    }
    assert [fault.message for fault in check(lines[:3], form).faults] == ["3 lines; the form has 4"]
    for (rule, line, place), verse in spoilt.items():
        faults = check(verse, form).faults
        assert (rule, line, place) in {(fault.rule, fault.line, fault.place) for fault in faults}, faults


def test_licences_are_options() -> None:
    love = ["If this be error, and upon me prov'd,", "I never writ, nor no man ever lov'd."]
    couplet = find_form("heroic-couplets")
    assert [fault.message for fault in check(love, couplet).faults] == [
        "lov'd is but a slant rhyme of prov'd in line 1"
    ]
    assert not check(love, couplet, slant=True).faults
    heaven = ["And so by heaven I think of you and me", "As of the land and of the silent sea"]
    assert not check(heaven, couplet).faults
    strict = find_form("heroic-couplets", feminine=False)
    assert {fault.rule for fault in check(heaven, strict, elision=False).faults} == {"length"}
    feminine = ["To be, or not to be, that is the question", "And this is no, it is my best suggestion"]
    assert not check(feminine, couplet).faults
    assert {fault.rule for fault in check(feminine, strict).faults} == {"length"}


def test_a_word_nobody_knows_is_named_and_fits() -> None:
    verdict = check(
        ["I met a man whose name was Zorbelak", "And never have I wished to have him back"],
        find_form("heroic-couplets"),
    )
    assert not verdict.faults
    assert "Zorbelak" in verdict.notes[0]


def test_the_command_speaks_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "poem.txt"
    file.write_text(POEMS["limerick"], encoding="utf-8")
    assert run(["poem", "check", str(file)]) == 0
    out = capsys.readouterr().out
    assert "limerick" in out
    assert "repeat, place 7: chin rhymes with itself, in line 1" in out
    assert run(["poem", "check", str(file), "--form", "9:anapestic aabba", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["in_form"] is False
    assert run(["poem", "check", str(file), "--rhyme-book", "pingshui"]) == UsageError.exit_code
    file.write_text("...", encoding="utf-8")
    assert run(["poem", "check", str(file)]) == 1
    assert "no English verse" in capsys.readouterr().err


@given(st.lists(st.text(alphabet="aeiouhtdsr ',-è", min_size=1).map("o{}".format), min_size=1, max_size=5))
def test_any_lines_get_a_verdict(lines: list[str]) -> None:
    assert len(check(lines, find_form("limerick")).lines) == len(lines)
