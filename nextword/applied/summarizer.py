"""Summaries by a trained run: of a length, of long documents part by part, and with what speaks for each sentence.

>>> summarizer = Summarizer.load("runs/news")                                      # doctest: +SKIP
>>> summarizer.summarize(article, words=(20, 40)).text                             # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from nextword.applied.answers import answers
from nextword.applied.reading import reading_of
from nextword.applied.together import load_for
from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.metrics.summaries import novelty, unsupported
from nextword.metrics.summaries import words as words_of
from nextword.tasks.base import tidy
from nextword.tasks.lengths import bucket_named, mark
from nextword.text.placeholders import Hidden
from nextword.text.sentences import joined, sentences
from nextword.text.speakers import hidden, with_symbols


@dataclass(frozen=True)
class Statement:
    """A sentence of a summary, and where it comes from."""

    text: str
    number: int
    """Of the sentence of the source that has most of its words in common with it, from 1 on."""
    source: str
    support: float
    """The share of its words that stand there, 0 to 1."""


@dataclass(frozen=True)
class Summary:
    """Of one document."""

    text: str
    statements: list[Statement]
    unsupported: list[str]
    """Numbers and names that the document does not have."""
    novelty: float
    """Share of its word bigrams that the document does not have."""
    parts: int
    """In how many parts the document was read."""
    compression: float
    """Words of the document for one of the summary."""
    cut: int
    """Tokens that were not read: the ends of sentences that are too long for the model, those of summaries summed up
    again included."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Summarizer:
    """A generator that summarizes."""

    def __init__(self, generator: TextGenerator, bounds: Sequence[int] = (), symbols: str = "") -> None:
        """`bounds` of the lengths that it was trained to know: see `nextword.tasks.lengths`; `symbols` are the
        placeholders that it has learned with, if it has."""
        self.generator, self.bounds, self.symbols = generator, bounds, symbols

    @classmethod
    def load(cls, run: str | Path, others: Sequence[str | Path] = (), device: str = "cpu") -> Self:
        """From a run folder, or from several of one tokenizer, whose probabilities are averaged.

        Raises RunError if one cannot be read, UsageError if the first is none for summarization.
        """
        loaded = load_for("summarization", run, others, device)
        bounds = loaded.config["task"].get("length_bounds", ())
        return cls(TextGenerator.of(loaded), bounds, reading_of(loaded).symbols)

    def summarize(
        self,
        text: str,
        *,
        length: str = "",
        words: tuple[int, int] | None = None,
        again: bool = False,
        told: Callable[[str], object] = lambda said: None,
        **settings: Any,
    ) -> Summary:
        """A summary of `text`; `settings` of GenerationConfig go before those of the run.

        A document that the model cannot read at once is cut between sentences into parts of like length; their
        summaries follow each other, or with `again` are summarized again until one part is left. A summary (of a part,
        where there are several) has a `length` that the run was trained to know, "short", "medium", "long" or "1"
        to the number of them; `words` is the least and the most that it has, as nearly as tokens tell. `told` is called
        after each part. Raises UsageError for a text without words, for a length that the run does not know, and for
        settings.
        """
        text = tidy(text)
        if not words_of(text):
            raise UsageError("there is nothing to summarize: the text has no words")
        asked, shown = self._mark(length), self.shown(text)
        of_text = parts = self._parts(text, asked, shown.values)
        cut = 0
        chosen = settings | (self._length(shown.text, words) if words else {})
        while True:
            prompts = [asked + with_symbols(part, shown.values) for part in parts]
            read = answers(self.generator, prompts, {"seed": 0, **chosen}, told)
            cut, found = cut + sum(answer.cut for answer in read), [shown.restored(answer.text) for answer in read]
            whole = joined([one for one in found if one])
            shorter = len(words_of(whole)) < sum(len(words_of(part)) for part in parts)
            if not again or len(parts) == 1 or not whole or not shorter:
                break
            parts = self._parts(whole, asked, shown.values)
        return Summary(
            whole,
            _statements(found, parts) if parts is of_text else _statements([whole], [text]),
            unsupported(whole, text),
            novelty(whole, text),
            len(of_text),
            len(words_of(text)) / max(len(words_of(whole)), 1),
            cut,
        )

    def shown(self, text: str) -> Hidden:
        """A text as the model reads it: with placeholders for who speaks in it, if it has learned with them."""
        return hidden(text, symbols=self.symbols)

    def parts(self, text: str, length: str = "") -> list[str]:
        """The parts in which `summarize` reads a text to give a summary of that length."""
        text = tidy(text)
        return self._parts(text, self._mark(length), self.shown(text).values)

    def _parts(self, text: str, before: str, names: Mapping[str, str]) -> list[str]:
        """The text in as few parts as the model can read behind `before`, with symbols for `names`; about equally long,
        cut between sentences or, where it has lines, between lines that are not too long. A sentence that is too long
        is a part of its own, whose end is not read."""
        limit, tokenizer = self.generator.model.max_seq_len, self.generator.tokenizer.source

        @cache
        def size_of(unit: str) -> int:
            return len(tokenizer.encode(with_symbols(unit, names))) + 1

        size_before = len(tokenizer.encode(before))
        if limit is None or size_before + size_of(text) < limit:
            return [text]
        limit = max(limit - size_before, 3)
        lines = text.splitlines() if "\n" in text else []
        units = [unit for line in lines for unit in ([line] if size_of(line) <= limit - 2 else sentences(line))]
        units = units or sentences(text) or [text]
        sizes = list(map(size_of, units))
        number = -(-sum(sizes) // (limit - 2))
        share = sum(sizes) / number
        parts: list[list[str]] = []
        size = limit
        for unit, length in zip(units, sizes, strict=True):
            if size + length > limit - 2 or size + length / 2 > share:
                parts.append([])
                size = 0
            parts[-1].append(unit)
            size += length
        return ["\n".join(part) if "\n" in text else joined(part) for part in parts if any(part)]

    def _mark(self, length: str) -> str:
        """What asks for that length, if it is not ""."""
        if not length:
            return ""
        if not self.bounds:
            raise UsageError(
                "this run knows no lengths: it was trained without task.length_buckets",
                hint="Say how many words, such as --words 10-30, or train with --set task.length_buckets=3",
            )
        return mark(bucket_named(length, self.bounds))

    def _length(self, text: str, words: tuple[int, int]) -> dict[str, int]:
        """Settings for so many words, by how many tokens a word of this text, as it is shown, has."""
        least, most = words
        if not 0 <= least <= most or not most:
            raise UsageError(f"words: expected the least and the most, such as 10 and 30, got {least} and {most}")
        rate = len(self.generator.tokenizer.encode(text)) / len(words_of(text))
        return {"min_tokens": round(least * rate), "max_tokens": max(round(most * rate), 1)}


def _statements(summaries: Sequence[str], texts: Sequence[str]) -> list[Statement]:
    """The sentences of summaries, each beside the nearest one of its own text; these are counted through."""
    found, before = [], 0
    for summary, text in zip(summaries, texts, strict=True):
        there = sentences(text)
        bags = [set(words_of(sentence)) for sentence in there]
        for sentence in sentences(summary):
            own = words_of(sentence)
            support = [sum(word in bag for word in own) / max(len(own), 1) for bag in bags]
            best = max(range(len(there)), key=lambda i: support[i])
            found.append(Statement(sentence, before + best + 1, there[best], support[best]))
        before += len(there)
    return found
