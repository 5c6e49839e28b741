"""A trained run, ready to use: text in, scores and text out.

>>> generator = TextGenerator.load("runs/poems")                                      # doctest: +SKIP
>>> generator.generate("床前明月光，", temperature=0.8, seed=1).text                     # doctest: +SKIP
>>> for piece in generator.stream("The moon"): print(piece, end="", flush=True)       # doctest: +SKIP
>>> generator.score("The moon").perplexity                                            # doctest: +SKIP
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nextword.config import parse
from nextword.decoding.config import SAMPLING, GenerationConfig
from nextword.decoding.constraints import Constraint
from nextword.decoding.engine import Engine
from nextword.decoding.requests import Event, FinishReason, Request
from nextword.decoding.solo import Solo
from nextword.errors import RunError, UsageError
from nextword.generator.job import Generation, Job, Metric
from nextword.generator.request import as_unicode, text_request
from nextword.metrics.overlap import chrf
from nextword.models.base import LanguageModel
from nextword.models.quantize import quantize
from nextword.scoring import TextScore, score_text

if TYPE_CHECKING:
    from nextword.checkpoint import Run
    from nextword.tokenizers import Tokenizer


class TextGenerator:
    """A model, its tokenizer and its generation settings, under one name.

    All its requests run in one engine, side by side where several are under way. Not for use by several threads at
    once.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        config: GenerationConfig | None = None,
        engine: Engine | None = None,
        draft: LanguageModel | None = None,
        separator: str = "",
    ) -> None:
        """`model` in eval mode: dropout would act here too. `draft`, of the same vocabulary, guesses ahead for it.

        `separator` is what a model trained on prompts and targets expects behind each prompt; it is put there.
        """
        self.model, self.tokenizer, self.draft, self.separator = model, tokenizer, draft, separator
        self.prefix = ""
        """Stands before each prompt, and tells what is to be made of it: T5's "translate English to German: "."""
        self.config = config or GenerationConfig()
        self.engine = engine or Engine(model)
        self._jobs: dict[Request, Job] = {}
        self._solos: list[Solo] = []

    @classmethod
    def load(
        cls,
        run: str | Path,
        device: str = "cpu",
        draft: str | Path | None = None,
        precision: str = "float32",
    ) -> Self:
        """From a run folder; `draft` is a second one, whose model guesses ahead where `speculate` is set.

        `precision` below float32 is faster and less exact: see `nextword.models.quantize`. Raises RunError if a folder
        is missing, damaged or foreign, or if the two have different tokenizers.
        """
        from nextword.checkpoint import load_run

        loaded = load_run(Path(run), device=device)
        guesser = None if draft is None else load_run(Path(draft), device=device)
        if guesser is not None and guesser.tokenizer.fingerprint() != loaded.tokenizer.fingerprint():
            raise RunError(f"{draft} cannot guess for {run}: it has another tokenizer", hint="Train both with the same")
        quantize(loaded.model, precision)
        return cls.of(loaded, draft=None if guesser is None else guesser.model)

    @classmethod
    def of(cls, run: Run, draft: LanguageModel | None = None) -> Self:
        """From a run in memory. Raises UsageError for settings in its generation_config.json that are none."""
        data = run.config.get("data", {})
        return cls(
            run.model,
            run.tokenizer,
            parse(GenerationConfig, run.generation, "generation_config.json"),
            draft=draft,
            separator=data.get("separator", "") if data.get("prompt_field") else "",
        )

    def score(self, text: str, include_eos: bool = False, prompt: str = "") -> TextScore:
        """The probability of `text` given `prompt`, token by token. Raises UsageError if `text` is empty."""
        return score_text(self.model, self.tokenizer, as_unicode(text), include_eos, self.as_prompt(as_unicode(prompt)))

    def as_prompt(self, prompt: str) -> str:
        """A prompt as the model knows it from training: with the prefix before it, and the separator at its end."""
        if prompt and not prompt.startswith(self.prefix):
            prompt = self.prefix + prompt
        return prompt + self.separator if prompt and not prompt.endswith(self.separator) else prompt

    # -- one prompt at a time --------------------------------------------------------------------------------------

    def generate(self, prompt: str = "", *, trace: bool = False, **settings: Any) -> Generation:
        """Continue `prompt`, "" being the start of a text. `settings` are fields of GenerationConfig.

        What is not given comes from the run. With `trace`, the answer tells how each token came about. Raises
        UsageError for an unknown or impossible setting, and for a prompt longer than the model's context.
        """
        return self.generate_many(prompt, trace=trace, **self._one(settings, "generate"))[0]

    def generate_many(
        self, prompt: str = "", *, trace: bool = False, metric: Metric = chrf, **settings: Any
    ) -> list[Generation]:
        """`num_samples` continuations of `prompt`; of plain samples, the i-th is what `generate` gives for seed + i.

        `metric` judges how alike two texts are, for `mbr`.
        """
        job = self.submit(prompt, trace=trace, **settings)
        while not job.finished:
            self.step()
        return job.results(metric)

    def stream(self, prompt: str = "", **settings: Any) -> Iterator[str]:
        """The text of `generate`, piece by piece: the pieces join to the same text.

        A piece never ends inside a character, and never holds the beginning of what becomes a stop string. A search
        that decides at the end, such as a beam search, comes in one piece.
        """
        return self._pieces(self.submit(prompt, **self._one(settings, "stream")))

    def _pieces(self, job: Job) -> Iterator[str]:
        try:
            while True:
                while job.pieces:
                    yield job.pieces.popleft()[1]
                if job.finished:
                    break
                self.step()
        finally:  # also where the reader has had enough
            self.cancel(job)
        if job.error is not None or job.chooses:
            yield job.results(chrf)[0].text

    def _one(self, settings: dict[str, Any], what: str) -> dict[str, Any]:
        if settings.get("num_samples", 1) != 1:
            raise UsageError(f"{what} gives one text", hint="Use generate_many for num_samples > 1")
        return settings | {"num_samples": 1}

    # -- many at a time --------------------------------------------------------------------------------------------

    def submit(
        self,
        prompt: str = "",
        *,
        trace: bool = False,
        keep: bool = False,
        constraint: Constraint | None = None,
        **settings: Any,
    ) -> Job:
        """Take on a request; `step` brings it and all others on. Raises UsageError if it cannot be met.

        `keep`: remember what the model knows at its end, as the next prompt will go on from there. `constraint`: what
        may be generated, beside what the settings say; it is forked, and stays as it is.
        """
        return self._submit(self.as_prompt(prompt), settings, trace, keep, constraint)

    def submit_ids(self, prompt: Sequence[int], *, trace: bool = False, keep: bool = False, **settings: Any) -> Job:
        """As `submit`, for a prompt in ids. It is complete: a boundary token stands in it or is not read."""
        return self._submit(prompt, settings, trace, keep)

    def _submit(
        self,
        prompt: str | Sequence[int],
        settings: dict[str, Any],
        trace: bool,
        keep: bool,
        constraint: Constraint | None = None,
    ) -> Job:
        config = self.settled(settings)
        seed = secrets.randbits(31) if config.seed is None else config.seed
        request = text_request(
            self.model, self.tokenizer, prompt, config, seed=seed, trace=trace, keep=keep, constraint=constraint
        )
        if config.speculate:
            self._solos += [Solo(self.model, request, sample, self.draft) for sample in range(config.num_samples)]
        else:
            self.engine.submit(request)
        text = prompt if isinstance(prompt, str) else self.tokenizer.decode(prompt)
        before = () if self.model.encodes else request.prompt[1:]
        job = self._jobs[request] = Job(self.tokenizer, text, request, before)
        return job

    def step(self) -> None:
        """One more token for every text that is being written."""
        events = self.engine.step()
        for solo in self._solos:
            events += solo.step()
        for event in events:
            job = self._jobs.get(event.request)
            if job is None:
                continue
            if job.handle(event):
                for ended in self._end(job.request, event.sample, "stop"):
                    job.handle(ended)
            if job.error is not None:  # its other samples need not go on
                self.cancel(job)
            elif job.finished:  # its last sample has ended by itself: there is nothing to cancel
                del self._jobs[job.request]
        self._solos = [solo for solo in self._solos if not solo.over]

    def cancel(self, job: Job) -> None:
        """No more tokens for this job: what there is of its texts is all of them."""
        if self._jobs.pop(job.request, None) is not None:
            for event in self._end(job.request, None, "cancelled"):
                job.handle(event)

    def _end(self, request: Request, sample: int | None, reason: FinishReason) -> list[Event]:
        events = self.engine.cancel(request, sample, reason)
        for solo in self._solos:
            if solo.search.request is request and sample in (None, solo.search.sample) and not solo.over:
                events += solo.search.result(reason)
                solo.search.cancelled = True
        return events

    def settled(self, settings: Mapping[str, Any]) -> GenerationConfig:
        """The run's own settings, with these in their place: who asks for sampling does not want the run's beams.

        Raises UsageError for settings that are none, and for those that do not go together.
        """
        drawn = [name for name in settings if name in SAMPLING]
        own = self.config.model_dump() | ({"num_beams": 1} if drawn else {})
        config = parse(GenerationConfig, own | dict(settings))
        for search, on in (
            ("num_beams", config.num_beams > 1),
            ("contrastive_alpha", settings.get("contrastive_alpha")),
        ):
            if on and (idle := [name for name in drawn if (search, name) != ("contrastive_alpha", "top_k")]):
                raise UsageError(f"{idle[0]} plays no part beside {search}: give one of them")
        return config
