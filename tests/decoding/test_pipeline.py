"""The pipeline against its own parts: the order, rows of different settings, what each stage sees, what it leaves."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from nextword.decoding import processors as p
from nextword.decoding.config import SAMPLING, GenerationConfig, TokenSettings
from nextword.decoding.pipeline import FILTERS, STAGES, Pipeline
from nextword.decoding.processors import REMOVED
from nextword.errors import UsageError

CPU = torch.device("cpu")
V = 12
EOS = 5
Settings = tuple[GenerationConfig, TokenSettings]
EVERYTHING = GenerationConfig(
    temperature=0.8,
    dynamic_temperature=0.3,
    dynamic_exponent=1.4,
    top_k=9,
    top_p=0.95,
    min_p=0.01,
    typical_p=0.97,
    epsilon_cutoff=0.002,
    eta_cutoff=0.001,
    top_n_sigma=2.5,
    top_h=0.98,
    p_less=True,
    xtc_probability=0.5,
    xtc_threshold=0.05,
    repetition_penalty=1.2,
    frequency_penalty=0.3,
    presence_penalty=0.2,
    no_repeat_ngram_size=3,
    dry_multiplier=0.8,
    dry_allowed_length=1,
    penalty_window=9,
    min_tokens=4,
    max_tokens=8,
    force_eos=True,
)
TOKENS = TokenSettings(eos_id=EOS, forbidden=(1,), bias={2: 1.5, 7: -0.5}, breakers=frozenset({0}))


def random_logits(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, V, generator=torch.Generator().manual_seed(seed)) * 3


def random_history(rows: int, seed: int = 0) -> Tensor:
    return torch.randint(4, (rows, 14), generator=torch.Generator().manual_seed(seed))


def run(settings: list[Settings], logits: Tensor, generated: int | Tensor = 3, **rest: Any) -> Tensor:
    rows = len(logits)
    given = {"history": random_history(rows), "uniforms": torch.full((rows,), 0.2)} | rest
    count = torch.full((rows,), generated) if isinstance(generated, int) else generated
    return Pipeline(settings, V, CPU)(logits, generated=count, **given)


def marks(*ids: int) -> Tensor:
    return torch.zeros(1, V, dtype=torch.bool).index_fill(1, torch.tensor(ids, dtype=torch.long), True)


@pytest.mark.parametrize("settings", [1, 3], ids=["one for all rows", "of each row"])
def test_the_order_is_that_of_the_functions_one_by_one(settings: int) -> None:
    logits, history, allowed = random_logits(3), random_history(3), ~marks(8)
    before, generated, uniforms = logits.clone(), torch.tensor([3, 6, 7]), torch.tensor([0.2, 0.3, 0.4])
    window = history[:, -9:]
    own = p.recent(window, generated)
    values = torch.zeros(1, V)
    values[0, 2], values[0, 7] = 1.5, -0.5
    names, after = ["model"], [logits]
    for name, function in (
        ("logit_bias", lambda x: p.bias(x, values)),
        ("forbidden", lambda x: p.forbidden(x, marks(1))),
        ("min_tokens", lambda x: p.min_length(x, marks(EOS), generated, 4)),
        ("force_eos", lambda x: p.forced(x, marks(EOS), generated, 7)),
        ("repetition_penalty", lambda x: p.repetition_penalty(x, window, 1.2)),
        ("frequency_penalty", lambda x: p.frequency_penalty(x, own, 0.3)),
        ("presence_penalty", lambda x: p.presence_penalty(x, own, 0.2)),
        ("dry", lambda x: p.dry(x, window, 0.8, 1.75, 1, marks(0))),
        ("constraint", lambda x: p.constraint(x, allowed)),
        ("no_repeat_ngram", lambda x: p.no_repeat_ngram(x, history, 3)),
        ("temperature", lambda x: p.dynamic_temperature(x, 0.8, 0.3, 1.4)),
        ("top_n_sigma", lambda x: p.top_n_sigma(x, 2.5)),
        ("top_h", lambda x: p.top_h(x, 0.98)),
        ("top_k", lambda x: p.top_k(x, 9)),
        ("top_p", lambda x: p.top_p(x, 0.95)),
        ("min_p", lambda x: p.min_p(x, 0.01)),
        ("typical_p", lambda x: p.typical(x, 0.97)),
        ("epsilon_cutoff", lambda x: p.epsilon_cutoff(x, 0.002)),
        ("eta_cutoff", lambda x: p.eta_cutoff(x, 0.001)),
        ("p_less", lambda x: p.p_less(x)),
        ("xtc", lambda x: p.xtc(x, uniforms, 0.5, 0.05)),
    ):
        names.append(name)
        after.append(function(after[-1]))
    seen: list[tuple[str, Tensor]] = [("model", logits)]
    got = Pipeline([(EVERYTHING, TOKENS)] * settings, V, CPU)(
        logits,
        generated=generated,
        history=history,
        allowed=allowed,
        uniforms=uniforms,
        observe=lambda name, x: seen.append((name, x)),
    )
    assert [name for name, _ in seen] == names == ["model", *STAGES]
    for (_, mine), want in zip(seen, after, strict=True):
        assert mine.equal(want)
    assert got.equal(after[-1])
    assert logits.equal(before)


def test_the_defaults_change_nothing() -> None:
    pipeline, logits = Pipeline([(GenerationConfig(), TokenSettings())] * 2, V, CPU), random_logits(2)
    seen: list[str] = []
    assert not pipeline.needs_history
    assert not pipeline.needs_chance
    zero = torch.zeros(2, dtype=torch.long)
    assert pipeline(logits, generated=zero, observe=lambda name, _: seen.append(name)) is logits
    assert not seen


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"temperature": 0.5}, "temperature"),
        ({"dynamic_temperature": 0.5}, "temperature"),
        ({"ignore_eos": True}, "min_tokens"),
        ({"min_tokens": 4}, "min_tokens"),
        ({"force_eos": True}, "force_eos"),
        ({"repetition_penalty": 1.5}, "repetition_penalty"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -0.5}, "presence_penalty"),
        ({"dry_multiplier": 0.5, "dry_allowed_length": 1}, "dry"),
        ({"no_repeat_ngram_size": 2}, "no_repeat_ngram"),
        ({"xtc_probability": 0.9, "xtc_threshold": 0.01}, "xtc"),
        *[({name: {"top_k": 2, "p_less": True, "top_n_sigma": 0.5}.get(name, 0.2)}, name) for name in FILTERS],
    ],
    ids=str,
)
def test_one_setting_is_one_stage(change: dict[str, Any], name: str) -> None:
    """Alone, and in a row among others that do not use it, which stay as they are bit for bit."""
    seen: list[str] = []
    logits = random_logits(3)
    plain, changed = (GenerationConfig(max_tokens=4, **more) for more in ({}, change))
    tokens = TokenSettings(eos_id=EOS)
    got = run([(plain, tokens), (changed, tokens), (plain, tokens)], logits, observe=lambda n, _: seen.append(n))
    assert seen == [name]
    assert got[::2].equal(logits[::2])
    assert not got[1].equal(logits[1])


@pytest.mark.parametrize("other", [{"temperature": 0.0}, {"num_beams": 2}, {"contrastive_alpha": 0.5}], ids=str)
def test_rows_that_draw_nothing_skip_what_is_about_drawing(other: dict[str, Any]) -> None:
    settings = {name: getattr(EVERYTHING, name) for name in SAMPLING} | {"dynamic_temperature": 0.0} | other
    config = GenerationConfig(**settings)
    logits = random_logits(2)
    assert Pipeline([(config, TOKENS)], V, CPU).needs_chance == []
    assert run([(config, TokenSettings())] * 2, logits) is logits
    mixed = run([(config, TokenSettings()), (EVERYTHING, TokenSettings())], logits)
    assert mixed[0].equal(logits[0])
    assert not mixed[1].equal(logits[1])


def test_only_rows_that_use_it_need_chance() -> None:
    lucky = GenerationConfig(xtc_probability=0.5)
    settings = [(c, TokenSettings()) for c in (GenerationConfig(), lucky, GenerationConfig(), lucky)]
    assert Pipeline(settings, V, CPU).needs_chance == [1, 3]
    with pytest.raises(AssertionError):
        Pipeline(settings, V, CPU)(random_logits(4), generated=torch.zeros(4))


def test_penalties_look_at_what_they_say() -> None:
    """Prompt 3 1 1, generated 2 2 4."""
    history, zero = torch.tensor([[3, 1, 1, 2, 2, 4]]), torch.zeros(1, V)

    def touched(**setting: Any) -> list[int]:
        got = run([(GenerationConfig(**setting), TokenSettings())], zero + 1, history=history, generated=3)
        return (got != 1).nonzero()[:, 1].tolist()

    assert touched(repetition_penalty=2) == [1, 2, 3, 4]
    assert touched(repetition_penalty=2, penalty_window=4) == [1, 2, 4]
    assert touched(frequency_penalty=1) == touched(presence_penalty=1) == [2, 4]
    assert touched(frequency_penalty=1, penalty_window=1) == [4]
    assert touched(presence_penalty=1, penalty_window=5) == [2, 4]
    assert touched(no_repeat_ngram_size=1, penalty_window=1) == [1, 2, 3, 4]  # a promise about the whole text


def test_each_row_has_a_window_of_its_own() -> None:
    history = torch.tensor([[3, 1, 2]]).expand(3, -1)
    configs = [GenerationConfig(repetition_penalty=2, penalty_window=window) for window in (0, 1, 2)]
    got = run([(c, TokenSettings()) for c in configs], torch.ones(3, V), history=history)
    assert [(row != 1).nonzero().flatten().tolist() for row in got] == [[1, 2, 3], [2], [1, 2]]


def test_the_end_comes_when_it_may_and_must() -> None:
    def end_allowed(generated: int, **setting: Any) -> bool:
        config = GenerationConfig(**{"max_tokens": 6, **setting})
        return bool(run([(config, TOKENS)], random_logits(1), generated)[0, EOS] > REMOVED)

    assert [end_allowed(n, min_tokens=3) for n in range(5)] == [False, False, False, True, True]
    assert not any(end_allowed(n, ignore_eos=True) for n in range(6))
    assert [end_allowed(n, ignore_eos=True, force_eos=True) for n in (4, 5)] == [False, True]
    assert end_allowed(5, min_tokens=6, force_eos=True)  # the last one is forced, whatever else is said
    last = run([(GenerationConfig(max_tokens=6, force_eos=True), TOKENS)], random_logits(1), 5)
    assert (last > REMOVED).tolist() == marks(EOS).tolist()


def test_without_an_end_nothing_is_removed_or_forced() -> None:
    config, logits = GenerationConfig(min_tokens=3, ignore_eos=True, force_eos=True, max_tokens=4), random_logits(1)
    assert run([(config, TokenSettings())], logits, generated=3).equal(logits)


def test_what_a_constraint_allows_is_never_filtered_away() -> None:
    """The likeliest tokens are not allowed; of those that are, each filter leaves one, and so does the n-gram ban."""
    logits = torch.arange(V).float()[None] * 5
    config = EVERYTHING.model_copy(update={"no_repeat_ngram_size": 1, "top_k": 1})
    history = torch.tensor([[2, 3]])
    got = run([(config, TokenSettings())], logits, history=history, allowed=marks(2, 3))
    assert set((got[0] > REMOVED).nonzero().flatten().tolist()) <= {2, 3}
    assert (got > REMOVED).any()


def test_an_empty_row_stays_empty_and_is_not_nan() -> None:
    got = run([(EVERYTHING, TOKENS)] * 2, random_logits(2), allowed=torch.stack([marks()[0], marks(3)[0]]))
    assert (got[0] == REMOVED).all()
    assert (got[1] > REMOVED).tolist() == marks(3)[0].tolist()


def test_padding_on_the_left_changes_nothing() -> None:
    logits, history = random_logits(2), random_history(2)
    padded = torch.cat([torch.full((2, 5), -1), history], 1)
    assert run([(EVERYTHING, TOKENS)] * 2, logits, history=padded).equal(
        run([(EVERYTHING, TOKENS)] * 2, logits, history=history)
    )


@pytest.mark.parametrize("id", [-1, V])
def test_ids_outside_the_vocabulary_are_a_mistake(id: int) -> None:
    for tokens in (TokenSettings(bias={id: 1.0}), TokenSettings(forbidden=(2, id)), TokenSettings(eos_id=id)):
        with pytest.raises(UsageError, match=f"token id {id}: expected one of the model's 12"):
            Pipeline([(GenerationConfig(), tokens)], V, CPU)


def random_settings(rng: random.Random) -> Settings:
    """Any settings at all, extremes among them; tokens 3, 4 and <eos> are never forbidden."""
    values: dict[str, list[Any]] = {
        "temperature": [0.0, 1e-30, 0.3, 1.0, 2.0, 1e6],
        "dynamic_exponent": [1e-3, 1.0, 100.0],
        "top_k": [0, 1, 3, 2**31],
        "top_p": [0.0, 1e-9, 0.5, 0.999999, 1.0],
        "min_p": [0.0, 0.05, 1.0],
        "typical_p": [1e-9, 0.5, 1.0],
        "epsilon_cutoff": [0.0, 0.1, 0.999],
        "eta_cutoff": [0.0, 0.1, 0.999],
        "top_n_sigma": [0.0, 1e-9, 1.0, 1e6],
        "top_h": [1e-9, 0.5, 1.0],
        "p_less": [False, True],
        "xtc_probability": [0.0, 0.5, 1.0],
        "xtc_threshold": [0.0, 0.1, 1.0],
        "repetition_penalty": [0.01, 1.0, 1.3, 100.0],
        "frequency_penalty": [-2.0, 0.0, 2.0],
        "presence_penalty": [-2.0, 0.0, 2.0],
        "no_repeat_ngram_size": [0, 1, 2, 2**31],
        "dry_multiplier": [0.0, 0.8, 1e6],
        "dry_base": [1.0, 1.75, 100.0],
        "dry_allowed_length": [1, 2, 2**31],
        "penalty_window": [0, 1, 5, 2**31],
        "min_tokens": [0, 4],
        "ignore_eos": [False, True],
        "force_eos": [False, True],
        "num_beams": [1, 1, 1, 4],
    }
    chosen = {name: rng.choice(options) for name, options in values.items() if rng.random() < 0.5}
    chosen["dynamic_temperature"] = chosen.get("temperature", 1.0) * rng.choice([0.0, 0.0, 0.5, 1.0])
    tokens = TokenSettings(
        eos_id=rng.choice([None, EOS]),
        forbidden=rng.choice([(), (0,), (0, 1, 2)]),
        bias=rng.choice([{}, {2: -100.0, 3: 100.0}, {7: 1e9}, {3: REMOVED}]),
        breakers=rng.choice([frozenset(), frozenset({1}), frozenset({2, 3})]),
    )
    return GenerationConfig(max_tokens=rng.choice([4, 8]), **chosen), tokens


@pytest.mark.parametrize("seed", range(120))
def test_any_settings_leave_a_token_and_each_row_for_itself(seed: int) -> None:
    rng = random.Random(seed)
    settings = [random_settings(rng) for _ in range(6)]
    logits = random_logits(6, seed) * rng.choice([0.0, 1e-3, 1.0, 100.0])
    if rng.random() < 0.3:
        logits = logits.log_softmax(-1)
    allowed = rng.choice([None, marks(3, 4, EOS).expand(6, -1)])
    history, uniforms = random_history(6, seed), torch.rand(6, generator=torch.Generator().manual_seed(seed))
    history[1, :9] = -1
    history[2] = -1
    generated = torch.tensor([0, 3, 0, 7, 2, 5])

    def apply(rows: slice) -> Tensor:
        return Pipeline(settings[rows], V, CPU)(
            logits[rows],
            generated=generated[rows],
            history=history[rows],
            allowed=None if allowed is None else allowed[rows],
            uniforms=uniforms[rows],
        )

    together = apply(slice(None))
    assert not together.isnan().any()
    assert (together > REMOVED).any(-1).all()
    assert (together < torch.inf).all()
    for row in range(6):
        assert apply(slice(row, row + 1))[0].equal(together[row])
