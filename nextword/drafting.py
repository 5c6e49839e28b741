"""A text written by hand and model together, a token at a time, where any step can be undone.

Knows no terminal: `nextword write` shows a Draft and hands it the keys.

Shapes: T new tokens, V vocabulary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from nextword.decoding.processors import temperature
from nextword.decoding.sampling import broken, draw, uniforms
from nextword.errors import RunError, UsageError
from nextword.models.base import LanguageModel, State
from nextword.scoring import boundary_id

if TYPE_CHECKING:
    from nextword.tokenizers import Tokenizer

CHUNK = 256  # tokens read at once: bounds the memory of the logits when a long text is put in
LONGEST_SENTENCE = 200  # tokens after which `go_on` leaves off
SENTENCE = re.compile(r"\S.*[\n.!?…。！？]", re.DOTALL)


@dataclass(frozen=True)
class Candidate:
    """A possible next token."""

    token: int
    text: str
    """By itself, readable."""
    prob: float
    """By the model alone, whatever the temperature."""


@dataclass(frozen=True)
class Mark:
    """The draft as it was before a step."""

    length: int
    start: int
    log_prob: float
    logits: Tensor
    state: State | None
    """A fork of the model's memory; None where that can be rewound, which takes no memory."""
    drawn: Literal["token", "sentence"] | None
    """What the model was asked for in this step; None: the writer chose."""


