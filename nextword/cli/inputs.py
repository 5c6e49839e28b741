"""What commands that take a text share: reading it, telling of characters the model has never seen, a closed pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nextword.errors import DataError

if TYPE_CHECKING:
    from nextword.tokenizers import Tokenizer

MOST_NAMED = 10  # unknown characters named one by one


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


def warn_unknown(tokenizer: Tokenizer, text: str) -> None:
    """Say on stderr which characters or words of `text` the tokenizer does not know, and how often each occurs."""
    unknown = tokenizer.unknown(text)
    if not unknown:
        return
    named = ", ".join(f"{what!r} ×{count}" for what, count in unknown.most_common(MOST_NAMED))
    more = f" and {len(unknown) - MOST_NAMED} more" if len(unknown) > MOST_NAMED else ""
    print(f"Warning: not in the vocabulary, read as <unk>: {named}{more}", file=sys.stderr)


@contextmanager
def closed_pipe_is_fine() -> Iterator[None]:
    """`nextword ... | head` ends quietly when head has seen enough."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit does not complain
