"""The processes of one run: which of them this is, and the few things that they tell each other.

A launcher such as torchrun starts them and says so in the environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, ...).
Without one there is a single process, and every operation is the trivial one. All operations are collective: each
process calls them, in the same order. Knows nothing of models.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nextword.checkpoint import check_device
from nextword.errors import NextwordError, TrainingError, UsageError, counted

LONG = timedelta(
    days=30
)  # while the first process prepares data, samples or saves, the others wait; a dead one is seen


@dataclass(frozen=True)
class World:
    """The processes of a run, as this one sees them. `World(device)` is a run of one process."""

    device: torch.device
    """Where this process trains."""
    rank: int = 0
    size: int = 1
    local_size: int = 1
    """Processes on this machine."""
    control: Any = None
    """The gloo group of small messages: from CPU to CPU, so that no GPU has to be waited for."""

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and talks to the user."""
        return self.rank == 0

    def rows(self, total: int) -> slice:
        """The rows of `total` that are this process's: contiguous, in the order of ranks, and all rows are some one's.

        >>> [World(torch.device("cpu"), rank, size=2).rows(5) for rank in (0, 1)]
        [slice(0, 2, None), slice(2, 5, None)]
        """
        return slice(self.rank * total // self.size, (self.rank + 1) * total // self.size)

    def check_rows(self, total: int) -> None:
        """Raises UsageError if some process would have none of `total` rows."""
        if total < self.size:
            raise UsageError(
                f"{self.size} processes cannot share batches of {counted(total, 'row')}",
                hint="Start fewer processes, or set a larger train.batch_size: it is the batch of all together",
            )

    def sum(self, *values: float) -> list[float]:
        """Each value, summed over all processes, in float64."""
        return self._reduced(values, "sum")

    def max(self, value: float) -> float:
        """The largest of all processes' values."""
        return self._reduced([value], "max")[0]

    def first(self, value: float) -> float:
        """The first process's value, for all."""
        return self.sum(value if self.leads else 0.0)[0]

    def lead(self, task: Callable[[], object]) -> None:
        """Have the first process do something; the others go on when it is done."""
        if self.leads:
            task()
        self.sum()

    def gathered(self, tensor: Tensor, total: int) -> Tensor:
        """`total` rows of which this process has `rows(total)`: all of them, in order, for every process."""
        if self.size == 1:
            return tensor
        whole = tensor.new_zeros(total, *tensor.shape[1:])
        whole[self.rows(total)] = tensor
        dist.all_reduce(whole)  # one term of each sum is not 0
        return whole

    def _reduced(self, values: Any, how: str) -> list[float]:
        if self.size == 1:
            return list(values)
        tensor = torch.tensor([*values, 0.0], dtype=torch.float64)  # never empty: it is what others wait for
        dist.all_reduce(tensor, getattr(dist.ReduceOp, how.upper()), self.control)
        return tensor[:-1].tolist()


@contextmanager
def processes(environment: Mapping[str, str], device: str) -> Iterator[World]:
    """Join the processes that a launcher started, or be the only one; `device` is cpu or cuda, one GPU for each.

    When one of them fails, all end with its exit code, and only the first to fail speaks: elsewhere the error becomes
    a SystemExit. Raises UsageError if the device or the environment is not what it should be, TrainingError if another
    process is gone and nobody said why.
    """
    numbers = {name: environment.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    if numbers["WORLD_SIZE"] in ("", "1"):
        yield World(check_device(device))
        return
    missing = [name for name, value in numbers.items() if not value.isdecimal()]
    missing += [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if missing:
        raise UsageError(
            f"WORLD_SIZE={numbers['WORLD_SIZE']} says that there are several processes, but {missing[0]} is not as a "
            f"launcher sets it: {environment.get(missing[0], '')!r}",
            hint="Start them by torchrun, or unset WORLD_SIZE",
        )
    store, rank, size = next(dist.rendezvous("env://"))
    with _first_to_fail(store):
        local_rank = int(numbers["LOCAL_RANK"])
        place = _own_device(device, local_rank)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo", store=store, rank=rank, world_size=size
        )
        control = dist.new_group(backend="gloo", timeout=LONG)
        local_size = int(environment.get("LOCAL_WORLD_SIZE") or size)
        yield World(place, rank, size, local_size, control)
        dist.destroy_process_group()


def _own_device(name: str, local_rank: int) -> torch.device:
    """The CPU, which all share, or the GPU that is this process's. Raises UsageError."""
    if name not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: several processes train on cpu or on cuda", hint="Give --device cuda")
    if name == "cuda" and torch.cuda.is_available():
        if local_rank >= torch.cuda.device_count():
            raise UsageError(
                f"this machine has {torch.cuda.device_count()} GPUs, and process {local_rank} of it has none",
                hint="Start as many processes as there are GPUs",
            )
        torch.cuda.set_device(local_rank)  # before any tensor: it would take memory on the first GPU
    return check_device(name)


@contextmanager
def _first_to_fail(store: Any) -> Iterator[None]:
    """One process fails for a reason, the others because it is gone: only the first in the store keeps its error."""
    try:
        yield
    except BaseException as error:
        ending = _last_word(error, store)
        atexit.register(_leave, _exit_code(ending))
        if ending is error:
            raise
        raise ending from error


def _last_word(error: BaseException, store: Any) -> BaseException:
    """What a process that failed ends with."""
    try:
        first = store.add("failures", 1) == 1
        if first:
            store.set("exit code", str(_exit_code(error)))
        code = int(store.get("exit code"))
    except RuntimeError:  # without torchrun, the store is in the first process, and went with it
        return _gone("the first process")
    if not first:
        return SystemExit(code)
    if isinstance(error, RuntimeError) and "onnection" in str(error):  # gloo's words; the other left none
        return _gone("another process")
    return error


def _gone(which: str) -> TrainingError:
    return TrainingError(f"{which} of this run is gone", hint="See its messages, then go on with --resume")


def _leave(code: int) -> None:
    """End at once when Python is through with its own: torch's threads, which wait for processes that are gone, would
    now and then abort this one as it is taken down, and its exit code with it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        return 130
    return error.exit_code if isinstance(error, NextwordError) else 1
