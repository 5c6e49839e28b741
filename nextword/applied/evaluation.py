"""How good a run is at its task: its answers to a test set, by the metrics of the task, beside what is free to have."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nextword.applied.answers import Prompt, answers, fitted
from nextword.decoding.config import SAMPLING
from nextword.generator import TextGenerator
from nextword.generator.chat import with_ends
from nextword.generator.context import room_for_prompt, within_context
from nextword.metrics.learned import Metric
from nextword.metrics.score import Rows, Score, ratio
from nextword.scoring import TextScore, score_text
from nextword.tasks.base import Item, Task
from nextword.tasks.lengths import mark
from nextword.text.placeholders import Hidden
from nextword.tokenizers.chat import ChatTokenizer


@dataclass(frozen=True)
class Judged:
    """A test set answered."""

    outputs: list[str]
    scores: list[Score]
    baselines: dict[str, list[Score]]
    """The same metrics for answers that need no model."""
    headline: tuple[str, ...]
    """The metrics that say which of two answers is the better one."""
    cut: int
    """How many prompts were longer than the model reads."""
    seconds: float
    """Of answering."""
    how: str
    """The settings of generation that are not the usual ones."""
    beside: dict[str, list[Score]] = field(default_factory=dict)
    """The same metrics for what the run answers in other ways."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "metrics": _by_name(self.scores),
            "baselines": {name: _by_name(scores) for name, scores in self.baselines.items()},
            **({"beside": {name: _by_name(scores) for name, scores in self.beside.items()}} if self.beside else {}),
            "num_answers": len(self.outputs),
            "cut": self.cut,
            "seconds": round(self.seconds, 2),
            "generation": self.how,
        }

    def beaten_by(self) -> list[str]:
        """A line for each baseline that is better in a metric, saying where."""
        lines = []
        for name, others in self.baselines.items():
            better = [
                f"{own.name} {other.value:.2f} against {own.value:.2f}"
                for own, other in zip(self.scores, others, strict=True)
                if own.name in self.headline and (other.value - own.value) * (1 if own.higher_is_better else -1) > 0
            ]
            if better:
                lines.append(f"{name} is better: {', '.join(better)}")
        return lines


def _by_name(scores: Sequence[Score]) -> dict[str, Any]:
    return {score.name: score.to_dict() for score in scores}


def judge(
    generator: TextGenerator,
    task: Task,
    items: Sequence[Item],
    settings: Mapping[str, Any],
    told: Callable[[Any], object] = lambda prompt: None,
    tokenized: bool = False,
    chat: ChatTokenizer | None = None,
    hide: Callable[[str], Hidden] = Hidden,
) -> Judged:
    """Answer a test set and measure the answers. `settings` of GenerationConfig go before those of the run.

    `chat` writes what was said before a reply: where that is too long, the system's words and the last turns that fit,
    or the end of the last. `hide` puts placeholders into a prompt, for a run that has learned with them.
    """
    started = time.monotonic()
    shown = [hide(item.prompt) for item in items]
    prompts: list[Prompt] = [one.text for one in shown]
    left_out = [False] * len(items)
    how = unusual(generator, settings)
    settings = with_ends(generator, chat, settings) if chat else settings
    config = generator.settled(settings)
    if chat:
        room = room_for_prompt(generator.model, config.max_tokens)
        prompts, left_out = map(list, zip(*(chat.prompt_within(item.before, room) for item in items), strict=True))

    def settings_of(i: int) -> dict[str, Any]:
        within = within_context(generator.model, config, len(prompts[i])) if chat else {}
        return {"seed": 0, **settings, **within}

    found = answers(generator, prompts, settings_of, told)
    seconds = time.monotonic() - started
    outputs = [one.restored(answer.text) for one, answer in zip(shown, found, strict=True)]
    baselines = {name: task.scores(texts, items, tokenized) for name, texts in task.baselines(items).items()}
    scores = task.scores(outputs, items, tokenized)
    cut = sum(answer.cut > 0 or some for answer, some in zip(found, left_out, strict=True))
    return Judged(outputs, scores, baselines, task.headline, cut, seconds, how)


def judged_also(task: Task, metrics: Sequence[Metric]) -> Task:
    """The task, its outputs judged by these metrics, too."""

    def scores(outputs: Sequence[str], items: Sequence[Item], tokenized: bool) -> list[Score]:
        references, sources = [item.references for item in items], [item.prompt for item in items]
        return [
            *task.scores(outputs, items, tokenized),
            *(metric(outputs, references, sources) for metric in metrics),
        ]

    return replace(task, scores=scores)


def at_each_length(
    generator: TextGenerator,
    task: Task,
    items: Sequence[Item],
    settings: Mapping[str, Any],
    lengths: int,
    told: Callable[[str], object] = lambda said: None,
    hide: Callable[[str], Hidden] = Hidden,
) -> dict[str, list[Score]]:
    """The metrics of the answers when each length is asked for that the run knows: whether it keeps to them.

    `hide` as of `judge`.
    """
    scores, shown = {}, [hide(item.prompt) for item in items]
    for bucket in range(1, lengths + 1):
        found = answers(generator, [mark(bucket) + one.text for one in shown], {"seed": 0, **settings}, told)
        outputs = [one.restored(answer.text) for one, answer in zip(shown, found, strict=True)]
        scores[f"length {bucket}"] = task.scores(outputs, items, False)
    return scores


def unusual(generator: TextGenerator, settings: Mapping[str, Any]) -> str:
    """How texts are generated, in words: the settings that are not the defaults."""
    config = generator.settled(settings)
    idle = set(SAMPLING) if config.num_beams > 1 else set()
    chosen = config.model_dump(exclude_defaults=True, exclude=idle)
    return ", ".join(f"{name} {_said(value)}" for name, value in chosen.items()) or "sampled"


def _said(value: object) -> str:
    return " or ".join(map(repr, value)) if isinstance(value, tuple) else str(value)


def bits_per_byte(
    generator: TextGenerator, pairs: Iterable[tuple[Prompt, str]], told: Callable[[str], object] = lambda said: None
) -> Score:
    """-log2 P(text | prompt) / bytes of all (prompt, text) together, each read by itself and with its end: a figure
    that runs of different tokenizers can be compared by."""
    rows = []
    for prompt, text in pairs:
        score = _scored(generator, prompt, text)
        rows.append((-score.log_prob, score.num_bytes))
        told(text)
    values = np.array(rows, np.float64)
    return Score("bits per byte", _bits(values.sum(0)), "each by itself, its end counted", values, _bits, False)


def nats_per_character(generator: TextGenerator, pairs: Iterable[tuple[Prompt, str]]) -> Score:
    """-ln P(text | prompt) / characters of what was written, by the run itself and without a constraint: how far from
    what it would say by itself. Empty texts do not count."""
    rows = [(-_scored(generator, prompt, text).log_prob if text else 0.0, len(text)) for prompt, text in pairs]
    values = np.array(rows, np.float64).reshape(-1, 2)
    return Score("nats a character", ratio(values.sum(0)), "by the run, the end counted", values, ratio, False)


def _scored(generator: TextGenerator, prompt: Prompt, text: str) -> TextScore:
    ids, _ = fitted(generator, prompt)
    return score_text(generator.model, generator.tokenizer, text, True, ids[1:])


def _bits(total: Rows) -> float:
    return ratio(total) / math.log(2)
