"""A conversation with a model: turns, and replies that cost their own tokens only, as what was read before is kept.

What the model has said stays as it said it, token for token; what is new in the text of its chat template is read
behind that. So a recurrent model goes on from its state, and a Transformer from its keys and values.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from nextword.checkpoint import read_config
from nextword.decoding.requests import Request
from nextword.errors import TemplateError, UsageError
from nextword.generator.context import of_most, room_for_prompt, within_context
from nextword.generator.generator import TextGenerator
from nextword.generator.job import Generation, Job
from nextword.generator.mutual_information import by_mutual_information
from nextword.generator.request import as_unicode
from nextword.metrics.overlap import chrf
from nextword.tasks.registry import task_of
from nextword.text.chat import Turn
from nextword.text.turns import check_turns, first_that_fits
from nextword.tokenizers.chat import ChatTokenizer


@dataclass(frozen=True)
class _Said:
    """How a reply came about."""

    first: int
    """The first turn that the model had in view,"""
    prompt: str
    """the text that it was given,"""
    ids: tuple[int, ...]
    """the tokens of that and of the reply, but for the one that ended it,"""
    beyond: str
    """and what these tokens spell behind the reply: a stop string."""


@dataclass(frozen=True)
class _Turn:
    role: str
    content: str
    said: _Said | None = None
    """Of a reply of this model."""


def with_ends(generator: TextGenerator, tokenizer: ChatTokenizer, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of generation, and what ends a reply in the chat template. Raises UsageError as `settled`."""
    config, (tokens, strings) = generator.settled(settings), tokenizer.ends()
    return dict(settings) | {"stop_tokens": [*config.stop_tokens, *tokens], "stop": [*config.stop, *strings]}


