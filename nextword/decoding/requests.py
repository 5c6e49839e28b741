"""What goes into the engine and what comes out: a request in token ids, and the events of its life.

Knows no text: whoever has the tokenizer turns strings into a Request and tokens back into text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from nextword.decoding.config import GenerationConfig, TokenSettings
from nextword.decoding.constraints import Constraint
from nextword.errors import NextwordError

if TYPE_CHECKING:
    from nextword.decoding.trace import Trace

FinishReason = Literal["eos", "stop", "length", "cancelled"]


@dataclass(frozen=True, eq=False)
class Request:
    """One prompt to continue. Two requests are the same only if they are the same object."""

    prompt: Sequence[int]
    """Ids, at least one: the boundary token where the text has just begun."""
    config: GenerationConfig
    seed: int
    """Of the first sample; sample i draws from an rng of its own, seeded seed + i. Stands in for `config.seed`."""
    tokens: TokenSettings = field(default_factory=TokenSettings)
    constraint: Constraint | None = None
    """What may be generated; forked for each sample, so the object itself stays as it is."""
    negative: Sequence[int] = ()
    """The prompt to move away from, at least one id, where `config.guidance_scale` is not 1."""
    ends: Callable[[Sequence[int]], bool] | None = None
    """Of beam search: whether these generated ids complete a text, as one with a stop string does."""
    trace: bool = False
    """Record how each token came to be chosen."""
    keep: bool = False
    """Remember the state at the end: the next prompt is likely to go on from there, as in a dialogue."""

    @property
    def limit(self) -> int:
        """Tokens each of its rows may come to: prompt and continuation."""
        return max(len(self.prompt), len(self.negative)) + self.config.max_tokens


@dataclass(frozen=True)
class Continuation:
    """One finished text, in ids."""

    ids: list[int]
    """All generated tokens, a closing `<eos>` included."""
    log_probs: list[float]
    """ln P(token | before) of each, in nats, by the model alone: before any setting."""
    reason: FinishReason
    score: float
    """What the search ranks by; the sum of log_probs where it does not rank."""
    trace: Trace | None = None
    acceptance_rate: float | None = None
    """Of speculative decoding: the share of guessed tokens that the model kept."""


@dataclass(frozen=True)
class Drawn:
    """A sample got its next token."""

    request: Request
    sample: int
    token: int
    log_prob: float
    """ln P(token | before), in nats, by the model alone."""


@dataclass(frozen=True)
class Ended:
    """A sample is over; of a beam search, the sample-th best."""

    request: Request
    sample: int
    result: Continuation
    of: int = 1
    """How many texts this search has found: a beam search may find fewer than it was asked for."""


@dataclass(frozen=True)
class Failed:
    """A request stopped by an error of its own; the others run on."""

    request: Request
    sample: int
    error: NextwordError


Event = Drawn | Ended | Failed
