"""Commands on a pseudo-terminal: keys go in, what is written comes out."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from nextword.cli import run
from nextword.generator import TextGenerator

pty = pytest.importorskip("pty", reason="pseudo-terminals are POSIX")
termios = pytest.importorskip("termios")

PATIENCE = 30  # seconds, on a busy machine


class Terminal:
    """A process that runs a command on a terminal of its own, with `generator` for its run; stdout may be a file."""

    def __init__(self, generator: TextGenerator, arguments: list[str], stdout: Path | None = None) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (30, 100))
        self.before = termios.tcgetattr(self.slave)
        self.stdout = stdout
        self.process = os.fork()
        if self.process == 0:
            try:
                os.login_tty(os.dup(self.slave))
                if stdout is not None:
                    os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT), 1)
                sys.stdin, sys.stdout, sys.stderr = (open(n, mode, encoding="utf-8") for n, mode in enumerate("rww"))  # noqa: SIM115
                signal.signal(signal.SIGINT, signal.default_int_handler)
                torch.set_num_threads(1)
                TextGenerator.load = lambda folder, **options: generator
                code = run(arguments)
                sys.stdout.flush()
                os._exit(code)
            except BaseException as error:
                os.write(2, f"bug: {error!r}".encode())
                os._exit(99)

    def press(self, keys: str, until: str, pause: float = 0.05) -> str:
        """The page that these keys lead to: all that is written up to and with `until`."""
        os.write(self.master, keys.encode())
        return self.wait(until, pause)

    def wait(self, until: str, pause: float = 0.05) -> str:
        """What is written up to and with `until`, and what follows before a pause of so many seconds; no colours."""
        written, end = b"", time.monotonic() + PATIENCE
        while until.encode() not in written:
            assert select.select([self.master], [], [], max(0.0, end - time.monotonic()))[0], written.decode()
            written += os.read(self.master, 65536)
        while select.select([self.master], [], [], pause)[0]:
            written += os.read(self.master, 65536)
        return re.sub(r"\x1b\[[\d;]*m", "", written.decode())

    def end(self) -> int:
        """The exit code of the process."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                self.process = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        raise AssertionError("it does not end")

    @property
    def is_as_before(self) -> bool:
        """The settings of the terminal are those that it had at first."""
        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        os.close(self.master)
        os.close(self.slave)
