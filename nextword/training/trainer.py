"""The training loop, in the open: read a batch, take the loss, step, and now and then evaluate, sample, save.

`Trainer.run` yields what happens, and whoever listens draws it. Knows nothing of text: how to sample is handed in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from nextword.checkpoint import WEIGHTS, write_weights
from nextword.data.batches import Batch
from nextword.data.mixture import Mixture
from nextword.data.token_files import TokenFiles
from nextword.errors import TrainingError
from nextword.metrics.copying import Copied
from nextword.models.base import LanguageModel
from nextword.tokenizers import IGNORE
from nextword.training import resume, rng
from nextword.training.adapting import ADAPTER, is_adapted, trained
from nextword.training.average import PREFIX, WeightAverage
from nextword.training.carried import Carried
from nextword.training.clock import Clock
from nextword.training.compiling import TRIAL_STEPS, WORTHWHILE, compile_model
from nextword.training.config import TrainConfig
from nextword.training.distributed import World
from nextword.training.evaluation import Evaluation, evaluate
from nextword.training.events import Compiling, Evaluated, Event, Finished, Sampled, Step
from nextword.training.freezing import freeze
from nextword.training.logs import RunLogger
from nextword.training.optimizers import build_optimizers, usual_decay
from nextword.training.order import batches_for
from nextword.training.parallel import Spread, like
from nextword.training.position import Position
from nextword.training.precision import autocast, choose_precision
from nextword.training.schedules import lr_factor
from nextword.training.terms import loss_terms, token_dropout

PAUSES = ("eval", "sample", "checkpoint")


class _Interrupted(Exception):
    """An evaluation was cut short."""


class Trainer:
    """Trains one model on token files, and keeps what a run folder needs up to date.

    The weights of the best evaluation (of the latest, without validation data) lie in `folder`, checkpoints to
    resume from in `folder/checkpoints`.

    Several processes train one model: each has a trainer of its own that takes the same decisions at the same steps,
    on its rows of every batch. The first of them writes.
    """

    def __init__(
        self,
        model: LanguageModel,
        train_files: TokenFiles | Mixture,
        valid_files: TokenFiles | Mixture | None,
        config: TrainConfig,
        folder: Path,
        sample: Callable[[LanguageModel], tuple[str, str]] | None = None,
        started: float | None = None,
        copied: Callable[[str], tuple[Copied, str]] | None = None,
        world: World | None = None,
        halves: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        """`started` (time.monotonic) is when the time budget began to run; default now. `sample` has the model write:
        what it was given, and what it wrote. `copied` says what of the latter stands in the training text, and its
        longest such span. `world` are the processes that train together; default this one alone, where the model is.
        `halves` are those of the tokens, for `token_dropout`."""
        self.model, self.valid_files = model, valid_files
        self.folder, self.sample, self.copied = folder, sample, copied
        self.world = world or World(model.device)
        self.device = self.world.device
        fast = self.world.first(choose_precision(config.precision, self.device) == "bfloat16")
        self.precision: Literal["bfloat16", "float32"] = "bfloat16" if fast else "float32"
        self.batches = batches_for(train_files, model, config)
        if config.weight_decay is None:
            steps = self.batches.batches_per_epoch / config.accumulate
            decay = usual_decay(config.optimizer, config.learning_rate, steps)
            config = config.model_copy(update={"weight_decay": decay})
        self.config = config
        if config.activation_checkpointing and not model.blocks:
            raise TrainingError(
                "train.activation_checkpointing: this model has no blocks to compute again",
                hint="Leave it out, or train a transformer",
            )
        self.terms = loss_terms(model, config, self.batches.whole_examples, train_files.eos_id)
        self.token_dropout = token_dropout(model, config, halves)
        model.recompute = config.activation_checkpointing
        freeze(model, config.freeze)
        self.spread = Spread(model, self.world, config.parallel, self.precision)
        self.optimizers = build_optimizers(model, config)
        self.average = WeightAverage(model, config.ema) if config.ema else None
        pauses = [what for what in PAUSES if what != "sample" or sample]
        valid_tokens = 0 if valid_files is None else valid_files.len_tokens
        self.clock = Clock(config, self.world, self.batches, pauses, valid_tokens, started)
        self.carried = Carried(model, config.fresh_share, config.seed, self.world) if self.batches.carries else None
        self.best: Evaluation | None = None
        self._rate = 0.0  # tokens per second, smoothed over some ten steps
        self._last_step = 0.0  # seconds
        self._steps_to_decision = {"always": 1, "auto": TRIAL_STEPS + 1, "never": 0}[config.compile]
        rng.begin(self.world, config.seed)

    @property
    def position(self) -> Position:
        """Where the run stands."""
        return self.clock.position

    # -- what a run does -------------------------------------------------------------------------------------------

    def run(self) -> Iterator[Event]:
        """Train to the end, or until `interrupt`; then evaluate once more if due, and save.

        Raises TrainingError when a loss or a gradient is not finite: before the update, so the weights are intact.
        """
        done, step = self.position.done, self.position.step
        evaluated, sampled = done.get("eval") == step, done.get("sample") == step
        silent = not self.world.leads
        with RunLogger(self.folder, step, evaluated, sampled, self.config.wandb, silent) as logger:
            self.model.train()
            reason = yield from self._pause(logger)  # what was due when an earlier process was interrupted
            while not reason:
                if self._compile():
                    yield Compiling(self.position.step)
                event = self._step()
                if event.step % self.config.log_every == 0 or event.step == 1:
                    self._log(logger, event)
                yield event
                reason = yield from self._pause(logger)
            if reason == "interrupted" and done.get("checkpoint") != self.position.step:
                self.save()
            yield Finished(self.position.step, reason)

    def interrupt(self) -> None:
        """Ask the run, of all processes, to save and end: after the step, the sample or the save it is at, or amid an
        evaluation, which a resumed run does again. Safe to call from a signal handler."""
        self.clock.interrupt()

    def try_rates(self, rates: Iterable[float]) -> Iterator[Step]:
        """A step at each learning rate in place of the schedule's; nothing is evaluated, logged or saved."""
        self.model.train()
        for rate in rates:
            yield self._step(rate)

    def _step(self, lr: float | None = None) -> Step:
        """One update from `accumulate` batches; the loss is the mean over all their tokens, of all processes."""
        began = time.monotonic()
        config, position = self.config, self.position
        if lr is None:
            lr = config.learning_rate * position.plateau_factor
            lr *= lr_factor(config, position.step, self.clock.progress)
        self.optimizers.set_learning_rate(lr)
        first = position.step * config.accumulate + 1
        numbers = range(first, first + config.accumulate)  # of batches, from 1 on through all of the run
        batches = [next(self.batches) for _ in numbers]
        count = sum(int((batch.targets != IGNORE).sum()) for batch in batches)
        losses: list[Tensor] = []
        for number, batch in zip(numbers, batches, strict=True):
            self.spread.exchange(number == numbers[-1])
            loss = self._loss(batch, number)
            losses.append(loss.detach())
            (loss * (self.world.size / max(count, 1))).backward()  # the mean over processes is taken as they exchange
        nats = self.clock.meet(*torch.stack(losses).tolist())
        for number, loss_sum in zip(numbers, nats, strict=True):
            if not math.isfinite(loss_sum):
                raise self._not_finite("loss", f"batch {number}")
        grad_norm = self.spread.gradient_norm()
        if not math.isfinite(grad_norm.item()):
            where = f"batch {first}" if len(numbers) == 1 else f"batches {first} to {numbers[-1]}"
            raise self._not_finite("gradient", where)
        if config.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), config.clip_norm, grad_norm)
        self.optimizers.step()
        if self.average:
            self.average.update(self.model, position.step)
        position.step += 1
        position.tokens += count
        took = self._last_step = time.monotonic() - began
        position.step_seconds += took
        self._rate += (count / took - self._rate) * (0.1 if self._rate else 1.0)
        return Step(
            step=position.step,
            progress=self.clock.progress,
            epoch=self.batches.epoch,
            loss=sum(nats) / max(count, 1),
            lr=lr,
            grad_norm=grad_norm.item(),
            tokens=position.tokens,
            tokens_per_s=self._rate,
            seconds=self.clock.elapsed,
        )

    def _loss(self, batch: Batch, number: int) -> Tensor:
        """The summed loss of this process's rows of a batch; the state after them is carried to the next one."""
        if self.token_dropout:
            batch = self.token_dropout(batch, number, self.batches.context)
        part = batch.part(self.world.rows(len(batch.inputs))).to(self.device)
        with autocast(self.precision, self.device):
            before = self.carried.before(batch, number) if self.carried else None
            loss, state = self.spread.loss(part.inputs, part.targets, before, self.terms, part.starts, part.sources)
        if self.carried and state is not None:
            self.carried.keep(batch, state)
        return loss

    def _compile(self) -> bool:
        """Compile the layers if it is time to and they are to be; after the first steps, where those have to tell."""
        self._steps_to_decision -= 1
        if self._steps_to_decision != 0:
            return False
        config, position = self.config, self.position
        left = self.world.first(self.clock.seconds_left(self._last_step))
        worthwhile = self.batches.one_shape and left >= WORTHWHILE  # each shape is compiled anew
        if config.compile == "auto" and not position.compiled and not worthwhile:
            return False
        position.compiled = compile_model(self.model)
        return position.compiled

    def _not_finite(self, what: str, where: str) -> TrainingError:
        step = self.position.step + 1
        return TrainingError(
            f"the {what} is not a finite number at step {step} ({where}, epoch {self.batches.epoch:.2f}); the weights "
            f"of step {step - 1} are untouched",
            hint=self._remedy(),
        )

    def _remedy(self) -> str:
        """What to do against numbers that are not finite."""
        saved = resume.checkpoints(self.folder)
        wider = "" if self.precision == "float32" else ", or train.precision='float32'"
        return (
            f"{f'--resume goes on from {saved[-1].name}' if saved else 'Start again'} with --set "
            f"train.learning_rate={self.config.learning_rate / 3:.1g}, a smaller train.clip_norm{wider}"
        )

    # -- pauses: evaluate, sample, save ----------------------------------------------------------------------------

    def _pause(self, logger: RunLogger) -> Generator[Event, None, str]:
        """Do what is due after a step; everything, after the last one. Returns why the run ends here, or ""."""
        clock = self.clock
        clock.meet()
        if clock.stopping:
            return "interrupted"
        over = clock.over()
        if not any(clock.due(what, over) for what in PAUSES):
            return over
        began = clock.elapsed
        if clock.due("eval", over):
            if self.valid_files is None:
                self._keep_weights()
                clock.did("eval")
            else:
                try:
                    yield self._evaluate(self.valid_files, logger)
                except _Interrupted:
                    return "interrupted"
        clock.meet()
        over = over or clock.over()
        if clock.due("sample", over) and not clock.stopping:
            yield self._sample(logger)
            clock.meet()
        if clock.due("checkpoint", over) and not clock.stopping:
            clock.did("checkpoint")
            self.save()
            clock.meet()
        clock.paused(clock.elapsed - began)
        return "interrupted" if clock.stopping else over

    def _evaluate(self, files: TokenFiles | Mixture, logger: RunLogger) -> Evaluated:
        """Read the validation split, and keep the weights if it was never better."""
        position = self.position
        with self._best_view(), autocast(self.precision, self.device):
            result = evaluate(
                self.model,
                files,
                self.config.batch_size,
                self.batches.context,
                self._stop_if_asked,
                apart=self.batches.whole_examples,
                spread=self.spread,
                as_trained=True,
            )
        best = position.judge(result.loss)
        if best:
            self.best = result
            self._keep_weights()
        elif self.config.schedule == "plateau":
            position.halve_rate_after(self.config.plateau_patience)
        self.clock.did("eval")
        logger.log(
            position.step,
            "valid",
            result.loss,
            tokens=position.tokens,
            bits_per_byte=result.bits_per_byte,
            perplexity=result.perplexity,
            **{f"loss/{name}": part.loss for name, part in result.parts.items()},
            **{f"bits_per_byte/{name}": part.bits_per_byte for name, part in result.parts.items()},
        )
        return Evaluated(position.step, result, best)

    def _sample(self, logger: RunLogger) -> Sampled:
        """Have the model write; what it draws for that changes nothing in the training."""
        assert self.sample is not None
        with self._best_view(), torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            model = self.spread.whole_model()
            given, written = ("", "") if model is None else self.sample(model)
        self.clock.did("sample")
        copied, span = self.copied(written) if self.copied and model is not None else (None, "")
        logger.log_sample(self.position.step, given + written, copied, span)
        return Sampled(self.position.step, given, written, copied)

    def _stop_if_asked(self) -> None:
        self.clock.meet()
        if self.clock.stopping:
            raise _Interrupted

    def keep_some_weights(self) -> None:
        """Have the run folder hold weights, if it ended before its first evaluation."""
        if self.world.first(not (self.folder / WEIGHTS).is_file()):
            self._keep_weights()

    def _keep_weights(self) -> None:
        """Write what the run folder holds of the model; of adapters, those beside the weights they are merged into."""
        with self._best_view():
            kept = {ADAPTER: self.spread.trained()} if is_adapted(self.model) else {}
            kept[WEIGHTS] = self.spread.weights()
            for name, weights in kept.items() if self.world.leads else ():
                path = self.folder / name
                try:
                    write_weights(path, weights)
                except OSError as error:
                    raise TrainingError(
                        f"{path}: cannot write the weights: {error.strerror or error}",
                        hint="Free some space, then resume with --resume",
                    ) from None

    def _best_view(self) -> AbstractContextManager[None]:
        """The weights to judge and to keep: their running average where there is one."""
        return self.average.applied(self.model) if self.average else nullcontext()

    def _log(self, logger: RunLogger, event: Step) -> None:
        logger.log(
            event.step,
            "train",
            event.loss,
            lr=event.lr,
            grad_norm=event.grad_norm,
            tokens=event.tokens,
            tokens_per_s=round(event.tokens_per_s, 1),
            epoch=round(event.epoch, 4),
            **{f"share/{name}": round(share, 4) for name, share in self.batches.read_shares().items()},
        )

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint to resume from, with any number of processes."""
        self.position.seconds = self.clock.elapsed
        optimizer_tensors, optimizer_values = self.optimizers.state()
        tensors: dict[str, Tensor] = {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors.items()}
        if self.carried:
            tensors |= {f"carried.{name}": tensor for name, tensor in self.carried.tensors().items()}
        tensors |= rng.states(self.world)
        if self.average:
            tensors |= {PREFIX + name: tensor for name, tensor in self.average.weights.items()}
        weights, tensors = self.spread.trained(), self.spread.whole(tensors)
        values = {
            "position": asdict(self.position),
            "optimizer": optimizer_values,
            "batches": self.batches.state_dict(),
            "precision": self.precision,
            "best": asdict(self.best) if self.best else None,
        }
        evaluated = self.position.done.get("eval") == self.position.step
        if self.world.leads:
            resume.save(
                self.folder,
                self.position.step,
                weights,
                tensors,
                values | {"loss": self.position.loss if evaluated else None},
                self.config.keep_checkpoints,
                self.config.keep_best,
            )

    def resume(self, checkpoint: Path) -> None:
        """Go on from there, with any number of processes. Raises RunError if it does not fit."""
        weights, tensors, values = resume.load(checkpoint, trained(self.model))
        self.spread.fill(weights)
        self.optimizers.load_state(resume.strip(tensors, "optimizer."), values["optimizer"])
        if self.carried:
            self.carried.restore(resume.strip(tensors, "carried."))
        if self.average:
            parameters = dict(self.model.named_parameters())
            average = resume.strip(tensors, PREFIX)
            self.average.weights = {name: like(tensor, parameters[name]) for name, tensor in average.items()}
        self.batches.load_state_dict(values["batches"])
        self.clock.resume(Position(**values["position"]))
        rng.restore(self.world, tensors, self.config.seed, self.position.step)
        self.precision = values["precision"]
        if self.position.compiled:
            self._steps_to_decision = 1
        self.best = Evaluation.restored(values["best"]) if values["best"] else None
