"""How far a run is, and what is due, by a clock that the test moves."""

from types import SimpleNamespace

import pytest
import torch

from nextword.training import clock as clock_module
from nextword.training.clock import Clock
from nextword.training.config import TrainConfig
from nextword.training.distributed import World


class Time:
    """Stands for the module `time`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock_module, "time", time)
    return time


def clock_of(valid_tokens=0, pauses=("eval", "checkpoint"), **config):
    config = TrainConfig(**config)
    return Clock(config, World(torch.device("cpu")), SimpleNamespace(epoch=0.0), pauses, valid_tokens)


def run(clock, time, step_seconds=1.0, pause_seconds=0.0, most=10_000):
    """The steps after which there was an evaluation, up to the end of the run."""
    evaluated = []
    for step in range(1, most):
        time.now += step_seconds
        clock.position.step = step
        clock.position.tokens += 10
        clock.position.step_seconds += step_seconds
        clock.meet()
        over, began = clock.over(), clock.elapsed
        if clock.due("eval", over):
            time.now += pause_seconds
            clock.did("eval")
            evaluated.append(step)
            clock.meet()
            over = over or clock.over()
            clock.paused(clock.elapsed - began)
        if over:
            return evaluated
    raise AssertionError("it does not end")


def test_a_run_is_evaluated_ten_times_unless_it_says_how_often(time):
    assert run(clock_of(steps=200), time) == list(range(20, 201, 20))
    assert run(clock_of(steps=200, eval_every=90), time) == [90, 180, 200]
    assert run(clock_of(steps=3), time) == [1, 2, 3]


def test_epochs_count_where_neither_steps_nor_a_budget_do(time):
    clock = clock_of(epochs=2.0)
    clock.batches.epoch = 0.5
    assert (clock.progress, clock.over()) == (0.25, "")
    clock.batches.epoch = 2.5
    assert (clock.progress, clock.over()) == (1.0, "completed")


@pytest.mark.parametrize("pause", [0.5, 3.0, 40.0])
def test_a_budget_holds_with_its_last_pause_and_gives_no_more_than_a_tenth_to_the_others(time, pause):
    clock = clock_of(budget=200.0, valid_tokens=50)
    evaluated = run(clock, time, pause_seconds=pause)
    assert time.now <= 200 + pause + 1  # a first pause may be dearer than was thought
    if pause == 0.5:
        assert len(evaluated) == 10
        assert time.now <= 201
    assert pause * (len(evaluated) - 2) <= 0.1 * 200


def test_a_budget_gives_at_least_one_step(time):
    clock = clock_of(budget=1.0)
    time.now = 60.0
    clock.meet()
    assert clock.over() == ""
    clock.position.step = 1
    assert clock.over() == "completed"


def test_what_the_run_does_not_do_is_never_due(time):
    clock = clock_of(steps=1)
    clock.position.step = 1
    assert [clock.due(what, clock.over()) for what in ("eval", "sample", "checkpoint")] == [True, False, True]


def test_a_resumed_run_goes_on_in_time_and_a_lengthened_one_is_evaluated_again(time):
    first = clock_of(steps=100)
    run(first, time, most=101)
    first.position.seconds = first.elapsed
    time.now = 5_000.0
    second = clock_of(steps=200)
    second.resume(first.position)
    assert second.elapsed == 100.0
    assert (second.progress, second.position.marks["eval"]) == (0.5, 5)


def test_whoever_is_asked_to_stop_tells_it_when_all_meet(time):
    clock = clock_of(steps=9)
    clock.interrupt()
    assert not clock.stopping
    assert clock.meet(2.5) == [2.5]
    assert clock.stopping
