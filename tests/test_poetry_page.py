"""docs/poetry.md: the commands it shows run, those that write poems by a model that was not trained."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from nextword.cli import run
from nextword.corpora import load
from nextword.generator import TextGenerator
from nextword.models import build_model, model_config
from nextword.tokenizers import TokenizerConfig, train_tokenizer

PAGE = Path(__file__).resolve().parents[1] / "docs" / "poetry.md"


def test_the_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tokenizer = train_tokenizer(TokenizerConfig(type="char"), load("tang")[:1500])
    sizes = {"type": "gru", "hidden_size": 8, "vocab_size": tokenizer.vocab_size}
    untrained = TextGenerator(build_model(model_config(sizes)).eval(), tokenizer, separator="\n")
    monkeypatch.setattr(TextGenerator, "load", lambda folder, **how: untrained)
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for line in "".join(blocks).splitlines():
        program, *arguments = shlex.split(line)
        if program == "printf":
            text, _, name = arguments
            Path(name).write_text(text.replace("\\n", "\n"), encoding="utf-8")
        else:
            arguments += ["--print-config"] if arguments[0] == "train" else []
            assert run(arguments) == 0, capsys.readouterr().err
            out = capsys.readouterr().out
            assert "check" not in arguments or "in form" in out or '"in_form": true' in out
