"""What a training run writes down: `metrics.jsonl`, `samples.jsonl`, TensorBoard where it is installed, and Weights &
Biases where it is asked for.

One JSON object a line, on disk as soon as it is logged, so that a killed run loses only its last moment.
A run that is resumed goes on in the same files as if it had never stopped. Knows nothing of models or of torch.

A line of `metrics.jsonl`:

    {"step": 100, "split": "train", "loss": 3.1416, "lr": 0.003, "grad_norm": 0.7, "tokens": 819200,
     "tokens_per_s": 41000.0, "wall_time": 20.5}

`loss` is in nats per token, `tokens` counts those trained on so far, `wall_time` the seconds of training.
A sample gives a line of its own, of how much of it was copied from the training text:

    {"step": 100, "split": "sample", "copied": 0.125, "longest_copied": 14, "wall_time": 20.9}

JSON has no NaN: a number that is not finite is written as "nan", "inf" or "-inf" and read back as a float.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
import shutil
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

from nextword.config import read_json
from nextword.errors import MissingExtra, RunError, TrainingError
from nextword.files import write_text
from nextword.metrics.copying import Copied

logger = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
FINDINGS, DOCTOR = "findings.jsonl", "doctor.json"
"""What the doctor found, a line each, and the numbers it went by."""

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class RunLogger:
    """Appends to the logs of one run folder.

    `step` is the step the run goes on from: lines of later steps, written after the checkpoint, are dropped, and
    those of that step itself where it is still to be `evaluated` or `sampled`. At 0 the logs begin anew. `wandb` names
    a project at Weights & Biases that gets everything, too. A `silent` logger
    writes nothing: one of several processes writes for all.

    >>> with RunLogger(Path("runs/poems")) as logger:                       # doctest: +SKIP
    ...     logger.log(100, "train", 3.14, lr=3e-3, grad_norm=0.7, tokens=819200, tokens_per_s=41000.0)
    ...     logger.log(100, "valid", 3.20, tokens=819200, bits_per_byte=1.9)
    ...     logger.log_sample(100, "春风又绿江南岸")
    """

    def __init__(
        self,
        folder: Path,
        step: int = 0,
        evaluated: bool = True,
        sampled: bool = True,
        wandb: str = "",
        silent: bool = False,
    ) -> None:
        check_wandb(wandb)
        self.folder = folder
        self._files: dict[str, TextIO] = {}
        self._tensorboard: Any = None
        self._wandb: Any = None
        self._start = time.monotonic()
        if silent:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            kept = cut(folder / METRICS, step, evaluated)
            cut(folder / SAMPLES, step, sampled)
            for name in (METRICS, SAMPLES):
                self._files[name] = (folder / name).open("a", encoding="utf-8")
        except OSError as error:
            raise _cannot_write(folder, error) from None
        elapsed = max((line.get("wall_time", 0.0) for line in kept), default=0.0)
        self._start -= elapsed
        self._tensorboard = _tensorboard(folder / "tensorboard", step)
        self._wandb = _wandb(folder, wandb, step) if wandb else None

    @property
    def wall_time(self) -> float:
        """Seconds this run has been trained for, those before a resume included."""
        return time.monotonic() - self._start

    def log(
        self,
        step: int,
        split: Literal["train", "valid"],
        loss: float,
        *,
        lr: float | None = None,
        grad_norm: float | None = None,
        tokens: int | None = None,
        tokens_per_s: float | None = None,
        **extra: float | int | str | None,
    ) -> None:
        """Write one line; what is None is left out. Raises TrainingError if the disk takes no more."""
        line: dict[str, Any] = {"step": step, "split": split, "loss": loss, "lr": lr, "grad_norm": grad_norm}
        line |= {"tokens": tokens, "tokens_per_s": tokens_per_s, "wall_time": round(self.wall_time, 3), **extra}
        line = {key: value for key, value in line.items() if value is not None}
        self._log_line(line)

    def log_sample(self, step: int, text: str, copied: Copied | None = None, span: str = "") -> None:
        """Write down a text the model generated at `step`, how much of it was copied from the training text, and the
        longest such span. Raises TrainingError if the disk takes no more."""
        text, span = _unicode(text), _unicode(span)
        line: dict[str, Any] = {"step": step, "text": text}
        if copied is not None:
            figures = {"copied": round(copied.share, 4), "longest_copied": copied.longest}
            line |= figures | {"longest_copied_text": span}
            self._log_line({"step": step, "split": "sample"} | figures | {"wall_time": round(self.wall_time, 3)})
        self._append(SAMPLES, line)
        if self._tensorboard:
            self._tensorboard.add_text("sample", text, step)
        if self._wandb:
            self._wandb.log({"sample/text": text}, step=step)

    def _log_line(self, line: dict[str, Any]) -> None:
        """A line of METRICS, to everybody."""
        self._append(METRICS, {key: _plain(value) for key, value in line.items()})
        step, split = line["step"], line["split"]
        numbers = {
            f"{split}/{key}": value for key, value in line.items() if isinstance(value, int | float) and key != "step"
        }
        if self._tensorboard:
            for key, value in numbers.items():
                self._tensorboard.add_scalar(key, value, step)
        if self._wandb:
            self._wandb.log(numbers, step=step)

    def _append(self, name: str, values: dict[str, Any]) -> None:
        file = self._files.get(name)
        if file is None:
            return
        try:
            file.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
        except OSError as error:
            raise _cannot_write(self.folder / name, error) from None

    def close(self) -> None:
        """Close the files. Logging afterwards is an error."""
        for file in self._files.values():
            file.close()
        if self._tensorboard:
            self._tensorboard.close()
        if self._wandb:
            self._wandb.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, in order; a last line that a crash cut short is left out.

    Raises RunError if the file cannot be read, or if a line before the last is damaged.
    """
    return [{key: _number(value) for key, value in line.items()} for line in _read_lines(path)]


