"""English forms as automata: whatever way one goes, the poem ends in form, by a checker that knows nothing of them."""

from __future__ import annotations

import random
import string
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.cli import run
from nextword.corpora import load
from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.models import build_model, model_config
from nextword.poetry import english_tokens
from nextword.poetry.constraint import VerseConstraint, Vocabulary
from nextword.poetry.english import EnglishAutomaton
from nextword.poetry.english_tokens import EnglishVocabulary
from nextword.poetry.kept import acrostic, draft
from nextword.poetry.lexicon import STRICT, Lexicon, Licences, spelt, words_of, writable
from nextword.poetry.writer import Wish, write_poems
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer
from nextword.verse.check_english import check, split_lines
from nextword.verse.forms import find_form
from nextword.verse.patterns import in_stanzas
from nextword.verse.scansion import WORD

CHARACTERS = string.ascii_letters + " \n',.!"
FORMS = ("limerick", "haiku", "common-metre", "sonnet", "petrarchan-sonnet", "8,6:iambic abcb dedd", "7:trochaic aabb")
FORMS += ("9:dactylic abab", "6:free aa")


@cache
def prose() -> str:
    return "\n".join(load("moby-dick"))[:60_000]


@cache
def words() -> tuple[str, ...]:
    return tuple(sorted({word.lower() for word in WORD.findall(prose())}))


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole dictionary takes two seconds to prepare."""
    spelt.cache_clear()
    writable.cache_clear()
    monkeypatch.setattr("nextword.poetry.lexicon.english", words)


@cache
def lexicon(size: int, seed: int, licences: Licences = STRICT) -> Lexicon:
    return Lexicon(random.Random(seed).sample(words(), size), licences)


def wander(form: EnglishAutomaton, rng: random.Random) -> str:
    """A path drawn at random."""
    state, text = form.start(), ""
    while not form.finished(state):
        allowed = [form.alphabet[i] for i in form.allowed(state).nonzero()[0]]
        assert allowed, f"a dead end after {text!r}"
        text += rng.choice(allowed)
        state = form.step(state, text[-1])
        assert len(text) <= form.longest
    return text


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(FORMS),
    size=st.sampled_from([60, 150, 400, 1500]),
    feminine=st.booleans(),
    licences=st.builds(Licences, elision=st.booleans(), slant=st.booleans()),
    seed=st.integers(0, 20),
)
def test_every_way_ends_in_form(name: str, size: int, feminine: bool, licences: Licences, seed: int) -> None:
    form = find_form(name, feminine=feminine)
    try:
        automaton = EnglishAutomaton(form, lexicon(size, seed, licences), CHARACTERS)
    except UsageError:
        return
    for walk in range(3):
        text = wander(automaton, random.Random(walk))
        verdict = check(split_lines(text), form, *licences)
        assert verdict.faults == (), text
        assert {word.lower() for word in WORD.findall(text)} <= set(automaton.lexicon.words)


def test_a_word_of_two_readings_is_used_up_at_once() -> None:
    """Human, with or without its h: then acumen must end the other line, and a word of one syllable stand before it."""
    automaton = EnglishAutomaton(find_form("4:iambic aa"), lexicon_of("human acumen the a"), CHARACTERS)
    for walk in range(20):
        text = wander(automaton, random.Random(walk))
        assert {WORD.findall(line)[-1].lower() for line in text.splitlines()} == {"human", "acumen"}


CONFIGS = {
    "byte": TokenizerConfig(type="byte"),
    "char": TokenizerConfig(type="char"),
    "bpe": TokenizerConfig(type="bpe", vocab_size=600),
    "unigram": TokenizerConfig(type="unigram", vocab_size=600),
    "word": TokenizerConfig(type="word"),
}


@cache
def trained(name: str) -> Tokenizer:
    return train_tokenizer(CONFIGS[name], [prose()])


@pytest.mark.parametrize("name", CONFIGS)
def test_uniform_draws_are_poems_in_form(name: str) -> None:
    tokenizer, form = trained(name), find_form("limerick")
    vocabulary = EnglishVocabulary(EnglishAutomaton(form, *writable(tokenizer)), tokenizer)
    rng = random.Random(1)
    for _ in range(3):
        row, ids = VerseConstraint(vocabulary), []
        while tokenizer.eos_id not in ids:
            ids.append(rng.choice(row.mask(1).nonzero().flatten().tolist()))
            row.accept(ids[-1])
        text = tokenizer.decode(ids[:-1])
        assert check(split_lines(text), form).faults == (), text


ASKED = {
    "nothing": {},
    "letters": acrostic("SEA"),
    "words": draft("[it was the] whale\n[I] saw at [sea]\nand [the man] is")[1],
}


@settings(max_examples=24, deadline=None)
@given(
    tokens=st.sampled_from([*CONFIGS]),
    name=st.sampled_from(["limerick", "sonnet", "8,6:iambic abab cdcd", "6:free aa"]),
    asked=st.sampled_from([*ASKED]),
    seed=st.integers(0, 2**32),
)
def test_what_is_looked_up_is_what_would_be_found_by_trying(tokens: str, name: str, asked: str, seed: int) -> None:
    tokenizer, rng = trained(tokens), random.Random(seed)
    try:
        automaton = EnglishAutomaton(find_form(name), *writable(tokenizer), kept=ASKED[asked])
    except UsageError:
        return
    row, tried = VerseConstraint(EnglishVocabulary(automaton, tokenizer)), Vocabulary(automaton, tokenizer)
    for _ in range(40):
        mask = row.mask(1)
        assert mask.equal(tried.mask(row.state, row.context, row.begun)), row.state
        row.accept(rng.choice(mask.nonzero().flatten().tolist()))
        if row.vocabulary.automaton.finished(row.state):
            break


def test_where_memory_is_short_the_same_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    automaton = EnglishAutomaton(find_form("4:iambic aa", feminine=False), lexicon_of("the moon a soon"), CHARACTERS)
    tokenizer = trained("char")
    much = EnglishVocabulary(automaton, tokenizer)
    monkeypatch.setattr(english_tokens, "OPENINGS_MEMORY", 2 * tokenizer.vocab_size)
    little = EnglishVocabulary(automaton, tokenizer)
    rows, rng = [VerseConstraint(vocabulary) for vocabulary in (little, much)], random.Random(1)
    while not automaton.finished(rows[0].state):
        few, all_of_them = (row.mask(1) for row in rows)
        assert few.equal(all_of_them)
        token = rng.choice(few.nonzero().flatten().tolist())
        for row in rows:
            row.accept(token)
    assert len(little._openings) == 2 < len(much._openings)


def test_only_words_of_a_text_are_written() -> None:
    text = "“The ’tis 'quoted' wander'd Zorbelak,\" said Mr. P. he, 'and she saw me by the sea.'"
    lexicon, _, _ = writable(trained("char"), words_of(text))
    said = {"the", "'tis", "quoted", "wander'd", "said", "he", "and", "she", "saw", "me", "by", "sea"}
    assert set(lexicon.words) == said


def test_it_accepts_a_poem_in_form_and_refuses_it_spoilt() -> None:
    poem = "The sun began upon the left,\nOut of the sea came he!\nAnd he shone bright, and on the right\nWent down."
    form = EnglishAutomaton(find_form("8,6,8,2:iambic ...."), lexicon_of(poem), CHARACTERS)

    def accepts(text: str) -> bool:
        state = form.start()
        for character in text:
            if character not in form.alphabet or not form.allowed(state)[form.alphabet.index(character)]:
                return False
            state = form.step(state, character)
        return form.finished(state)

    assert accepts(poem)
    assert not accepts(poem.replace("the left", "left"))
    assert not accepts(poem.replace("sun began", "began sun"))
    assert not accepts(poem[:-1])


def lexicon_of(text: str) -> Lexicon:
    return Lexicon({word.lower() for word in WORD.findall(text)})


@pytest.mark.parametrize(
    ("known", "characters", "reason"),
    [
        ("love prove day night", CHARACTERS, "needs 3 words that rhyme"),
        ("love prove day night", string.ascii_letters, "no line end"),
        ("window", CHARACTERS, "no English word of one syllable"),
    ],
)
def test_the_impossible_is_refused_with_the_reason(known: str, characters: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        EnglishAutomaton(find_form("limerick"), lexicon_of(known), characters)


def test_a_model_writes_in_form_and_says_what_each_line_cost() -> None:
    tokenizer = trained("word")
    torch.manual_seed(1)
    sizes = {"type": "gru", "num_layers": 1, "hidden_size": 8, "vocab_size": tokenizer.vocab_size}
    generator = TextGenerator(build_model(model_config(sizes)).eval(), tokenizer)
    couplets = in_stanzas(find_form("heroic-couplets"), 2)
    poems = write_poems(generator, Wish(couplets, theme="The sea"), 2, seed=1)
    assert len({poem.text for poem in poems}) == 2
    for poem in poems:
        assert poem.verdict.faults == ()
        assert "".join(step.text for step in poem.steps) == poem.text
        assert [step.line for step in poem.steps] == sorted(step.line for step in poem.steps)
        assert {step.line for step in poem.steps} == {0, 1, 2, 3}
        assert poem.cost > 0
    with pytest.raises(UsageError, match="limerick has one stanza"):
        in_stanzas(find_form("limerick"), 2)


def test_the_stanzas_of_a_form_of_ones_own_stay_apart() -> None:
    form = in_stanzas(find_form("2:free a. a."), 1)
    automaton = EnglishAutomaton(form, lexicon_of("the moon soon a tree"), CHARACTERS)
    assert wander(automaton, random.Random(1)).count("\n\n") == 1


def test_options_of_chinese_forms_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["poem", str(tmp_path), "--form", "limerick", "--rhyme", "东"]) == UsageError.exit_code
    assert "English form" in capsys.readouterr().err
    assert run(["poem", str(tmp_path), "--form", "qijue", "--stanzas", "2"]) == UsageError.exit_code
    assert "a Chinese form" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "licences"),
    [("soul all the", Licences(slant=True)), ("eleven heaven the", Licences(elision=True))],
)
def test_with_licences_lines_come_about_that_had_none(words: str, licences: Licences) -> None:
    form = find_form("2:iambic aa", feminine=False)
    with pytest.raises(UsageError):
        EnglishAutomaton(form, Lexicon(words.split()), CHARACTERS)
    text = wander(EnglishAutomaton(form, Lexicon(words.split(), licences), CHARACTERS), random.Random(1))
    assert check(split_lines(text), form, *licences).faults == ()
    assert check(split_lines(text), form, elision=False).faults != ()
