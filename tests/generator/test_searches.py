"""Searches, constraints, guesses and traces from text to text, over a recurrent model and a Transformer."""

from __future__ import annotations

import json
import math

import pytest
import regex
import torch
from toys import Bigram

from nextword.decoding.config import GenerationConfig
from nextword.errors import UsageError
from nextword.generator import TextGenerator
from nextword.metrics.overlap import chrf
from nextword.models import build_model, model_config
from nextword.tokenizers import TokenizerConfig, train_tokenizer

TEXTS = [
    "The old man looked at the sea. The sea looked back.",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    'She said: "no, 42 times no!" 🌙',
]
KINDS = ["lstm", "transformer"]


@pytest.fixture(scope="module", params=KINDS)
def generator(request) -> TextGenerator:
    """Random weights with an opinion; bytes and a few merges, so a Chinese character is several tokens."""
    return make(request.param, train_tokenizer(TokenizerConfig(type="bpe", vocab_size=300), TEXTS * 3))


def make(kind: str, tokenizer, seed: int = 0) -> TextGenerator:
    torch.manual_seed(seed)
    sizes = {"type": kind, "vocab_size": tokenizer.vocab_size, "hidden_size": 16, "num_layers": 1}
    model = build_model(
        model_config(sizes | ({"num_heads": 2, "max_seq_len": 64} if kind == "transformer" else {}))
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6)
    return TextGenerator(model, tokenizer)


ASKED = [
    {"temperature": 0.0},
    {"temperature": 0.8, "top_p": 0.9, "seed": 3},
    {"num_beams": 3, "stop": ["o"]},
    {"seed": 4, "regex": "[a-c]{3}月+。"},
    {"seed": 5, "required_words": ["明月", "sea"], "max_tokens": 40},
    {"seed": 6, "banned_words": ["e", "月"], "stop": ["h"]},
    {"seed": 7, "prefix": "明月几时有"},
    {"seed": 8, "speculate": 4, "temperature": 0.5},
    {"seed": 9, "guidance_scale": 1.5, "negative_prompt": "sea"},
    {"contrastive_alpha": 0.5},
]


@pytest.mark.parametrize("settings", ASKED, ids=lambda settings: "-".join(settings))
def test_streamed_alone_or_among_others_the_text_is_the_same(generator, settings):
    settings = {"max_tokens": 30} | settings
    alone = generator.generate("The old 月", **settings)
    assert "".join(generator.stream("The old 月", **settings)) == alone.text
    jobs = [generator.submit("The old 月", **({"max_tokens": 30} | other)) for other in ASKED]
    while not all(job.finished for job in jobs):
        generator.step()
    mine = jobs[next(i for i, other in enumerate(ASKED) if settings == {"max_tokens": 30} | other)]
    assert (mine.done[0].text, mine.done[0].token_ids) == (alone.text, alone.token_ids)


def test_what_is_required_holds(generator):
    for seed in range(5):
        settings = {"seed": seed, "max_tokens": 40, "temperature": 1.5}
        text = generator.generate("a", regex="(明月|[0-9]{2})+!", **settings)
        if text.finish_reason == "eos":
            assert regex.fullmatch("(明月|[0-9]{2})+!", text.text)
        text = generator.generate("a", required_words=["明月", "🌙"], **settings).text
        assert "明月" in text
        assert "🌙" in text
        assert "月" not in generator.generate("a", banned_words=["月"], **settings).text
        assert generator.generate("a", choices=["霜", "sea"], **settings).text in ("霜", "sea")
        assert generator.generate("a", prefix="床前", **settings).text.startswith("床前")


@pytest.mark.parametrize("settings", [{"num_beams": 4}, {"num_beams": 4, "num_beam_groups": 2}])
def test_beams_say_what_is_required(generator, settings):
    found = generator.generate_many("a", required_words=["明月", "sea"], max_tokens=40, num_samples=2, **settings)
    assert all("明月" in g.text and "sea" in g.text for g in found)


def test_a_beam_that_has_said_what_is_required_goes_on():
    """It is far less likely than those that have not, and yet no later one is as good."""
    tokenizer = train_tokenizer(TokenizerConfig(type="char"), ["abcxy"])
    table = torch.full((tokenizer.vocab_size, tokenizer.vocab_size), 1e-6)
    a, b, c, x, y = tokenizer.encode("abcxy")
    table[:, [a, b, c]] = 0.33
    table[:, x] = 1e-4
    table[x], table[y] = 1e-6, 1e-6
    table[x, y] = table[y, tokenizer.eos_id] = 1.0
    generator = TextGenerator(Bigram(table), tokenizer)
    found = generator.generate("a", required_words=["x"], num_beams=3, length_penalty=0.0, max_tokens=12)
    assert found.text == "xy"


