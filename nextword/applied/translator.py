"""Translation by a trained run: documents by sentences, many at a time, with terms that must occur and a guard.

>>> translator = Translator.load("runs/enfr")                                    # doctest: +SKIP
>>> translator.translate(["Where is my book? It was here."])[0].text               # doctest: +SKIP
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from nextword.applied.alignment import Alignment, align, together, words
from nextword.applied.answers import Answer, answers
from nextword.applied.guard import faults
from nextword.applied.reading import reading_of
from nextword.applied.together import load_for, load_together
from nextword.constraints import MOST_REQUIRED
from nextword.decoding.engine import Engine
from nextword.errors import UsageError, counted
from nextword.generator import TextGenerator
from nextword.tasks.languages import scripts_of
from nextword.text.placeholders import Hidden
from nextword.text.scripts import script_of
from nextword.text.sentences import joined, sentences
from nextword.text.terms import MARKED, has_term, is_word, lost_numbers, unmarked, wanted_terms
from nextword.text.values import hidden, hiding

PORTION = 512
"""Sentences taken on at a time: enough to fill batches, few enough that results come as they are made."""
ROWS = 256
"""Hypotheses in a batch: sentences are short, and a decoder's step costs little more for many than for few."""


@dataclass(frozen=True)
class Sentence:
    """One sentence and its translation."""

    source: str
    text: str
    score: float
    """Log-probability over length ** length_penalty, as the search ranks by it."""
    alternatives: list[tuple[str, float]] = field(default_factory=list)
    """(text, score) of all that were asked for, the best first."""
    faults: list[str] = field(default_factory=list)
    """What is suspicious about it; see `guard`."""
    alignment: Alignment | None = None
    """Of its words to those of the source, if it was asked for."""


@dataclass(frozen=True)
class Translation:
    """One text and its translation."""

    source: str
    sentences: list[Sentence]

    @property
    def text(self) -> str:
        """The translation."""
        return joined([sentence.text for sentence in self.sentences])

    @property
    def faults(self) -> list[str]:
        """What is suspicious about it."""
        return [fault for sentence in self.sentences for fault in sentence.faults]

    @property
    def alignment(self) -> Alignment:
        """Of its words to those of the source, as far as it was asked for."""
        return together([sentence.alignment for sentence in self.sentences if sentence.alignment is not None])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "source": self.source,
            "translation": self.text,
            "sentences": [
                {
                    "source": sentence.source,
                    "translation": sentence.text,
                    "score": sentence.score,
                    "alternatives": [{"text": text, "score": score} for text, score in sentence.alternatives],
                    "faults": sentence.faults,
                    **({"alignment": sentence.alignment.to_dict()} if sentence.alignment else {}),
                }
                for sentence in self.sentences
            ],
        }


