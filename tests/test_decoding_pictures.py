"""docs/decoding.md: its pictures are what the code draws, its examples run, and it names every setting there is.

The distribution is read from the committed JSON; no model is trained for the pictures, and a very small one for the
examples.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from test_readme import blocks, check, commands, read

from nextword import corpora
from nextword.cli import run
from nextword.decoding.config import GenerationConfig
from nextword.decoding.pipeline import STAGES

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/decoding.md"
FOLDER = ROOT / "docs" / "decoding"
sys.path.insert(0, str(ROOT / "scripts"))

import decoding_pictures  # noqa: E402

CODE = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", read(PAGE), flags=re.DOTALL | re.MULTILINE))
EXAMPLES = [code for code in CODE if code.startswith("model.")]


@pytest.fixture(scope="module")
def distribution():
    return decoding_pictures.read(FOLDER / "distribution.json")


def test_every_picture_is_what_the_script_draws(distribution):
    drawn = decoding_pictures.pictures(distribution)
    assert {path.name for path in FOLDER.glob("*.svg")} == set(drawn)
    for name, svg in drawn.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == svg, f"{name}: run python scripts/decoding_pictures.py"
        ElementTree.fromstring(svg)
        assert len(svg.encode()) < 15_000


def test_a_picture_says_what_the_function_does(distribution):
    """By a reference that shares nothing with the processors: the two likeliest, and their share."""
    change = lambda d: decoding_pictures.p.top_k(d.logits, 2)  # noqa: E731
    text = "".join(ElementTree.fromstring(decoding_pictures.draw("two", distribution, change)).itertext())
    weights = sorted(distribution.logits[0].double().exp().tolist(), reverse=True)
    assert f"keeps 2 of {len(weights):,} tokens, removes {100 * (1 - sum(weights[:2]) / sum(weights)):.1f} %" in text
    assert f"{100 * weights[0] / sum(weights[:2]):.1f} %" in text
    assert text.count("removed") == decoding_pictures.SHOWN - 2 + 1


def test_the_distribution_is_whole(distribution):
    logits = distribution.logits[0]
    assert (logits[:-1] >= logits[1:]).all()
    assert distribution.negative.shape == distribution.logits.shape
    assert 0 <= int(distribution.history.min()) <= int(distribution.history.max()) < distribution.size
    assert torch.isfinite(logits).all()


def test_the_page_shows_every_picture_once():
    shown = re.findall(r"!\[[^\]]+\]\(decoding/([^)]+)\)", read(PAGE))
    assert sorted(shown) == sorted(path.name for path in FOLDER.glob("*.svg"))


@pytest.mark.parametrize("name", GenerationConfig.model_fields)
def test_every_setting_is_named(name):
    assert any(re.search(rf"\b{name}\b", code) for code in CODE)


def test_the_order_on_the_page_is_the_order_of_the_stages():
    order = read(PAGE).split("## The order in which they act")[1].split("Penalties come before")[0]
    names = {"forbidden", "constraint", "dry", "xtc", "no_repeat_ngram"}  # not settings
    places = [order.index(f"`{name}`") for name in STAGES if name not in names]
    assert places == sorted(places)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with runs/book in it, of a model that has learned next to nothing."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "book.txt").write_text("\n\n".join(corpora.load("moby-dick")[:100]), encoding="utf-8")
    before = Path.cwd()
    os.chdir(folder)
    try:
        arguments = "train book.txt --out runs/book --size tiny --tokenizer bpe --vocab-size 1024 --steps 20"
        assert run([*arguments.split(), "--set", "model.hidden_size=32"]) == 0
    finally:
        os.chdir(before)
    return folder


def test_blocks_run_in_order(trained, monkeypatch, capsys):
    pytest.importorskip("llguidance")
    monkeypatch.chdir(trained)
    names: dict[str, object] = {}
    for kind, text in blocks(PAGE):
        if kind == "python":
            exec(compile(text, PAGE, "exec"), names)
            continue
        assert kind == "sh"
        for command in commands(text):
            check(command)
            assert run(command[1:]) == 0, capsys.readouterr().err


def test_there_are_examples():
    assert len(EXAMPLES) > 25


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example, trained):
    import nextword

    assert eval(example, {"model": nextword.load(trained / "runs" / "book")})
