"""A corpus as token ids on disk: memory-mapped `.npy` shards and an index that says what they are. Here they are read.

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
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.data.token_index import AGAIN, COLUMNS, INDEX, Counts, Index, Vocabulary, read_index, shard_paths
from nextword.errors import RunError
from nextword.files import sha256

Ids = NDArray[np.int64]

START, LENGTH, PROMPT, GOES_ON, PREFACE = range(5)
"""Columns of `TokenFiles.spans`."""


class TokenFiles:
    """A corpus of token ids, read from a folder that a `TokenWriter` wrote. Opening reads the index only."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder = folder
        self.index = index
        sizes = [shard.tokens for shard in index.shards]
        self._bounds = [0, *accumulate(sizes)]  # where each shard begins in the stream, and where the last one ends
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
            starts, prompts, *_ = self._examples[number].T
            # bisect, not np.searchsorted: the latter copies the whole strided column.
            here = slice(bisect_right(starts, first) - 1, bisect_left(starts, last))
            begins, ends = starts[here], starts[here] + prompts[here]
            depth = np.zeros(last - first + 1, dtype=np.int64)  # 1 more where a prompt begins, 1 less where it ends
            np.add.at(depth, begins.clip(first, last) - first, 1)
            np.add.at(depth, ends.clip(first, last) - first, -1)
            mask[at : at + last - first] = depth.cumsum()[:-1] == 0
        return mask

    def examples(self) -> Iterator[tuple[Ids, int]]:
        """Each example in order: its ids with the closing <eos>, if any, and the number of prompt tokens it opens with.

        Of one that goes on these are its own alone."""
        starts = (
            (first + int(row[0]), int(row[1]))
            for first, rows in zip(self._bounds, self._examples, strict=False)
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
        begins = spans[spans[:, GOES_ON] == 0, START].tolist()
        for start, stop in pairwise([*begins, self.len_tokens]):
            yield self.window(start, stop - start)

    def spans(self) -> Ids:
        """(examples, 5) START, where each example begins; LENGTH, its tokens with the closing <eos>; PROMPT, how many
        are its prompt's; GOES_ON, 1 if it does; PREFACE, how many are the preface of the thread that it begins."""
        begun = [
            rows[rows[:, 0] >= 0] + [first, 0, 0, 0] for first, rows in zip(self._bounds, self._examples, strict=False)
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
            number = bisect_right(self._bounds, position) - 1
            base, end = self._bounds[number], self._bounds[number + 1]
            last = min(stop, end)
            yield number, position - base, last - base, position - start
            position = last


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
