"""Writing token files: ids and rows of examples go into shards as they come.

What the files hold is told in `token_files`, which reads them. Knows nothing of text or tokenization.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.data.token_files import Ids
from nextword.data.token_index import (
    COLUMNS,
    FORMAT,
    INDEX,
    VERSION,
    Counts,
    Index,
    Shard,
    Source,
    TokenizerInfo,
    Vocabulary,
    shard_paths,
)
from nextword.files import sha256, write_json

SHARD_TOKENS = 2**26  # 128 MiB of uint16
_FLUSH_TOKENS = 2**18


class TokenWriter:
    """Writes token files into a new folder; what it holds in memory is bounded, but for a prompt, held whole.

    For each example: `go_on()` if it does, else `preface(tokens)` if it has one; `prompt(ids)` and `target(ids,
    num_bytes)`, each any number of times; then `end()`. Nothing can be opened before `finish` has written the index. To
    be atomic, write within `files.replacing_folder`.
    """

    def __init__(self, folder: Path, tokenizer: Vocabulary, shard_tokens: int = SHARD_TOKENS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.tokenizer = TokenizerInfo(
            kind=tokenizer.kind,
            fingerprint=tokenizer.fingerprint(),
            vocab_size=tokenizer.vocab_size,
            eos_id=tokenizer.eos_id,
            unk_id=tokenizer.unk_id,
            bos_id=getattr(tokenizer, "bos_id", None),
        )
        self.dtype = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
        self.shard_tokens = shard_tokens
        self._shards: list[Shard] = []
        self._open: tuple[_GrowingArray, _GrowingArray] | None = None  # the shard being written
        self._waiting = array("q")  # ids not written yet
        self._rows = array("q")  # start in the stream, prompt tokens, goes on, preface of each not written yet, flat
        self._last_row = [0] * COLUMNS  # the example written last, which may run on into the next shard
        self._written = 0
        self._start = 0  # of the example at hand
        self._prompt = 0
        self._goes_on = False
        self._preface = 0
        self._in_target = False
        self._examples = self._prompt_tokens = self._target_bytes = self._unknown = 0

    @property
    def len_tokens(self) -> int:
        """Tokens taken so far."""
        return self._written + len(self._waiting)

    def go_on(self) -> None:
        """The example at hand is given all of the one before it; before anything of it."""
        assert self._examples, "an example goes on from another one"
        assert not self._prompt, "it does so before anything of it is told"
        self._goes_on = True

    def preface(self, tokens: int) -> None:
        """So many of the prompt's first tokens are the preface of the thread that begins."""
        self._preface = tokens

    def prompt(self, ids: Sequence[int]) -> None:
        """Tokens of the example at hand that carry no loss; before any of its target."""
        assert not self._in_target, "a prompt comes before its target"
        self._waiting.extend(ids)
        self._prompt += len(ids)

    def target(self, ids: Sequence[int], num_bytes: int) -> None:
        """Tokens of the example at hand that carry loss, and the UTF-8 bytes of their text."""
        self._begin_target()
        self._waiting.extend(ids)
        self._target_bytes += num_bytes
        if len(self._waiting) >= _FLUSH_TOKENS:
            self._flush()

    def end(self, closed: bool = True) -> None:
        """The example at hand is complete; it is `closed` by <eos> unless another one goes on without."""
        self._begin_target()
        if closed:
            self._waiting.append(self.tokenizer.eos_id)
        self._examples += 1
        self._start, self._prompt, self._goes_on, self._preface = self.len_tokens, 0, False, 0
        self._in_target = False

    def finish(self, sources: Sequence[Source] = (), settings: dict[str, Any] | None = None) -> None:
        """Write what is left, and the index."""
        assert not self._in_target, "the last example has no end"
        self._flush()
        self._close_shard()
        index = Index(
            format=FORMAT,
            version=VERSION,
            tokenizer=self.tokenizer,
            counts=Counts(
                examples=self._examples,
                tokens=self._written,
                loss_tokens=self._written - self._prompt_tokens,
                target_bytes=self._target_bytes,
                unknown_tokens=self._unknown,
            ),
            shards=self._shards,
            sources=list(sources),
            settings=settings or {},
        )
        write_json(self.folder / INDEX, index.model_dump())

    def _begin_target(self) -> None:
        """The prompt is over: now, and not before, the example's row is known."""
        if not self._in_target:
            self._in_target = True
            self._rows.extend((self._start, self._prompt, self._goes_on, self._preface))
            self._prompt_tokens += self._prompt

    def _flush(self) -> None:
        ids = np.array(self._waiting, dtype=np.int64)
        rows = np.array(self._rows, dtype=np.int64).reshape(-1, COLUMNS)
        self._waiting, self._rows = array("q"), array("q")
        if ids.size and not 0 <= ids.min() <= ids.max() < self.tokenizer.vocab_size:
            raise AssertionError(f"the tokenizer gave an id outside 0 .. {self.tokenizer.vocab_size - 1}")
        if self.tokenizer.unk_id is not None:
            self._unknown += int((ids == self.tokenizer.unk_id).sum())
        while ids.size:
            room = self.shard_tokens - self._written % self.shard_tokens
            here = np.searchsorted(rows[:, 0], self._written + room)
            self._write(ids[:room], rows[:here])
            ids, rows = ids[room:], rows[here:]
        self._rows.extend(rows.ravel().tolist())  # an example whose first token is still to come

    def _write(self, ids: Ids, rows: Ids) -> None:
        """Append to the open shard, which has room; close it when it is full."""
        base = self._written - self._written % self.shard_tokens
        if self._open is None:
            if not rows.size or rows[0, 0] > self._written:  # the shard begins inside an example
                rows = np.concatenate([np.array([self._last_row]), rows])
            tokens, examples = shard_paths(self.folder, len(self._shards))
            self._open = _GrowingArray(tokens, self.dtype), _GrowingArray(examples, np.int64, (COLUMNS,))
        self._open[0].append(ids)
        self._open[1].append(rows - [base, 0, 0, 0])
        if rows.size:
            self._last_row = rows[-1].tolist()
        self._written += len(ids)
        if self._written % self.shard_tokens == 0:
            self._close_shard()

    def _close_shard(self) -> None:
        if self._open is None:
            return
        tokens, examples = self._open
        tokens.close()
        examples.close()
        self._shards.append(
            Shard(
                tokens=tokens.length,
                examples=examples.length,
                tokens_size=tokens.path.stat().st_size,
                tokens_sha256=sha256(tokens.path),
                examples_size=examples.path.stat().st_size,
                examples_sha256=sha256(examples.path),
            )
        )
        self._open = None


class _GrowingArray:
    """A `.npy` file whose first axis grows. NumPy pads the header so that the length can be filled in at the end."""

    def __init__(self, path: Path, dtype: Any, row_shape: tuple[int, ...] = ()) -> None:
        self.path = path
        self.length = 0
        self._dtype = np.dtype(dtype)
        self._row_shape = row_shape
        self._file = path.open("wb")
        self._write_header()

    def append(self, values: NDArray[Any]) -> None:
        self._file.write(values.astype(self._dtype).tobytes())
        self.length += len(values)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self.length, *self._row_shape),
            },
        )
