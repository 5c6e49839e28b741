import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Bag, ByteTokenizer, CharTokenizer, Recital, random_table

import nextword
from nextword.checkpoint import GENERATION, WEIGHTS, save_config, save_weights
from nextword.decoding.config import GenerationConfig
from nextword.decoding.engine import Engine
from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.generator.writer import StopStrings
from nextword.models import build_model, model_config
from nextword.tokenizers import TokenizerConfig, train_tokenizer

LETTERS = CharTokenizer("abcdefgh")
BYTES = ByteTokenizer()


def free_writer(tokenizer=LETTERS, max_seq_len: int | None = None, **config) -> TextGenerator:
    return TextGenerator(Bag(random_table(tokenizer.vocab_size), max_seq_len), tokenizer, GenerationConfig(**config))


def reciter(text: str) -> TextGenerator:
    tokenizer = CharTokenizer("".join(sorted(set(text))))
    return TextGenerator(Recital(text, tokenizer), tokenizer)


def test_the_empty_prompt_starts_a_text_and_eos_ends_it() -> None:
    generation = reciter("chain").generate()
    assert (generation.text, generation.finish_reason, generation.prompt) == ("chain", "eos", "")
    assert len(generation.token_ids) == 6
    assert generation.log_prob == pytest.approx(0, abs=1e-5)


def test_max_tokens_ends_it_by_length() -> None:
    generation = reciter("chain").generate("c", max_tokens=2)
    assert (generation.text, generation.finish_reason) == ("ha", "length")


def test_eos_as_the_last_allowed_token_is_eos() -> None:
    assert reciter("chain").generate("c", max_tokens=5).finish_reason == "eos"


def test_ignore_eos_goes_on_to_max_tokens() -> None:
    for temperature in (0.0, 1.0):
        generation = free_writer().generate(ignore_eos=True, max_tokens=80, seed=1, temperature=temperature)
        assert (len(generation.token_ids), generation.finish_reason) == (80, "length")
        assert LETTERS.eos_id not in generation.token_ids


def test_log_prob_is_the_score_of_the_text() -> None:
    """Sum of the log-probabilities drawn = log P(prompt + text) - log P(prompt), whatever the settings."""
    generator = free_writer()
    for seed in range(5):
        g = generator.generate("ab", seed=seed, temperature=0.7, top_k=5, max_tokens=30)
        both = generator.score(g.prompt + g.text, include_eos=g.finish_reason == "eos").log_prob
        if LETTERS.unk_id not in g.token_ids:
            assert g.log_prob == pytest.approx(both - generator.score("ab").log_prob, abs=1e-4)


@pytest.mark.parametrize("tokenizer", [LETTERS, BYTES])
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40), st.sampled_from(["", "a", "abc"]), st.lists(st.text("abcdefgh", min_size=1, max_size=3)))
def test_a_stream_joins_to_the_text_and_never_leaks_a_stop(tokenizer, seed: int, prompt: str, stop: list[str]) -> None:
    generator = free_writer(tokenizer)
    wanted = {"seed": seed, "stop": tuple(stop), "max_tokens": 40}
    generation = generator.generate(prompt, **wanted)
    assert "".join(generator.stream(prompt, **wanted)) == generation.text
    assert not any(s in generation.text for s in stop)
    free = generator.generate(prompt, seed=seed, max_tokens=40)
    assert free.text.startswith(generation.text)
    assert (generation.finish_reason == "stop") == any(s in free.text for s in stop)


def test_same_seed_same_text_and_no_seed_a_new_one_each_time() -> None:
    generator = free_writer()
    assert generator.generate(seed=4) == generator.generate(seed=4)
    fresh = generator.generate()
    assert generator.generate(seed=fresh.seed) == fresh
    assert len({generator.generate().seed for _ in range(5)}) == 5


def test_sample_i_is_what_seed_plus_i_gives() -> None:
    generator = free_writer()
    generator.engine = Engine(generator.model, max_rows=3)  # 7 samples, never more than three of them side by side
    many = generator.generate_many("ab", num_samples=7, seed=10, max_tokens=30)
    assert many == [generator.generate("ab", seed=10 + i, max_tokens=30) for i in range(7)]
    assert len({g.text for g in many}) > 1


def test_characters_of_several_tokens_stream_whole() -> None:
    text = "明月几时有？🌙 把酒问青天"
    generator = TextGenerator(Recital(text, BYTES), BYTES)
    assert list(generator.stream()) == list(text)
    assert list(generator.stream("明月")) == list(text[2:])
    assert generator.generate(stop=["问青"]).text == "明月几时有？🌙 把酒"


