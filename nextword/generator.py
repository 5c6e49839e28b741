"""A trained run, ready to use: text in, scores and text out. The only place where text meets decoding.

>>> generator = TextGenerator.load("runs/poems")                                      # doctest: +SKIP
>>> generator.generate("床前明月光，", temperature=0.8, seed=1).text                     # doctest: +SKIP
>>> for piece in generator.stream("The moon"): print(piece, end="", flush=True)       # doctest: +SKIP
>>> generator.score("The moon").perplexity                                            # doctest: +SKIP
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from nextword.config import parse
from nextword.decoding.config import GenerationConfig
from nextword.decoding.sampling import Draw, Sampler
from nextword.errors import UsageError
from nextword.models.base import LanguageModel
from nextword.scoring import TextScore, boundary_id, score_text

if TYPE_CHECKING:
    from nextword.tokenizers import Tokenizer

FinishReason = Literal["eos", "stop", "length"]
ROWS = 64  # samples drawn side by side; more come in turn


@dataclass(frozen=True)
class Generation:
    """One continuation of a prompt."""

    prompt: str
    text: str
    """What was generated, without the prompt and without the stop string."""
    finish_reason: FinishReason
    """The model ended the text; a stop string did; or max_tokens."""
    token_ids: list[int]
    """Every token drawn, a final `<eos>` and those of the stop string included."""
    log_prob: float
    """ln P(token_ids | prompt) by the model alone, in nats, before temperature and filters."""
    seed: int
    """The seed that gives this text again with num_samples=1."""


class TextGenerator:
    """A model, its tokenizer and its generation settings, under one name."""

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, config: GenerationConfig | None = None) -> None:
        """`model` in eval mode: dropout would act here too."""
        self.model, self.tokenizer = model, tokenizer
        self.config = config or GenerationConfig()

    @classmethod
    def load(cls, run: str | Path, device: str = "cpu") -> Self:
        """From a run folder. Raises RunError if it is missing, damaged or foreign."""
        from nextword.checkpoint import load_run

        loaded = load_run(Path(run), device=device)
        return cls(loaded.model, loaded.tokenizer, parse(GenerationConfig, loaded.generation, "generation_config.json"))

    def score(self, text: str, include_eos: bool = False) -> TextScore:
        """The probability of `text`, token by token. Raises UsageError if it is empty."""
        return score_text(self.model, self.tokenizer, as_unicode(text), include_eos)

    def generate(self, prompt: str = "", **settings: Any) -> Generation:
        """Continue `prompt`, "" being the start of a text. `settings` are fields of GenerationConfig.

        What is not given comes from the run. Raises UsageError for an unknown or impossible setting, and for a
        prompt longer than the model's context.
        """
        config = self._config(settings)
        if settings.get("num_samples", 1) != 1:
            raise UsageError("generate gives one text", hint="Use generate_many for num_samples > 1")
        return self._generate(prompt, config.model_copy(update={"num_samples": 1}))[0]

    def generate_many(self, prompt: str = "", **settings: Any) -> list[Generation]:
        """`num_samples` continuations of `prompt`; the i-th is what `generate` gives for seed + i."""
        return self._generate(prompt, self._config(settings))

    def stream(self, prompt: str = "", **settings: Any) -> Iterator[str]:
        """The text of `generate`, piece by piece: the pieces join to the same text.

        A piece never ends inside a character, and never holds the beginning of what becomes a stop string.
        """
        config = self._config(settings)
        if settings.get("num_samples", 1) != 1:
            raise UsageError("stream gives one text", hint="Use generate_many for num_samples > 1")
        ids = self._read_prompt(prompt)
        return (piece for _, piece in self._write(ids, [_Writer(self.tokenizer, ids, config)], config, _seed(config)))

    def _config(self, settings: dict[str, Any]) -> GenerationConfig:
        return parse(GenerationConfig, self.config.model_dump() | settings)

    def _read_prompt(self, prompt: str) -> list[int]:
        """The ids of the prompt, without the boundary before it."""
        ids, limit = self.tokenizer.encode(as_unicode(prompt)), self.model.max_seq_len
        if limit is not None and len(ids) + 1 > limit:
            raise UsageError(
                f"the prompt has {len(ids)} tokens, but the model's context holds {limit - 1} after the boundary",
                hint="Give a shorter prompt, such as its end, or train with a larger model.max_seq_len",
            )
        return ids

    def _generate(self, prompt: str, config: GenerationConfig) -> list[Generation]:
        seed, ids = _seed(config), self._read_prompt(prompt)
        writers = [_Writer(self.tokenizer, ids, config) for _ in range(config.num_samples)]
        texts = [""] * len(writers)
        for row, piece in self._write(ids, writers, config, seed):
            texts[row] += piece
        return [
            Generation(prompt, text, writer.finish_reason, writer.token_ids, math.fsum(writer.log_probs), seed + row)
            for row, (writer, text) in enumerate(zip(writers, texts, strict=True))
        ]

    def _write(
        self, ids: list[int], writers: list[_Writer], config: GenerationConfig, seed: int
    ) -> Iterator[tuple[int, str]]:
        """Pieces of text as they come, each with the number of its writer."""
        context = [boundary_id(self.tokenizer), *ids]
        forbidden = [self.tokenizer.eos_id] if config.ignore_eos else []
        for first in range(0, len(writers), ROWS):
            rows = range(first, min(first + ROWS, len(writers)))
            sampler = Sampler(self.model, context, config, seed=seed, rows=rows, forbidden=forbidden)
            while sampler.rows:
                for draw in sampler.step():
                    if piece := writers[draw.row].write(draw):
                        yield draw.row, piece
                sampler.finish(*(row for row in sampler.rows if writers[row].finished))


class _Writer:
    """Turns the tokens of one sample into text, and knows when the text is over."""

    def __init__(self, tokenizer: Tokenizer, prompt: list[int], config: GenerationConfig) -> None:
        self.eos_id, self.max_tokens = tokenizer.eos_id, config.max_tokens
        self.decoder = tokenizer.stream()
        for id in prompt:  # what joins two words, such as a space, depends on the one before
            self.decoder.step(id)
        self.stops = StopStrings(config.stop)
        self.finished = False
        self.finish_reason: FinishReason = "length"
        self.token_ids: list[int] = []
        self.log_probs: list[float] = []

    def write(self, draw: Draw) -> str:
        """The text that is certain now that this token is drawn; with the last one, all that was held back."""
        self.token_ids.append(draw.token)
        self.log_probs.append(draw.log_prob)
        ended = draw.token == self.eos_id
        text = "" if ended else self.stops.push(self.decoder.step(draw.token))
        self.finished = ended or len(self.token_ids) == self.max_tokens
        if self.finished:
            text += self.stops.push(self.decoder.flush()) + self.stops.release()
            self.finish_reason = "eos" if ended else "length"
        if self.stops.found is not None:
            self.finished, self.finish_reason = True, "stop"
        return text


class StopStrings:
    """Lets text through up to the stop string that is completed first; ties go to the first in the list.

    >>> stops = StopStrings(["own fox"])
    >>> stops.push("The quick br"), stops.push("own"), stops.push(" fox jumps"), stops.found
    ('The quick br', '', '', 'own fox')
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = stops
        self.found: str | None = None
        self._held = ""  # the longest end of the text that a stop string begins with

    def push(self, text: str) -> str:
        """Add text; get what cannot belong to a stop string any more. Nothing once one was found."""
        if self.found is not None:
            return ""
        text = self._held + text
        ends = [(start + len(stop), stop) for stop in self.stops if (start := text.find(stop)) >= 0]
        if ends:
            end, self.found = min(ends, key=lambda found: found[0])
            return text[: end - len(self.found)]
        longest = max((len(stop) - 1 for stop in self.stops), default=0)
        possible = (text[at:] for at in range(max(0, len(text) - longest), len(text)))
        self._held = next((end for end in possible if any(stop.startswith(end) for stop in self.stops)), "")
        return text[: len(text) - len(self._held)]

    def release(self) -> str:
        """What is still held back, when no more text comes."""
        return "" if self.found is not None else self._held


def as_unicode(text: str) -> str:
    """`text`, if it can be written in UTF-8. Raises UsageError for half characters (lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the text is not valid Unicode: character {error.start + 1} is {text[error.start]!r}",
            hint="It was probably read in a wrong encoding; nextword expects UTF-8",
        ) from None
    return text


def _seed(config: GenerationConfig) -> int:
    return secrets.randbits(31) if config.seed is None else config.seed
