"""The doctor at a run: looks at its data and its plan before the first step, and stays while it trains.

What is found is yielded among the run's events, and written to `findings.jsonl` in the run folder; the numbers it goes
by to `doctor.json`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from nextword.data.batches import fit
from nextword.data.mixture import Mixture
from nextword.data.token_files import TokenFiles
from nextword.errors import TrainingError
from nextword.files import write_json
from nextword.models import ModelConfig
from nextword.training.config import TrainConfig
from nextword.training.distributed import World
from nextword.training.doctor.corpus import Corpus, examine_splits
from nextword.training.doctor.findings import Finding
from nextword.training.doctor.plan import CERTAIN_RATE, Plan, examine_plan
from nextword.training.doctor.vitals import Vitals
from nextword.training.events import Advised, Compiling, Evaluated, Event, Sampled, Step
from nextword.training.logs import DOCTOR, FINDINGS, append_line, cut
from nextword.training.memory import expected_memory
from nextword.training.order import DEFAULT_BPTT
from nextword.training.session import Session

WARM = 5  # first steps of a process that are slower than the rest


class Doctor:
    """Attends one session. A session that goes on from a checkpoint has had its data looked at."""

    def __init__(self, session: Session) -> None:
        trainer = session.trainer
        self.session = session
        files, model = session.splits["train"], trainer.model
        self.plan = plan_of(model.config, model.num_parameters(), trainer.config, files, trainer.world)
        self.first = trainer.position.step
        self.warm: Step | None = None
        self.vitals = Vitals(
            math.log(session.tokenizer.vocab_size), trainer.config.warmup_steps, trainer.config.learning_rate
        )
        self.corpus: Corpus | None = None
        self.findings: list[Finding] = []
        """Those of before the first step."""
        if not trainer.position.step:
            self.corpus, found = examine_splits(session.splits, session.tokenizer)
            self.findings = [finding for finding in found if finding.kind not in _settled(session)]
            self.findings += examine_plan(self.plan)

    def attend(self) -> Iterator[Event]:
        """Train, and say what is found on the way. Raises what `Trainer.run` raises, after writing it down."""
        session, trainer = self.session, self.session.trainer
        log = session.folder / FINDINGS
        cut(log, trainer.position.step)
        log.touch()  # it says that the doctor was there, even if nothing was found
        self._record()
        for finding in self.findings:
            append_line(log, finding.to_dict())
        try:
            for event in trainer.run():
                yield event
                for finding in self._see(event):
                    append_line(log, finding.to_dict())
                    yield Advised(event.step, finding)
        except TrainingError as error:
            stopped = Finding("stopped", "warning", error.message, "the run ended here", error.hint)
            append_line(log, stopped.to_dict() | {"step": trainer.position.step})
            raise

    def _record(self) -> None:
        if not self.first:  # a run that goes on has its numbers from when it began
            numbers = {"corpus": self.corpus and self.corpus.to_dict(), "plan": self.plan.to_dict()}
            write_json(self.session.folder / DOCTOR, numbers)

    def _see(self, event: Event) -> list[Finding]:
        match event:
            case Step():
                found = self.vitals.step(event.step, event.progress, event.loss, event.grad_norm, event.tokens_per_s)
                return found + self._second_look(event)
            case Evaluated():
                return self.vitals.evaluated(event.step, event.result.loss)
            case Sampled(copied=copied) if copied is not None:
                return self.vitals.sampled(event.step, copied)
            case Compiling():  # the speed is another from here on
                self.first, self.warm = event.step, None
                return []
            case _:
                return []

    def _second_look(self, event: Step) -> list[Finding]:
        """What the plan comes to, once it is known how fast the machine is."""
        since = event.step - self.first
        if since == WARM:
            self.warm = event
        if since != WARM + CERTAIN_RATE or self.warm is None:
            return []
        rate = (event.tokens - self.warm.tokens) / max(event.seconds - self.warm.seconds, 1e-9)
        budget = self.session.trainer.config.budget
        known = {finding.kind for finding in examine_plan(self.plan)}
        self.plan = self.plan.measured(event.step, rate, budget - event.seconds if budget else None)
        self._record()
        return [replace(found, step=event.step) for found in examine_plan(self.plan) if found.kind not in known]


def plan_of(
    settings: ModelConfig,
    parameters: int,
    config: TrainConfig,
    files: TokenFiles | Mixture,
    world: World | None = None,
) -> Plan:
    """What is known of a run before its speed is."""
    context = config.context or getattr(settings, "max_seq_len", 0) or DEFAULT_BPTT
    batch_size, context, _ = fit(files.len_tokens, config.batch_size, context)
    batch_tokens = config.batch_tokens or batch_size * context
    step_tokens = batch_tokens * config.accumulate
    world = world or World(torch.device("cpu"))
    needed, present = expected_memory(settings, config, batch_tokens, world)
    return Plan(
        parameters=parameters,
        dropout=getattr(settings, "dropout", 0.0),
        tokens=files.len_tokens,
        bytes=files.counts.target_bytes,
        step_tokens=step_tokens,
        warmup_steps=config.warmup_steps,
        memory=needed,
        memory_present=present if math.isfinite(present) else 0.0,
        steps=config.steps or config.epochs * files.len_tokens / step_tokens or None,
    )


def _settled(session: Session) -> tuple[str, ...]:
    """Kinds of findings that nothing can be done about: the tokenizer is that of a model from elsewhere, and a chat
    template says the same in every conversation."""
    sections = session.sections
    settled = ("vocabulary", "tokenizer-script") if "origin" in sections else ()
    templated = sections.get("data", {}).get("conversations") and "init" in sections
    return settled + (("split-overlap",) if templated else ())
