"""What commands that take a text share: reading it, its settings, telling of what the model has never seen, saving."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextword.errors import DataError, UsageError

if TYPE_CHECKING:
    from nextword.tokenizers import Tokenizer

MOST_NAMED = 10  # unknown characters named one by one
FINE = 1.9
"""Tokens for a letter. Pieces learned on a script take about one or less; without it, a letter is its bytes."""
FEWEST_LETTERS = 4


def read_text(source: str | Path | None) -> str:
    """The text of a file, or of stdin for None. UTF-8; one newline at the end belongs to the file, not to the text.

    Raises DataError if it cannot be read.
    """
    name = "stdin" if source is None else str(source)
    try:
        data = sys.stdin.buffer.read() if source is None else Path(source).read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: not UTF-8: byte {data[error.start]:#04x} at offset {error.start}",
            hint=f"Convert it first: iconv -f GB18030 -t UTF-8 {'' if source is None else name}".rstrip(),
        ) from None
    return text.replace("\r\n", "\n").removesuffix("\n")


def chosen(given: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """The settings of generation that the user gave: as options, None being those left out, and by `--set key=value`.

    Raises UsageError for an assignment that is none.
    """
    from nextword.config import assign

    settings = {name: value for name, value in given.items() if value is not None}
    for assignment in assignments:
        if "=" not in assignment:
            raise UsageError(f"--set {assignment!r}: expected key=value, such as typical_p=0.9")
        assign(settings, assignment)
    return settings


def newlines(strings: Iterable[str] | None) -> list[str] | None:
    r"""The strings of an option, in which \n stands for a newline; None for none at all."""
    return [string.replace("\\n", "\n") for string in strings] if strings else None


def save(text: str, name: str) -> str:
    """Write a text to the file that somebody named at a prompt; what came of it, in words."""
    from nextword.files import write_text

    if not name:
        return "not saved"
    if not Path(name).parent.is_dir():  # a typing mistake must not make folders
        return f"not saved: there is no folder {Path(name).parent}"
    try:
        write_text(Path(name), text)
    except OSError as error:
        return f"not saved: {error.strerror}"
    return f"saved to {name}"


def given_text(text: str | None, what: str) -> str:
    """The text of a file of that name, of standard input for "-" or what is piped in, or the text itself.

    Raises UsageError if there is none to `what` ("translate"), or for what looks like the name of a file that is not.
    """
    if text == "-" or (text is None and not sys.stdin.isatty()):
        return read_text(None)
    if text is None:
        raise UsageError(f"no text to {what}", hint=f'Give one: nextword {what} RUN "some text", a file, or pipe it in')
    try:
        if Path(text).is_file():
            return read_text(text)
    except OSError:  # too long for a name
        return text
    if Path(text).suffix == ".txt" and len(text.split()) == 1:
        raise UsageError(f"{text}: no such file")
    return text


def warn_unknown(tokenizer: Tokenizer, *texts: str) -> None:
    """Say on stderr which characters or words of some texts the tokenizer does not know, and how often each occurs; or
    in which script it has to spell byte by byte.

    Raises UsageError if one is not Unicode: an argument in another encoding, say.
    """
    from nextword.generator.request import as_unicode
    from nextword.text.scripts import script_of

    unknown: Counter[str] = Counter()
    for text in texts:
        unknown.update(tokenizer.unknown(as_unicode(text)))
    if unknown:
        named = ", ".join(f"{what!r} ×{count}" for what, count in unknown.most_common(MOST_NAMED))
        more = f" and {len(unknown) - MOST_NAMED} more" if len(unknown) > MOST_NAMED else ""
        print(f"Warning: not in the vocabulary, read as <unk>: {named}{more}", file=sys.stderr)
        return
    letters = "".join(character for text in texts for character in text if character.isalpha())
    if tokenizer.kind != "byte" and len(letters) >= FEWEST_LETTERS:
        tokens = len(tokenizer.encode(letters)) / len(letters)
        if tokens >= FINE:
            warning = f"{script_of(letters)} letters take {tokens:.1f} tokens each: the model has seen few of them"
            print(f"Warning: {warning}", file=sys.stderr)
