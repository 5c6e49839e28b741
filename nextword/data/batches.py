"""Batches of a token stream, in an order that is a pure function of (files, settings, position).

Here a corpus is one stream; `examples` has batches of whole examples. `WindowBatches` gives a Transformer windows in
a seeded shuffle; `StreamBatches` lets a recurrent model read B tracks of the stream in parallel, each batch going on
where the last one stopped. Both go on for ever, and their whole state is (epoch, index). `windows_in_order` and
`stream_in_order` read a split once for evaluation. In all of them every token is predicted exactly once an epoch.

Knows nothing of models, losses or processes. Shapes: B rows, T tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from nextword.data.token_files import Ids, TokenFiles
from nextword.errors import DataError, RunError, UsageError
from nextword.tokenizers import IGNORE


@dataclass(frozen=True)
class Batch:
    """`targets[b, t]` is the token after `inputs[b, t]`, or IGNORE where there is no loss. Both (B, T) int64."""

    inputs: Tensor
    targets: Tensor
    fresh: bool = True
    """The rows do not continue those of the batch before: reset the state."""
    starts: Tensor | None = None
    """(B, T) bool: where another document begins within a row, which sees nothing before it. None: nowhere."""
    corpus: str = ""
    """In a mixture read a batch at a time: which corpus this one is from."""
    sources: tuple[Tensor, Tensor] | None = None
    """For a model that encodes them: ids (B, S), filled up behind their lengths (B,). None: prompts are in `inputs`."""

    def part(self, rows: slice) -> Batch:
        """Some of the rows, to be read by one of several processes. If there are none, the first without its loss: all
        processes take every step, though a batch may have fewer rows than they are."""
        if not len(self.inputs[rows]):
            nothing = torch.full_like(self.targets[:1], IGNORE)
            return replace(self.part(slice(0, 1)), targets=nothing)
        starts = None if self.starts is None else self.starts[rows]
        sources = None if self.sources is None else (self.sources[0][rows], self.sources[1][rows])
        return replace(self, inputs=self.inputs[rows], targets=self.targets[rows], starts=starts, sources=sources)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        inputs, targets = (tensor.to(device, non_blocking=True) for tensor in (self.inputs, self.targets))
        starts = None if self.starts is None else self.starts.to(device, non_blocking=True)
        sources = None if self.sources is None else (self.sources[0].to(device), self.sources[1].to(device))
        return Batch(inputs, targets, self.fresh, starts, self.corpus, sources)


def fit(num_tokens: int, batch_size: int, context: int) -> tuple[int, int, str]:
    """Batch size and context that `num_tokens` tokens can fill, and a note for the user ("" if they were enough).

    The context shrinks last: long windows teach more than many. Raises DataError below 2 tokens.

    >>> fit(1000, 64, 256)
    (3, 256, 'only 1,000 tokens: batch size 3 instead of 64')
    """
    if num_tokens < 2:
        raise DataError(
            f"The text is too small: {num_tokens} token{'s' * (num_tokens != 1)}, and at least 2 are needed",
            hint="Give more text, or a larger share of it to this split",
        )
    fitting_context = min(context, num_tokens)
    fitting_size = min(batch_size, num_tokens // fitting_context)
    changes = [f"batch size {fitting_size} instead of {batch_size}"] if fitting_size < batch_size else []
    changes += [f"context {fitting_context} instead of {context}"] if fitting_context < context else []
    note = f"only {num_tokens:,} tokens: {', '.join(changes)}" if changes else ""
    return fitting_size, fitting_context, note


class Order(ABC):
    """An endless, resumable order of batches; its whole state is the position (epoch, index)."""

    carries = False
    """Whether a batch goes on where the one before stopped."""
    whole_examples = False
    """Whether each example is read by itself."""
    one_shape = True
    """Whether all batches, or nearly all, have the same shape."""

    def __init__(self, digest: str, context: int) -> None:
        """`digest` names the data."""
        self.digest = digest
        self.context = context
        self._epoch = 0
        self._index = 0

    def __iter__(self) -> Self:
        return self

    @abstractmethod
    def __next__(self) -> Batch: ...

    @property
    @abstractmethod
    def epoch(self) -> float:
        """Epochs read so far, such as 1.25."""

    @property
    @abstractmethod
    def batches_per_epoch(self) -> float:
        """Not whole where an epoch ends within a batch."""

    @property
    @abstractmethod
    def size(self) -> str:
        """How large a batch is, in words."""

    def read_shares(self) -> dict[str, float]:
        """In a mixture: the share of each corpus in the tokens with loss read so far."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The position, and what it is a position in: plain JSON values."""
        return {"epoch": self._epoch, "index": self._index} | self._setting()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises RunError if the data, or the order, is another than then."""
        for key, value in self._setting().items():
            if state.get(key) != value:
                raise RunError(
                    f"The position in the data cannot be restored: {key} was {state.get(key)}, now {value}",
                    hint="Resume with the data and settings of then, or start a new run from the weights",
                )
        self._epoch, self._index = state["epoch"], state["index"]

    def _setting(self) -> dict[str, Any]:
        return {"data": self.digest, "order": type(self).__name__, "context": self.context}


class Planned(Protocol):
    """An epoch of batches, in order, each in the terms of its maker."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class PlannedBatches(Order):
    """Batches of whole examples, all of an epoch planned when it begins."""

    whole_examples = True
    one_shape = False

    def __init__(self, digest: str, context: int, tokens: int, seed: int) -> None:
        """At most `tokens` tokens a batch."""
        super().__init__(digest, context)
        self.tokens, self.seed = tokens, seed
        self._plan: Planned = ()
        self._plan_epoch: int | None = None

    @property
    def epoch(self) -> float:
        """Epochs read so far, such as 1.25."""
        return self._epoch + self._index / self.batches_per_epoch

    @property
    def batches_per_epoch(self) -> float:
        """Of the epoch at hand."""
        return float(len(self._current()))

    def __next__(self) -> Batch:
        plan = self._current()
        batch = self._batch(plan[self._index])
        self._index += 1
        if self._index == len(plan):
            self._epoch, self._index = self._epoch + 1, 0
        return batch

    def _current(self) -> Planned:
        if self._plan_epoch != self._epoch:
            # RandomState, as in WindowBatches.
            rng = np.random.RandomState([self.seed % 2**32, self._epoch])
            self._plan, self._plan_epoch = self._planned(rng), self._epoch
        return self._plan

    @abstractmethod
    def _planned(self, rng: np.random.RandomState) -> Planned:
        """What `_batch` makes the batches of an epoch of, in order."""

    @abstractmethod
    def _batch(self, planned: Any) -> Batch: ...

    def _setting(self) -> dict[str, Any]:
        return super()._setting() | {"seed": self.seed, "tokens": self.tokens}


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
        """Epochs read so far, such as 1.25."""
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
        # RandomState, because NumPy freezes its stream for ever: a resumed run keeps its order under any NumPy.
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
    def epoch(self) -> float:
        """Epochs read so far, such as 1.25."""
        return self._epoch + self._index / self.batches_per_epoch

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
