"""How long an answer is to be, in buckets: a mark before the prompt tells in training which its answer falls into, and
afterwards asks for one (Fan, Grangier & Auli 2018, Controllable Abstractive Summarization, section 2.1).

Buckets hold shares of the training data as equal as can be, so that each is learned from as much. Lengths are in words
as the metrics count them, where a Chinese character is a word.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import accumulate, pairwise

from nextword.errors import DataError, UsageError, counted, did_you_mean
from nextword.metrics.summaries import words
from nextword.text.records import Example

UNMARKED = 4
"""One example in so many has no mark, by its hash: so a model learns to choose a length by itself, too."""


def bounds_of(texts: Iterable[str], buckets: int) -> tuple[int, ...]:
    """The least words of each bucket but the first, for shares of `texts` as equal as their lengths allow: where most
    have one length, the others stay apart from it. Raises DataError for fewer lengths than buckets.

    >>> bounds_of(["a", "a b", "a b c", "a b c d", "a b c d e", "a b c d e f"], 3)
    (3, 5)
    >>> bounds_of(["a", "a", "a", "a", "a b", "a b c"], 3)
    (2, 3)
    """
    counts = sorted(Counter(len(words(text)) for text in texts).items())
    if len(counts) < buckets:
        raise DataError(
            f"task.length_buckets = {buckets}: the answers have only {counted(len(counts), 'different length')}",
            hint="Ask for fewer, or leave it out",
        )
    below = [0, *accumulate(count for _, count in counts)]  # how many texts are shorter than each of the lengths
    bounds, first = [], 1
    for i in range(1, buckets):
        last = len(counts) - (buckets - i)  # a length for each of the buckets to come
        best = min(range(first, last + 1), key=lambda at: abs(below[at] - below[-1] * i / buckets))
        bounds.append(counts[best][0])
        first = best + 1
    return tuple(bounds)


def mark(bucket: int) -> str:
    """What stands before the prompt of an answer in this bucket, 1 being the shortest: a line of plain text, which any
    tokenizer can write."""
    return f"length {bucket}\n"


def mark_of(example: Example, bounds: Sequence[int]) -> str:
    """What stands before the prompt of an example as a model learns it that has buckets of these bounds; "" for
    nothing."""
    digest = sha256(f"{example.prompt}\n{example.target}".encode()).digest()
    if not bounds or digest[0] % UNMARKED == 0:
        return ""
    return mark(1 + bisect_right(bounds, len(words(example.target))))


def described(bounds: Sequence[int]) -> str:
    """The buckets in words.

    >>> described([7, 9])
    'up to 6, 7 to 8, 9 words and more'
    """
    between = (f"{low} to {high - 1}, " for low, high in pairwise(bounds))
    return f"up to {bounds[0] - 1}, {''.join(between)}{bounds[-1]} words and more"


def bucket_named(name: str, bounds: Sequence[int]) -> int:
    """The bucket that is meant by a number from 1 on, or by short, medium or long. Raises UsageError for neither.

    >>> bucket_named("short", [10, 20]), bucket_named("long", [10, 20]), bucket_named("2", [10, 20])
    (1, 3, 2)
    """
    number = len(bounds) + 1
    buckets = {"short": 1, "medium": (number + 1) // 2, "long": number} | {str(i): i for i in range(1, number + 1)}
    if name not in buckets:
        raise UsageError(f"unknown length {name!r}. {did_you_mean(name, buckets)}")
    return buckets[name]
