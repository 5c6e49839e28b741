"""Whatever is drawn under a constraint keeps to it: uniform draws, with every kind of tokenizer, in any script."""

import json
import random
import sys
from functools import cache

import pytest
import regex
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models

from nextword.constraints import constraint_for
from nextword.decoding.config import GenerationConfig
from nextword.decoding.constraints import Constraint
from nextword.errors import MissingExtra, UsageError
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer

TEXTS = [
    "The old man and the sea. The whale, the white whale — there she blows!",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "family 👨‍👩‍👧 and flag 🇫🇷 (see [1], 22, 345)",
    'a cat sat "on" the mat; that cat ate the rat: {}-_+.e\\/',
]
LETTERS = sorted(set("".join(TEXTS)))
CONFIGS = {
    "char": TokenizerConfig(type="char"),
    "byte": TokenizerConfig(type="byte"),
    "bpe": TokenizerConfig(type="bpe", vocab_size=360),
    "unigram": TokenizerConfig(type="unigram", vocab_size=360),
    "word": TokenizerConfig(type="word"),
    "whitespace": TokenizerConfig(type="word", split="whitespace"),
}
SPELLING = ["char", "byte", "bpe", "unigram"]  # these can write any text of LETTERS
parts = st.sampled_from(TEXTS).flatmap(
    lambda text: st.integers(0, len(text) - 1).flatmap(
        lambda start: st.integers(start + 1, min(len(text), start + 9)).map(lambda end: text[start:end])
    )
)
seeds = st.integers(0, 2**32)


@cache
def trained(name: str) -> Tokenizer:
    return train_tokenizer(CONFIGS[name], TEXTS)


def constraint(tokenizer: Tokenizer, **config) -> Constraint:
    found = constraint_for(GenerationConfig(**config), tokenizer)
    assert found is not None
    return found


def draw(tokenizer: Tokenizer, row: Constraint, room: int, rng: random.Random, eos: float = 0.1) -> list[int]:
    """Tokens of one text, `<eos>` included where it came: uniform over what is allowed, `<eos>` at least `eos`."""
    ids: list[int] = []
    while room and tokenizer.eos_id not in ids[-1:]:
        allowed = row.mask(room).nonzero().flatten().tolist()
        assert allowed, "a dead end"
        ending = tokenizer.eos_id in allowed and rng.random() < eos
        ids.append(tokenizer.eos_id if ending else rng.choice(allowed))
        row.accept(ids[-1])
        room -= 1
    return ids


def drawn(name: str, seed: int, room: int = 40, eos: float = 0.1, **config) -> str:
    """A text under constraints."""
    row = constraint(trained(name), max_tokens=room, **config)
    return trained(name).decode(draw(trained(name), row, room, random.Random(seed), eos))


@pytest.mark.parametrize("name", CONFIGS)
@given(words=st.lists(parts | st.sampled_from(LETTERS), min_size=1, max_size=8), seed=seeds)
@settings(max_examples=40)
def test_banned_words_never_occur(name, words, seed):
    text = drawn(name, seed, banned_words=words)
    assert [word for word in words if word in text] == []


def test_a_banned_word_is_banned_however_it_is_cut():
    tokenizer = trained("bpe")
    row = constraint(tokenizer, banned_words=["明月"])
    for byte in "明月".encode()[:-1]:
        assert row.mask(9)[byte_id(tokenizer, byte)]
        row.accept(byte_id(tokenizer, byte))
    assert not row.mask(9)[byte_id(tokenizer, "明月".encode()[-1])]


def byte_id(tokenizer: Tokenizer, byte: int) -> int:
    return next(id for id in range(tokenizer.vocab_size) if tokenizer.token_bytes(id) == bytes([byte]))


def test_a_banned_word_with_its_space_is_banned_behind_a_prompt():
    tokenizer = trained("word")
    row = constraint(tokenizer, banned_words=[" whale"])
    assert not row.mask(9)[tokenizer.encode("whale")[0]]


