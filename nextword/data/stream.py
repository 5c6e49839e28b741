"""Batches of a corpus as one stream of tokens, which knows documents only by the `<eos>` between them.

`WindowBatches` gives a Transformer windows in a seeded shuffle; `StreamBatches` lets a recurrent model read B tracks of
the stream in parallel, each batch going on where the last one stopped. The whole state of both is (epoch, index).
`windows_in_order` and `stream_in_order` read a split once for evaluation. In all of them every token is predicted
exactly once an epoch.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from nextword.data.batches import Batch, Order, fit
from nextword.data.token_files import Ids, TokenFiles
from nextword.errors import UsageError
from nextword.tokenizers import IGNORE


class WindowBatches(Order):
    """Windows of `context` tokens, shuffled anew each epoch, for models that read each window from a fresh start.

    The stream is read as a ring (it ends with the <eos> that opens it), cut at a random phase each epoch, so the
    borders of the windows move. The last window of an epoch may be short: it is filled up, without loss. A batch
    that an epoch cannot fill goes on with the next epoch, so all have the same shape.
    """

    def __init__(self, files: TokenFiles, batch_size: int, context: int, seed: int = 0) -> None:
        """batch_size and context shrink as `fit` says when the stream is too small. Raises DataError as `fit`."""
        self.batch_size, context, _ = fit(files.len_tokens, batch_size, context)
        super().__init__(files.digest, context)
        self.files, self.seed = files, seed
        self._windows = -(-files.len_tokens // self.context)
        self._starts = self._epoch_starts(0)
        self._starts_epoch = 0

    @property
    def batches_per_epoch(self) -> float:
        """As `Order`."""
        return self._windows / self.batch_size

    @property
    def epoch(self) -> float:
        """As `Order`; its index counts windows."""
        return self._epoch + self._index / self._windows

    @property
    def size(self) -> str:
        """As `Order`."""
        return f"{self.batch_size} x {self.context} tokens"

    def __next__(self) -> Batch:
        rows = []
        for _ in range(self.batch_size):
            rows.append(self._window(self._index))
            self._index += 1
            if self._index == self._windows:
                self._epoch, self._index = self._epoch + 1, 0
        return _batch(rows)

    def _window(self, index: int) -> tuple[Ids, Ids]:
        if self._starts_epoch != self._epoch:
            self._starts, self._starts_epoch = self._epoch_starts(self._epoch), self._epoch
        number, phase = self._starts
        offset = int(number[index]) * self.context
        inputs, targets = _ring_pair(self.files, (phase + offset) % self.files.len_tokens, self.context)
        targets[self.files.len_tokens - offset :] = IGNORE  # round the ring: predicted by the first window
        return inputs, targets

    def _epoch_starts(self, epoch: int) -> tuple[Ids, int]:
        """The windows' order, and the position where the first one starts."""
        # RandomState, as in PlannedBatches.
        rng = np.random.RandomState([self.seed % 2**32, epoch])
        return rng.permutation(self._windows), int(rng.randint(self.context))

    def _setting(self) -> dict[str, Any]:
        return super()._setting() | {"seed": self.seed}


class StreamBatches(Order):
    """B tracks of the stream side by side, in order: truncated backpropagation through time with a carried state.

    Row b of a batch continues row b of the batch before; `fresh` marks the first batch of an epoch. The tracks'
    lengths differ by at most one token, and an epoch is cut into batches of nearly equal length, at most
    `context`: no short batch at its end.
    """

    carries = True

    def __init__(self, files: TokenFiles, batch_size: int, context: int) -> None:
        """batch_size and context shrink as `fit` says when the stream is too small. Raises DataError as `fit`."""
        self.batch_size, context, _ = fit(files.len_tokens, batch_size, context)
        super().__init__(files.digest, context)
        self.files = files

    @property
    def batches_per_epoch(self) -> float:
        """As `Order`."""
        return float(_num_chunks(self.files, self.batch_size, self.context))

    @property
    def size(self) -> str:
        """As `Order`."""
        return f"{self.batch_size} x {self.context} tokens"

    def __next__(self) -> Batch:
        batch = _chunk(self.files, self.batch_size, self.context, self._index)
        self._index += 1
        if self._index == self.batches_per_epoch:
            self._epoch, self._index = self._epoch + 1, 0
        return batch

    def _setting(self) -> dict[str, Any]:
        return super()._setting() | {"batch_size": self.batch_size}


