"""Sources that can be read only once, standard input and pipes, made readable again."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nextword.text.records import Source


@contextmanager
def rereadable(groups: Sequence[Sequence[Source]]) -> Iterator[list[list[Source]]]:
    """The same sources, each of which can be read more than once: a stream becomes a temporary file of its name."""
    with tempfile.TemporaryDirectory(prefix="nextword-") as folder:
        copies: dict[str, Path] = {}  # of streams: one that is named twice is still read once

        def again(one: Source) -> Source:
            if not isinstance(one, str | Path):
                return list(one) if iter(one) is one else one
            if not is_stream(one):
                return one
            if str(one) not in copies:
                copy = Path(folder, str(len(copies)), "stdin" if one == "-" else Path(one).name)
                copy.parent.mkdir()
                with ExitStack() as stack, copy.open("wb") as file:
                    stream = sys.stdin.buffer if one == "-" else stack.enter_context(Path(one).open("rb"))
                    shutil.copyfileobj(stream, file)
                copies[str(one)] = copy
            return copies[str(one)]

        yield [[again(one) for one in group] for group in groups]


def is_stream(one: str | Path) -> bool:
    """Standard input or a pipe: readable once."""
    return one == "-" or (Path(one).exists() and not Path(one).is_file() and not Path(one).is_dir())