@pytest.mark.parametrize("name", CONFIGS)
@given(data=st.data(), seed=seeds, slack=st.integers(0, 12), force_eos=st.booleans())
@settings(max_examples=40)
def test_everything_required_is_said_in_time(name, data, seed, slack, force_eos):
    """With just enough room and with more, beside banned words and behind a prefix; word by word where words are
    all that a vocabulary has."""
    tokenizer = trained(name)
    phrase = parts if name in SPELLING else parts.map(lambda text: text.split()[0] if text.split() else "the")
    config = {
        "required_words": data.draw(st.lists(phrase, min_size=1, max_size=4)),
        "banned_words": data.draw(st.lists(parts | st.sampled_from(LETTERS), max_size=4)),
        "prefix": data.draw(phrase | st.just("")),
        "force_eos": force_eos,
    }
    try:
        row = constraint(tokenizer, **config)
    except UsageError:
        return
    room = getattr(row, "need", 0) + force_eos + slack
    ids = draw(tokenizer, row, room, random.Random(seed), eos=0.5)
    text = tokenizer.decode(ids)
    assert text.startswith(config["prefix"])
    assert [word for word in config["required_words"] if word not in text] == []
    assert [word for word in config["banned_words"] if word in text] == []
    assert not force_eos or ids[-1:] == [tokenizer.eos_id] or room == 0


@pytest.mark.parametrize("name", SPELLING)
@given(words=st.lists(parts, min_size=1, max_size=3), seed=seeds)
@settings(max_examples=20)
def test_spellable_words_are_no_error(name, words, seed):
    """The test above would not see it if every request were refused."""
    row = constraint(trained(name), required_words=words, max_tokens=200)
    text = trained(name).decode(draw(trained(name), row, 200, random.Random(seed)))
    assert all(word in text for word in words)


@pytest.mark.parametrize("word", ["whale", "the whale", "hal", "明月", "👨‍👩‍👧"])
def test_words_of_a_word_vocabulary(word):
    """A part of a word is said by saying the word."""
    text = drawn("word", seed=3, room=12, required_words=[word])
    assert word in text


@pytest.mark.parametrize("name", CONFIGS)
def test_the_fewest_tokens_are_enough(name):
    tokenizer = trained(name)
    row = constraint(tokenizer, required_words=["whale", "cat"])
    best = {"char": 8, "byte": 8, "word": 2, "whitespace": 2}.get(name, len(tokenizer.encode("whale cat")))
    assert row.need <= best


beginnings = st.sampled_from(TEXTS).flatmap(lambda text: st.integers(1, min(len(text), 20)).map(lambda end: text[:end]))


@pytest.mark.parametrize("name", CONFIGS)
@given(data=st.data(), seed=seeds)
@settings(max_examples=30)
def test_the_text_begins_with_the_prefix(name, data, seed):
    prefix = data.draw(parts | beginnings if name in SPELLING else beginnings)
    assert drawn(name, seed, room=60, prefix=prefix).startswith(prefix)


def test_a_token_may_reach_beyond_the_prefix():
    tokenizer = trained("word")
    row = constraint(tokenizer, prefix="The wh")
    row.accept(tokenizer.encode("The")[0])
    allowed = {tokenizer.token_text(id) for id in row.mask(9).nonzero().flatten().tolist()}
    assert allowed == {"whale", "white"}


@pytest.mark.parametrize("name", SPELLING)
@given(choices=st.lists(parts, min_size=1, max_size=5), seed=seeds, slack=st.integers(0, 9))
@settings(max_examples=30)
def test_the_text_is_one_of_the_choices(name, choices, seed, slack):
    tokenizer = trained(name)
    row = constraint(tokenizer, choices=choices)
    ids = draw(tokenizer, row, row.need + 1 + slack, random.Random(seed))
    assert tokenizer.decode(ids) in choices
    assert ids[-1] == tokenizer.eos_id


def test_choices_of_words_keep_to_the_other_settings():
    choices = ["the whale", "The man", "the cat", "故乡", "the old whale"]
    found = {drawn("word", seed, choices=choices, prefix="the", banned_words=["cat"]) for seed in range(30)}
    assert found == {"the whale", "the old whale"}
    assert {drawn("word", seed, choices=choices, required_words=["乡"]) for seed in range(5)} == {"故乡"}


PATTERNS = [
    r"[a-e]{2,4}",
    r"(the |old )+(whale|cat)",
    r"\d{1,3}(, \d{1,3})*",
    r"[床前明月光]{3}，?",
    r"👨‍👩‍👧|🇫🇷+",
    r".{3}",
    r"\p{Han}+",
    "^cat$",
]


@pytest.mark.parametrize("name", SPELLING)
@given(pattern=st.sampled_from(PATTERNS), seed=seeds)
@settings(max_examples=30)
def test_a_text_that_ends_matches_the_whole_regex(name, pattern, seed):
    text, ended = finished(name, seed, 60, regex=pattern)
    assert regex.fullmatch(pattern, text, partial=not ended)


