"""Sweeps: which trials there are, that they stay the same, and what the ledger remembers."""

import json
import math
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nextword.errors import RunError, UsageError
from nextword.training.sweep import FINISHED, LEDGER, Ledger, Range, Trial, applied, plan, read_sweep

RATE = {"low": 1e-4, "high": 1e-2, "log": True}


def random_sweep(trials: int, seed: int = 0, **vary):
    return read_sweep({"method": "random", "trials": trials, "seed": seed, "vary": {"train": vary}})


def test_a_grid_is_every_combination_once():
    config = read_sweep({"vary": {"train": {"learning_rate": [1e-3, 1e-2]}, "model": {"type": ["gru", "lstm", "rnn"]}}})
    trials = plan(config)
    assert [trial.name for trial in trials] == [f"trial-00{n}" for n in range(1, 7)]
    assert [tuple(trial.settings.values()) for trial in trials] == list(product([1e-3, 1e-2], ["gru", "lstm", "rnn"]))
    assert set(trials[0].settings) == {"train.learning_rate", "model.type"}


def test_draws_are_the_same_by_seed_and_a_longer_sweep_begins_with_a_shorter_one():
    vary = {"learning_rate": RATE, "batch_size": [4, 8, 16]}
    short, long = plan(random_sweep(5, **vary)), plan(random_sweep(40, **vary))
    assert short == long[:5]
    assert plan(random_sweep(5, 1, **vary)) != short
    assert len({json.dumps(trial.settings) for trial in long}) == 40


def test_a_logarithmic_range_is_as_likely_in_every_decade():
    rates = [trial.settings["train.learning_rate"] for trial in plan(random_sweep(400, learning_rate=RATE))]
    assert min(rates) >= 1e-4
    assert max(rates) <= 1e-2
    assert 150 < sum(rate < 1e-3 for rate in rates) < 250  # of an even one some 36 would be
    assert all(rate == float(f"{rate:.3g}") for rate in rates)


@given(
    st.one_of(
        st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), st.tuples(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))
    ),
    st.booleans(),
    st.floats(0, 1, exclude_max=True),
)
def test_a_draw_lies_in_its_range_and_is_of_its_kind(ends, log, share):
    low, high = sorted(ends)
    assume(low < high)
    found = Range(low=low, high=high, log=log).at(share)
    assert low <= found <= high
    assert isinstance(found, int) == isinstance(low, int)


def test_whole_numbers_reach_both_ends_evenly():
    numbers = [Range(low=1, high=4).at((i + 0.5) / 400) for i in range(400)]
    assert [numbers.count(n) for n in (1, 2, 3, 4)] == [100] * 4


def test_no_more_different_draws_than_there_are():
    assert len(plan(random_sweep(3, batch_size=[1, 2, 3]))) == 3
    with pytest.raises(UsageError, match="only 3 different ones, expected 4"):
        random_sweep(4, batch_size=[1, 2, 3])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "varies nothing"),
        ({"vary": {"train": {}}}, "varies nothing"),
        (
            {"vary": {"train": {"lerning_rate": [1]}}},
            "vary.train.lerning_rate: unknown key. Did you mean learning_rate?",
        ),
        ({"vary": {"modell": {"type": ["gru"]}}}, "vary.modell: unknown section. Did you mean model?"),
        ({"vary": {"model": {"hiden_size": [8]}}}, "Did you mean hidden_size?"),
        ({"metod": "grid"}, "metod: unknown key. Did you mean method?"),
        ({"vary": {"train": {"steps": []}}}, "vary.train.steps: an empty list"),
        ({"vary": {"train": {"steps": 5}}}, "expected a list of values"),
        ({"vary": {"train": {"steps": [5, 5]}}}, "there twice"),
        ({"vary": {"train": {"learning_rate": RATE}}}, 'Use method = "random"'),
        ({"trials": 3, "vary": {"train": {"steps": [5]}}}, "trials: a grid has"),
        ({"method": "random", "vary": {"train": {"learning_rate": RATE}}}, "trials: a random sweep"),
        ({"vary": {"train": {"learning_rate": RATE | {"lo": 1}}}}, "learning_rate.lo: unknown key. Did you mean low?"),
        ({"vary": {"train": {"learning_rate": RATE | {"low": 0.0}}}}, "a logarithmic range begins above 0"),
        ({"vary": {"train": {"learning_rate": RATE | {"low": 1.0}}}}, "expected low below high"),
        ({"vary": {"train": {"steps": [5], "budget": ["5s"]}}}, "one setting says how long"),
        (
            {"vary": {"train": {key: list(range(1, 30)) for key in ("steps", "seed", "log_every")}}},
            "24,389 combinations",
        ),
    ],
)
def test_mistakes(values, said):
    with pytest.raises(UsageError) as error:
        read_sweep(values)
    assert said in str(error.value)


