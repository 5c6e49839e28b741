"""What is drawn under the constraint is in form, whatever the tokenizer: uniform draws over the allowed tokens."""

from __future__ import annotations

import random
from functools import cache

import pytest

from nextword.corpora import load
from nextword.poetry.chinese import ChineseAutomaton
from nextword.poetry.constraint import VerseConstraint, Vocabulary, cut, spellable
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer
from nextword.verse.check import check, split_lines
from nextword.verse.chinese import rhyme_book
from nextword.verse.forms import find_form

CONFIGS = {
    "char": TokenizerConfig(type="char"),
    "byte": TokenizerConfig(type="byte"),
    "bpe": TokenizerConfig(type="bpe", vocab_size=1500),
    "unigram": TokenizerConfig(type="unigram", vocab_size=3000),
    "word": TokenizerConfig(type="word"),
}


@cache
def trained(name: str) -> Tokenizer:
    return train_tokenizer(CONFIGS[name], load("tang")[:400])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("form_name", ["wujue", "如梦令"])
def test_uniform_draws_are_poems_in_form(name: str, form_name: str) -> None:
    tokenizer, form = trained(name), find_form(form_name)
    book = rhyme_book(form.rhyme_book)
    characters = spellable(tokenizer)
    automaton = ChineseAutomaton(form, book, {*book.table, *"，。\n"} if characters is None else characters)
    constraint, rng = VerseConstraint(Vocabulary(automaton, tokenizer)), random.Random(1)
    several = 0
    for _ in range(4):
        row, ids = constraint.fork(), []
        while tokenizer.eos_id not in ids:
            allowed = row.mask(1).nonzero().flatten().tolist()
            longest = max(allowed, key=lambda id: len(tokenizer.decode([id])))
            ids.append(rng.choice([*allowed, *[longest] * len(allowed)]))
            several += len(tokenizer.decode(ids[-1:])) > 1
            row.accept(ids[-1])
        text = tokenizer.decode(ids[:-1])
        lines = split_lines(text)
        assert check(lines, form).faults == ()
        assert text.count("，") + text.count("。") == len(lines)
    assert several or name in ("char", "byte"), "tokens of several characters are used"


def test_a_fork_goes_its_own_way() -> None:
    tokenizer, form = trained("char"), find_form("wujue")
    automaton = ChineseAutomaton(form, rhyme_book("pingshui"), spellable(tokenizer))
    row = VerseConstraint(Vocabulary(automaton, tokenizer))
    before = row.mask(1)
    fork = row.fork()
    fork.accept(int(before.nonzero()[0]))
    assert (row.mask(1) == before).all()
    assert not (fork.mask(1) == before).all()


def test_bytes_are_cut_into_characters() -> None:
    moon = "月".encode()
    assert cut(moon + moon[:1]) == ("月", moon[:1])
    assert cut(moon[:2]) == ("", moon[:2])
    assert cut(b"\xff" + moon)[0] is None
