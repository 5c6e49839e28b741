"""How alike two texts are, by the pieces they share."""

from __future__ import annotations

from collections import Counter

ORDER, BETA = 6, 2  # chrF2, the usual setting


def chrf(text: str, reference: str) -> float:
    """0 to 100: the mean F-score of character n-grams, n = 1 to 6, recall weighing twice; Popović 2015 (chrF2).

    White space is left out, and orders longer than either text do not count, as in sacreBLEU. Works for languages
    without spaces as for others.

    >>> chrf("the cat", "the cat"), chrf("the cat", "床前明月光")
    (100.0, 0.0)
    """
    precision = recall = orders = 0.0
    text, reference = "".join(text.split()), "".join(reference.split())
    for n in range(1, ORDER + 1):
        found, wanted = _ngrams(text, n), _ngrams(reference, n)
        if not found or not wanted:
            continue
        shared = (found & wanted).total()
        precision += shared / found.total()
        recall += shared / wanted.total()
        orders += 1
    if not precision or not recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return 100 * (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def _ngrams(text: str, n: int) -> Counter[str]:
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))
