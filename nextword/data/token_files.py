"""A corpus as token ids on disk: memory-mapped `.npy` shards and an index that says what they are.

A folder holds, for shard 00000 and so on,

    tokens-00000.npy      (n,) ids, uint16 where the vocabulary fits, else uint32
    examples-00000.npy    (m, 4) int64, of each example: start in this shard, prompt tokens, goes on or not, preface
    index.json            format version, tokenizer, counts, sources, sizes and SHA-256 of the shards

An example is its prompt, its target and `<eos>`, which is left out where another one goes on and the `<eos>` would part
them. The prompt carries no loss; target and `<eos>` do. An example may run over the end of a shard: the next shard then
lists it first, with a negative start, so that every shard can be read alone. The corpus is one stream of tokens 0, 1,
2, ... opened by an implicit `<eos>` at position -1.

An example that *goes on* (1, else 0) is given all of the example before it, which may itself go on: so a conversation
stands there once, though each of its replies is given all that was said before. Such examples together are a *thread*.
So many of its first tokens are its *preface*, what the system says and what ends its turn: where a thread is too long
to be read at one go, they stand before every part of it. The last of them is the token that each later example of the
thread stands behind, mostly <eos>; a preface of one token is that alone, behind the boundary token.

Versions 1 and 2 of the format, which are read as well, have no fourth column, and version 1 no third.

Knows nothing of text, tokenization or batches.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.data.token_index import (
    AGAIN,
    FORMAT,
    INDEX,
    VERSION,
    Counts,
    Index,
    Shard,
    Source,
    TokenizerInfo,
    Vocabulary,
    read_index,
    shard_paths,
)
from nextword.errors import RunError
from nextword.files import sha256, write_json

COLUMNS = VERSION + 1  # of examples: each version has brought one
SHARD_TOKENS = 2**26  # 128 MiB of uint16
_FLUSH_TOKENS = 2**18

Ids = NDArray[np.int64]


class TokenFiles:
    """A corpus of token ids, read from a folder that `TokenWriter` wrote. Opening reads the index only."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder = folder
        self.index = index
        self._ends = np.cumsum([shard.tokens for shard in index.shards], dtype=np.int64).tolist()
        self._tokens, self._examples = [], []
        for number, shard in enumerate(index.shards):
            tokens, examples = shard_paths(folder, number)
            self._tokens.append(_map(tokens, shard.tokens_size, (shard.tokens,)))
            columns = index.version + 1
            rows = _map(examples, shard.examples_size, (shard.examples, columns))
            self._examples.append(rows if columns == COLUMNS else np.pad(rows, ((0, 0), (0, COLUMNS - columns))))

    @classmethod
    def open(cls, folder: Path | str, tokenizer: Vocabulary | None = None) -> TokenFiles:
        """Open a folder of token files, and check that `tokenizer` made them if one is given.

        Raises RunError: no such folder, an index that is damaged or of an unknown version, a shard that is
        missing or of the wrong size, another tokenizer.
        """
        folder = Path(folder)
        index = read_index(folder)
        made = index.tokenizer
        if tokenizer is not None and tokenizer.fingerprint() != made.fingerprint:
            raise RunError(
                f"{folder} was made with another tokenizer ({made.kind}, {made.vocab_size:,} tokens) "
                f"than the one in use ({tokenizer.kind}, {tokenizer.vocab_size:,} tokens)",
                hint="Prepare the data again with the tokenizer in use, or load the one beside the data",
            )
        return cls(folder, index)

    def __repr__(self) -> str:
        return f"TokenFiles({str(self.folder)!r}, {self.len_tokens:,} tokens)"

    @property
    def len_tokens(self) -> int:
        """Tokens in the stream, the implicit <eos> at position -1 not counted."""
        return self.index.counts.tokens

    @property
    def counts(self) -> Counts:
        """What the stream holds."""
        return self.index.counts

    @property
    def eos_id(self) -> int:
        """The boundary token."""
        return self.index.tokenizer.eos_id

    @property
    def bos_id(self) -> int:
        """Id of the token that a text is read from: mostly `<eos>`."""
        info = self.index.tokenizer
        return info.eos_id if info.bos_id is None else info.bos_id

    @property
    def digest(self) -> str:
        """Names the content: equal for equal tokens, examples and shards."""
        parts = [shard.tokens_sha256 + shard.examples_sha256 for shard in self.index.shards]
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]

    def window(self, start: int, length: int) -> Ids:
        """(length,) ids of positions start, start + 1, ...; position -1 is the implicit <eos>.

        Raises IndexError when the window leaves the stream.
        """
        ids = np.empty(length, dtype=np.int64)
        ids[: max(0, -start)] = self.eos_id
        for number, first, last, at in self._segments(start, length):
            ids[at : at + last - first] = self._tokens[number][first:last]
        return ids

    def pieces(self, length: int = 2**18) -> Iterator[Ids]:
        """The whole stream in order, `length` ids at a time."""
        for start in range(0, self.len_tokens, length):
            yield self.window(start, min(length, self.len_tokens - start))

    def loss_mask(self, start: int, length: int) -> NDArray[np.bool_]:
        """(length,) True where the token at this position carries loss: not in prompts, nor at position -1."""
        mask = np.ones(length, dtype=np.bool_)
        mask[: max(0, -start)] = False
        if not self.has_prompts:
            return mask
        for number, first, last, at in self._segments(start, length):
            rows = self._examples[number]
            # bisect, not np.searchsorted: the latter copies the whole strided column.
            low = bisect_right(rows[:, 0], first) - 1
            rows = rows[low : bisect_left(rows[:, 0], last)]
            steps = np.zeros(last - first + 1, dtype=np.int64)
            np.add.at(steps, rows[:, 0].clip(first, last) - first, 1)
            np.add.at(steps, rows[:, :2].sum(axis=1).clip(first, last) - first, -1)
            mask[at : at + last - first] = steps.cumsum()[:-1] == 0
        return mask

    def examples(self) -> Iterator[tuple[Ids, int]]:
        """Each example in order: its ids with the closing <eos>, if any, and the number of prompt tokens it opens with.

        Of one that goes on these are its own alone."""
        starts = (
            (first + int(row[0]), int(row[1]))
            for first, rows in zip([0, *self._ends], self._examples, strict=False)
            for row in rows
            if row[0] >= 0
        )
        current = next(starts, None)
        while current is not None:
            (start, prompt), current = current, next(starts, None)
            stop = self.len_tokens if current is None else current[0]
            yield self.window(start, stop - start), prompt

    def threads(self) -> Iterator[Ids]:
        """The ids of each example that does not go on, with all those that go on from it, in order."""
        spans = self.spans()
        begins = spans[spans[:, 3] == 0, 0].tolist()
        for start, stop in pairwise([*begins, self.len_tokens]):
            yield self.window(start, stop - start)

    def spans(self) -> Ids:
        """(examples, 5) where each example begins, its tokens with the closing <eos>, how many are its prompt's,
        whether it goes on, and how many are the preface of the thread that it begins."""
        begun = [
            rows[rows[:, 0] >= 0] + [first, 0, 0, 0]
            for first, rows in zip([0, *self._ends], self._examples, strict=False)
        ]
        rows = np.concatenate([np.empty((0, COLUMNS), dtype=np.int64), *begun])
        lengths = np.diff(rows[:, 0], append=self.len_tokens)
        return np.column_stack([rows[:, 0], lengths, rows[:, 1:]])

    @property
    def has_prompts(self) -> bool:
        """Whether there are tokens that carry no loss."""
        return self.counts.loss_tokens < self.counts.tokens

    def check_sources(self) -> None:
        """Raises RunError if a source file has changed since; one that is gone is not missed."""
        for then in self.index.sources:
            path = Path(then.path)
            if path.is_file() and (path.stat().st_size != then.size or sha256(path) != then.sha256):
                raise RunError(
                    f"{path} has changed since {self.folder} was made from it", hint="Prepare the data again"
                )

    def verify(self) -> None:
        """Read everything and compare with the hashes of the index. Raises RunError naming the first damaged file."""
        for number, shard in enumerate(self.index.shards):
            hashes = (shard.tokens_sha256, shard.examples_sha256)
            for path, expected in zip(shard_paths(self.folder, number), hashes, strict=True):
                if sha256(path) != expected:
                    raise RunError(f"{path} is damaged: its SHA-256 is not the one in {INDEX}", hint=AGAIN)

    def _segments(self, start: int, length: int) -> Iterator[tuple[int, int, int, int]]:
        """The parts of a window: (shard, first, last in the shard, offset in the window)."""
        stop = start + length
        if start < -1 or length < 0 or stop > self.len_tokens:
            raise IndexError(f"window [{start}, {stop}) leaves the stream [-1, {self.len_tokens})")
        position = max(start, 0)
        while position < stop:
            number = bisect_right(self._ends, position)
            base = self._ends[number - 1] if number else 0
            last = min(stop, self._ends[number])
            yield number, position - base, last - base, position - start
            position = last


class TokenWriter:
    """Writes token files into a new folder, in bounded memory.

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


def _map(path: Path, size: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Memory-map a shard. Raises RunError if it is missing, cut short or something else."""
    if not path.is_file():
        raise RunError(f"{path} is missing", hint=AGAIN)
    if path.stat().st_size != size:
        raise RunError(f"{path} is damaged: {path.stat().st_size:,} bytes instead of {size:,}", hint=AGAIN)
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise RunError(f"{path} is damaged: {error}", hint=AGAIN) from None
    if values.shape != shape or values.dtype.kind not in "ui":
        raise RunError(f"{path} is damaged: it holds {values.dtype} {values.shape} instead of ids {shape}", hint=AGAIN)
    # A plain view of the same mapping: slicing the memmap class is several times slower.
    return np.asarray(values)