def test_who_asks_for_sampling_does_not_get_the_beams_of_the_run(generator):
    beams = TextGenerator(generator.model, generator.tokenizer, GenerationConfig(num_beams=4, temperature=0.0))
    asked = {"temperature": 0.9, "seed": 3, "max_tokens": 20}
    assert beams.generate("The", **asked).token_ids == generator.generate("The", **asked).token_ids
    greedy = generator.generate("The", temperature=0.0, max_tokens=20).token_ids
    assert beams.generate("The", num_beams=1, max_tokens=20).token_ids == greedy
    assert beams.generate("The", num_beams=1, temperature=0.0, max_tokens=20).token_ids == greedy
    with pytest.raises(UsageError, match="temperature plays no part beside num_beams"):
        beams.generate("The", num_beams=2, temperature=0.5)


def test_fewer_texts_than_beams_asked_for(generator):
    found = generator.generate_many("a", num_beams=4, num_samples=4, choices=["sea"], max_tokens=8)
    assert {g.text for g in found} == {"sea"}
    assert len(found) <= 4


@pytest.mark.parametrize("settings", [{"best_of": 3}, {"mbr": 3}])
def test_a_choice_among_samples_streams_the_one_that_is_kept(generator, settings):
    settings |= {"seed": 1, "max_tokens": 10}
    assert "".join(generator.stream("The", **settings)) == generator.generate("The", **settings).text


def talker() -> tuple[TextGenerator, int]:
    """Likes to end its turn, by a token that is not `<eos>`."""
    tokenizer = train_tokenizer(TokenizerConfig(type="byte", special_tokens=("<turn>",)), ["a"])
    generator, turn = make("lstm", tokenizer), tokenizer.backend.token_to_id("<turn>")
    with torch.no_grad():
        generator.model.output.bias[turn] += 5
    return generator, turn


@pytest.mark.parametrize("settings", [{"seed": 1}, {"num_beams": 3}, {"contrastive_alpha": 0.1}, {"speculate": 3}])
def test_several_tokens_may_end_a_text(settings):
    generator, turn = talker()
    found = generator.generate("a", stop_tokens=["<turn>"], max_tokens=200, **settings)
    assert found.finish_reason == "eos"
    assert turn not in found.token_ids[:-1]
    assert "<turn>" not in found.text
    assert turn in {found.token_ids[-1], generator.generate("a", stop_tokens=["<turn>"], seed=2).token_ids[-1]}
    later = generator.generate("a", stop_tokens=["<turn>"], max_tokens=20, min_tokens=20, **settings)
    assert len(later.token_ids) == 20


def test_a_stop_token_is_a_special_one():
    with pytest.raises(UsageError, match=r"'<trun>' is no special token\. Did you mean <turn>"):
        talker()[0].generate("a", stop_tokens=["<trun>"])


def test_contrastive_and_guided_traces_tell_of_the_model(generator):
    for settings, stage in (
        ({"contrastive_alpha": 0.5}, "candidates"),
        ({"guidance_scale": 2.0, "negative_prompt": "sea", "seed": 1}, "guidance"),
    ):
        found = generator.generate("The", trace=True, max_tokens=6, **settings)
        assert [step.token for step in found.trace.steps] == found.token_ids
        for step in found.trace.steps:
            assert [s.name for s in step.stages][:2] == ["model", stage]
            assert dict(step.stages[0].top).get(step.token, math.exp(step.log_prob)) == pytest.approx(
                math.exp(step.log_prob), abs=1e-5
            )


def test_json_by_schema(generator):
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    for seed in range(3):
        found = generator.generate("a", json_schema=schema, seed=seed, max_tokens=60, temperature=0.5)
        if found.finish_reason == "eos":
            assert json.loads(found.text)["n"] in (1, 2)


def test_the_impossible_is_refused_before_the_first_token(generator):
    for settings in (
        {"required_words": ["sea"], "banned_words": ["s"]},
        {"regex": "[a-"},
        {"grammar": "start: nothing"},
        {"required_words": ["床前明月光疑是地上霜"], "max_tokens": 3},
        {"logit_bias": {"99999": 1.0}},
        {"logit_bias": {"明月光疑": 1.0}},
        {"num_beams": 2, "temperature": 0.5},
        {"guidance_scale": 2.0, "num_beams": 2},
        {"best_of": 2, "num_samples": 3},
        {"contrastive_alpha": 0.5, "temperature": 0.5},
        {"regex": "[a-z]{3}", "min_tokens": 20},
        {"regex": "[a-z]{3}", "force_eos": True},
        {"choices": ["sea"], "ignore_eos": True},
    ):
        with pytest.raises(UsageError):
            generator.generate_many("a", **settings)