def stream_in_order(files: TokenFiles, batch_size: int, context: int) -> Iterator[Batch]:
    """The stream once, as one epoch of `StreamBatches`. With batch_size 1 every token has all before it as context.

    Raises DataError below 2 tokens.
    """
    batch_size, context, _ = fit(files.len_tokens, batch_size, context)
    for index in range(_num_chunks(files, batch_size, context)):
        yield _chunk(files, batch_size, context, index)


def windows_in_order(files: TokenFiles, batch_size: int, context: int, stride: int) -> Iterator[Batch]:
    """The stream once, in windows of `context` that move by `stride`; the tokens seen before carry no loss.

    Each token is scored once, with at least `context - stride` tokens before it (fewer in the first window only).
    stride = context is fastest, stride = 1 the strictest. Raises UsageError if stride is not in 1 .. context,
    DataError below 2 tokens.
    """
    if not 1 <= stride <= context:
        raise UsageError(f"stride: expected a number from 1 to the context of {context}, got {stride}")
    _, context, _ = fit(files.len_tokens, batch_size, context)
    rows, scored = [], 0
    while scored < files.len_tokens:
        stop = min(scored + stride, files.len_tokens) if scored else context
        inputs, targets = _pair(files, stop - context, context)
        targets[: scored - (stop - context)] = IGNORE
        rows.append((inputs, targets))
        scored = stop
        if len(rows) == batch_size or scored == files.len_tokens:
            yield _batch(rows)
            rows = []


def _num_chunks(files: TokenFiles, batch_size: int, context: int) -> int:
    longest_track = -(-files.len_tokens // batch_size)
    return -(-longest_track // context)


def _chunk(files: TokenFiles, batch_size: int, context: int, index: int) -> Batch:
    """Batch `index` of the epoch: column by column through `batch_size` tracks."""
    tokens = files.len_tokens
    longest_track = -(-tokens // batch_size)
    chunks = _num_chunks(files, batch_size, context)
    first, last = index * longest_track // chunks, (index + 1) * longest_track // chunks
    rows = []
    for row in range(batch_size):
        start, stop = row * tokens // batch_size, (row + 1) * tokens // batch_size
        inputs, targets = _ring_pair(files, (start + first) % tokens, last - first)
        targets[max(0, stop - start - first) :] = IGNORE  # the column that only longer tracks have
        rows.append((inputs, targets))
    return _batch(rows, fresh=index == 0)


def _pair(files: TokenFiles, start: int, length: int) -> tuple[Ids, Ids]:
    """Inputs and targets (length,) that predict the positions from `start`."""
    ids = files.window(start - 1, length + 1)
    targets = ids[1:].copy()
    targets[~files.loss_mask(start, length)] = IGNORE
    return ids[:-1], targets


def _ring_pair(files: TokenFiles, start: int, length: int) -> tuple[Ids, Ids]:
    """As `_pair`, going on at position 0 after the last token: the stream ends with the <eos> that opens it."""
    here = min(length, files.len_tokens - start)
    inputs, targets = _pair(files, start, here)
    if here < length:
        more = _pair(files, 0, length - here)
        inputs, targets = np.concatenate([inputs, more[0]]), np.concatenate([targets, more[1]])
    return inputs, targets


def _batch(rows: list[tuple[Ids, Ids]], fresh: bool = True) -> Batch:
    inputs, targets = zip(*rows, strict=True)
    return Batch(torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(targets)), fresh)