def test_a_text_cut_inside_a_character_is_as_long_in_the_stream() -> None:
    generator = TextGenerator(Recital("明月", BYTES), BYTES)
    assert list(generator.stream(max_tokens=4)) == ["明", "\ufffd"]  # the last byte asked for is the first of three
    assert generator.generate(max_tokens=4).text == "明\ufffd"


def test_a_prompt_longer_than_the_context_names_both_lengths() -> None:
    generator = free_writer(max_seq_len=8)
    assert generator.generate("abcdefg", max_tokens=3).prompt == "abcdefg"
    for call in (generator.generate, generator.stream):
        with pytest.raises(UsageError, match=r"8 tokens.*holds 7") as error:
            call("abcdefgh")
        assert "\n" not in str(error.value)


def test_text_goes_on_beyond_the_context() -> None:
    assert len(free_writer(max_seq_len=8).generate(max_tokens=100, ignore_eos=True, seed=0).token_ids) == 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temprature": 1.0}, "Did you mean temperature"),
        ({"top_p": 2.0}, "at most 1"),
        ({"num_samples": 2}, "generate_many"),
    ],
)
def test_wrong_settings(settings: dict, message: str) -> None:
    for call in (free_writer().generate, free_writer().stream):
        with pytest.raises(UsageError, match=message):
            call("a", **settings)


def test_the_runs_settings_are_the_defaults() -> None:
    generator = free_writer(temperature=0.0, max_tokens=5, num_samples=3, ignore_eos=True)
    assert len(generator.generate().token_ids) == 5
    assert len(generator.generate_many()) == 3
    assert len({g.text for g in generator.generate_many()}) == 1
    assert len(generator.generate(max_tokens=6).token_ids) == 6


def test_half_characters_are_an_error() -> None:
    for call in (free_writer().generate, free_writer().score):
        with pytest.raises(UsageError, match="Unicode"):
            call("a\udc80")


@pytest.mark.parametrize(
    ("text", "stop", "expected", "found"),
    [
        (" The user is a", ["a", "is"], " The user ", "is"),  # what completes first wins, not what is listed first
        (" The user is a", ["is", "a"], " The user ", "is"),
        ("abc", ["abc", "b"], "a", "b"),
        ("ab", ["ab", "b"], "", "ab"),  # ties go to the first in the list
        ("ab", ["b", "ab"], "a", "b"),
        ("hello", ["zzz"], "hello", None),
        ("hello", [], "hello", None),
        ("aaab", ["aab"], "a", "aab"),
        ("작업 완료 후속", ["완료"], "작업 ", "완료"),
    ],
)
def test_stop_strings_however_the_text_is_cut(text: str, stop: list[str], expected: str, found: str | None) -> None:
    rng = random.Random(0)
    for size in (1, 2, 3, 5, len(text)):
        cuts = [0, *sorted(rng.sample(range(1, len(text)), min(size, len(text)) - 1)), len(text)]
        stops = StopStrings(stop)
        got = "".join(stops.push(text[a:b]) for a, b in pairwise(cuts)) + stops.release()
        assert (got, stops.found) == (expected, found)


@pytest.mark.parametrize(
    ("chunks", "stop", "sent", "released"),
    [
        (["The quick br", "own", " fox"], "own fox", "The quick br", ""),
        (["\nUser", "s left"], "\nUser:", "\nUsers left", ""),
        (["abc DEF", "G", "HI"], "DEFGHIJ", "abc ", "DEFGHI"),
    ],
)
def test_text_is_held_back_only_while_a_stop_may_come(chunks: list[str], stop: str, sent: str, released: str) -> None:
    stops = StopStrings([stop])
    assert "".join(map(stops.push, chunks)) == sent
    assert stops.release() == released