class Translator:
    """A generator that translates, and its languages."""

    def __init__(self, generator: TextGenerator, languages: Sequence[str] = (), symbols: str = "") -> None:
        """`languages` are (from, to), or () where that is not known; `symbols` are the placeholders that it
        has learned with, if it has."""
        self.generator, self.languages = generator, tuple(languages)
        self.symbols = symbols
        generator.engine = Engine(generator.model, max_rows=ROWS)

    @classmethod
    def load(cls, run: str | Path, others: Sequence[str | Path] = (), device: str = "cpu", prefix: str = "") -> Self:
        """From a run folder, or from several of one tokenizer, whose probabilities are averaged.

        `prefix` stands before each sentence: the task of a model that knows several (T5), or the language to write
        (">>fra<< " of Marian).

        Raises RunError if one cannot be read, UsageError if the first is none for translation, unless
        it is told by a prefix what to do.
        """
        loaded = load_together(run, others, device) if prefix else load_for("translation", run, others, device)
        generator = TextGenerator.of(loaded)
        generator.prefix = prefix
        return cls(generator, loaded.config.get("task", {}).get("languages", ()), reading_of(loaded).symbols)

    def check_languages(self, source: str, target: str) -> None:
        """Raises UsageError unless these are its languages, as far as both are known; "" = any."""
        for given, known, way in zip((source, target), self.languages, ("from", "to"), strict=False):
            if given and given.lower() != known.lower():
                raise UsageError(
                    f"this run translates from {self.languages[0]} to {self.languages[1]}, not {way} {given}",
                    hint="Use a run that was trained for it",
                )
        if (source or target) and not self.languages:
            raise UsageError(
                "this run does not know its languages", hint='Train with --set task.languages=\'["en", "fr"]\''
            )

    def doubt(self, text: str) -> str:
        """Why this is hardly a text in the language translated from, by its script: in words, or "" without doubt."""
        language = self.languages[0] if self.languages else ""
        known, found = scripts_of(language), script_of(text)
        if not known or found in ("", *known):
            return ""
        return f"most letters are {found}, and this run translates from {language} to {self.languages[1]}"

    def shown(self, text: str) -> list[str]:
        """The sentences of a text as the model reads them: without marks, and with placeholders."""
        return [self._task(sentence, {}).shown.text for sentence in sentences(text, MARKED)]

    def translate(
        self,
        texts: Sequence[str],
        *,
        num_best: int = 1,
        split: bool = True,
        glossary: Mapping[str, str] | None = None,
        aligned: bool = False,
        told: Callable[[str], object] = lambda said: None,
        **settings: Any,
    ) -> list[Translation]:
        """The translations of some texts; `settings` of GenerationConfig go before those of the run.

        A text is translated by sentences unless `split` is off. What `glossary` translates must occur so, and so must
        addresses, longer numbers and what stands between <keep> and </keep>: a sentence without one is searched for
        again with it required. Of a search's hypotheses that with the fewest faults counts, the best of those. Raises
        UsageError for settings.
        """
        parts = [(sentences(text, MARKED) if split else [text.strip()] if text.strip() else []) for text in texts]
        flat = [sentence for some in parts for sentence in some]
        tasks = [self._task(sentence, glossary or {}) for sentence in flat]
        ranked, cuts = self._searched(tasks, num_best, settings, told)
        alignments = self._alignments(tasks, [best for best, *_ in ranked]) if aligned else [None] * len(tasks)
        done = map(_sentence, tasks, ranked, cuts, alignments)
        return [Translation(text, [next(done) for _ in some]) for text, some in zip(texts, parts, strict=True)]

    def _searched(
        self, tasks: Sequence[Task], num_best: int, settings: Mapping[str, Any], told: Callable[[str], object]
    ) -> tuple[list[list[Hypothesis]], list[int]]:
        """For each task what was found, the best first, and how many tokens of its source were not read."""
        config, chosen = self.generator.settled(settings), dict(settings)
        if config.num_beams > 1:
            chosen["num_samples"] = config.num_beams
        if num_best > max(config.num_beams, config.num_samples):
            raise UsageError(
                f"{counted(num_best, 'translation')} of {counted(config.num_beams, 'beam')}",
                hint="Give more --num-beams",
            )

        def within(i: int) -> dict[str, Any]:
            """No translation is many times as long as its source."""
            length = 2 * len(self.generator.tokenizer.source.encode(prompts[i])) + 20
            return chosen | {"max_tokens": min(config.max_tokens, length)}

        prompts = [task.shown.text for task in tasks]
        found = answers(self.generator, prompts, within, told)
        ranked = [_ranked(*one) for one in zip(tasks, found, strict=True)]
        for spaced in (False, True):  # what is hidden in a longer word is then asked for with spaces around it
            asked = {i: self._required(best.lost, tasks[i], spaced) for i, (best, *_) in enumerate(ranked) if best.lost}
            asked = {i: terms for i, terms in asked.items() if terms}
            again = self._requiring(asked, prompts, within)
            for i, answer in zip(asked, again, strict=True):
                other = _ranked(tasks[i], answer)
                ranked[i] = min(other, ranked[i], key=lambda hypotheses: len(hypotheses[0].faults))
        return [hypotheses[:num_best] for hypotheses in ranked], [answer.cut for answer in found]

    def _task(self, text: str, glossary: Mapping[str, str]) -> Task:
        source, kept = unmarked(text)
        shown = hidden(source, self.languages, self.symbols, kept)
        terms = [*(source[slice(*span)] for span in kept), *wanted_terms(source, glossary)]
        return Task(source, shown, [hiding(shown, term) for term in terms if term not in shown.values.values()])

    def _requiring(
        self, asked: Mapping[int, Sequence[str]], prompts: Sequence[str], within: Callable[[int], dict[str, Any]]
    ) -> list[Answer]:
        """The answers to some of the prompts that say what is asked of each."""
        numbers = list(asked)

        def settings(k: int) -> dict[str, Any]:
            terms, limits = asked[numbers[k]], within(numbers[k])
            room = sum(len(term.encode()) for term in terms)  # a token is a byte at least
            # By the sum of log-probabilities: a mean would have an unlikely term made up for by many likely words.
            return limits | {"required_words": terms, "max_tokens": limits["max_tokens"] + room, "length_penalty": 0.0}

        return answers(self.generator, [prompts[i] for i in numbers], settings)

    def _required(self, lost: Sequence[str], task: Task, spaced: bool) -> list[str]:
        """What to require where some terms were lost: these and all others, as far as the tokenizer can say them, and
        not more than can be required. A search may say a term within a longer word: `spaced` keeps it apart."""
        unknown = self.generator.tokenizer.unknown
        within = {symbol for symbol in task.shown.values if any(symbol in term for term in task.terms)}
        wanted = dict.fromkeys([*lost, *task.shown.values, *task.terms])
        terms = [term for term in wanted if term not in within and not unknown(term)]
        del terms[MOST_REQUIRED:]
        if not spaced:
            return terms
        apart = [f" {term} " if is_word(term) and not unknown(" ") else term for term in terms]
        return apart if apart != terms else []

    def _alignments(self, tasks: Sequence[Task], found: Sequence[Hypothesis]) -> list[Alignment]:
        """Of the words of translations to those of their sources, as the model has read and said them: with
        placeholders, whose values come from each other, whatever the model attends to."""
        # Placeholders that stand for themselves: apart where their values are, and none that stands for nothing.
        apart = [replace(task.shown, values={one: one for one in task.shown.values}) for task in tasks]
        pairs = [(shown.text, shown.restored(one.said)) for shown, one in zip(apart, found, strict=True)]
        return [
            one.pinned(task.shown.values).spelled_out(
                [words(word) for word in _with_values(one.source, task.shown.written)],
                [words(task.shown.restored(word)) for word in one.target],
            )
            for task, one in zip(tasks, align(self.generator, pairs), strict=True)
        ]


