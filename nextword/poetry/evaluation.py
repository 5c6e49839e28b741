"""Poems for the prompts of a test set, each written in the form that its prompt names: what the constraint is worth.
And of poems, however written: what was learnt by heart, and whether they keep to their theme.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from nextword.data.mixture import Mixture
from nextword.data.token_files import TokenFiles
from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.metrics.score import Score, mean_score, ratio
from nextword.poetry.constraint import VerseConstraint
from nextword.poetry.writer import Wish, constraints_for, submit_poem
from nextword.tokenizers import Tokenizer
from nextword.verse.forms import find_form
from nextword.verse.layout import said_in
from nextword.verse.units import lines_of, units

COMPANIONS = 10
"""Words at most that count as near to a word of a title."""


def poems_in_form(
    generator: TextGenerator,
    prompts: Sequence[str],
    settings: Mapping[str, Any],
    told: Callable[[str], object] = lambda said: None,
    lexicon: frozenset[str] | None = None,
) -> list[str]:
    """The i-th poem is drawn with seed i. "" for a prompt that names no form we know, or one that the tokenizer cannot
    write.

    `prompts` are rows of `nextword.verse.layout`; a rhyme that they name is kept, too. `lexicon`: of English poems.
    """

    @cache
    def constraint(form: str, rhyme: str) -> VerseConstraint[Any] | None:
        try:
            wish = Wish(find_form(form), lexicon=lexicon)
            rhymes = (wish.rhyme_book.find_rhyme(rhyme),) if rhyme else ()
            return next(constraints_for(generator, replace(wish, rhymes=rhymes), 0))
        except UsageError:
            return None

    jobs = []
    for seed, prompt in enumerate(prompts):
        found = constraint(*said_in(prompt)[:2])
        jobs.append(submit_poem(generator, prompt, found, seed, **settings) if found else None)
    while any(job is not None and not job.finished for job in jobs):
        generator.step()
    texts = [job.results(lambda text, reference: 0.0)[0].text if job else "" for job in jobs]
    for text in texts:
        told(text)
    return texts


def texts_in(files: TokenFiles | Mixture, tokenizer: Tokenizer) -> list[str]:
    """The examples of token files, prompts included."""
    return [tokenizer.decode(ids.tolist()) for ids, _ in files.examples()]


def copied_lines(poems: Sequence[str], known: Set[str]) -> Score:
    """Of the lines of each poem, those that stand in `known`, in %."""
    shares = [100 * sum(line in known for line in lines) / max(len(lines), 1) for lines in map(lines_of, poems)]
    return mean_score("copied lines", shares, "word for word, of what the run was trained on", higher_is_better=False)


def companions(texts: Iterable[str], words: Set[str]) -> dict[str, frozenset[str]]:
    """For each of the words, itself and those that stand in the same texts most often beyond what chance would give:
    by (observed - expected) / sqrt(expected) texts.

    >>> found = companions(["moon night", "moon night", "sun day", "sun", "day"], {"moon"})
    >>> sorted(found["moon"])
    ['moon', 'night']
    """
    number, alone = 0, Counter[str]()
    beside: dict[str, Counter[str]] = defaultdict(Counter)
    for text in texts:
        here = set(units(text))
        number += 1
        alone.update(here)
        for word in here & words:
            beside[word].update(here)
    found = {}
    for word in words:
        expected = {other: alone[word] * alone[other] / number for other in beside[word]}
        excess = {other: (beside[word][other] - few) / few**0.5 for other, few in expected.items() if other != word}
        best = sorted((other for other in excess if excess[other] > 0), key=lambda other: (-excess[other], other))
        found[word] = frozenset([word, *best[:COMPANIONS]])
    return found


def fields_of(titles: Sequence[str], texts: Iterable[str]) -> list[frozenset[str]]:
    """The words of each title and their companions in some texts."""
    themes = [frozenset(units(title)) for title in titles]
    near = companions(texts, frozenset().union(*themes))
    return [frozenset().union(*(near[word] for word in theme)) for theme in themes]


def on_theme(poems: Sequence[str], fields: Sequence[Set[str]]) -> Score:
    """How many times as often as by chance a poem has the words of its theme: beside how often it has those of the
    others. 1 is no relation. `fields`: as of `fields_of`; a poem without a title, or without words, does not count."""
    titled = sum(map(bool, fields))
    chance = Counter(word for field in fields for word in field)  # / titled: that a word is of the theme of any title
    rows = []
    for words, field in zip(map(units, poems), fields, strict=True):
        own = sum(word in field for word in words)
        usual = sum(chance[word] for word in words) / titled if field else 0.0
        rows.append((own / max(len(words), 1), usual / max(len(words), 1)))
    values = np.array(rows, np.float64).reshape(-1, 2)
    signature = "words of the title and their companions in the training data, times chance"
    return Score("on theme", ratio(values.sum(0)), signature, values, ratio)