def test_import_nextword_loads_no_torch() -> None:
    code = (
        "import sys, nextword; assert 'torch' not in sys.modules; nextword.GenerationConfig;"
        "assert 'torch' not in sys.modules; assert nextword.__version__; nextword.TextGenerator.generate"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nope"):
        nextword.nope  # noqa: B018


TINY = [
    {"type": "rnn", "hidden_size": 16},
    {"type": "gru", "hidden_size": 16, "num_layers": 2},
    {"type": "lstm", "hidden_size": 16, "tied": True},
    {"type": "transformer", "hidden_size": 16, "num_heads": 2, "num_layers": 2, "max_seq_len": 12},
    {
        "type": "transformer",
        "hidden_size": 16,
        "num_heads": 2,
        "num_layers": 2,
        "max_seq_len": 12,
        "positions": "learned",
    },
]


@pytest.fixture(params=TINY, ids=lambda values: f"{values['type']}-{values.get('positions', '')}".rstrip("-"))
def real(request: pytest.FixtureRequest) -> TextGenerator:
    """A real architecture with random weights, loud enough to prefer some tokens."""
    torch.manual_seed(0)
    model = build_model(model_config(request.param | {"vocab_size": LETTERS.vocab_size})).eval()
    model.output.weight.data *= 20
    return TextGenerator(model, LETTERS)


def test_real_models_score_what_the_forward_pass_says(real: TextGenerator) -> None:
    text = "abcdefghab"
    ids = LETTERS.encode(text)
    with torch.inference_mode():
        logits, _ = real.model(torch.tensor([[LETTERS.eos_id, *ids]]))
    expected = logits[0].log_softmax(-1)[range(len(ids) + 1), [*ids, LETTERS.eos_id]].double().sum()
    assert real.score(text, include_eos=True).log_prob == pytest.approx(float(expected), abs=1e-4)


def test_real_models_generate_what_they_score(real: TextGenerator) -> None:
    for g in real.generate_many("abc", num_samples=5, seed=1, max_tokens=8):
        ids = [LETTERS.eos_id, *LETTERS.encode("abc"), *g.token_ids]
        with torch.inference_mode():
            log_probs = real.model(torch.tensor([ids[:-1]]))[0][0, 3:].log_softmax(-1)
        expected = log_probs[range(len(g.token_ids)), g.token_ids].double().sum()
        assert g.log_prob == pytest.approx(float(expected), abs=1e-4)


def test_real_models_say_the_same_alone_and_together_and_beyond_their_context(real: TextGenerator) -> None:
    settings = {"seed": 3, "max_tokens": 50, "ignore_eos": True}
    many = real.generate_many("ab", num_samples=4, **settings)
    for i, generation in enumerate(many):
        alone = real.generate("ab", **(settings | {"seed": 3 + i}))
        assert alone.token_ids == generation.token_ids
        assert alone.log_prob == pytest.approx(generation.log_prob, abs=1e-3)
        assert "".join(real.stream("ab", **(settings | {"seed": 3 + i}))) == generation.text
    assert {len(generation.token_ids) for generation in many} == {50}


TEXTS = ["The whale swam, and the moon shone on the whale.", "床前明月光，疑是地上霜。举头望明月，低头思故乡。🌙"] * 3


@pytest.mark.parametrize("kind", ["char", "word", "byte", "bpe", "unigram"])
def test_a_run_folder_speaks_through_every_tokenizer(kind: str, tmp_path: Path) -> None:
    """The prompt, then the text: together what decoding all ids at once gives, so no space is lost between them."""
    tokenizer = train_tokenizer(TokenizerConfig(type=kind, vocab_size=0 if kind in ("char", "byte") else 300), TEXTS)
    torch.manual_seed(0)
    model = build_model(model_config({"type": "gru", "hidden_size": 16, "vocab_size": tokenizer.vocab_size}))
    model.output.weight.data *= 10
    save_config(tmp_path, model, tokenizer, {})
    save_weights(tmp_path / WEIGHTS, model)
    (tmp_path / GENERATION).write_text('{"max_tokens": 25, "stop": ["。"]}', encoding="utf-8")

    generator = nextword.load(tmp_path)
    assert generator.config == GenerationConfig(max_tokens=25, stop=("。",))
    for seed, prompt in enumerate(["", "The whale", "明月"]):
        for generation in generator.generate_many(prompt, seed=seed, num_samples=5, stop=()):
            before = tokenizer.encode(prompt)
            assert tokenizer.decode(before + generation.token_ids) == tokenizer.decode(before) + generation.text
        assert "".join(generator.stream(prompt, seed=seed)) == generator.generate(prompt, seed=seed).text
    score = generator.score(TEXTS[1])
    assert "".join(score.pieces) == tokenizer.decode(tokenizer.encode(TEXTS[1]))


def test_a_run_with_impossible_settings_names_the_file(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TokenizerConfig(type="byte"), TEXTS)
    model = build_model(model_config({"type": "rnn", "hidden_size": 4, "vocab_size": tokenizer.vocab_size}))
    save_config(tmp_path, model, tokenizer, {})
    save_weights(tmp_path / WEIGHTS, model)
    (tmp_path / GENERATION).write_text('{"top_p": 7}', encoding="utf-8")
    with pytest.raises(UsageError, match=r"generation_config.json.top_p.*at most 1"):
        nextword.load(tmp_path)
