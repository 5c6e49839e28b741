"""A run reads the texts of its task with placeholders if it has learned so, as far as its tokenizer has them."""

from pathlib import Path

import pytest
from toys import CharTokenizer

from nextword.applied.reading import Reading, reading_of
from nextword.checkpoint import Run
from nextword.text.placeholders import SYMBOLS, Hidden
from nextword.text.records import Example

CHAT = "Ann: 12!\nBob: ok"


def reading(characters=SYMBOLS, **task):
    config = {"task": task} if task else {}
    return reading_of(Run(Path("run"), config, None, CharTokenizer(characters), {}))


@pytest.mark.parametrize(
    ("name", "symbols", "shown"),
    [
        ("summarization", SYMBOLS, "①: 12!\n②: ok"),
        ("summarization", "②④", "②: 12!\n④: ok"),
        ("translation", SYMBOLS, "Ann: ①!\nBob: ok"),
    ],
)
def test_what_stands_as_placeholders_is_told_by_the_task(name, symbols, shown):
    found = reading(symbols, name=name, placeholders=True)
    assert found.symbols == symbols
    assert found.hidden(CHAT).text == found.pair(Example(CHAT, "Ann 12")).prompt == shown


@pytest.mark.parametrize("task", [{}, {"name": "dialogue"}, {"name": "summarization", "placeholders": False}])
def test_other_runs_read_texts_as_they_are(task):
    found, pair = reading(**task), Example(CHAT, "Ann")
    assert (found, found.hidden(CHAT), found.pair(pair)) == (Reading(), Hidden(CHAT), pair)
    assert reading("abc", name="summarization", placeholders=True) == Reading()


def test_of_translations_the_other_language_says_numbers():
    found = reading(name="translation", placeholders=True, languages=["en", "fr"])
    assert found.hidden("2,500").restored("①") == "2\u202f500"
    assert found == reading(name="translation", placeholders=True, languages=["en", "de"])