def test_settings_are_put_in_and_a_length_replaces_any_other():
    base = {"train": {"budget": "5s", "seed": 1}}
    assert applied(base, {"train.steps": 9, "model.type": "gru"}) == {
        "train": {"seed": 1, "steps": 9},
        "model": {"type": "gru"},
    }
    assert base == {"train": {"budget": "5s", "seed": 1}}


def ended(trial: Trial, loss: float, status: str = FINISHED) -> None:
    trial.status, trial.figures = status, {"validation": {"loss": loss, "bits_per_byte": 9 - loss}}
    trial.curve = [(n / 10, loss + 10 - n) for n in range(1, 11)]


def test_the_ledger_takes_up_what_was_written_and_may_be_lengthened(tmp_path):
    base = {"values": {"train": {"budget": "5s"}}, "data": ["x"]}
    ledger = Ledger(tmp_path, random_sweep(3, learning_rate=RATE), base)
    ended(ledger.trials[1], 2.0)
    ledger.trials[2].status, ledger.trials[2].error = "failed", "不行"
    ledger.write()
    again = Ledger(tmp_path, random_sweep(3, learning_rate=RATE), base)
    assert [trial.over for trial in again.trials] == [False, True, False]
    assert again.trials[2].error == "不行"
    assert again.trials[1].figure("loss") == 2.0
    longer = Ledger(tmp_path, random_sweep(5, learning_rate=RATE), base)
    assert [trial.over for trial in longer.trials] == [False, True, False, False, False]
    for changed in (random_sweep(3, 1, learning_rate=RATE), random_sweep(3, batch_size=[1, 2, 3])):
        with pytest.raises(RunError, match="holds another sweep: "):
            Ledger(tmp_path, changed, base)
    with pytest.raises(RunError, match="holds another sweep: data differs"):
        Ledger(tmp_path, random_sweep(3, learning_rate=RATE), base | {"data": ["y"]})


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"trials": [{"nam": 1}], "sweep": {}, "base": {}}'])
def test_a_damaged_ledger_is_told(text, tmp_path):
    (tmp_path / LEDGER).write_text(text)
    with pytest.raises(RunError, match=r"sweep\.json"):
        Ledger(tmp_path, random_sweep(3, learning_rate=RATE), {})


def test_the_best_first_by_what_can_be_compared(tmp_path):
    for vary, measure, order in (
        ({"train": {"seed": [1, 2, 3]}}, "loss", [2, 0, 1]),
        ({"tokenizer": {"vocab_size": [300, 400, 500]}}, "bits_per_byte", [0, 2, 1]),
    ):
        ledger = Ledger(tmp_path, read_sweep({"vary": vary}), {})
        ended(ledger.trials[0], 3.0)
        ended(ledger.trials[2], 2.0)
        assert ledger.measure == measure
        assert [int(trial.name[-1]) - 1 for trial in ledger.ranked()] == order


def test_the_median_rule(tmp_path):
    def ledger(finished: int, **settings) -> Ledger:
        values = {"early_stop": True, "vary": {"train": {"seed": list(range(9))}}} | settings
        made = Ledger(tmp_path, read_sweep(values), {})
        for n in range(finished):
            ended(made.trials[n], float(n))  # 7, 8, 9, 10, 11 at 0.3 of the run
        return made

    def curve(loss: float) -> list[tuple[float, float]]:
        return [(0.1, 20.0), (0.2, loss), (0.3, loss + 1)]  # by its best so far

    five = ledger(5)
    assert [five.hopeless(curve(loss)) for loss in (3.0, 8.9, 9.0, 9.1, 30.0)] == [False, False, False, True, True]
    assert not five.hopeless(curve(30.0)[:2])  # too early
    assert not ledger(3).hopeless(curve(30.0))  # too few
    assert not ledger(5, early_stop=False).hopeless(curve(30.0))
    assert math.isinf(five.trials[8].figure("loss"))
