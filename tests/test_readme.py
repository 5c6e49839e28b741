"""What the READMEs show is what happens: every command and every line of Python in them runs, in order.

Both READMEs show the same. The documents in docs/ are checked as far as that goes without running them.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer

from nextword import corpora
from nextword.cli import app, run
from nextword.models import MODELS
from nextword.text.sources import COMPRESSED, FORMATS
from nextword.tokenizers import TokenizerConfig

ROOT = Path(__file__).resolve().parents[1]
READMES = ["README.md", "README.zh.md"]
DOCUMENTS = [*READMES, "CONTRIBUTING.md", "docs/training.md", "docs/data.md"]

# The same commands in less time. The README's 60 s become 1 s, and each built-in text is cut to so many documents.
SECONDS_TO_ONE = 60
FIRST_DOCUMENTS = 400


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", read(name), flags=re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[list[str]]:
    """The words of each line of a block of shell, comments left out."""
    return [words for line in block.splitlines() if (words := shlex.split(line, comments=True))]


def shown(name: str) -> list[object]:
    """All that is to be run, without its comments."""
    return [ast.dump(ast.parse(text)) if kind == "python" else (kind, commands(text)) for kind, text in blocks(name)]


def test_both_readmes_show_the_same():
    assert shown(READMES[0]) == shown(READMES[1])
    assert {kind for kind, _ in blocks(READMES[0])} == {"sh", "python"}  # nothing in a language that no test runs


@pytest.fixture
def little_text(monkeypatch):
    load, rows = corpora.load, corpora.rows
    monkeypatch.setattr(corpora, "load", lambda name: load(name)[:FIRST_DOCUMENTS])
    monkeypatch.setattr(corpora, "rows", lambda name: rows(name)[:FIRST_DOCUMENTS])


def test_the_readme_runs_from_beginning_to_end(tmp_path, monkeypatch, capsys, little_text):
    monkeypatch.chdir(tmp_path)
    for kind, text in blocks(READMES[0]):
        if kind == "python":
            exec(compile(text, "README.md", "exec"), {})
            continue
        for command in commands(text):
            check(command)
            if command[0] == "nextword":
                code = run(faster(command[1:]))
                assert code == 0, f"{shlex.join(command)}\n{capsys.readouterr().err}"
                for option, value in pairwise(command):
                    assert option not in ("--out", "--html") or Path(value).exists(), shlex.join(command)
    assert "Call me" in capsys.readouterr().out


def faster(arguments: list[str]) -> list[str]:
    """The same arguments with a smaller budget."""
    pairs = pairwise(["", *arguments])
    return [f"{int(word.removesuffix('s')) / SECONDS_TO_ONE}s" if at == "--budget" else word for at, word in pairs]


def check(command: list[str]) -> None:
    """What can be said of a command without running it. Fails for one that no rule covers."""
    match command:
        case ["nextword", *arguments]:
            group, name = typer.main.get_command(app), "nextword"
            while hasattr(group, "commands"):
                left = group.make_context(name, arguments)  # `poem RUN` is `poem write RUN`
                name, *arguments = [*left._protected_args, *left.args]
                assert name in group.commands, shlex.join(command)
                group = group.commands[name]
            group.make_context(name, arguments)  # raises for unknown options, wrong types, missing arguments
        case ["make", target]:
            assert re.search(rf"^{target}:", read("Makefile"), flags=re.MULTILINE), target
        case ["sudo", "apt", "install", *packages]:
            assert set(packages) == {"git", "make", "python3", "python3-venv"}
        case ["pip", "install", "-e", "."]:
            assert "[build-system]" in read("pyproject.toml")
        case [".", ".venv/bin/activate"]:
            assert "-m venv .venv" in read("Makefile")
        case _:
            pytest.fail(f"no rule says how to check: {shlex.join(command)}")


@pytest.mark.parametrize(
    "command", ["nextword trian x.txt", "nextword train x.txt --bugdet 3s", "make tea", "curl x", "pip install x"]
)
def test_a_wrong_command_is_seen(command):
    with pytest.raises((Exception, pytest.fail.Exception)):
        check(shlex.split(command))


@pytest.mark.parametrize("name", DOCUMENTS[2:])
def test_what_the_other_documents_show_is_sound(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert blocks(name)
    for kind, text in blocks(name):
        match kind:
            case "sh":
                for command in commands(text):
                    check(command)
            case "python":
                exec(compile(text, name, "exec"), {})
            case "toml":
                from nextword.training.recipe import complete
                from nextword.training.sweep import read_sweep

                values = tomllib.loads(text)
                read_sweep(values) if "vary" in values else complete(values, "some text")
            case _:
                pytest.fail(f"{name}: nothing checks a block of {kind}")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#]+)", read(name))
    assert links or name.startswith("docs")
    for link in links:
        assert (ROOT / name).parent.joinpath(link).exists(), link


@pytest.mark.parametrize("name", READMES)
def test_the_tables_are_complete(name):
    known = {*MODELS, *TokenizerConfig.model_fields["type"].annotation.__args__}
    known |= {*FORMATS, *COMPRESSED} - {".text", ".ndjson"}
    table = "\n".join(line for line in read(name).splitlines() if line.startswith("|"))
    assert known - set(re.findall(r"`([^`]+)`", table)) == set()


@pytest.mark.parametrize("name", READMES)
def test_extras_exist(name):
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    named = re.findall(r"`\[(\w+)\]`", read(name))
    assert set(named) == extras.keys() - {"test", "dev", "fuzz"}


def test_the_picture_is_whole_and_loads_nothing():
    picture = ElementTree.fromstring(read("docs/demo.svg"))
    text = "".join(picture.itertext()).replace("\xa0", " ")
    assert "nextword demo" in text
    assert "running sum" in text
    assert re.findall(r"https?://[^\"]+", read("docs/demo.svg")) == ["http://www.w3.org/2000/svg"]


def test_wide_characters_keep_their_place_in_the_picture(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from picture import CELL, draw

    picture = ElementTree.fromstring(draw("P 床前<b>\nNext ───\nleft out"))
    runs = {run.text: run.attrib for run in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert "left out" not in "".join(picture.itertext()).replace("\xa0", " ")
    assert float(runs["床前"]["x"]) == pytest.approx(2 * CELL)
    assert float(runs["床前"]["textLength"]) == pytest.approx(4 * CELL)
    assert float(runs["<b>"]["x"]) == pytest.approx(6 * CELL)


@pytest.mark.parametrize("command", ["train", "generate", "score", "evaluate", "demo", "data"])
def test_help_is_instant_and_needs_no_torch(command):
    code = (
        "import sys, time\n"
        f"from nextword.cli import run; code = run([{command!r}, '--help'])\n"
        "assert code == 0 and 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "print(time.process_time(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert float(done.stderr) < 1.5  # of a processor, the interpreter's start included; 0.5 on an idle machine
