"""Sources in other pieces each time they are read: tokens are taken apart at random.

BPE-dropout (Provilkov et al. 2020) leaves merges out as it encodes a text, and subword regularization (Kudo 2018) draws
one of the ways to cut it into unigram pieces. Here texts are encoded once, before the training, so it is done from the
other end: a token is taken apart into the two that were merged into it, or the likeliest two that spell it, and these
perhaps again. What a batch becomes depends on the seed and its number alone, so a resumed run reads the same.

Shapes: B rows, S tokens of a source, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from nextword.data.batches import Batch
from nextword.data.token_files import Ids


class TokenDropout:
    """Takes the tokens of sources apart."""

    def __init__(self, halves: Sequence[tuple[int, int]], share: float, seed: int) -> None:
        """`halves` (V, 2) are the ids that each token is taken apart into, -1 for one that cannot be; `share` is the
        probability that a token is."""
        self.halves, self.share, self.seed = np.array(halves, dtype=np.int64), share, seed

    def __call__(self, batch: Batch, number: int, context: int) -> Batch:
        """The batch of this number in the run with other sources, of at most `context` tokens."""
        assert batch.sources is not None
        ids, lengths = batch.sources  # (B, S), (B,): the last token of each closes it
        rng = np.random.RandomState([self.seed % 2**32, number])
        closed = zip(ids.numpy(), lengths.tolist(), strict=True)
        rows = [(self.apart(row[: n - 1], rng)[: context - 1], row[n - 1]) for row, n in closed]
        sizes = torch.tensor([len(row) + 1 for row, _ in rows])
        sources = torch.zeros(len(rows), int(sizes.max()), dtype=torch.long)
        for i, (row, end) in enumerate(rows):
            sources[i, : len(row)] = torch.from_numpy(row)
            sources[i, len(row) :] = int(end)
        return replace(batch, sources=(sources, sizes))

    def apart(self, ids: Ids, rng: np.random.RandomState) -> Ids:
        """Ids of the same text, no fewer."""
        new = np.ones(len(ids), dtype=bool)  # what has not been looked at yet
        while True:
            undone = new & (self.halves[ids, 0] >= 0) & (rng.random_sample(len(ids)) < self.share)
            if not undone.any():
                return ids
            pieces = np.where(undone[:, None], self.halves[ids], np.stack([ids, np.full_like(ids, -1)], axis=1)).ravel()
            kept = pieces >= 0
            ids, new = pieces[kept], np.repeat(undone, 2)[kept]
