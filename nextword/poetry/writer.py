"""Poems by a run, in a form: many at once, ranked, and what the form cost at each step.

>>> generator = TextGenerator.load("runs/tang")                                       # doctest: +SKIP
>>> poems = write_poems(generator, Wish(find_form("qijue"), theme="秋思"), number=8)    # doctest: +SKIP
"""

from __future__ import annotations

import math
import secrets
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, product, repeat
from typing import Any

from nextword.errors import UsageError
from nextword.generator import Generation, Job, TextGenerator
from nextword.metrics.parallel import parallelism
from nextword.poetry.chinese import ChineseAutomaton
from nextword.poetry.constraint import VerseConstraint, Vocabulary, spellable
from nextword.poetry.english import EnglishAutomaton
from nextword.poetry.english_tokens import EnglishVocabulary
from nextword.poetry.given import placements
from nextword.poetry.kept import Kept
from nextword.poetry.lexicon import STRICT, Licences, english, writable
from nextword.poetry.plan import Given
from nextword.tokenizers import Tokenizer
from nextword.verse import check_english
from nextword.verse.check import Verdict, check, split_lines
from nextword.verse.chinese import RhymeBook, rhyme_book
from nextword.verse.layout import LONGEST, header
from nextword.verse.patterns import Form
from nextword.verse.regulated import COUPLET
from nextword.verse.units import HAN

MARKS = "，。\n"
SETTINGS = {
    **{"stop": (), "stop_tokens": (), "min_tokens": 0, "ignore_eos": False, "force_eos": False},
    **{"num_samples": 1, "best_of": 0, "mbr": 0},
}
"""One text a request. The form says where a poem ends."""


@dataclass(frozen=True)
class Wish:
    """What is asked of a poem. Of an English one, only form, theme, author, lexicon, licences and what is kept."""

    form: Form
    book: RhymeBook | None = None
    """None: the one of the form."""
    theme: str = ""
    author: str = ""
    rhymes: tuple[str, ...] = ()
    """Classes of the book, for the first rhymes of the form."""
    given: Given = field(default_factory=dict)
    words: tuple[str, ...] = ()
    """To stand anywhere in the poem."""
    repeats: bool = False
    """A character may be written twice."""
    borrowing: bool = False
    """The first line of regulated verse may rhyme on a neighbouring class (借韵)."""
    lexicon: frozenset[str] | None = None
    """The English words to choose among, in lower case; None: all of the dictionary."""
    licences: Licences = STRICT
    """What may be done with English words."""
    kept: Mapping[int, Kept] = field(default_factory=dict)
    """Of an English poem: line, from 0 -> what is given of it. Given words are written though the lexicon lack them."""

    @property
    def rhyme_book(self) -> RhymeBook:
        """By which it rhymes."""
        return self.book or rhyme_book(self.form.rhyme_book)


@dataclass(frozen=True)
class Written:
    """One token of a poem."""

    text: str
    line: int
    """Where it ends, from 0; punctuation belongs to the line before it."""
    log_prob: float
    """ln P by the model alone, in nats."""
    cost: float
    """What the form took: -ln of the probability that the model gave to all that the form allows, in nats."""


@dataclass(frozen=True)
class Poem:
    """One poem."""

    text: str
    verdict: Verdict
    steps: tuple[Written, ...]
    """Its tokens, without the closing `<eos>`; () of a beam search, and where costs were not asked for."""
    log_prob: float
    """Mean ln P of a token, `<eos>` included, by the model alone."""
    parallelism: float | None
    """Of the middle couplets, 0 to 1; None where there are none."""
    seed: int

    @property
    def score(self) -> float:
        """What poems are ranked by: their log-probability, and half of their parallelism."""
        return self.log_prob + (self.parallelism or 0) / 2

    @property
    def cost(self) -> float:
        """What the form cost in all, in nats."""
        return math.fsum(step.cost for step in self.steps)


def in_script_of(tokenizer: Tokenizer, wish: Wish) -> Wish:
    """What is asked of a Chinese poem, in the shapes of characters that a tokenizer has: 風 as 风 by one that learned
    simplified ones alone, or the other way about."""
    known = spellable(tokenizer)
    if known is None or wish.form.language == "en":
        return wish
    book = wish.rhyme_book

    def shaped(text: str) -> str:
        return "".join(next((shape for shape in book.shapes(c) if shape in known), c) for c in text)

    return replace(
        wish,
        theme=shaped(wish.theme),
        author=shaped(wish.author),
        given={place: shaped(character) for place, character in wish.given.items()},
        words=tuple(map(shaped, wish.words)),
    )


def write_poems(
    generator: TextGenerator,
    wish: Wish,
    number: int = 1,
    *,
    costs: bool = True,
    told: Callable[[str], object] = lambda said: None,
    **settings: Any,
) -> list[Poem]:
    """So many poems, the best first; without `costs` they have no steps, and come faster. `told` after each.

    `settings` are fields of GenerationConfig. Raises UsageError, before the first token, for what cannot be written.
    """
    jobs = waiting = submit(generator, wish, number, costs, **settings)
    while waiting:
        generator.step()
        for job in waiting:
            if job.finished:
                told("")
        waiting = [job for job in waiting if not job.finished]
    poems = [finished(generator, job, wish) for job in jobs]
    return sorted(poems, key=lambda poem: poem.score, reverse=True)


def stream_poem(generator: TextGenerator, wish: Wish, **settings: Any) -> Iterator[str]:
    """One poem as it is written."""
    (job,) = submit(generator, wish, 1, costs=False, **settings)
    return pieces(generator, job)