def finished(name: str, seed: int, room: int, **config) -> tuple[str, bool]:
    tokenizer = trained(name)
    ids = draw(tokenizer, constraint(tokenizer, max_tokens=room, **config), room, random.Random(seed), eos=0.3)
    return tokenizer.decode(ids), ids[-1] == tokenizer.eos_id


@given(
    pattern=st.sampled_from([r"(the|old) (whale|cat)", r"The man(, the cat)*", "床前明月光", r"cat \(see"]), seed=seeds
)
@settings(max_examples=20)
def test_regex_of_whole_words(pattern, seed):
    text, ended = finished("word", seed, 30, regex=pattern)
    assert regex.fullmatch(pattern, text, partial=not ended)


SCHEMAS = [
    {},
    {"type": "integer", "minimum": 3, "maximum": 345},
    {"enum": ["cat", "月", 22]},
    {
        "type": "object",
        "properties": {"cat": {"type": "boolean"}, "a": {"enum": ["whale", "月"]}},
        "required": ["cat"],
        "additionalProperties": False,
    },
]


@pytest.mark.parametrize("name", ["byte", "bpe", "unigram"])
@given(schema=st.sampled_from(SCHEMAS), seed=seeds)
@settings(max_examples=20)
def test_a_text_that_ends_is_json(name, schema, seed):
    text, ended = finished(name, seed, 200, json_schema=schema)
    if ended:
        value = json.loads(text)
        assert not schema.get("enum") or value in schema["enum"]
        assert schema.get("type") != "integer" or 3 <= value <= 345
        assert schema.get("type") != "object" or isinstance(value["cat"], bool)


def test_a_grammar_counts_brackets():
    for seed in range(20):
        text, ended = finished("char", seed, 80, grammar='start: "(" start ")" | "a"')
        depth = text.count("(")
        assert not ended or text == "(" * depth + "a" + ")" * depth


def test_a_grammar_a_prefix_and_banned_words_at_once():
    for seed in range(20):
        text = drawn("bpe", seed, regex=r"[a-e ]{6,20}", prefix="ab", banned_words=["bad", "cc"], eos=0.5)
        assert regex.fullmatch("ab[a-e ]{4,18}", text)
        assert "bad" not in text
        assert "cc" not in text


ALL_KINDS = [
    {"banned_words": ["at"]},
    {"required_words": ["cat", "月"], "prefix": "the"},
    {"choices": ["the cat", "the whale", "a"]},
    {"regex": "(the cat sat){3}"},
    {"regex": "[a-e]+", "banned_words": ["cc"]},
]


@pytest.mark.parametrize("config", ALL_KINDS)
def test_a_fork_leaves_the_original_alone(config):
    tokenizer, rng = trained("bpe"), random.Random(0)
    row = constraint(tokenizer, **config)
    row.accept(rng.choice(row.mask(40).nonzero().flatten().tolist()))
    before, fork = row.mask(39).clone(), row.fork()
    assert (fork.mask(39) == before).all()
    draw(tokenizer, fork, 39, rng)
    assert (row.mask(39) == before).all()


@given(words=st.lists(parts, min_size=1, max_size=3, unique=True), name=st.sampled_from(SPELLING))
@settings(max_examples=40)
def test_what_is_wanted_makes_progress_until_all_is_said(words, name):
    tokenizer = trained(name)
    row, ids = constraint(tokenizer, required_words=words), []
    while wanted := row.wanted():
        before = row.progress(), row.need
        assert row.mask(before[1])[list(wanted)].any()
        ids.append(next(id for id in wanted if row.mask(before[1])[id]))
        row.accept(ids[-1])
        assert row.progress() > before[0] or row.need < before[1]
    assert row.progress() == sum(len(word.encode()) for word in words)
    assert all(word in tokenizer.decode(ids) for word in words)


def llama() -> Tokenizer:
    """A vocabulary as Llama 2 has it: spaces are letters, the first one goes, and bytes stand in for the unknown."""
    tokens = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["▁", "▁the", "▁whale", "▁cat", "▁▁", "the", "whale", *"whalectsn明"]
    vocab = {token: id for id, token in enumerate(dict.fromkeys(tokens))}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["</s>"])
    return Tokenizer(backend, "bpe", "</s>", "</s>")


