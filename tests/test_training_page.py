"""docs/training.md: every option, setting and command it names exists."""

import re

import pytest
import typer
from test_readme import read

from nextword.cli import app
from nextword.training.config import TrainConfig
from nextword.training.sweep import SweepConfig

PAGE = read("docs/training.md")
INLINE = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", PAGE, flags=re.DOTALL | re.MULTILINE))
COMMANDS = typer.main.get_command(app).commands
OPTIONS = {option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts}
EXTRAS = ("freeze", "layer_decay", "keep_best", "keep_checkpoints", "ema")


def named(pattern: str) -> set[str]:
    """What matches in the inline code of the page and in its commands."""
    shown = [*INLINE, *re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)]
    return {name for code in shown for name in re.findall(pattern, code)}


def test_every_option_exists():
    assert named(r"(?<![\w-])--[a-z][a-z-]+") - OPTIONS == set()


def test_every_setting_of_training_exists():
    settings = named(r"\btrain\.([a-z_]+)")
    assert settings - set(TrainConfig.model_fields) == set()
    assert set(EXTRAS) <= settings


@pytest.mark.parametrize("option", ["--find-lr", "--sweep", "--init-from", "--best", "--last", "--greedy"])
def test_what_it_is_there_for_has_an_example(option):
    assert re.search(rf"^nextword .*{option}\b", PAGE, flags=re.MULTILINE)


def test_every_key_of_a_sweep_is_explained():
    block = next(text for text in re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL) if "[vary]" in text)
    assert all(re.search(rf"^\[?{name}\b", block, flags=re.MULTILINE) for name in SweepConfig.model_fields)
