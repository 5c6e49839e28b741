"""What somebody types, text by text: with a history on a terminal, and line by line from a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from nextword.errors import DataError, UsageError

BLOCK = '"""'
MORE = "… "  # before a line that belongs to the one before
MOST_REMEMBERED = 1000


class Lines:
    """Standard input, a text at a time."""

    def __init__(self) -> None:
        self.on_terminal = sys.stdin.isatty()
        self._readline: Any = None  # edits lines, and remembers them
        if self.on_terminal:
            with suppress(ImportError):  # Windows has none
                self._readline = import_module("readline")
        self._number = 0

    def read(self, prompt: str, draft: str = "") -> str | None:
        """The next text, None at the end; on a terminal it begins as `draft`.

        A line that ends in a backslash goes on in the next one, and three quotes begin and end a text of several lines.
        """
        line = self._line(prompt, draft)
        if line is None:
            return None
        if line.strip().startswith(BLOCK):
            return self._block(line.strip().removeprefix(BLOCK))
        text = line
        while text.endswith("\\"):
            text = text[:-1] + "\n" + (self._line(MORE) or "")
        return text

    def _block(self, line: str) -> str:
        lines = []
        while BLOCK not in line:
            lines.append(line)
            following = self._line(MORE)
            if following is None:
                break
            line = following
        else:
            lines.append(line.partition(BLOCK)[0])
        return "\n".join(lines).strip("\n")

    def _line(self, prompt: str, draft: str = "") -> str | None:
        if not self.on_terminal:
            return self._piped()
        if not sys.stdout.isatty():  # stdout holds replies and nothing else
            print(prompt, end="", flush=True, file=sys.stderr)
            prompt = ""
        if draft:
            if self._readline is None:
                raise UsageError("this terminal cannot edit a line", hint="Give the new text with the command")
            self._readline.set_startup_hook(lambda: self._readline.insert_text(draft))
        try:
            return input(prompt)
        except EOFError:
            print(file=sys.stderr)
            return None
        finally:
            if draft:
                self._readline.set_startup_hook()

    def _piped(self) -> str | None:
        line = sys.stdin.buffer.readline()
        self._number += 1
        try:
            return line.decode("utf-8-sig").rstrip("\r\n") if line else None
        except UnicodeDecodeError:
            raise DataError(
                f"stdin: line {self._number} is not UTF-8", hint="Convert it first: iconv -f GB18030 -t UTF-8"
            ) from None

    def bold(self, prompt: str) -> str:
        """A prompt in bold where the terminal has it, marked so that readline does not count what makes it bold."""
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty()
        return prompt if plain or self._readline is None else f"\001\033[1m\002{prompt}\001\033[0m\002"

    @contextmanager
    def history(self, name: str) -> Iterator[None]:
        """Lines typed in earlier sessions come back with the arrow keys, and those of this one will."""
        if self._readline is None:
            yield
            return
        file = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "nextword" / name
        self._readline.clear_history()
        with suppress(OSError):  # there is none yet
            self._readline.read_history_file(file)
        try:
            yield
        finally:
            self._readline.set_history_length(MOST_REMEMBERED)
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch(mode=0o600)
                self._readline.write_history_file(file)
            except OSError as error:
                print(f"the history is not saved: {error.strerror}: {file}", file=sys.stderr)