def test_a_vocabulary_that_falls_back_to_bytes():
    tokenizer = llama()
    for seed in range(100):
        rng = random.Random(seed)
        row = constraint(tokenizer, banned_words=["the", "明", "月", "n "])
        text = tokenizer.decode(draw(tokenizer, row, 60, rng))
        assert not any(word in text for word in ["the", "明", "月", "n "])
        row = constraint(tokenizer, required_words=["the cat", "明"], prefix="cats")
        text = tokenizer.decode(draw(tokenizer, row, 20, rng))
        assert text.startswith("cats")
        assert "the cat" in text
        assert "明" in text
        row = constraint(tokenizer, choices=[" the", "the whale", "明"])
        assert tokenizer.decode(draw(tokenizer, row, 20, rng)) in [" the", "the whale", "明"]
        row = constraint(tokenizer, regex="(the|月| cat){3}")
        text = tokenizer.decode(draw(tokenizer, row, 20, rng))
        assert regex.fullmatch("(the|月| cat){3}", text)


def test_nothing_is_asked_for():
    assert constraint_for(GenerationConfig(), trained("bpe")) is None


@pytest.mark.parametrize("name", CONFIGS)
def test_special_and_unknown_tokens(name):
    tokenizer = train_tokenizer(CONFIGS[name].model_copy(update={"special_tokens": ("<sep>",)}), TEXTS)
    special = tokenizer.backend.token_to_id("<sep>")
    banning, requiring = constraint(tokenizer, banned_words=["zz"]), constraint(tokenizer, required_words=["cat"])
    assert not banning.mask(9)[special]
    assert banning.mask(9)[tokenizer.eos_id]
    assert not requiring.mask(9)[special]
    assert not requiring.mask(9)[tokenizer.eos_id]
    if tokenizer.unk_id is not None:
        assert banning.mask(9)[tokenizer.unk_id]
        assert not requiring.mask(9)[tokenizer.unk_id]


@pytest.mark.parametrize(
    ("name", "config", "says"),
    [
        ("char", {"required_words": ["catz", "cat"]}, ["required_words", "'catz'", "'z'"]),
        ("char", {"prefix": "龘"}, ["prefix", "'龘'"]),
        ("word", {"choices": ["the cat", "the zebra"]}, ["choices", "'the zebra'", "'zebra'"]),
        ("byte", {"required_words": ["whale", "cat"], "max_tokens": 7}, ["required_words", "8 tokens", "7"]),
        ("byte", {"required_words": ["cat"], "max_tokens": 3, "force_eos": True}, ["required_words", "4 tokens"]),
        ("byte", {"prefix": "whale", "max_tokens": 4}, ["prefix", "5 tokens"]),
        ("byte", {"choices": ["a", "whale"], "max_tokens": 5}, ["choices", "'whale'", "6 tokens"]),
        ("byte", {"required_words": ["whale"], "banned_words": ["hal"]}, ["required_words", "'hal'", "banned_words"]),
        ("byte", {"prefix": "whale", "banned_words": ["hal"]}, ["prefix", "'hal'", "banned_words"]),
        ("byte", {"choices": ["whale", "hall"], "banned_words": ["hal"]}, ["choices", "banned_words"]),
        ("byte", {"choices": ["cat"], "prefix": "a"}, ["choices", "prefix"]),
        ("byte", {"choices": ["cat"], "min_tokens": 4}, ["choices", "min_tokens"]),
        ("byte", {"json_schema": {}, "ignore_eos": True}, ["json_schema", "ignore_eos"]),
        ("char", {"required_words": ["b"], "banned_words": [f"{c}b" for c in LETTERS], "prefix": "a"}, ["together"]),
        ("byte", {"required_words": [str(i) for i in range(63)]}, ["required_words", "62", "63"]),
        ("byte", {"regex": "(a"}, ["regex: unclosed group"]),
        ("byte", {"regex": "(?=a)b"}, ["regex: ", "look-ahead"]),
        ("char", {"regex": "龘"}, ["regex: "]),
        ("byte", {"json_schema": {"type": "foo"}}, ["json_schema: ", "foo"]),
        ("byte", {"json_schema": {"minLength": 3, "maxLength": 2, "type": "string"}}, ["json_schema: ", "minLength"]),
        ("byte", {"grammar": 'start: "a" x'}, ["grammar: ", "1(8)", "x"]),
    ],
)
def test_what_cannot_be_is_one_line_before_the_first_token(name, config, says):
    with pytest.raises(UsageError) as raised:
        constraint_for(GenerationConfig(**config), trained(name))
    assert [part for part in says if part not in str(raised.value)] == []
    assert "\n" not in str(raised.value)


def test_without_the_library_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtra, match=r"regex needs the library llguidance.*nextword\[grammar\]"):
        constraint_for(GenerationConfig(regex="a"), trained("byte"))
