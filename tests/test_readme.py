"""Every command and every line of Python in the READMEs runs as printed; both READMEs show the same ones."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from nextword import corpora
from nextword.cli import run

ROOT = Path(__file__).parents[1]
READMES = ["README.md", "README.zh.md"]


def blocks(name: str, language: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(name: str) -> list[str]:
    return [re.sub(r"\s+#.*", "", line) for block in blocks(name, "sh") for line in block.splitlines() if line.strip()]


def test_both_readmes_show_the_same_commands():
    assert commands(READMES[0]) == commands(READMES[1])
    assert blocks(READMES[0], "python") == blocks(READMES[1], "python")


def test_every_command_is_nextword_make_or_git():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for command in commands(READMES[0]):
        program, argument, *_ = command.split()
        assert program in ("nextword", "make", "git"), command
        if program == "make":
            assert argument in targets


def test_files_that_are_linked_exist():
    for name in [*READMES, "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text(encoding="utf-8")):
            assert (ROOT / link).exists(), f"{name}: {link}"


def test_the_tour_runs_from_beginning_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("my_text.txt").write_text("\n\n".join(corpora.load("moby-dick")[:120]), encoding="utf-8")
    tour = [command for command in commands(READMES[0]) if command.startswith("nextword")]
    assert len(tour) >= 10
    for command in tour:
        arguments = shlex.split(command)[1:]
        for i, argument in enumerate(arguments):  # the same, in less time
            if arguments[i - 1] == "--budget":
                arguments[i] = f"{int(argument.removesuffix('s')) // 30}s"
        assert run(arguments) == 0, f"{command}: {capsys.readouterr().err}"
    (code,) = blocks(READMES[0], "python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) > 100


@pytest.mark.parametrize("command", ["train", "generate", "score", "evaluate", "demo", "data"])
def test_help_is_instant_and_needs_no_torch(command):
    code = (
        "import sys, time; start = time.perf_counter()\n"
        f"from nextword.cli import run; code = run([{command!r}, '--help'])\n"
        "assert code == 0 and 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "print(time.perf_counter() - start, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert float(done.stderr) < 1.0  # half a second on a machine with nothing else to do
