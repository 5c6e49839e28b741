"""Poems for the prompts of a test set, each written in the form that its prompt names: what the constraint is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.poetry.constraint import VerseConstraint
from nextword.poetry.writer import Wish, constraints_for, submit_poem
from nextword.verse.forms import find_form


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
