"""`nextword write` on a pseudo-terminal: keys go in, pages come out, and the terminal is left as it was."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from toys import Bag, ByteTokenizer, CharTokenizer, Recital, random_table

from nextword.cli import run
from nextword.cli.write import KEYS, page
from nextword.drafting import Draft
from nextword.generator import TextGenerator

POEM = "床前明月光，\n疑是地上霜。"
CHINESE = CharTokenizer(POEM.replace("\n", "") + "\n")
LETTERS = CharTokenizer("abcdefgh")
BYTES = ByteTokenizer()


def test_without_a_terminal_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["write", "runs/x"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Error: write needs a terminal. Without one: nextword generate RUN PROMPT\n"


def shown(draft: Draft, width: int = 80, height: int = 24, note: str = "") -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, highlight=False)
    console.print(page(draft, note, console))
    return out.getvalue()


def test_the_page_has_the_text_the_likeliest_tokens_and_the_keys() -> None:
    draft = Draft(Bag(random_table(LETTERS.vocab_size)), LETTERS, "abc")
    lines = shown(draft, note="a word to the writer").splitlines()
    assert lines[0] == "abc▏"
    tokens = [re.fullmatch(r"(\d) .{24} ([\d.]+) % *(\S+) *", line) for line in lines[2:12]]
    assert [token[1] for token in tokens] == list("1234567890")
    assert [token[3] for token in tokens] == [candidate.text for candidate in draft.candidates()]
    assert float(tokens[0][2]) == pytest.approx(100 * draft.candidates()[0].prob, rel=0.05)
    assert "tokens 3" in lines[12]
    assert lines[13:] == ["a word to the writer", *KEYS.splitlines()]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 20), (120, 40)])
def test_the_end_of_a_long_text_fits(width: int, height: int) -> None:
    draft = Draft(Bag(random_table(CHINESE.vocab_size)), CHINESE, POEM * 200)
    lines = shown(draft, width, height).splitlines()
    assert len(lines) < height  # one stays free for a question
    assert max(map(cell_len, lines)) <= width
    assert "霜。▏" in "".join(lines)


def test_bytes_of_a_character_are_shown_until_they_join() -> None:
    draft = Draft(Recital("明", BYTES), BYTES)
    draft.advance()
    assert shown(draft).startswith("<E6>▏")
    draft.advance()
    draft.advance()
    assert shown(draft).startswith("明▏")


# -- on a terminal ---------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator:
    from terminals import Terminal

    opened = []

    def open_terminal(generator: TextGenerator, *arguments: str) -> Terminal:
        opened.append(Terminal(generator, ["write", "runs/x", *arguments], tmp_path / "stdout"))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


def reciter() -> TextGenerator:
    return TextGenerator(Recital(POEM, CHINESE), CHINESE)


LAST = KEYS[-20:]  # the end of a page


def test_from_the_first_key_to_the_last(terminal, tmp_path: Path) -> None:
    session = terminal(reciter(), "床")
    assert "床▏" in session.wait(LAST)
    assert "床前▏" in session.press("1", LAST)
    assert "床前明▏" in session.press("\n", LAST)
    assert "床前明月光，↵" in session.press("l", LAST)
    assert "床前明▏" in session.press("u", LAST)
    assert "床前明▏" in session.press("r", LAST)
    assert "temperature 1.1" in session.press("+", LAST)
    assert "床前明▏" in session.press("\x1b[A", LAST)  # an arrow is no key
    session.press("i", "newline): ")
    assert "床前明上▏" in session.press("上\n", LAST)
    session.press("u", LAST)
    session.press("s", "save to: ")
    assert "saved to" in session.press(f"{tmp_path / 'poem.txt'}\n", LAST)
    session.press("s", "save to: ")
    assert "there is no folder" in session.press(f"{tmp_path / 'nowhere' / 'poem.txt'}\n", LAST)
    session.press("q", "\x1b[?1049l")
    assert session.end() == 0
    assert session.stdout.read_text(encoding="utf-8") == "床前明\n"
    assert (tmp_path / "poem.txt").read_text(encoding="utf-8") == "床前明\n"
    assert session.is_as_before


@pytest.mark.parametrize("question", [False, True])
def test_ctrl_c_leaves_the_terminal_as_it_was(terminal, question: bool) -> None:
    session = terminal(reciter(), "床")
    session.wait(LAST)
    if question:
        session.press("i", "newline): ")
    session.press("\x03", "\x1b[?1049l")
    assert session.end() == 130
    assert session.stdout.read_text() == ""
    assert session.is_as_before


def test_the_end_of_the_text_and_of_the_way_back_are_said(terminal) -> None:
    session = terminal(reciter(), POEM)
    session.wait(LAST)
    assert "<eos>" in session.press(" ", LAST)
    assert "the text has ended" in session.press(" ", LAST)
    session.press("u", LAST)
    assert "nothing to undo" in session.press("u", LAST)
    assert "drew nothing" in session.press("r", LAST)
    session.press("\x04", "\x1b[?1049l")
    assert session.end() == 0
    assert session.stdout.read_text(encoding="utf-8") == POEM + "\n"


def test_an_error_of_the_model_is_told_on_the_page(terminal) -> None:
    generator = TextGenerator(Bag(random_table(LETTERS.vocab_size)), LETTERS)
    generator.model.output.weight.data.fill_(float("nan"))
    session = terminal(generator, "ab")
    session.wait(LAST)
    assert "not finite numbers" in session.press(" ", LAST)
    session.press("q", "\x1b[?1049l")
    assert session.end() == 0


def test_wrong_settings_are_one_line(terminal) -> None:
    session = terminal(reciter(), "床", "--temperature", "-1")
    written = session.wait("\n")
    assert session.end() == 2
    assert written.startswith("Error: temperature: expected a number of at least 0")
    assert written.count("\n") == 1
