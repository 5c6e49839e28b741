"""`nextword write`: write by hand, with the model's next tokens in view."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from nextword.cli.inputs import save, warn_unknown
from nextword.cli.options import Device
from nextword.errors import NextwordError, UsageError

if TYPE_CHECKING:
    from rich.console import Console, Group

    from nextword.drafting import Draft

KEYS = """\
1-9 0  take a token   Enter  draw one   l  draw on to the end of the sentence
i  type a text   u  undo   r  draw the last step anew   + -  temperature
s  save   q  quit and print the text"""
NUMBERS = "1234567890"
HOTTEST = 9.9
BAR = 24  # cells of a probability of 1
OTHER_LINES = len(NUMBERS) + KEYS.count("\n") + 5  # of the page, beside the text


def write(
    run: Annotated[Path, typer.Argument(help="Folder written by nextword train.", show_default=False)],
    prompt: Annotated[str, typer.Argument(help="How the text begins.")] = "",
    temperature: Annotated[float | None, typer.Option(help="Below 1 safer, above 1 wilder, 0 = greedy.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed and same keys, same text.")] = None,
    device: Device = "cpu",
) -> None:
    """Write a text token by token: choose among the likeliest, or have the model go on. Every step can be undone.

    What you see is drawn on stderr; the text itself is printed at the end, so it can go to a file or a pipe.

    Example: nextword write runs/poems "床前"
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("write needs a terminal", hint="Without one: nextword generate RUN PROMPT")
    from nextword.drafting import Draft
    from nextword.generator import TextGenerator

    generator = TextGenerator.load(run, device=device)
    given = {name: value for name, value in (("temperature", temperature), ("seed", seed)) if value is not None}
    config = generator.settled(given)
    warn_unknown(generator.tokenizer, prompt)
    draft = Draft(generator.model, generator.tokenizer, prompt, config.temperature, config.seed)
    with Screen() as screen:
        edit(draft, screen)
    print(draft.text)


def edit(draft: Draft, screen: Screen) -> None:
    """Key by key, until the writer has had enough."""
    note = ""
    while True:
        screen.show(draft, note)
        key = screen.keyboard.key()
        if key in ("q", "\x04", ""):  # Ctrl-D; nobody is there any more
            return
        try:
            note = act(draft, key, screen)
        except NextwordError as error:
            note = str(error)


def act(draft: Draft, key: str, screen: Screen) -> str:
    """Do what a key asks for; what the writer is to be told about it."""
    if key in ("+", "-"):
        warmer = draft.temperature + (0.1 if key == "+" else -0.1)
        draft.temperature = min(HOTTEST, max(0.0, round(warmer, 1)))
    elif key == "u":
        return "" if draft.undo() else "nothing to undo"
    elif key == "r":
        return "" if draft.redraw() else "the model drew nothing in the last step"
    elif key == "s":
        return save(draft.text + "\n", screen.ask("save to: "))
    elif draft.ended:
        return "the text has ended: u takes that back, q quits"
    elif key in ("\r", "\n", " "):
        draft.advance()
    elif key == "l":
        draft.go_on()
    elif key == "i":
        if text := screen.ask(r"text (\n is a newline): ").replace("\\n", "\n"):
            draft.write(text)
    elif key in NUMBERS:
        chosen = draft.candidates()[NUMBERS.index(key) :][:1]
        if chosen:
            draft.pick(chosen[0].token)
    return ""


def page(draft: Draft, note: str, console: Console) -> Group:
    """What the writer sees: the end of the text, as much as fits, the likeliest tokens, and the keys."""
    from rich.bar import Bar
    from rich.console import Group
    from rich.rule import Rule
    from rich.segment import Segments
    from rich.table import Table
    from rich.text import Text

    from nextword.cli.explain import percent, readable
    from nextword.report.heatmap import figure, visible

    room = max(2, console.height - OTHER_LINES)
    text = Text(readable(draft.text[-room * console.width :]))
    text.append(draft.partial, "reverse")
    text.append("▏", "bold")
    lines = console.render_lines(text, pad=False, new_lines=True)[-room:]
    tokens = Table.grid(padding=(0, 1))
    for key, candidate in zip(NUMBERS, draft.candidates(len(NUMBERS)), strict=False):
        bar = Bar(1, 0, candidate.prob, width=BAR, color="cyan")
        tokens.add_row(Text(key, "bold"), bar, Text(percent(candidate.prob)), Text(visible(candidate.text)))
    figures = f"temperature {draft.temperature:.1f}"
    if draft.num_tokens:
        figures += f"   tokens {draft.num_tokens:,}   ln P {draft.log_prob:.2f}   perplexity {figure(draft.perplexity)}"
    return Group(
        Segments(segment for line in lines for segment in line),
        Rule(style="dim"),
        tokens,
        Text(figures),
        Text(note, "yellow"),
        Text(KEYS, "dim"),
    )


class Screen:
    """The terminal while the page is on it; afterwards it shows what it did before."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console, self.keyboard = Console(stderr=True, highlight=False), Keyboard()

    def __enter__(self) -> Self:
        self.keyboard.__enter__()
        self.console.set_alt_screen(True)
        return self

    def __exit__(self, *error: object) -> None:
        self.console.set_alt_screen(False)
        self.keyboard.__exit__(*error)

    def show(self, draft: Draft, note: str) -> None:
        """Draw the page."""
        with self.console:  # in one go, so that it does not flicker
            self.console.clear()
            self.console.print(page(draft, note, self.console))

    def ask(self, question: str) -> str:
        """A line that the writer types."""
        self.console.print(question, end="", markup=False)
        return self.keyboard.line()


if sys.platform == "win32":
    import msvcrt

    class Keyboard:
        """Keys one by one, as they are pressed."""

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def key(self) -> str:
            """The next key; raises KeyboardInterrupt for Ctrl-C."""
            key = msvcrt.getwch()
            if key == "\x03":
                raise KeyboardInterrupt
            return key + msvcrt.getwch() if key in "\x00\xe0" else key  # an arrow, say, is two

        def line(self) -> str:
            """All keys up to Enter."""
            return sys.stdin.readline().rstrip("\n")

else:
    import select
    import termios
    import tty

    class Keyboard:
        """Keys one by one, as they are pressed."""

        def __enter__(self) -> Self:
            self._descriptor = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor, termios.TCSADRAIN)  # Ctrl-C still interrupts
            return self

        def __exit__(self, *error: object) -> None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

        def key(self) -> str:
            """The next key; "" at the end of all input."""
            key = os.read(self._descriptor, 1)
            if key == b"\x1b" or not key.isascii():  # an arrow, or a letter: several bytes at once, and no key here
                while select.select([self._descriptor], [], [], 0.02)[0] and (more := os.read(self._descriptor, 1)):
                    key += more
            return key.decode(errors="replace")

        def line(self) -> str:
            """All keys up to Enter, with the terminal's own editing."""
            self.__exit__()
            try:
                return sys.stdin.readline().rstrip("\n")
            finally:
                self.__enter__()