class Chat:
    """A model to talk with.

    >>> chat = Chat.load("runs/talk", system="You are a sailor.")                                  # doctest: +SKIP
    >>> chat.say("Where have you been?").text                                                      # doctest: +SKIP
    >>> for piece in chat.stream("And then?"): print(piece, end="", flush=True)                    # doctest: +SKIP
    """

    def __init__(
        self,
        generator: TextGenerator,
        tokenizer: ChatTokenizer,
        system: str = "",
        turns: Sequence[Turn] = (),
        mmi: float = 0.0,
        **settings: Any,
    ) -> None:
        """`turns`: what was said before. `mmi`: of the `best_of` replies that are drawn, give not the likeliest but
        the one that says most about what it answers, this much: see `nextword.generator.mutual_information`; 0 = off.

        `settings` are fields of GenerationConfig; reply after reply is drawn with the next seed. Raises UsageError for
        an unknown or impossible setting, DataError for a turn with an unknown role.
        """
        self.generator, self.tokenizer = generator, tokenizer
        self._settings = self._complete(settings)
        self.config = generator.settled(self._settings)
        if mmi and not self.config.best_of:
            raise UsageError(f"mmi {mmi:g} chooses among several replies", hint="Say how many are drawn: best_of 8")
        if mmi and generator.model.encodes:
            raise UsageError(f"mmi {mmi:g}: a model with an encoder has no probability of a reply to nothing")
        self.mmi = mmi
        self.system = ""
        """What the model is told before all turns: its persona, say. It may be changed at any time."""
        self.last: Generation | None = None
        """The latest reply."""
        self._request: Request | None = None  # that it answers
        self._turns: list[_Turn] = []
        self.clear(turns)
        self.system = system or self.system
        self._seed = secrets.randbits(31) if self.config.seed is None else self.config.seed
        self._stopped = False

    @classmethod
    def load(
        cls, run: str | Path, system: str = "", *, device: str = "cpu", precision: str = "float32", **options: Any
    ) -> Self:
        """From a run folder, with its own chat template; without one, with plain lines: "User: ...".

        `options` are those of the constructor. Raises RunError if the folder is missing or damaged, TemplateError if
        its template is, UsageError if the run has none and was trained for something else than to talk.
        """
        generator = TextGenerator.load(run, device=device, precision=precision)
        tokenizer = ChatTokenizer.load(run, generator.tokenizer, default="plain")
        task = task_of(read_config(Path(run)))
        if tokenizer.template == "plain" and task is not None and not task.template:
            raise UsageError(f"{run} was trained for {task.name}, not to talk", hint=f"Use nextword {task.command}")
        return cls(generator, tokenizer, system, **options)

    @property
    def turns(self) -> list[Turn]:
        """All that was said, the system's words first."""
        return self._seen(self._turns)

    # -- talking ---------------------------------------------------------------------------------------------------

    def say(self, text: str) -> Generation:
        """The reply to what the user says. Raises UsageError if that is too long for the model."""
        for _ in self.stream(text):
            pass
        assert self.last is not None
        return self.last

    def stream(self, text: str) -> Iterator[str]:
        """As `say`, piece by piece.

        The reply becomes a turn as it ends, or as far as it has come when the reader has had enough. Before its first
        token, and after an error, nothing has been said.
        """
        return self._answer(self._turns, text)

    def retry(self) -> Iterator[str]:
        """Another reply in place of the last. Raises UsageError if there is none."""
        asked = self._asked()
        return self._answer(self._turns[:asked], self._turns[asked].content)

    def edit(self, text: str) -> Iterator[str]:
        """The reply to other words of the user, in place of the last ones. Raises UsageError if there are none."""
        return self._answer(self._turns[: self._asked()], text)

    def undo(self) -> str:
        """Take back the last words of the user, and the reply; these words. Raises UsageError if there are none."""
        asked = self._asked()
        text = self._turns[asked].content
        self._turns, self.last = self._turns[:asked], None
        return text

    def why(self) -> Generation:
        """The latest reply drawn again, with the trace of how each of its tokens came about.

        Raises UsageError if there is none.
        """
        if self.last is None or self._request is None:
            raise UsageError("nothing has been said yet")
        stopped = self.last.finish_reason == "cancelled"
        most = len(self.last.token_ids) if stopped else self._request.config.max_tokens
        alone = of_most(self.config, most) | {"best_of": 0, "mbr": 0, "seed": self.last.seed}
        job = self.generator.submit_ids(self._request.prompt, trace=True, **self._settings | alone)
        while not job.finished:
            self.generator.step()
        return job.results(chrf)[0]

    def clear(self, turns: Sequence[Turn] = ()) -> None:
        """Begin anew, with what was said before; the system's words stay, unless there are others.

        Raises DataError for a turn with an unknown role.
        """
        said = check_turns(turns, "turns")
        if said and said[0]["role"] == "system":
            self.system, said = said[0]["content"], said[1:]
        self._turns, self.last = [_Turn(turn["role"], turn["content"]) for turn in said], None

    def stop(self) -> None:
        """Let the reply that is being written end with the token at hand. A signal handler may call it."""
        self._stopped = True

    def _asked(self) -> int:
        """The last turn of the user."""
        asked = [i for i, turn in enumerate(self._turns) if turn.role == "user"]
        if not asked:
            raise UsageError("nothing has been said yet")
        return asked[-1]

    # -- the reply -------------------------------------------------------------------------------------------------

    def _answer(self, before: Sequence[_Turn], text: str) -> Iterator[str]:
        asked = [*before, _Turn("user", as_unicode(text))]
        first, prompt, ids = self._prompt(asked)
        job = self.generator.submit_ids(ids, keep=True, **self._for_next(len(ids)))
        self._seed, self._stopped = self._seed + job.expected, False
        before_this = self.last
        try:
            yield from self._pieces(job)
        finally:
            self.generator.cancel(job)
            if job.error is None and (reply := self._best(job)).token_ids:
                self.last, self._request = replace(reply, text=reply.text.strip()), job.request
                said = self._said(self.last, job.request, first, prompt)
                self._turns = [*asked, _Turn("assistant", self.last.text, said)]
        if job.error is not None:
            raise job.error
        if job.chooses and self.last is not None and self.last is not before_this:
            yield self.last.text

    def _pieces(self, job: Job) -> Iterator[str]:
        """The text as it comes, without white space around it."""
        held, begun = "", False
        while not (job.finished or self._stopped):
            self.generator.step()
            while job.pieces:
                piece = held + job.pieces.popleft()[1]
                piece = piece if begun else piece.lstrip()
                said = piece.rstrip()
                begun, held = begun or bool(said), piece[len(said) :]
                if said:
                    yield said

    def _best(self, job: Job) -> Generation:
        """The reply to give, of those drawn."""
        if self.mmi and (drawn := [reply for reply in job.done.values() if reply.token_ids]):
            nothing = self.tokenizer.prompt(self._seen([_Turn("user", "")]))
            return by_mutual_information(self.generator.model, drawn, nothing, self.mmi)[0]
        return job.results(chrf)[0]

    def _said(self, reply: Generation, request: Request, first: int, prompt: str) -> _Said:
        ids = [*request.prompt, *reply.token_ids]
        if request.tokens.is_end(ids[-1]):  # the template writes it, if it is to be there
            del ids[-1]
        beyond = ""
        if reply.finish_reason == "stop":
            read, whole = (self.tokenizer.tokenizer.decode(some) for some in (request.prompt, ids))
            beyond = whole.removeprefix(read).lstrip().removeprefix(reply.text)
        return _Said(first, prompt, tuple(ids), beyond)

    # -- what the model reads --------------------------------------------------------------------------------------

    def _prompt(self, turns: Sequence[_Turn]) -> tuple[int, str, list[int]]:
        """What the model is to answer, as text and tokens; the first turn in it.

        Where its context cannot hold all turns, it is the last of them that come to half of it, so that what is left
        is seldom read anew. A model with an encoder reads all anew anyway, and so as much as it can.
        """
        model = self.generator.model
        first = next((turn.said.first for turn in reversed(turns) if turn.said), 0)
        text, ids = self._encoded(turns[first:])
        room = room_for_prompt(model, self.config.max_tokens)
        if len(ids) > room:
            begins = [i for i in range(first, len(turns)) if turns[i].role == "user"]
            less = room if model.encodes or model.max_seq_len is None else model.max_seq_len // 2
            first = first_that_fits(begins, lambda i: len(self._encoded(turns[i:])[1]), less)
            text, ids = self._encoded(turns[first:])
        return first, text, ids

    def _encoded(self, turns: Sequence[_Turn]) -> tuple[str, list[int]]:
        """The text of some turns up to where a reply is to begin, and its tokens.

        What the model has said before it has in the very tokens in which it said it, and behind what it had read.
        """
        last = max((i for i, turn in enumerate(turns) if turn.said), default=None)
        if last is not None and (found := self._behind(turns, last)):
            return found
        whole = self.tokenizer.format.render(self._seen(turns))
        return whole.text, self.tokenizer.encode(whole)[0]

    def _behind(self, turns: Sequence[_Turn], last: int) -> tuple[str, list[int]] | None:
        """The same, from the tokens of a reply on; None if the template now has another text before it."""
        said, seen = turns[last].said, self._seen(turns)
        assert said is not None
        try:
            before, after = self.tokenizer.format.parted(
                seen, last + len(seen) - len(turns), add_generation_prompt=True
            )
        except TemplateError:  # it leaves out earlier turns
            return None
        if not (before.text.startswith(said.prompt) and after.text.startswith(said.beyond)):
            return None
        return before.text + after.text, [*said.ids, *self.tokenizer.encode(after.behind(len(said.beyond)))[0]]

    def _seen(self, turns: Sequence[_Turn]) -> list[Turn]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *({"role": turn.role, "content": turn.content} for turn in turns)]

    # -- settings --------------------------------------------------------------------------------------------------

    def _complete(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings given, and what ends a reply in the chat template."""
        if settings.get("num_samples", 1) != 1:
            raise UsageError("a conversation has one reply", hint="Use best_of in place of num_samples")
        return {"num_samples": 1} | with_ends(self.generator, self.tokenizer, settings)

    def _for_next(self, read: int) -> dict[str, Any]:
        """The settings of a reply to a prompt of so many tokens."""
        return self._settings | within_context(self.generator.model, self.config, read) | {"seed": self._seed}
