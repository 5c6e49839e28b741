"""All settings of a batch, in their order: what turns the model's logits into those a token is chosen from.

Each row may have settings of its own. What no row uses costs nothing, and what all rows share is one number. Knows
neither how a token is then chosen nor what the tokens say.

Shapes: R rows, S all tokens so far, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nextword.decoding.config import SAMPLING, GenerationConfig, TokenSettings
from nextword.decoding.processors import (
    Parameter,
    bias,
    constraint,
    dry,
    dynamic_temperature,
    epsilon_cutoff,
    eta_cutoff,
    forbidden,
    forced,
    frequency_penalty,
    min_length,
    min_p,
    no_repeat_ngram,
    p_less,
    presence_penalty,
    recent,
    repetition_penalty,
    temperature,
    top_h,
    top_k,
    top_n_sigma,
    top_p,
    typical,
    xtc,
)
from nextword.errors import UsageError

Filter = Callable[[Tensor, Parameter], Tensor]

FILTERS: dict[str, tuple[Filter, float]] = {
    "top_n_sigma": (top_n_sigma, 0),
    "top_h": (top_h, 1),
    "top_k": (top_k, 0),
    "top_p": (top_p, 1),
    "min_p": (min_p, 0),
    "typical_p": (typical, 1),
    "epsilon_cutoff": (epsilon_cutoff, 0),
    "eta_cutoff": (eta_cutoff, 0),
    "p_less": (p_less, 0),
}
"""Setting -> its function, and the value that turns it off."""

STAGES = (
    "logit_bias",
    "forbidden",
    "min_tokens",
    "force_eos",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "dry",
    "constraint",
    "no_repeat_ngram",
    "temperature",
    *FILTERS,
    "xtc",
)
"""The order in which the settings act, and the names that `observe` hears.