def test_the_trace_sums_to_the_score_of_the_text():
    """A tokenizer that cuts a text in one way only, so that what was generated is what is scored."""
    for kind in KINDS:
        generator = make(kind, train_tokenizer(TokenizerConfig(type="char"), TEXTS))
        never = {str(generator.tokenizer.unk_id): -1000.0}  # its name would be read as letters
        settings = {"temperature": 0.7, "top_k": 9, "logit_bias": never, "ignore_eos": True}
        found = generator.generate("The ", trace=True, seed=2, max_tokens=20, **settings)
        whole, prompt = generator.score("The " + found.text), generator.score("The ")
        total = math.fsum(step.log_prob for step in found.trace.steps)
        assert total == pytest.approx(whole.log_prob - prompt.log_prob, abs=1e-4)
        for step, scored in zip(found.trace.steps, whole.tokens[4:], strict=True):
            assert (step.token, step.rank) == (scored.id, scored.rank)
            assert step.entropy == pytest.approx(scored.entropy, abs=1e-4)


def test_best_of_keeps_the_likeliest(generator):
    everything = generator.generate_many("a", num_samples=6, seed=1, max_tokens=8)
    best = generator.generate_many("a", best_of=6, num_samples=2, seed=1, max_tokens=8)
    ranked = sorted(everything, key=lambda g: g.log_prob / len(g.token_ids), reverse=True)
    assert [g.token_ids for g in best] == [g.token_ids for g in ranked[:2]]


def test_minimum_bayes_risk_keeps_what_the_others_agree_with(generator):
    drawn = generator.generate_many("a", num_samples=5, seed=1, max_tokens=12)
    kept = generator.generate_many("a", mbr=5, num_samples=1, seed=1, max_tokens=12)[0]
    likeness = [sum(chrf(g.text, other.text) for other in drawn if other is not g) / 4 for g in drawn]
    assert kept.score == pytest.approx(max(likeness))
    shortest = generator.generate_many("a", mbr=5, seed=1, max_tokens=12, metric=lambda text, _: -len(text))[0]
    assert len(shortest.text) == min(len(g.text) for g in drawn)


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"temperature": 0.6, "top_p": 0.8, "seed": 3}])
def test_guessing_ahead_changes_nothing_but_the_speed(generator, settings):
    for extra in ({}, {"stop": ["e"]}, {"banned_words": ["a"]}, {"repetition_penalty": 1.2}, {"min_tokens": 10}):
        plain = generator.generate("The sea. The sea. The", max_tokens=40, **settings, **extra)
        guessed = generator.generate("The sea. The sea. The", max_tokens=40, speculate=6, **settings, **extra)
        assert (guessed.text, guessed.finish_reason) == (plain.text, plain.finish_reason)
        assert guessed.token_ids == plain.token_ids
        assert 0 <= guessed.acceptance_rate <= 1


def test_a_draft_model_that_knows_the_answer(generator):
    twin = TextGenerator(generator.model, generator.tokenizer, draft=generator.model)
    found = twin.generate("The", speculate=5, temperature=0.0, max_tokens=20)
    assert found.token_ids == generator.generate("The", temperature=0.0, max_tokens=20).token_ids
    assert found.acceptance_rate == 1.0


def test_a_reader_who_has_had_enough_frees_the_engine(generator):
    pieces = generator.stream("The", max_tokens=50, ignore_eos=True)
    next(pieces)
    pieces.close()
    generator.step()
    assert generator.engine.idle


def test_two_streams_at_once(generator):
    one, two = (generator.stream("The", max_tokens=12, seed=seed) for seed in (1, 2))
    both = ["", ""]
    for place, stream in [(0, one), (1, two)] * 30:
        both[place] += next(stream, "")
    assert both == [generator.generate("The", max_tokens=12, seed=seed).text for seed in (1, 2)]


def test_temperature_of_the_draft_is_the_requests(generator):
    """The two distributions should be alike, or the guesses are needlessly wrong."""
    twin = TextGenerator(generator.model, generator.tokenizer, draft=generator.model)
    found = twin.generate("The", speculate=5, temperature=0.5, max_tokens=40, seed=1, ignore_eos=True)
    assert found.acceptance_rate > 0.9