def read_samples(path: Path) -> list[dict[str, Any]]:
    """The lines of a `samples.jsonl`: dicts of step and text, under the rules of `read_metrics`."""
    return _read_lines(path)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: {error.strerror or error}", hint="Is this the folder of a run?") from None
    lines = data.split(b"\n")
    parsed = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line.decode("utf-8"))
            if not isinstance(values, dict) or not isinstance(values.get("step"), int):
                raise ValueError("expected an object with a step")
            parsed.append(values)
        except ValueError as error:
            if number < len(lines):  # the last line ends without a newline: torn, not damaged
                raise RunError(f"{path}:{number}: not a line of a training log: {error}") from None
    return parsed


def read_findings(path: Path) -> list[dict[str, Any]]:
    """The lines of a `findings.jsonl`, under the rules of `read_metrics`."""
    return _read_lines(path)


def append_line(path: Path, values: dict[str, Any]) -> None:
    """Add a line to a log that is written to rarely. Raises TrainingError if the disk takes no more."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise _cannot_write(path, error) from None


def cut(path: Path, step: int, done: bool = True) -> list[dict[str, Any]]:
    """Drop from a log what lies after `step` (at step 0: everything), atomically; return what stays.

    Unless it is `done`, what came after the training of `step` goes too.
    """
    if not path.exists():
        return []
    lines = _read_lines(path) if step else []
    kept = [x for x in lines if x["step"] < step or (x["step"] == step and (done or x.get("split") == "train"))]
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
    return kept


def _number(value: Any) -> Any:
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _plain(value: float | int | str) -> float | int | str:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _tensorboard(folder: Path, step: int) -> Any:
    """A writer that hides what it knows after `step`; None if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    if not step:
        shutil.rmtree(folder, ignore_errors=True)
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)


def check_wandb(project: str) -> None:
    """Raises MissingExtra if there is a project to log to, and no wandb to do it with."""
    if project and find_spec("wandb") is None:
        raise MissingExtra("wandb", "wandb", "train.wandb")


def _wandb(folder: Path, project: str, step: int) -> Any:
    """A run at Weights & Biases: the same one again after a resume, offline where there is no key to log in with."""
    import wandb

    if not step:
        shutil.rmtree(folder / "wandb", ignore_errors=True)
    remembered = folder / "wandb" / "id.txt"
    if not remembered.is_file():
        write_text(remembered, secrets.token_hex(4))
    config = folder / "config.json"
    settings = {
        "project": project,
        "name": folder.resolve().name,
        "dir": str(folder),
        "id": remembered.read_text(encoding="utf-8").strip(),
        "resume": "allow",
        "config": read_json(config) if config.is_file() else {},
        "settings": wandb.Settings(silent=True),
    }
    try:
        return wandb.init(**settings, mode=None if wandb.login(prompt=False) else "offline")
    except wandb.Error as error:
        logger.warning(
            "Weights & Biases cannot be reached, its files stay in %s: %s", folder / "wandb", str(error).splitlines()[0]
        )
        return wandb.init(**settings, mode="offline")


def _unicode(text: str) -> str:
    """Half a surrogate pair has no place in UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _cannot_write(path: Path, error: OSError) -> TrainingError:
    return TrainingError(
        f"{path}: cannot write the log: {error.strerror or error}",
        hint="Free some space or name another folder, then resume",
    )
