"""A figure about many texts, kept with what each text adds to it, so that two systems can be compared by resampling.

The rows of a score are statistics that add up over texts; `total` makes the figure of their sum. A mean is the
simplest: rows (value, 1) and a division. BLEU's rows are n-gram counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One metric of one system on a set of texts."""

    name: str
    value: float
    signature: str = ""
    """What makes the figure comparable: tokenizer, settings, version."""
    rows: Rows | None = None
    """(n, k) statistics of each text; None: the figure is one of all texts together, and is not resampled."""
    total: Callable[[Rows], float] | None = None
    """(k,) sum of the rows -> the figure."""
    higher_is_better: bool | None = True
    """None: neither way is better in itself."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"value": self.value} | ({"signature": self.signature} if self.signature else {})


def mean_score(
    name: str,
    values: Sequence[float],
    signature: str = "",
    higher_is_better: bool | None = True,
    counts: Sequence[bool] | None = None,
) -> Score:
    """The mean of a value for each text; with `counts`, of those texts that count.

    >>> mean_score("length", [1, 3]).value
    2.0
    """
    weights = np.ones(len(values)) if counts is None else np.asarray(counts, np.float64)
    rows = np.column_stack([np.asarray(values, np.float64) * weights, weights])
    return Score(name, ratio(rows.sum(0)), signature, rows, ratio, higher_is_better)


def ratio(total: Rows) -> float:
    """The first of two sums over the second; 0 over nothing."""
    return float(total[0] / total[1]) if total[1] else 0.0


@dataclass(frozen=True)
class Difference:
    """How far B is from A in one metric, and how sure that is."""

    name: str
    a: float
    b: float
    low: float
    """Of the middle 95 % of b - a over resampled test sets."""
    high: float
    p: float
    """Two-sided: how often a difference as large as this would come by chance if both were equal."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "a": self.a,
            "b": self.b,
            "difference": self.b - self.a,
            "low": self.low,
            "high": self.high,
            "p": self.p,
        }


def paired_bootstrap(a: Score, b: Score, samples: int = 1000) -> Difference:
    """Compare two systems on the same texts by drawing texts with replacement (Koehn 2004).

    The p-value is that of the distribution of differences shifted to zero (Riezler & Maxwell 2005), as in sacreBLEU.
    """
    assert a.rows is not None
    assert b.rows is not None
    assert a.total is not None
    assert len(a.rows) == len(b.rows)
    rng = np.random.default_rng(0)
    n, differences = len(a.rows), np.empty(samples)
    for i in range(samples):
        weights = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
        differences[i] = a.total(weights @ b.rows) - a.total(weights @ a.rows)
    found = b.value - a.value
    extreme = np.sum(np.abs(differences - differences.mean()) >= abs(found) - 1e-12)
    low, high = np.percentile(differences, [2.5, 97.5])
    return Difference(a.name, a.value, b.value, float(low), float(high), float((extreme + 1) / (samples + 1)))