def pieces(generator: TextGenerator, job: Job) -> Iterator[str]:
    """What comes of a job."""
    while not job.finished:
        generator.step()
        while job.pieces:
            yield job.pieces.popleft()[1]
    if job.error is not None:
        raise job.error


def submit(generator: TextGenerator, wish: Wish, number: int, costs: bool, **settings: Any) -> list[Job]:
    """A request for each poem; the i-th draws with seed + i, and has its words at places of its own."""
    prompt = prompt_for(generator, wish)
    base = settings.pop("seed", None)
    base = secrets.randbits(31) if base is None else base
    constraints = islice(constraints_for(generator, wish, base), number)
    return [
        submit_poem(generator, prompt, constraint, base + i, costs, **settings)
        for i, constraint in enumerate(constraints)
    ]


def submit_poem(
    generator: TextGenerator,
    prompt: str,
    constraint: VerseConstraint[Any],
    seed: int,
    costs: bool = False,
    **settings: Any,
) -> Job:
    """The request for one poem."""
    asked: dict[str, Any] = settings | SETTINGS | {"max_tokens": constraint.vocabulary.most_tokens, "seed": seed}
    return generator.submit(prompt, constraint=constraint, trace=costs, **asked)


def constraints_for(generator: TextGenerator, wish: Wish, seed: int) -> Iterator[VerseConstraint[Any]]:
    """One for each poem, without end. Raises UsageError, with the reason, if there is none."""
    if wish.form.language == "en":
        stay = frozenset(word for one in wish.kept.values() for word in (*one.words, one.last) if word)
        words = (frozenset(english()) if wish.lexicon is None else wish.lexicon) | stay if stay else wish.lexicon
        automaton = EnglishAutomaton(wish.form, *writable(generator.tokenizer, words, wish.licences), wish.kept)
        yield from repeat(VerseConstraint(EnglishVocabulary(automaton, generator.tokenizer)))
    known = spellable(generator.tokenizer)
    book = wish.rhyme_book
    characters = {*book.table, *book.variants, *MARKS} if known is None else known

    def constraint(given: Given, rare_readings: bool = True) -> VerseConstraint[Any]:
        asked: dict[str, Any] = {"rhymes": wish.rhymes, "repeats": wish.repeats, "borrowing": wish.borrowing}
        automaton = ChineseAutomaton(wish.form, book, characters, given=given, rare_readings=rare_readings, **asked)
        return VerseConstraint(Vocabulary(automaton, generator.tokenizer))

    if not wish.words:
        same = constraint(wish.given)
        while True:
            yield same
    while True:
        reason = "they would stand in each other's places"
        # Where a word fits by its usual reading, rather than where it does by one that poets hardly use.
        for rare_readings, given in product((False, True), placements(wish.form, wish.words, wish.given, seed)):
            try:
                found = constraint(given, rare_readings)
            except UsageError as error:
                reason = error.message
                continue
            yield found
            break
        else:
            raise UsageError(f"no place was found for {' '.join(wish.words)}: {reason}", hint="Ask for fewer words")
        seed += 1


def prompt_for(generator: TextGenerator, wish: Wish) -> str:
    """What the model reads first: the row of `nextword.verse.layout` if it was trained on prompts, else the theme.

    Raises UsageError for a theme or author that the row cannot hold, and for an author where there is no such row.
    """
    for name, text in (("theme", wish.theme), ("author", wish.author)):
        if len(text) > LONGEST:
            raise UsageError(f"the {name} has {len(text)} characters", hint=f"Give at most {LONGEST}, as titles have")
    if generator.separator or generator.model.encodes:
        rhyme = wish.rhymes[0] if wish.rhymes else ""
        return header(wish.form.title, rhyme, wish.author, wish.theme)
    if wish.author:
        raise UsageError(
            "this run was not trained on prompts, and knows no authors",
            hint="Train one with --task poetry, or leave the author out",
        )
    return f"{wish.theme}\n" if wish.theme else ""


def finished(generator: TextGenerator, job: Job, wish: Wish) -> Poem:
    """The poem that a job has written."""
    (generation,) = job.results(lambda text, reference: 0.0)
    verdict = judged(generation.text, wish)
    lines = list(verdict.lines)
    return Poem(
        generation.text,
        verdict,
        steps_of(generator, generation, lines if wish.form.language == "zh" else None),
        generation.log_prob / len(generation.token_ids),
        parallelism(lines) if wish.form.regulated or wish.form.name in COUPLET else None,
        generation.seed,
    )


def judged(text: str, wish: Wish) -> Verdict:
    """What the checker says of a poem."""
    if wish.form.language == "en":
        return check_english.judge(text, wish.form, slant=wish.licences.slant)
    return check(split_lines(text), wish.form, wish.rhyme_book, wish.borrowing)


def steps_of(generator: TextGenerator, generation: Generation, lines: Sequence[str] | None) -> tuple[Written, ...]:
    """Its tokens with what each cost. `lines`: of a Chinese poem, whose lines do not end at line ends."""
    if generation.trace is None or not generation.trace.steps:
        return ()
    ends = [sum(map(len, lines[: i + 1])) for i in range(len(lines))] if lines else None
    stream = generator.tokenizer.stream()
    found, written = [], ""
    for step in generation.trace.steps[:-1]:
        text = stream.step(step.token)
        written += text
        if ends:
            line = bisect_left(ends, max(len(HAN.findall(written)), 1))
        else:
            line = max(1, sum(bool(row.strip()) for row in written.splitlines())) - 1
        removed = math.fsum(stage.removed for stage in step.stages if stage.name == "constraint")
        cost = -math.log1p(-min(removed, 1 - 1e-16))
        found.append(Written(text, line, step.log_prob, cost))
    return tuple(found)