Penalties come before the temperature, which would scale them; filters after it, for they speak of the probabilities
that are drawn from. The constraint comes before all that removes tokens by how likely they are, or because they were
said before: those always leave one, and so it is one the constraint allows. Among the filters the order is that of
`transformers`. top_n_sigma, which it lacks, is first, for it measures the spread of all logits; p_less and xtc are
last, and xtc removes the top of what the others left, as in llama.cpp. "min_tokens" is `ignore_eos` as well.
"""


LOOKING_BACK = frozenset({"repetition_penalty", "frequency_penalty", "presence_penalty", "dry", "no_repeat_ngram"})
"""Stages that need the history."""


@dataclass(frozen=True)
class Moment:
    """What the stages of one step look at, beside the logits."""

    generated: Tensor  # (R,) tokens generated so far
    history: Tensor  # (R, S) all tokens, the latest last, -1 to the left of shorter rows; (R, 0) if nobody looks
    window: Tensor  # (R, S) those of the history that penalties look at
    allowed: Tensor | None  # (R, V) bool
    uniforms: Tensor  # (R,) in [0, 1)

    def own(self) -> Tensor:
        """(R, S) the window, without the prompt."""
        return recent(self.window, self.generated)


Stage = Callable[[Tensor, Moment], Tensor]
Observer = Callable[[str, Tensor], None]


class Pipeline:
    """The stages that any of R rows uses; built once, applied at each step.

    >>> pipeline = Pipeline([(GenerationConfig(top_k=1), TokenSettings())], vocab_size=3, device=torch.device("cpu"))
    >>> pipeline(torch.tensor([[1.0, 3.0, 2.0]]), generated=torch.tensor([0]))
    tensor([[-inf, 3., -inf]])
    """

    needs_history: bool
    """A row looks back: `history` must be given."""
    needs_chance: list[int]
    """Those of the settings that may use XTC: `uniforms` must be given if there are any, and their rows' matter."""

    def __init__(
        self, settings: Sequence[tuple[GenerationConfig, TokenSettings]], vocab_size: int, device: torch.device
    ) -> None:
        """Settings of each row, or one for any number of rows. Raises UsageError for a token id outside the
        vocabulary."""
        self._configs = [config for config, _ in settings]
        self._drawn = [c.temperature > 0 and c.num_beams == 1 and not c.contrastive_alpha for c in self._configs]
        self._vocab_size, self._device = vocab_size, device
        stages = self._fixed([tokens for _, tokens in settings])
        stages |= self._against_repetition([tokens for _, tokens in settings])
        stages |= self._sampling()
        self._stages = [(name, stages[name]) for name in STAGES if name in stages]
        self.needs_history = not LOOKING_BACK.isdisjoint(stages)
        self.needs_chance = [row for row, c in enumerate(self._configs) if self._drawn[row] and c.xtc_probability > 0]
        windows = [c.penalty_window for c in self._configs]
        self._windows = torch.tensor([w or 2**62 for w in windows], device=device) if any(windows) else None

    def __call__(
        self,
        logits: Tensor,
        *,
        generated: Tensor,
        history: Tensor | None = None,
        allowed: Tensor | None = None,
        uniforms: Tensor | None = None,
        observe: Observer | None = None,
    ) -> Tensor:
        """(R, V) float32 -> (R, V). A row of which nothing is left is -inf throughout: whoever draws looks.

        `generated` (R,) counts the tokens after the prompt; `history` (R, S), the latest last and -1 to the left of
        shorter rows, holds both. `allowed` (R, V) bool is what a constraint allows, `uniforms` (R,) in [0, 1) the
        chance of XTC. `observe(name, logits)` is called after each stage that acted.
        """
        assert not (self.needs_history and history is None)
        assert not (self.needs_chance and uniforms is None)
        history = generated.new_empty((len(logits), 0)) if history is None else history
        window = history if self._windows is None else recent(history, self._windows)
        now = Moment(generated, history, window, allowed, generated if uniforms is None else uniforms)
        for name, stage in self._stages:
            before, logits = logits, stage(logits, now)
            if observe is not None and logits is not before:
                observe(name, logits)
        return logits

    def _fixed(self, tokens: Sequence[TokenSettings]) -> dict[str, Stage]:
        """What may be said, however likely it is."""
        stages: dict[str, Stage] = {
            "constraint": lambda x, now: x if now.allowed is None else constraint(x, now.allowed)
        }
        if any(t.bias for t in tokens):
            added = self._table([t.bias for t in tokens])
            stages["logit_bias"] = lambda x, now: bias(x, added)
        if any(t.forbidden for t in tokens):
            removed = self._marks([t.forbidden for t in tokens])
            stages["forbidden"] = lambda x, now: forbidden(x, removed)
        eos = self._marks([() if t.eos_id is None else (t.eos_id,) for t in tokens])
        ends = eos | self._marks([t.ends for t in tokens]) if any(t.ends for t in tokens) else eos
        least = self._shared([torch.inf if c.ignore_eos else c.min_tokens for c in self._configs])
        if _acts(least, 0):
            stages["min_tokens"] = lambda x, now: min_length(x, ends, now.generated, least)
        pairs = zip(self._configs, tokens, strict=True)
        last = self._shared([c.max_tokens - 1 if c.force_eos and t.eos_id is not None else -1 for c, t in pairs])
        if _acts(last, -1):
            stages["force_eos"] = lambda x, now: forced(x, eos, now.generated, last)
        return stages

    def _against_repetition(self, tokens: Sequence[TokenSettings]) -> dict[str, Stage]:
        """What has been said before."""
        stages: dict[str, Stage] = {}
        repetition, frequency = self._number("repetition_penalty", 1), self._number("frequency_penalty", 0)
        presence, multiplier = self._number("presence_penalty", 0), self._number("dry_multiplier", 0)
        n = self._number("no_repeat_ngram_size", 0)
        if _acts(repetition, 1):
            stages["repetition_penalty"] = lambda x, now: repetition_penalty(x, now.window, repetition)
        if _acts(frequency, 0):
            stages["frequency_penalty"] = lambda x, now: frequency_penalty(x, now.own(), frequency)
        if _acts(presence, 0):
            stages["presence_penalty"] = lambda x, now: presence_penalty(x, now.own(), presence)
        if _acts(multiplier, 0):
            base, length = self._number("dry_base"), self._number("dry_allowed_length")
            breakers = self._marks([t.breakers for t in tokens])
            stages["dry"] = lambda x, now: dry(x, now.window, multiplier, base, length, breakers)
        if _acts(n, 0):
            stages["no_repeat_ngram"] = lambda x, now: no_repeat_ngram(x, now.history, n)
        return stages

    def _sampling(self) -> dict[str, Stage]:
        """How the next token is drawn."""
        stages: dict[str, Stage] = {}
        heat, spread = self._number("temperature", 1), self._number("dynamic_temperature", 0)
        probability, threshold = self._number("xtc_probability", 0), self._number("xtc_threshold")
        if _acts(spread, 0):
            exponent = self._number("dynamic_exponent")
            stages["temperature"] = lambda x, now: dynamic_temperature(x, heat, spread, exponent)
        elif _acts(heat, 1):
            stages["temperature"] = lambda x, now: temperature(x, heat)
        for name, (function, off) in FILTERS.items():
            value = self._number(name, off)
            if _acts(value, off):
                stages[name] = partial(_filter, function=function, value=value)
        if _acts(probability, 0):
            stages["xtc"] = lambda x, now: xtc(x, now.uniforms, probability, threshold)
        return stages

    def _number(self, name: str, off: float | None = None) -> Parameter:
        """The rows' values of a setting; `off` where the row draws nothing and the setting is about drawing."""
        unused = off is not None and name in SAMPLING
        values = zip(self._configs, self._drawn, strict=True)
        return self._shared([off if unused and not drawn else getattr(config, name) for config, drawn in values])

    def _shared(self, values: Sequence[Any]) -> Parameter:
        """One number if all rows have the same, else (R,) float32."""
        if len(set(values)) == 1:
            return values[0]
        return torch.tensor(values, dtype=torch.float32, device=self._device)

    def _table(self, values: Sequence[Mapping[int, float]]) -> Tensor:
        """(R, V) numbers by token id, 0 for the others; (1, V) if all rows have the same."""
        rows = values[:1] if all(row == values[0] for row in values) else values
        for id in (id for row in rows for id in row):
            if not 0 <= id < self._vocab_size:
                raise UsageError(
                    f"token id {id}: expected one of the model's {self._vocab_size}, 0 to {self._vocab_size - 1}"
                )
        table = torch.zeros(len(rows), self._vocab_size)
        for line, row in zip(table, rows, strict=True):
            line[torch.tensor(list(row), dtype=torch.long)] = torch.tensor(list(row.values()), dtype=torch.float32)
        return table.to(self._device)

    def _marks(self, ids: Sequence[Collection[int]]) -> Tensor:
        """(R, V) bool, True at these ids of each row; (1, V) if all rows have the same."""
        return self._table([dict.fromkeys(row, 1.0) for row in ids]) > 0


def _acts(value: Parameter, off: float) -> bool:
    return isinstance(value, Tensor) or value != off


def _filter(logits: Tensor, now: Moment, function: Filter, value: Parameter) -> Tensor:
    return function(logits, value)
