"""The token loop: continuations of one prompt, one token a step. Knows LanguageModel and State, and no text.

Every continuation ("row") draws from an rng of its own, seeded seed + row, so that what one row says depends neither
on how many others run beside it nor on when they end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from nextword.decoding.config import GenerationConfig
from nextword.decoding.processors import process
from nextword.errors import RunError
from nextword.models.base import LanguageModel, State

CHUNK = 2048  # prompt tokens read at once: bounds the memory of a recurrent model on a long prompt


class Draw(NamedTuple):
    """One token drawn for one row."""

    row: int
    token: int
    log_prob: float
    """ln P(token | before) by the model alone, before any setting: the sum is what scoring the text gives."""


class Sampler:
    """Continues `prompt` (at least one id) in `rows`; each `step` draws one token for every row still running.

    Nothing ends by itself: the caller looks at the tokens and says `finish(row)`; it also counts `max_tokens`.

    When the model's context is full, the last half of the text is read anew into a fresh state, so a text may grow
    without limit; a step then costs on average two tokens of reading instead of one.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompt: Sequence[int],
        config: GenerationConfig,
        *,
        seed: int,
        rows: Sequence[int] = (0,),
        forbidden: Sequence[int] = (),
    ) -> None:
        """`seed` stands in for `config.seed`, which may be None. `forbidden` ids are never drawn."""
        self.model, self.config = model, config
        self.rows = list(rows)  # the rows still running, in the order of the state's
        self.rngs = {row: torch.Generator().manual_seed((seed + row) % 2**63) for row in rows}
        self.forbidden = torch.tensor(forbidden, device=model.device) if forbidden else None
        self.length = len(prompt)
        self.history = torch.tensor([list(prompt)] * len(rows), device=model.device)  # (rows, S), and room to grow
        self.logits: Tensor  # (rows, V) of the next token
        self.state: State
        with torch.inference_mode():
            self._read(self.history[:1, : self.length])  # the prompt is the same in all rows: read once
            everywhere = torch.zeros(len(rows), dtype=torch.long, device=model.device)
            self.logits, self.state = self.logits[everywhere], self.state.select(everywhere)

    @torch.inference_mode()
    def step(self) -> list[Draw]:
        """The next token of every running row. Raises RunError if the model's logits are not numbers."""
        if self.length > self._read_length:
            self._advance()
        log_probs = self.logits.log_softmax(-1)
        logits = process(self.logits, self.history[:, : self.length], self.config, self.forbidden)
        if self.config.temperature == 0:
            tokens = likeliest(logits)
        else:
            tokens = draw(logits, [self.rngs[row] for row in self.rows])
        if self.length == self.history.size(1):
            self.history = pad(self.history, (0, self.length))
        self.history[:, self.length] = tokens
        self.length += 1
        chosen = log_probs.gather(-1, tokens[:, None]).squeeze(-1)
        return [Draw(*one) for one in zip(self.rows, tokens.tolist(), chosen.tolist(), strict=True)]

    def finish(self, *rows: int) -> None:
        """These rows are done: they leave the batch."""
        places = [place for place, row in enumerate(self.rows) if row not in rows]
        if len(places) == len(self.rows):
            return
        self.rows = [self.rows[place] for place in places]
        if self.rows:
            keep = torch.tensor(places, device=self.model.device)
            with torch.inference_mode():
                self.history, self.logits = self.history[keep], self.logits[keep]
                self.state = self.state.select(keep)

    def _advance(self) -> None:
        """Read the newest token, or, when the context is full, the last half of the text into a fresh state."""
        limit = self.model.max_seq_len
        if limit is not None and self._in_context == limit:
            self._read(self.history[:, self.length - max(1, limit // 2) : self.length])
        else:
            features, state = self.model.features(self.history[:, self.length - 1 : self.length], self.state)
            self._keep(features, state, self._in_context + 1)

    def _read(self, tokens: Tensor) -> None:
        """Read `tokens` (rows, T) into a fresh state; logits for the last position only."""
        state: State | None = self.model.init_state(tokens.size(0))
        for chunk in tokens.split(CHUNK, dim=1):
            features, state = self.model.features(chunk, state)
        self._keep(features, state, tokens.size(1))

    def _keep(self, features: Tensor, state: State | None, in_context: int) -> None:
        assert state is not None  # a state was handed in, so one comes back
        self.state = state
        self.logits = self.model.output(features[:, -1]).float()
        self._in_context, self._read_length = in_context, self.length


def likeliest(logits: Tensor) -> Tensor:
    """(rows, V) -> (rows,) ids: the largest logit, the lowest id among equals."""
    _check(logits)
    return logits.argmax(-1)


def draw(logits: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
    """(rows, V) -> (rows,) ids drawn from softmax(logits): one uniform number a row, inverting the cumulative sum.

    Float64, so that no token gains or loses by the rounding of a large vocabulary. A token of probability 0 is never
    drawn.
    """
    _check(logits)
    if logits.device.type == "mps":  # has no float64
        logits = logits.cpu()
    cumulative = logits.double().softmax(-1).cumsum(-1)
    uniform = torch.stack([torch.rand(1, generator=rng, dtype=torch.float64) for rng in rngs]).to(logits.device)
    return torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True).squeeze(-1)


def _check(logits: Tensor) -> None:
    top = logits.amax(-1)  # nan if any is nan
    if not top.isfinite().all():
        if top.isneginf().any() and not top.isnan().any():
            raise RunError("no token can be drawn: the settings forbid all of them")
        raise RunError(
            "the model's logits are not finite numbers",
            hint="Its training has diverged; go back to an earlier checkpoint or train with a lower learning rate",
        )
