"""Real processes that start at once: forks of one that has imported torch and the trainer already.

A new interpreter takes two seconds for that, and the suite starts some thirty processes to kill, signal and connect
them. What is special about a start itself is tested with new interpreters, in cli/test_main.py.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["nextword.training.new_run", "nextword.cli.watch", "torch.distributed.fsdp", "torch.utils.checkpoint", "pytest"]
)


class Fork:
    """A process that does `work(*arguments)` in `folder`; what it writes may be read meanwhile.

    `work` and its arguments are pickled. Its exit code is what a script that does nothing else would have.
    """

    def __init__(
        self, work: Callable[..., object], *arguments: Any, folder: Path | None = None, **environment: str
    ) -> None:
        self._files = Path(tempfile.mkdtemp(prefix="fork-"))
        self._out, self._err = self._files / "stdout", self._files / "stderr"
        place = folder or Path.cwd()
        settings = {"OMP_NUM_THREADS": str(torch.get_num_threads())} | environment
        self._process = FORKS.Process(
            target=_begin, args=(work, arguments, place, settings, self._out, self._err), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    @property
    def out(self) -> str:
        """What it has written to stdout."""
        return self._out.read_text(encoding="utf-8") if self._out.exists() else ""

    @property
    def err(self) -> str:
        """What it has written to stderr."""
        return self._err.read_text(encoding="utf-8") if self._err.exists() else ""

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until the condition holds; fails if the process ends first, or within a minute."""
        deadline = time.monotonic() + 60
        while not condition():
            assert self._process.is_alive(), self.err
            assert time.monotonic() < deadline, self.err
            time.sleep(0.01)

    def end(self, timeout: float = 600) -> tuple[int, str, str]:
        """Its exit code, negative for a signal, and what it wrote to stdout and to stderr."""
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, f"it does not end: {self.err}"
        result = code, self.out, self.err
        shutil.rmtree(self._files)
        return result


def command(arguments: list[str]) -> None:
    """`nextword` with these arguments."""
    from nextword.cli import main

    sys.argv = ["nextword", *arguments]
    main()


def _begin(
    work: Callable[..., object],
    arguments: tuple[Any, ...],
    folder: Path,
    environment: Mapping[str, str],
    out: Path,
    err: Path,
) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    for number, path in ((1, out), (2, err)):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    work(*arguments)
