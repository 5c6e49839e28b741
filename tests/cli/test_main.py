"""The command line as a whole: exit codes, one line for a mistake, and help at once."""

import json
import os
import subprocess
import sys

import pytest

import nextword
from nextword import cli
from nextword.cli import run
from nextword.errors import DataError, MissingExtra, RunError, TrainingError, UsageError

COMMANDS = ["train", "generate", "score", "evaluate", "demo", "data", "data prepare"]


def nextword_process(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from nextword.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_help_of_every_command_without_torch():
    """In one process, because a start costs more than a help; the time is what Python itself needs for it."""
    commands = [[], *(command.split() for command in COMMANDS)]
    code = (
        "import resource, sys\nfrom nextword.cli import run\n"
        f"for command in {commands!r}:\n"
        "    assert run([*command, '--help']) == 0, command\n"
        "    assert run([*command, '-h']) == 0, command\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'jieba', 'pyarrow', 'numpy', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: nextword") == 2 * len(commands)
    for command in COMMANDS[:-1]:
        assert f"  {command}  " in done.stdout  # the list of commands
    assert float(done.stderr) < 1.0  # all sixteen; one is below half a second


def test_each_command_shows_an_example(capsys):
    for command in COMMANDS:
        if command != "data":
            assert run([*command.split(), "--help"]) == 0
            assert f"Example: nextword {command}" in " ".join(capsys.readouterr().out.split())


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"nextword {nextword.__version__}\n"


def test_nothing_at_all_shows_the_help_and_is_wrong_usage(capsys):
    assert run([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: nextword" in captured.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "Did you mean 'train'? See nextword --help"),
        (["train", "--stpes", "3"], "No such option: --stpes. Did you mean --steps? See nextword train --help"),
        (["train", "--zzz"], "No such option: --zzz. See nextword train --help"),
        (["generate"], "'run'"),
        (["generate", "r", "a", "b"], "b"),
        (["generate", "r", "--temperature", "hot"], "--temperature"),
        (["data", "prepair"], "Did you mean 'prepare', 'pairs'? See nextword data --help"),
        (["demo", "--budget", "soon"], "expected a duration"),
        (["demo", "--budget", "0"], "at least 1s"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, said, capsys):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("Error: ")
    assert said in line


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("a"), 2, "a"),
        (DataError("a", hint="b"), 1, "a. b"),
        (RunError("a"), 1, "a"),
        (TrainingError("a"), 1, "a"),
        (MissingExtra("lib", "extra", "this"), 1, "this needs the library lib"),
        (OSError(28, "No space left on device", "runs/x"), 1, "runs/x: No space left on device"),
        (UnicodeEncodeError("ascii", "床", 0, 1, "no"), 1, "PYTHONIOENCODING=utf-8"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_goes_wrong_is_one_line_and_its_exit_code(error, code, said, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("nextword.checkpoint.load_run", fail)
    assert run(["generate", "r", "x"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) <= 1
    assert said in captured.err


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr("nextword.checkpoint.load_run", fail)
    with pytest.raises(ZeroDivisionError):
        run(["generate", "r", "x"])


def test_a_real_process_ends_with_the_code_and_no_traceback(tmp_path):
    done = nextword_process("generate", str(tmp_path / "nowhere"), "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    done = nextword_process("train", "--out")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_openmp_spins_shortly_unless_the_user_says_otherwise(monkeypatch):
    code = (
        "import os\nfrom nextword import cli\n"
        "cli.run = lambda arguments: print(os.environ.get('GOMP_SPINCOUNT'))\ncli.main()"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GOMP", "OMP"))}
    for given, expected in [({}, "3000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, "None")]:
        done = subprocess.run([sys.executable, "-c", code], env=environment | given, capture_output=True, text=True)
        assert done.stdout.strip() == expected, done.stderr


def test_public_names_are_lazy():
    code = "import sys, nextword, nextword.cli; assert 'torch' not in sys.modules; print(nextword.load.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_run_never_leaves_by_sys_exit(capsys):
    for arguments in (["--help"], ["--version"], ["train", "--help"], ["nonsense"]):
        assert isinstance(cli.run(arguments), int)


def test_json_of_a_failure_prints_no_document(tmp_path, capsys):
    assert run(["score", str(tmp_path), "x", "--json"]) == 1
    out = capsys.readouterr().out
    assert out == ""
    with pytest.raises(json.JSONDecodeError):
        json.loads(out)


@pytest.mark.parametrize("arguments", [["train", "--help"], ["--version"]])
def test_a_reader_that_has_gone_is_no_mishap(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    code = "from nextword.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