class Draft:
    """A text, what the model expects next, and the way back.

    Each token costs one call of the model, in eval mode; to undo costs none, but for a step across the place where a
    full context went on from its last half, as in the engine.

    >>> draft = Draft(model, tokenizer, "The moon")                     # doctest: +SKIP
    >>> draft.pick(draft.candidates()[0].token); draft.undo()           # doctest: +SKIP
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        text: str = "",
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> None:
        """`seed` is that of all tokens drawn; None: another each time. Raises DataError for half characters."""
        if model.encodes:
            raise UsageError(
                f"this model ({model.config.type}) answers prompts, it does not go on with a text",
                hint="Use nextword generate, or a run of a transformer, lstm, gru or rnn",
            )
        self.model, self.tokenizer, self.temperature = model, tokenizer, temperature
        self.rng = torch.Generator()
        if seed is None:
            self.rng.seed()
        else:
            self.rng.manual_seed(seed)
        self.boundary = boundary_id(tokenizer)
        self.ids: list[int] = []
        """All tokens, the boundary before the text first."""
        self.log_prob = 0.0
        """ln P(text), in nats."""
        self._start = 0  # the model's memory holds the tokens from here on
        self._state: State = model.init_state(1)
        self._logits = torch.zeros(model.output.out_features, device=model.device)  # (V,) of the next token
        self._marks: list[Mark] = []
        self._rewinds = model.rewinds
        self._read([self.boundary])
        self.log_prob = 0.0  # the boundary is given
        self._read(tokenizer.encode(text))

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        """The text so far, without the first bytes of a character that is not complete."""
        return self._parts()[0]

    @property
    def partial(self) -> str:
        """The tokens at the end that make no text yet, such as `<0xE4>`; or `<eos>`, at the end of all."""
        return self._parts()[1]

    @property
    def num_tokens(self) -> int:
        """Tokens of the text."""
        return len(self.ids) - 1

    @property
    def perplexity(self) -> float:
        """exp(-log_prob / num_tokens); nan for no text."""
        if not self.num_tokens:
            return math.nan
        try:
            return math.exp(-self.log_prob / self.num_tokens)
        except OverflowError:
            return math.inf

    @property
    def ended(self) -> bool:
        """The text is closed by `<eos>`: nothing can be added, but the last step can be undone."""
        return len(self.ids) > 1 and self.ids[-1] == self.tokenizer.eos_id

    def candidates(self, count: int = 10) -> list[Candidate]:
        """The likeliest next tokens, best first; none behind the end."""
        if self.ended:
            return []
        top = self._allowed().softmax(-1).topk(min(count, len(self._logits)))
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return [Candidate(token, self.tokenizer.token_text(token), prob) for token, prob in pairs if prob > 0]

    # -- writing ---------------------------------------------------------------------------------------------------

    def pick(self, token: int) -> None:
        """Go on with this token."""
        self._step(None, [token])

    def write(self, text: str) -> None:
        """Go on with this text, in one step. Raises DataError for half characters."""
        self._step(None, self.tokenizer.encode(text))

    def advance(self) -> None:
        """Have the model draw a token at `temperature`; 0 takes the likeliest."""
        self._step("token", [self._drawn()])

    def go_on(self) -> None:
        """Have the model draw tokens to the end of the line or sentence, in one step."""
        begin = len(self.ids)
        self._step("sentence", [self._drawn()])
        while len(self.ids) - begin < LONGEST_SENTENCE and not self.ended:
            if SENTENCE.search(self.tokenizer.decode(self.ids[begin:])):
                break
            self._read([self._drawn()])

    def undo(self) -> bool:
        """Take the last step back; False where there is none."""
        if not self._marks:
            return False
        mark = self._marks.pop()
        del self.ids[mark.length :]
        self.log_prob, self._logits = mark.log_prob, mark.logits
        if mark.state is not None:
            self._state = mark.state
        elif mark.start == self._start:
            rewound = self._state.rewind(self._state.lengths.new_tensor([mark.length - mark.start]))
            assert rewound is not None  # an empty state of the kind could
            self._state = rewound
        else:
            self._state = self.model.init_state(1)
            self._feed(self.ids[mark.start :], 0)
        self._start = mark.start
        return True

    def redraw(self) -> bool:
        """Take back what the model drew in the last step, and have it draw again; False where it drew nothing."""
        drawn = self._marks[-1].drawn if self._marks else None
        if drawn is None:
            return False
        self.undo()
        if drawn == "token":
            self.advance()
        else:
            self.go_on()
        return True

    # -- the model -------------------------------------------------------------------------------------------------

    def _step(self, drawn: Literal["token", "sentence"] | None, tokens: Sequence[int]) -> None:
        assert not self.ended
        state = None if self._rewinds else self._state.select(torch.zeros_like(self._state.lengths))
        self._marks.append(Mark(len(self.ids), self._start, self.log_prob, self._logits, state, drawn))
        self._read(tokens)

    def _read(self, tokens: Sequence[int]) -> None:
        """Add tokens to the text, however many; a full context goes on from the last half of the text."""
        limit = self.model.max_seq_len
        while tokens:
            room = CHUNK if limit is None else min(CHUNK, limit - (len(self.ids) - self._start))
            again: list[int] = []
            if limit is not None and room == 0:
                self._start = len(self.ids) + 1 - max(1, limit // 2)
                self._state = self.model.init_state(1)
                again = self.ids[self._start :]
                room = min(CHUNK, limit - len(again))
            new, tokens = tokens[:room], tokens[room:]
            logits = self._feed([*again, *new], len(new))
            before = torch.cat([self._logits[None], logits[:-1]])
            self.log_prob += float(before.log_softmax(-1)[range(len(new)), new].double().sum())
            self.ids += new
            self._logits = logits[-1]

    @torch.inference_mode()
    def _feed(self, tokens: Sequence[int], last: int) -> Tensor:
        """Read on; (last, V) logits, of what comes after each of the last tokens."""
        features, state = self.model.features(torch.tensor([tokens], device=self.model.device), self._state)
        assert state is not None  # a state was handed in, so one comes back
        self._state = state
        return self.model.output(features[0, len(tokens) - last :]).float()

    def _allowed(self) -> Tensor:
        """(V,) logits, without a boundary token that does not end a text."""
        logits = self._logits.clone()
        if self.boundary != self.tokenizer.eos_id:
            logits[self.boundary] = -torch.inf
        return logits

    def _drawn(self) -> int:
        logits = self._allowed()[None]
        if error := broken(logits)[0]:
            raise RunError(error)
        return int(draw(temperature(logits, self.temperature), uniforms([self.rng])))

    def _parts(self) -> tuple[str, str]:
        stream, text = self.tokenizer.stream(), ""
        waiting: list[int] = []
        for id in self.ids[1:]:
            piece = "" if id == self.tokenizer.eos_id else stream.step(id)
            text += piece
            waiting = [] if piece else [*waiting, id]
        return text, "".join(map(self.tokenizer.token_text, waiting))
