"""The doctor at the bedside: silent on healthy runs however noisy, and quick to name what is wrong with a sick one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.metrics.copying import Copied
from nextword.training.doctor.vitals import BEFORE, QUIET, Vitals

STEPS = 600
UNIFORM = math.log(4096)


def healthy(
    seed: int = 0, steps: int = STEPS, noise: float = 0.05, final: float = 3.0, speed: float = 0.6
) -> dict[str, np.ndarray]:
    """A run as they look: a power law with noise, a gradient that calms down, a busy machine."""
    rng = np.random.default_rng(seed)
    t = np.arange(1, steps + 1)
    loss = final + (UNIFORM - final) * (1 + t / 8) ** -speed
    return {
        "loss": loss + noise * rng.standard_t(4, steps),
        "grad_norm": (0.4 + 2 * (1 + t / 10) ** -0.5) * rng.lognormal(0, 0.3, steps),
        "tokens_per_s": 20_000 * rng.lognormal(0, 0.15, steps),
    }


def watch(series: dict[str, np.ndarray], vitals: Vitals | None = None) -> list[tuple[str, int]]:
    vitals = vitals or Vitals(UNIFORM, warmup_steps=30, learning_rate=3e-3)
    steps = len(series["loss"])
    return [
        (finding.kind, finding.step)
        for i in range(steps)
        for finding in vitals.step(
            i + 1,
            (i + 1) / steps,
            float(series["loss"][i]),
            float(series["grad_norm"][i]),
            float(series["tokens_per_s"][i]),
        )
    ]


@settings(max_examples=40)
@given(
    st.integers(min_value=0, max_value=10**6),
    st.floats(min_value=0, max_value=0.3),
    st.floats(min_value=0.05, max_value=5.0),
    st.floats(min_value=0.3, max_value=1.0),
)
def test_a_noisy_run_that_learns_never_alarms(seed, noise, final, speed):
    assert watch(healthy(seed, noise=noise, final=final, speed=speed)) == []


def test_one_odd_batch_is_no_spike():
    series = healthy()
    for at in (200, 203, 400):
        series["loss"][at] += 4
        series["grad_norm"][at] *= 30
    assert watch(series) == []


def test_other_text_for_a_while_is_no_spike():
    series = healthy()
    series["loss"][300:340] += 1.0  # a chapter of another kind: the loss is higher, the gradient is not
    assert watch(series) == []


def test_a_spike_is_told_once():
    series = healthy()
    series["loss"][300:330] += 3
    series["grad_norm"][300:330] *= 10
    [(kind, step)] = watch(series)
    assert kind == "loss-spike"
    assert 300 < step <= 305


def test_a_run_that_comes_apart_is_told():
    series = healthy()
    series["loss"][300:] = 6.5
    kind, step = watch(series)[0]
    assert kind == "diverging"
    assert 400 <= step <= 450


@pytest.mark.parametrize(("loss", "word"), [(8.2, "low"), (9.5, "high")])
def test_a_run_that_learns_nothing_is_told_what_is_wrong_with_its_rate(loss, word):
    vitals = Vitals(UNIFORM, warmup_steps=50, learning_rate=1e-3)
    found = [f for step in range(1, 400) for f in vitals.step(step, step / 400, loss, 1.0, 1e4)]
    assert {finding.kind for finding in found} == {"not-learning"}
    assert found[0].step == 250
    assert f"too {word}" in found[0].why
    assert ("train.learning_rate=0.01" if word == "low" else "train.learning_rate=0.0003") in found[0].remedy


def test_a_dead_gradient_is_told():
    series = healthy()
    series["grad_norm"][250:] = 1e-9
    found = watch(series)
    assert found[0][0] == "dead-gradient"
    assert 255 <= found[0][1] <= 280


def test_a_machine_that_slows_down_is_told():
    series = healthy()
    series["tokens_per_s"][300:] *= 0.25
    found = watch(series)
    assert found[0][0] == "slow"
    assert 310 <= found[0][1] <= 340


def test_what_lasts_is_repeated_once_in_a_tenth_of_the_run():
    series = healthy()
    series["grad_norm"][150:] = 0.0
    steps = [step for kind, step in watch(series) if kind == "dead-gradient"]
    assert 6 <= len(steps) <= 9
    assert min(np.diff(steps)) >= QUIET * STEPS - 1


def test_the_same_series_gives_the_same_findings():
    series = healthy()
    series["loss"][300:] += 3
    series["grad_norm"][300:] *= 5
    assert watch(series) == watch(series) != []


def evaluations(valid: list[float], train: list[float]) -> list[tuple[str, int]]:
    vitals, found, step = Vitals(UNIFORM), [], 0
    for number, (loss, mean) in enumerate(zip(valid, train, strict=True), 1):
        for _ in range(BEFORE):
            step += 1
            found += vitals.step(step, number / len(valid), mean, 1.0, 1e4)
        found += vitals.evaluated(step, loss)
    return [(finding.kind, finding.step // BEFORE) for finding in found]


def test_over_fitting_is_validation_that_rises_while_training_falls():
    train = [5.0, 4.0, 3.5, 3.0, 2.5, 2.0]
    assert evaluations([5.0, 4.2, 4.0, 4.1, 4.3, 4.6], train) == [("over-fitting", 5), ("over-fitting", 6)]
    assert evaluations([5.0, 4.2, 4.0, 4.01, 4.02, 4.03], train) == []  # no more than noise
    assert evaluations([5.0, 4.2, 4.0, 4.3, 3.9, 3.8], train) == []  # it came back
    assert evaluations([5.0, 4.2, 4.0, 4.1, 4.3, 4.4], [5.0, 4.0, 3.5, 3.6, 3.8, 3.9]) == []  # both rise


def test_a_sample_that_is_a_copy_is_told():
    vitals = Vitals(UNIFORM)
    assert vitals.sampled(10, Copied(80, 12, 9, 12, 0)) == []
    assert [f.kind for f in vitals.sampled(20, Copied(80, 60, 9, 30, 0))] == ["copying"]
    assert [f.kind for f in Vitals(UNIFORM).sampled(20, Copied(800, 50, 9, 50, 0))] == ["copying"]
