"""Speculative decoding: guess several tokens, let the model judge them all in one call, keep those it agrees with.

What comes out is distributed as without guessing (Leviathan et al. 2023, "Fast Inference from Transformers via
Speculative Decoding"; Chen et al. 2023, "Accelerating Large Language Model Decoding with Speculative Sampling").
Works on one text at a time. Knows LanguageModel and State, not which model it is, nor what the settings do to logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from nextword.decoding.sampling import NOT_FINITE, broken, draw, likeliest, uniforms
from nextword.errors import RunError, UsageError
from nextword.models.base import LanguageModel, State

CHUNK = 2048  # tokens read at once: bounds the memory of a recurrent model on a long prompt

Process = Callable[[Tensor, Tensor], Tensor]
"""(logits (1, V), ids before (1, S)) -> logits (1, V) to draw from: temperature, filters, penalties, constraints."""


class Context:
    """What a model has read of one text, whose end may be taken back.

    `text` (1, S) holds the tokens last given, `state` the model's memory of its tokens start .. end-1. When the model's
    context is full, the last half of the text is read anew into a fresh state, as without speculation.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.state = model, model.init_state(1)
        self.text = torch.zeros(1, 0, dtype=torch.long, device=model.device)
        self.start = self.end = 0
        self.rewinds = model.rewinds
        self.mark()

    def fits(self, length: int, tokens: int) -> int:
        """How many of so many `tokens` find room behind a text of `length`; below 1: none."""
        limit = self.model.max_seq_len
        return tokens if limit is None else min(tokens, limit - (length - self.start))

    def read(self, ids: Sequence[int], last: int) -> Tensor:
        """Read what is new in the text `ids`; the logits (last, V) that follow each of its last tokens."""
        new = torch.tensor([ids[self.end :]], device=self.text.device)
        self.text = torch.cat([self.text[:, : self.end], new], dim=1)
        limit = self.model.max_seq_len
        if limit is not None and len(ids) - self.start > limit:
            self.state = self.model.init_state(1)
            self.start = self.end = len(ids) - max(1, limit // 2)
        for chunk in self.text[:, self.end :].split(CHUNK, dim=1):
            features, state = self.model.features(chunk, self.state)
            assert state is not None  # a state was handed in, so one comes back
            self.state = state
        self.end = len(ids)
        return self.model.output(features[0, -last:]).float()

    def mark(self) -> None:
        """What is read from now on may be taken back."""
        self.marked = self.end
        self.snapshot: State | None = None
        if not self.rewinds:
            self.snapshot = self.state.select(torch.zeros(1, dtype=torch.long, device=self.text.device))

    def take_back(self, length: int) -> None:
        """Forget what was read behind the first `length` tokens, and at worst all that was read since the mark."""
        if self.end <= length:
            return
        if self.snapshot is None:
            rewound = self.state.rewind(self.state.lengths - (self.end - length))
            assert rewound is not None
            self.state, self.end = rewound, length
        else:
            self.state, self.end = self.snapshot, self.marked


class Proposer(Protocol):
    """Guesses how one text goes on. `ids` of a later call begin with those of the call before."""

    def propose(self, ids: Sequence[int], most: int) -> tuple[list[int], Tensor | None]:
        """Up to `most` >= 1 tokens to follow `ids`, and the probabilities (n, V) they were drawn with.

        None: they were not drawn but follow from `ids` with certainty.
        """
        ...


class Lookup:
    """Prompt look-up: what followed the latest earlier occurrence of the last tokens of the text (Saxena 2023).

    >>> Lookup().propose([1, 2, 3, 4, 9, 1, 2], most=3)
    ([3, 4, 9], None)
    """

    MATCHES = (3, 2)  # tokens that must agree, tried in this order; where but one does, a guess is mostly wrong

    def __init__(self) -> None:
        self.after: dict[tuple[int, ...], int] = {}  # n-gram -> the place behind its latest occurrence
        self.indexed = 0

    def propose(self, ids: Sequence[int], most: int) -> tuple[list[int], Tensor | None]:
        """No tokens where nothing matches. A copy that reaches the end of the text goes on with itself: LZ77."""
        for end in range(self.indexed + 1, len(ids)):
            for n in self.MATCHES:
                self.after[tuple(ids[max(0, end - n) : end])] = end
        self.indexed = len(ids) - 1  # the end of the text must not match itself
        for n in self.MATCHES:
            if start := self.after.get(tuple(ids[-n:])):
                period = len(ids) - start
                return [ids[start + i % period] for i in range(most)], None
        return [], None


class DraftModel:
    """A smaller model of the same vocabulary writes the guesses, token by token."""

    def __init__(self, model: LanguageModel, process: Process, rng: torch.Generator | None) -> None:
        """`rng` None: greedy. Neither it nor `process` need be those of the model that judges."""
        self.process, self.rng = process, rng
        self.context = Context(model)

    @torch.inference_mode()
    def propose(self, ids: Sequence[int], most: int) -> tuple[list[int], Tensor | None]:
        """Fewer than `most` where the draft model's own context ends; its next call then begins a fresh one."""
        # Which guesses were right need not be known: all are taken back, and read again together with the newest token.
        self.context.take_back(self.context.marked)
        text = list(ids)
        logits = self.context.read(text, 1)
        self.context.mark()
        probs: list[Tensor] = []
        for i in range(self.context.fits(len(ids), most - 1) + 1):  # the last guess is not read
            if i > 0:
                logits = self.context.read(text, 1)
            logits = _possible(self.process(logits, self.context.text))
            if self.rng is not None:
                probs.append(_probs(logits))
            text.append(int(_choose(logits, self.rng)))
        return text[len(ids) :], torch.cat(probs) if probs else None


class Speculator:
    """Continues `prompt` (at least one id) by one or more tokens a `step`.

    Greedy, and with guesses that are certain, the text is that of plain decoding with the same `rng`, token for token;
    with guesses drawn by a draft model its distribution is. Both up to rounding: reading several tokens at once may
    differ from one by one in the last bit.

    `process` is called once for every token of the text, in order, so it may keep a memory of its own. Nothing ends by
    itself: the caller looks at the tokens. A step ends at `eos_id`, though guesses may go on behind it.

    The number of guesses adapts: twice as many when all were right, else one more than were right. A state that cannot
    rewind goes back to before its last call instead, and what is then missing is read again with the next guesses,
    which become so much fewer: a wrong guess never costs a call of its own.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompt: Sequence[int],
        process: Process,
        proposer: Proposer,
        *,
        max_draft: int,
        rng: torch.Generator | None,
        eos_id: int | None = None,
    ) -> None:
        """`max_draft` >= 1: most tokens guessed at once. `rng` lives on the CPU; None: greedy."""
        self.ids = list(prompt)
        self.process, self.proposer = process, proposer
        self.max_draft, self.rng, self.eos_id = max_draft, rng, eos_id
        self.context = Context(model)
        self.ahead = 1  # tokens to guess next
        self.drafted = self.accepted = 0

    @property
    def acceptance_rate(self) -> float:
        """Share of the guessed tokens that the model kept; 0 before the first guess."""
        return self.accepted / max(1, self.drafted)

    @torch.inference_mode()
    def step(self) -> list[tuple[int, float]]:
        """The next tokens, at most `max_draft` + 1, each with ln P(token | before) by the model alone.

        Raises RunError if the logits are not numbers, UsageError if `process` has removed every token.
        """
        unread = len(self.ids) - self.context.end
        most = self.context.fits(len(self.ids), min(self.ahead, self.max_draft + 1 - unread))
        drafts, probs = self.proposer.propose(self.ids, most) if most > 0 else ([], None)
        if drafts:
            self.context.mark()
        logits = self.context.read(self.ids + drafts, len(drafts) + 1)  # (drafts + 1, V)

        tokens: list[int] = []
        for i, draft in enumerate([*drafts, None]):
            history = self.context.text[:, : len(self.ids) + i]
            wanted = _possible(self.process(logits[i : i + 1], history))
            if draft is None or probs is None or self.rng is None:
                # A certain guess x needs no more: it is kept with probability p(x), any other y comes out with p(y),
                # as the theory wants it, and from the very random number of plain decoding.
                tokens.append(int(_choose(wanted, self.rng)))
            else:
                tokens.append(_judge(_probs(wanted)[0], probs[i], draft, self.rng))
            if tokens[-1] != draft or draft == self.eos_id:
                break
        right = len(tokens) - (tokens[-1] != draft)

        self.ids += tokens
        self.context.take_back(len(self.ids) - 1)  # the newest token is always still to be read
        if drafts:
            self.drafted += len(drafts)
            self.accepted += right
            self.ahead = min(2 * self.ahead, self.max_draft) if right == len(drafts) else right + 1
        chosen = logits.log_softmax(-1)[range(len(tokens)), tokens].tolist()
        return list(zip(tokens, chosen, strict=True))


def _judge(p: Tensor, q: Tensor, draft: int, rng: torch.Generator) -> int:
    """Keep a guess drawn from q (V,) with probability min(1, p/q), else draw from what p (V,) has more than q.

    Leviathan et al. 2023, section 2.3.
    """
    if uniforms([rng]).item() * q[draft] < p[draft]:
        return draft
    return int(draw((p - q).clamp(min=0).log()[None], uniforms([rng])))


def _choose(logits: Tensor, rng: torch.Generator | None) -> Tensor:
    """(1, V) -> (1,) the likeliest token, or one drawn with `rng`."""
    return likeliest(logits) if rng is None else draw(logits, uniforms([rng]))


def _possible(logits: Tensor) -> Tensor:
    """(1, V), as they are. Raises RunError or UsageError where no token can be chosen from them."""
    if problem := broken(logits)[0]:
        raise (RunError if problem == NOT_FINITE else UsageError)(problem)
    return logits


def _probs(logits: Tensor) -> Tensor:
    """(1, V) -> (1, V) probabilities in float64, like those that `draw` draws from."""
    if logits.device.type == "mps":  # has no float64
        logits = logits.cpu()
    return logits.double().softmax(-1)
