"""Poems for the prompts of a test set, each written in the form that its prompt names: what the constraint is worth.
And what of poems, however written, was learnt by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from functools import cache
from typing import Any

import regex  # type: ignore[import-untyped]

from nextword.data.mixture import Mixture
from nextword.data.token_files import TokenFiles
from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.metrics.score import Score, mean_score
from nextword.poetry.constraint import VerseConstraint
from nextword.poetry.writer import Wish, constraints_for, submit_poem
from nextword.tokenizers import Tokenizer
from nextword.verse.forms import find_form

LINE = regex.compile(r"[\p{Han}〇]+")


def poems_in_form(
    generator: TextGenerator,
    prompts: Sequence[str],
    settings: Mapping[str, Any],
    told: Callable[[str], object] = lambda said: None,
) -> list[str]:
    """The i-th poem is drawn with seed i. "" for a prompt that names no form we know, or one that the tokenizer cannot
    write.

    `prompts` are rows of `nextword.verse.layout`; a rhyme that they name is kept, too.
    """

    @cache
    def constraint(form: str, rhyme: str) -> VerseConstraint[Any] | None:
        try:
            wish = Wish(find_form(form))
            rhymes = (wish.rhyme_book.find_rhyme(rhyme),) if rhyme else ()
            return next(constraints_for(generator, Wish(wish.form, rhymes=rhymes), 0))
        except UsageError:
            return None

    jobs = []
    for seed, prompt in enumerate(prompts):
        form, rhyme, *_ = [*prompt.split("|"), ""]
        found = constraint(form, rhyme)
        jobs.append(submit_poem(generator, prompt, found, seed, **settings) if found else None)
    while any(job is not None and not job.finished for job in jobs):
        generator.step()
    texts = [job.results(lambda text, reference: 0.0)[0].text if job else "" for job in jobs]
    for text in texts:
        told(text)
    return texts


def copied_lines(poems: Sequence[str], known: Set[str]) -> Score:
    """Of the lines of each poem, those that stand in `known`, in %."""
    lines = [LINE.findall(poem) for poem in poems]
    shares = [100 * sum(line in known for line in found) / max(len(found), 1) for found in lines]
    return mean_score("copied lines", shares, "word for word, of what the run was trained on", higher_is_better=False)


def lines_in(files: TokenFiles | Mixture, tokenizer: Tokenizer) -> set[str]:
    """The stretches of Chinese in token files: lines of verse, and titles."""
    return {line for ids in files.pieces() for line in LINE.findall(tokenizer.decode(ids.tolist()))}
