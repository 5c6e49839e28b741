"""What is given of English verse: it stays where it was put, and the poem is in form; what cannot be is refused."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_english_automaton import CHARACTERS, lexicon_of, wander

from nextword.cli import run
from nextword.corpora import load
from nextword.errors import DataError, UsageError
from nextword.generator import TextGenerator
from nextword.models import build_model, model_config
from nextword.poetry.english import EnglishAutomaton
from nextword.poetry.kept import Kept, acrostic, draft, kept_of, together
from nextword.poetry.lexicon import Lexicon
from nextword.tokenizers import TokenizerConfig, train_tokenizer
from nextword.verse.check_english import check, split_lines
from nextword.verse.forms import find_form
from nextword.verse.scansion import WORD

FORMS = ("limerick", "haiku", "common-metre", "sonnet", "7:trochaic aabb", "2,4:iambic aa bb")


@cache
def lexicon() -> Lexicon:
    return lexicon_of("\n".join(load("moby-dick"))[:15_000])


@cache
def free(name: str) -> EnglishAutomaton:
    return EnglishAutomaton(find_form(name), lexicon(), CHARACTERS)


def marked(line: str, rng: random.Random) -> str:
    """The line with some of its words in brackets, alone or together."""
    kept = [rng.random() < 0.3 for _ in WORD.findall(line)]
    flags = iter(kept)
    return WORD.sub(lambda word: f"[{word[0]}]" if next(flags) else word[0], line).replace("] [", " ")


def stays(row: str, line: str) -> bool:
    """Whether what is in brackets stands in the line, in order, at its beginning and end if it stood there."""
    pattern = ""
    parts = re.split(r"[\[\]]", row.lower())
    for i, part in enumerate(parts):
        said = " ".join(WORD.findall(part))
        if i % 2:
            pattern += rf"(?<!\w){re.escape(said)}(?!\w)"
        else:
            pattern += r"\W*" if i in (0, len(parts) - 1) and not said else ".*"
    return bool(re.fullmatch(pattern, line.lower()))


@settings(max_examples=12, deadline=None)
@given(name=st.sampled_from(FORMS), heads=st.booleans(), seed=st.integers(0, 2**32))
def test_what_stood_in_a_poem_may_stay_and_does(name: str, heads: bool, seed: int) -> None:
    """The poem itself shows that it can be done, but a rhyme is promised only where enough words have it."""
    rng = random.Random(seed)
    witness = split_lines(wander(free(name), rng))
    rows = [marked(line, rng) for line in witness]
    letters = "".join(WORD.findall(line)[0][0].lower() for line in witness)
    asked = draft("\n".join(rows))[1] if any("[" in row for row in rows) else {}
    if heads and letters.isalpha():
        asked = together(acrostic(letters), asked)
    automaton, refused = None, ""
    try:
        automaton = EnglishAutomaton(find_form(name), lexicon(), CHARACTERS, kept=asked)
    except UsageError as error:
        refused = error.message
    if automaton is None:
        assert re.search("words? (that rhyme|of one syllable)", refused), rows
        return
    lines = split_lines(wander(automaton, rng))
    assert check(lines, find_form(name), elision=False).faults == ()
    for row, line in zip(rows, lines, strict=True):
        assert "[" not in row or stays(row, line), (row, line)
    if heads and letters.isalpha():
        assert "".join(WORD.findall(line)[0][0].lower() for line in lines) == letters


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("a\nb\n[c c c c c c c c c]\nd", "line 3 of common metre cannot hold 'c c c c c c c c c'"),
        ("[before] it was\nb\nc\nd", None),
        ("[before window] it was\nb\nc\nd", "line 1 of common metre cannot hold 'before window'"),
        ("the [day]\nb\nthe [night]\nd", "day and night do not rhyme"),
        ("the [day]\nb\nthe [day]\nd", "day would rhyme with itself"),
        ("the [silver]\nb\nc\nd", "line 1 of common metre cannot hold 'silver'"),
        ("the [xyzzy]\nb\nc\nd", "'xyzzy' cannot stay"),
        ("the [day]\nb\nc\nd\n[e]", "common metre has 4 lines, and something is given of line 5"),
        ("the [wolf]\nb\nc\nd", "needs 1 more words that rhyme with wolf"),
    ],
)
def test_the_impossible_is_refused_with_the_reason(rows: str, reason: str | None) -> None:
    known = lexicon_of("day night way light the it was before window c e wolf silver say may star far car sea me he we")
    form = find_form("common-metre", feminine=False)
    if reason is None:
        EnglishAutomaton(form, known, CHARACTERS, kept=draft(rows)[1])
        return
    with pytest.raises(UsageError) as error:
        EnglishAutomaton(form, known, CHARACTERS, kept=draft(rows)[1])
    assert reason in error.value.message
    with pytest.raises(UsageError, match="no word of one syllable that begins with Q can be written"):
        EnglishAutomaton(form, known, CHARACTERS, kept=acrostic("Q"))


def test_the_command_writes_acrostics_and_polishes_drafts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "\n".join(load("moby-dick"))[:15_000]
    tokenizer = train_tokenizer(TokenizerConfig(type="bpe", vocab_size=400), [text])
    torch.manual_seed(1)
    sizes = {"type": "gru", "num_layers": 1, "hidden_size": 8, "vocab_size": tokenizer.vocab_size}
    generator = TextGenerator(build_model(model_config(sizes)).eval(), tokenizer)
    monkeypatch.setattr(TextGenerator, "load", lambda folder, **how: generator)
    words = tmp_path / "words.txt"
    words.write_text(text, encoding="utf-8")
    known = ["--lexicon", str(words), "--seed", "1"]
    assert run(["poem", "x", "--form", "heroic-couplets", "--acrostic", "SeA", *known]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "".join(line[0].lower() for line in lines[:3]) == "sea"
    assert check(lines, find_form("heroic-couplets")).faults == ()
    assert len(lines) == 4, "as many couplets as the letters need"
    file = tmp_path / "draft.txt"
    file.write_text("[Call me] whatever,\nand a thing\nof [wickedest whales]\n", encoding="utf-8")
    assert run(["poem", "x", "--form", "haiku", "--polish", str(file), *known]) == 0
    lines = capsys.readouterr().out.lower().splitlines()
    assert lines[0].startswith("call me ")
    assert "wickedest whales" in re.sub("[^a-z]+", " ", lines[2]), "though the lexicon lacks it"
    file.write_text("[Call me] whatever", encoding="utf-8")
    assert run(["poem", "x", "--form", "haiku", "--polish", str(file), *known]) == UsageError.exit_code
    assert "not in the shape of haiku. Draft 3 lines, not 1" in capsys.readouterr().err
    file.write_text("", encoding="utf-8")
    assert run(["poem", "x", "--form", "haiku", "--polish", str(file), *known]) == DataError.exit_code
    assert "nothing is marked" in capsys.readouterr().err


def test_a_draft_is_read_line_by_line() -> None:
    lines, kept = draft("[Shall I] compare thee?\n\nThou [art] more [lovely]\nplain\n[all of it]")
    assert lines == ["Shall I compare thee?", "Thou art more lovely", "plain", "all of it"]
    assert kept == {
        0: Kept("", ("shall", "i"), (True, True, False)),
        1: Kept("", ("art",), (False, False), "lovely"),
        3: Kept("", ("all", "of"), (True, True, True), "it"),
    }
    assert kept_of("[a] b [c] [d] e") == Kept("", ("a", "c", "d"), (True, False, False, False))
    for wrong, reason in {
        "Shall I": "nothing is marked",
        "[] Shall": "nothing is marked",
        "[Shall": "no partner",
        "Sh]all": "no partner",
        "[Sh]all": "within a word",
        "": "nothing is marked",
    }.items():
        with pytest.raises(DataError, match=reason):
            draft(wrong)
    with pytest.raises(UsageError, match="letters, one a line, got '春'"):
        acrostic("春")