class Task(NamedTuple):
    """A sentence to translate."""

    source: str
    shown: Hidden
    """As the model reads it."""
    terms: list[str]
    """What the translation has to say beside the values of placeholders, with these for the values in it."""


class Hypothesis(NamedTuple):
    """A translation that the search has found."""

    said: str
    """As the model wrote it, with placeholders."""
    text: str
    score: float
    lost: list[str]
    """What it had to say and does not: terms and placeholders."""
    faults: list[str]


def _ranked(task: Task, answer: Answer) -> list[Hypothesis]:
    """What the search has found: what has the fewest faults first, else in its order."""
    found = []
    for generation in answer.generations:
        said = generation.text.strip()
        text, times = task.shown.restored(said), Counter(said)
        lost = [symbol for symbol in task.shown.values if not times[symbol]]
        lost += [term for term in task.terms if not has_term(said, term)] + lost_numbers(task.shown.text, text)
        seen = faults(task.shown.text, said, generation.finish_reason != "length")
        wrong = [task.shown.restored(fault) for fault in seen]
        wrong += [f"lacks {task.shown.restored(term)!r}" for term in lost]
        wrong += [
            f"says {value!r} {times[symbol]} times" for symbol, value in task.shown.values.items() if times[symbol] > 1
        ]
        wrong += ["has a value that the source has not"] * any(times[symbol] for symbol in task.shown.unused)
        wrong += [f"says {value!r}, which the source does not" for value in _invented(task, said)]
        found.append(Hypothesis(said, text, generation.score, lost, wrong))
    return sorted(found, key=lambda hypothesis: len(hypothesis.faults))


def _invented(task: Task, said: str) -> list[str]:
    """Numbers and addresses that are in no way those of the source, if it has any: what is left of one where a search
    was to say it and the model did not know how, say."""
    known = " ".join([task.shown.text, *task.terms])
    if not task.shown.values and known == task.shown.text and not lost_numbers(known, ""):
        return []
    addresses = wanted_terms(known, {})
    return lost_numbers(said, known) + [address for address in wanted_terms(said, {}) if address not in addresses]


def _with_values(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Words with the value of each placeholder in place of it; further on such a symbol is one of the text's own."""
    left = dict(values)
    return ["".join(left.pop(character, character) for character in word) for word in words]


def _sentence(task: Task, ranked: Sequence[Hypothesis], cut: int, alignment: Alignment | None) -> Sentence:
    """The first of some hypotheses, and the others beside it; `cut` tokens of the source were not read."""
    best = ranked[0]
    wrong = [*best.faults, *[f"does not say the last {counted(cut, 'token')} of the source: too long"] * (cut > 0)]
    return Sentence(task.source, best.text, best.score, [(one.text, one.score) for one in ranked], wrong, alignment)
