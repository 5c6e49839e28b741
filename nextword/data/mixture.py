"""Several corpora read as one, each in its share: what [mix] asks for, and the order that keeps to it.

Which corpus is read next follows a golden-ratio sequence: a pure function of (seed, number of the draw), in which
every stretch, not only a long one, holds each corpus in nearly its share. Small corpora begin again when they are
through, large ones may never be. Knows nothing of models or of text.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import BeforeValidator, Field, field_validator, model_validator
from torch import Tensor
from torch.nn.functional import pad

from nextword.config import Config
from nextword.data.batches import Batch, Order
from nextword.data.token_files import Ids, TokenFiles
from nextword.data.token_index import Counts
from nextword.tokenizers import IGNORE

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, to the nearest odd number: multiples of it fill [0, 2^64) evenly


class CorpusConfig(Config):
    """One corpus of a mixture."""

    data: Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
    """Files, folders or globs; or one prepared folder."""
    weight: float | None = Field(default=None, gt=0)
    """Its share of what is read is proportional to this."""
    valid: list[str] = Field(default=[])
    """Held-out text of its own; left out: what [split] says."""
    read: dict[str, Any] = Field(default={})
    """Settings of [data] that are different for this corpus."""


class MixConfig(Config):
    """A mixture of corpora to train on, in place of one."""

    corpora: dict[str, CorpusConfig] = Field(default={})
    """Corpora by name, such as { poems = { data = "poems.txt", weight = 2.0 }, prose = { data = "prose/", weight = 1.0
    } }. Of each: data, weight, and if need be valid (its own held-out text) and read (settings of [data] that are
    different for it)."""
    temperature: float = Field(default=1.0, gt=0)
    """Without weights: shares are proportional to tokens^(1 / temperature) (Conneau et al. 2020); 1 = by size, greater
    = small corpora are read more often."""

    @field_validator("corpora")
    @classmethod
    def _names(cls, corpora: dict[str, CorpusConfig]) -> dict[str, CorpusConfig]:
        for name in corpora:
            if not re.fullmatch(r"\w[\w-]*", name):
                raise ValueError(f"{name!r} cannot be the name of a corpus: letters, digits, - and _ only")
            if "-" in corpora[name].data:
                raise ValueError(f"{name}: a mixture cannot hold standard input, which is read once; name a file")
            if not corpora[name].data:
                raise ValueError(f"{name}: data names no file")
        return corpora

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        without = [name for name, corpus in self.corpora.items() if corpus.weight is None]
        if 0 < len(without) < len(self.corpora):
            raise ValueError(f"{without[0]} has no weight, but others have: give one to each, or to none")
        return self

    def shares(self, sizes: Mapping[str, int]) -> dict[str, float]:
        """The share of each corpus, given its size; they add up to 1."""
        weights = {
            name: corpus.weight or sizes[name] ** (1 / self.temperature) for name, corpus in self.corpora.items()
        }
        return {name: weight / sum(weights.values()) for name, weight in weights.items()}


@dataclass(frozen=True)
class Mixture:
    """Token files by the name of their corpus, and the share of each; beside these, what `TokenFiles` tells."""

    files: dict[str, TokenFiles]
    shares: dict[str, float]

    @property
    def counts(self) -> Counts:
        """Of all together."""
        each = [files.counts.model_dump() for files in self.files.values()]
        return Counts(**{key: sum(counts[key] for counts in each) for key in each[0]})

    @property
    def len_tokens(self) -> int:
        """Tokens of all together."""
        return self.counts.tokens

    @property
    def eos_id(self) -> int:
        """The boundary token, the same in all."""
        return next(iter(self.files.values())).eos_id

    @property
    def has_prompts(self) -> bool:
        """Whether any of them has prompts."""
        return any(files.has_prompts for files in self.files.values())

    @property
    def digest(self) -> str:
        """Names the content and the shares."""
        parts = [f"{name} {files.digest} {self.shares[name]!r}\n" for name, files in self.files.items()]
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]

    def pieces(self) -> Iterator[Ids]:
        """The stream of the first, piece by piece, then that of the second, and so on."""
        for files in self.files.values():
            yield from files.pieces()

    def examples(self) -> Iterator[tuple[Ids, int]]:
        """The examples of the first, then those of the second, and so on."""
        for files in self.files.values():
            yield from files.examples()

    def threads(self) -> Iterator[Ids]:
        """The threads of the first, then those of the second, and so on."""
        for files in self.files.values():
            yield from files.threads()


class Schedule:
    """Which of N corpora each draw takes: by the k-th point of a golden-ratio sequence in [0, 1), cut into shares.

    Among the first n draws a corpus of share p is drawn p n times, give or take a few: the discrepancy of the sequence
    grows with log n (Kuipers & Niederreiter 1974), that of independent draws with the root of n.
    """

    def __init__(self, shares: Sequence[float], seed: int) -> None:
        self._borders = [border / sum(shares) for border in accumulate(shares)][:-1]
        self._offset = int(np.random.RandomState([seed % 2**32]).randint(2**31)) << 33

    def __getitem__(self, k: int) -> int:
        return bisect_right(self._borders, (k * GOLDEN + self._offset) % 2**64 / 2**64)


class MixedBatches(Order):
    """Batches of `draws` parts, each the next batch of one corpus: one row of windows, say, or a whole batch.

    What keeps to the shares is the tokens with loss: a corpus that gives fewer at a time is drawn more often.
    Batches that carry a state must not be joined: `draws` is 1 then, and `Batch.corpus` tells whose state goes on.
    """

    def __init__(self, mixture: Mixture, orders: Mapping[str, Order], draws: int, seed: int) -> None:
        super().__init__(mixture.digest, max(order.context for order in orders.values()))
        self.carries = any(order.carries for order in orders.values())
        self.one_shape = all(order.one_shape for order in orders.values())
        self.whole_examples = any(order.whole_examples for order in orders.values())
        assert draws == 1 or not self.carries
        self.orders, self.draws, self.seed = dict(orders), draws, seed
        self.tokens = dict.fromkeys(orders, 0)
        """Tokens with loss read so far of each corpus."""
        self._names = list(orders)
        self._sizes = {name: mixture.files[name].counts.loss_tokens for name in orders}
        # draws for each token: of each corpus, its share by how many tokens it gives at a time
        rates = [mixture.shares[name] * order.batches_per_epoch / self._sizes[name] for name, order in orders.items()]
        self._schedule, self._rate = Schedule(rates, seed), sum(rates)
        self._eos_id = mixture.eos_id

    @property
    def epoch(self) -> float:
        """As much as all corpora hold together is an epoch."""
        read = sum(order.epoch * self._sizes[name] for name, order in self.orders.items())
        return read / sum(self._sizes.values())

    @property
    def batches_per_epoch(self) -> float:
        """On average."""
        return self._rate * sum(self._sizes.values()) / self.draws

    @property
    def size(self) -> str:
        """As `Order`."""
        if self.draws > 1:
            return f"{self.draws} rows of {self.context} tokens, drawn from {len(self.orders)} corpora"
        return f"{next(iter(self.orders.values())).size}, each from one of {len(self.orders)} corpora"

    def read_shares(self) -> dict[str, float]:
        """As `Order`."""
        total = max(1, sum(self.tokens.values()))
        return {name: count / total for name, count in self.tokens.items()}

    def read(self) -> dict[str, dict[str, float]]:
        """What was read so far of each corpus: its share, and its epochs."""
        return {
            name: {"share": round(share, 4), "epochs": round(self.orders[name].epoch, 3)}
            for name, share in self.read_shares().items()
        }

    def __next__(self) -> Batch:
        parts = []
        for k in range(self._index, self._index + self.draws):
            name = self._names[self._schedule[k]]
            part = next(self.orders[name])
            self.tokens[name] += int((part.targets != IGNORE).sum())
            parts.append(part)
        self._index += self.draws
        return replace(parts[0], corpus=name) if self.draws == 1 else _joined(parts, self.context, self._eos_id)

    def state_dict(self) -> dict[str, Any]:
        """As `Order`; and the position in each corpus."""
        orders = {name: order.state_dict() for name, order in self.orders.items()}
        return super().state_dict() | {"tokens": dict(self.tokens), "orders": orders}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `Order`."""
        super().load_state_dict(state)
        self.tokens = dict(state["tokens"])
        for name, order in self.orders.items():
            order.load_state_dict(state["orders"][name])

    def _setting(self) -> dict[str, Any]:
        return super()._setting() | {"seed": self.seed, "draws": self.draws}


def _joined(parts: Sequence[Batch], width: int, filler: int) -> Batch:
    """The rows of all, filled up to `width`."""

    def together(tensors: Sequence[Tensor], value: int) -> Tensor:
        return torch.cat([pad(tensor, (0, width - tensor.size(1)), value=value) for tensor in tensors])

    starts = [part.starts for part in parts if part.starts is not None]
    return Batch(
        together([part.inputs for part in parts], filler),
        together([part.targets for part in parts], IGNORE),
        starts=together(starts, False) if starts else None,  # of all or of none: one kind of order
    )
