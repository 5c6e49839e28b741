"""Learning-rate schedules, at the points where their value is known, and the time limits people write."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.config import parse
from nextword.errors import UsageError
from nextword.training.config import TrainConfig, parse_duration
from nextword.training.schedules import lr_factor

SCHEDULES = ["constant", "linear", "cosine", "inverse_sqrt", "wsd", "plateau"]


@given(
    st.sampled_from(SCHEDULES),
    st.integers(0, 1000),
    st.integers(0, 100_000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["linear", "sqrt"]),
)
def test_a_factor_lies_between_zero_and_one(schedule, warmup, step, progress, final, decay):
    config = TrainConfig(schedule=schedule, warmup_steps=warmup, final_lr=final, decay=decay)
    assert 0 <= lr_factor(config, step, progress) <= 1 + 1e-12


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_rises_linearly_to_the_peak(schedule):
    config = TrainConfig(schedule=schedule, warmup_steps=4)
    assert [lr_factor(config, step, 0.0) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, pytest.approx(1.0, abs=0.11)]


@pytest.mark.parametrize(
    ("settings", "progress", "expected"),
    [
        ({"schedule": "constant"}, 1.0, 1.0),
        ({"schedule": "linear"}, 0.25, 0.75),
        ({"schedule": "linear", "final_lr": 0.1}, 1.0, 0.1),
        ({"schedule": "cosine"}, 0.5, 0.5),
        ({"schedule": "cosine"}, 1.0, 0.0),
        ({"schedule": "cosine", "final_lr": 0.2}, 0.5, 0.6),
        ({"schedule": "wsd", "decay_share": 0.5}, 0.5, 1.0),
        ({"schedule": "wsd", "decay_share": 0.5}, 0.75, 0.5),
        ({"schedule": "wsd", "decay_share": 0.5, "decay": "sqrt"}, 0.75, 1 - math.sqrt(0.5)),
        ({"schedule": "wsd", "decay_share": 0.5, "decay": "exponential", "final_lr": 0.01}, 0.75, 0.1),
        ({"schedule": "wsd", "decay_share": 0.5, "decay": "exponential", "final_lr": 0.01}, 1.0, 0.01),
    ],
)
def test_known_values(settings, progress, expected):
    assert lr_factor(TrainConfig(**settings), 10, progress) == pytest.approx(expected)


def test_inverse_square_root_halves_when_steps_quadruple():
    config = TrainConfig(schedule="inverse_sqrt", warmup_steps=100)
    assert lr_factor(config, 399, 0.0) == pytest.approx(0.5)
    assert lr_factor(config, 1599, 0.0) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("15s", 15), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), (2.5, 2.5), (7, 7)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "10x", "-5s", "m", "1h-3m", True, "inf", "nan"])
def test_bad_durations(text):
    with pytest.raises(UsageError, match=r"train\.budget"):
        parse(TrainConfig, {"budget": text}, "train")


def test_one_limit_only():
    with pytest.raises(UsageError, match="budget and steps"):
        parse(TrainConfig, {"budget": "1m", "steps": 5}, "train")


def test_a_number_written_as_people_write_it_is_explained():
    with pytest.raises(UsageError, match=r"^train\.steps: expected an integer, got '2k'$"):
        parse(TrainConfig, {"steps": "2k"}, "train")
