"""The command line: one file a command. Here they meet, and here errors become one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from functools import cache
from typing import Annotated, Any

import typer

from nextword.cli import (
    average,
    chat,
    compare,
    data,
    demo,
    doctor,
    evaluate,
    generate,
    interop,
    judge,
    lm_eval,
    pairs,
    poem,
    prepare,
    runs,
    score,
    self_chat,
    summarize,
    train,
    translate,
    write,
)
from nextword.cli.options import Grouped
from nextword.errors import NextwordError, did_you_mean

# click's exceptions, wherever this version of typer keeps its click
_UsageError: Any = typer.BadParameter.__base__
_ClickException: Any = _UsageError.__base__

app = typer.Typer(
    name="nextword",
    help="Train recurrent and Transformer language models on your own text, score any sentence, generate new ones.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        import nextword

        print(f"nextword {nextword.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """What comes before a command."""


app.command()(demo.demo)
app.command()(train.train)
app.command(cls=Grouped)(generate.generate)
app.command()(translate.translate)
app.command(cls=Grouped)(chat.chat)
app.command("self-chat")(self_chat.self_chat)
app.command()(judge.judge)
app.command()(summarize.summarize)
app.command()(write.write)
app.command()(score.score)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(average.average)
app.command("lm-eval", context_settings=lm_eval.CONTEXT)(lm_eval.lm_eval)
app.command()(doctor.doctor)
app.command()(runs.runs)
app.command()(runs.report)
app.command("import")(interop.import_)
app.command()(interop.export)
data.app.command()(pairs.pairs)
data.app.command()(prepare.prepare)
app.add_typer(data.app, name="data")
app.add_typer(poem.app, name="poem")


def main() -> None:
    """Entry point of `nextword`. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 terminated."""
    # OpenMP's threads wait for each other by spinning. When another program wants a core they then burn its time:
    # training beside one other job ran at 1 to 4 % of its speed, and with short spinning at 37 to 48 %. Alone it cost
    # 14 to 21 % in single runs (LOG.md). Read by libgomp as torch is imported, so before that.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    keep_freed_memory()
    # An exception, so that what is half-written is cleaned away as after Ctrl-C. Training has a handler of its own.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(run(sys.argv[1:]))


def keep_freed_memory() -> None:
    """Have the allocator keep what is freed, where it is glibc's; elsewhere nothing happens.

    By default it returns the memory of every large tensor to the kernel and asks for it again at the next step, when
    each page must be zeroed and mapped anew: 13 to 20 % of a training step (LOG.md).
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # <malloc.h>
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
        mallopt(M_TOP_PAD, 64 * 2**20)


@cache
def _commands() -> Any:
    """All of them, made once in a process: that takes as long as to run a small one."""
    return typer.main.get_command(app)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors of users are printed, bugs keep their traceback."""
    from nextword.cli.console import show_warnings

    show_warnings()
    try:
        result = _commands()(arguments, prog_name="nextword", standalone_mode=False)
        sys.stdout.flush()
        return int(result or 0)
    except NextwordError as error:
        _complain(str(error))
        return error.exit_code
    except _UsageError as error:
        where = error.ctx.command_path if error.ctx else "nextword"
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)
        else:
            _complain(f"{_what_was_wrong(error)} See {where} --help")
        return 2
    except _ClickException as error:
        _complain(error.format_message())
        return int(error.exit_code)
    except BrokenPipeError:  # who read our output has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        _complain(f"{error.filename or 'cannot read or write'}: {error.strerror or error}")
        return 1
    except UnicodeEncodeError as error:
        name = error.object[error.start]
        _complain(f"the output, in {error.encoding}, cannot show {name!a}. Set PYTHONIOENCODING=utf-8")
        return 1
    except (KeyboardInterrupt, typer.Abort):
        print(file=sys.stderr)
        return 130


def _what_was_wrong(error: Any) -> str:
    """A sentence for a mistake that typer found, with the option that was probably meant."""
    message = error.format_message()
    if getattr(error, "possibilities", None):
        message = f"{error.message}. {did_you_mean(error.option_name, error.possibilities)}"
    return message if message.endswith("?") else message.rstrip(".") + "."


def _complain(message: str) -> None:
    print(f"Error: {message}", file=sys.stderr)
