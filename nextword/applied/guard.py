"""What a translation looks like that went wrong: loops, leftovers, much more or much less than there was to say.

Encoder-decoder models trained on little text do all of that (Koehn & Knowles 2017; Raunak et al. 2021): it is seen in
the translation alone, without a reference.
"""

from __future__ import annotations

from collections import Counter

from nextword.errors import counted
from nextword.metrics.summaries import words
from nextword.text.duplicates import normalised

MOST_RATIO = 3.0
"""Words of the one for a word of the other, beyond a few of grace."""
GRACE = 8
LOOP = 3
"""How often a phrase may occur more than in the source."""
PHRASE = 3
COPIED_WORDS = 4
"""A translation that is its source is suspicious from so many words with letters on: names are often the same."""


def faults(source: str, translation: str, finished: bool) -> list[str]:
    """What is suspicious about a translation, in words; empty: nothing. `finished`: the model ended it by itself.

    >>> faults("Come slowly.", "Viens, viens, viens, viens, viens, viens, viens.", True)
    ['says "viens viens viens" 5 times']
    """
    found = []
    said, meant = words(translation), words(source)
    if not said and meant:
        return ["is empty"]
    if not finished:
        found.append("has no end")
    for more, less, what in ((said, meant, "longer"), (meant, said, "shorter")):
        if len(more) > MOST_RATIO * len(less) + GRACE:
            found.append(f"is much {what}: {counted(len(said), 'word')} for {len(meant):,}")
    phrases = Counter(tuple(said[i : i + PHRASE]) for i in range(len(said) - PHRASE + 1))
    before = Counter(tuple(meant[i : i + PHRASE]) for i in range(len(meant) - PHRASE + 1))
    phrase, times = max(phrases.items(), key=lambda item: item[1], default=((), 0))
    if times > LOOP + max(before.values(), default=0) - 1:
        found.append(f'says "{" ".join(phrase)}" {times} times')
    lettered = sum(any(map(str.isalpha, word)) for word in meant)
    if lettered >= COPIED_WORDS and normalised(source) == normalised(translation):
        found.append("is the source")
    return found
