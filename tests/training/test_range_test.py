"""The learning-rate range test: its judgement on curves whose shape is known, and that it ends in time."""

import math
import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from songs import trainer, weights

from nextword.errors import TrainingError
from nextword.training.range_test import HIGHEST, LOWEST, STEPS, diverged, judge, rates, smoothed, try_rates


def curve(fall: float, leap: float, start: float = 8.0, low: float = 5.0, noise: float = 0.0) -> list[float]:
    """Losses that fall around the rate `fall` and rise from `leap` on, cut off where the test would end."""
    rng, losses = random.Random(0), []
    for rate in rates():
        fallen = 1 / (1 + (fall / rate) ** 2)
        losses.append(start - (start - low) * fallen + (rate / leap) ** 2 + rng.gauss(0, noise))
        if diverged(losses):
            break
    return losses


def test_the_rates():
    found = rates()
    assert len(found) == STEPS
    assert (found[0], found[-1]) == pytest.approx((LOWEST, HIGHEST))
    ratios = [b / a for a, b in pairwise(found)]
    assert max(ratios) == pytest.approx(min(ratios))


@pytest.mark.parametrize("noise", [0.0, 0.15])
@pytest.mark.parametrize(("fall", "leap"), [(1e-3, 0.1), (1e-4, 1e-2), (0.1, 3.0)])
def test_what_is_known_of_a_curve_is_found(fall, leap, noise):
    found = judge(curve(fall, leap, noise=noise))
    assert found.steepest == pytest.approx(fall, rel=0.8)
    assert fall < found.lowest < leap
    assert found.steepest < found.suggestion < found.lowest
    assert found.diverged
    assert found.rates[-1] < HIGHEST


@given(st.floats(0.5, 2.0), st.floats(0.0, 3.0))
def test_the_suggestion_depends_on_the_shape_alone(scale, above):
    """A loss in other units, with as much of its fall between them, gives the same rates."""
    losses = curve(1e-3, 0.1)
    plain = judge(losses[:60])
    moved = judge([scale * loss + above for loss in losses[:60]])
    assert (moved.steepest, moved.lowest, moved.suggestion) == (plain.steepest, plain.lowest, plain.suggestion)


@pytest.mark.parametrize("losses", [[8.0] * STEPS, [2.0 + 0.05 * n for n in range(40)]], ids=["flat", "rising"])
def test_where_nothing_falls_nothing_is_suggested(losses):
    with pytest.raises(TrainingError, match="fell at no learning rate"):
        judge(losses)


def test_noise_is_no_fall():
    rng = random.Random(1)
    with pytest.raises(TrainingError, match="fell at no learning rate"):
        judge([8 + rng.gauss(0, 0.3) for _ in range(STEPS)])


def test_a_test_that_reaches_its_end_has_not_diverged():
    assert not judge(curve(1e-2, 1e9)).diverged


def test_smoothing_has_no_lag():
    step = [0.0] * 50 + [1.0] * 50
    middle = smoothed(step)
    assert middle[49] + middle[50] == pytest.approx(1.0)
    assert smoothed([3.0] * 20) == pytest.approx([3.0] * 20)


def test_it_trains_at_each_rate_and_ends_when_the_loss_leaps(name, files, tmp_path):
    run = trainer(name, files, tmp_path / "run", steps=1, optimizer="sgd", clip_norm=0.0, learning_rate=123.0)
    before = weights(run)
    steps = list(try_rates(run))
    assert [step.lr for step in steps] == pytest.approx(rates()[: len(steps)])
    assert not (tmp_path / "run").exists()  # nothing is written
    assert not all(torch.equal(a, b) for a, b in zip(before, weights(run), strict=True))


def test_a_loss_that_is_no_number_ends_it(files, tmp_path):
    run = trainer("lstm", files, tmp_path / "run", steps=1)
    plain, done = run._step, []

    def step(lr: float):
        done.append(lr)
        if len(done) > 30:
            with torch.no_grad():
                run.model.output.weight.fill_(math.nan)
        return plain(lr)

    run._step = step  # type: ignore[method-assign]
    assert len(list(try_rates(run))) == 30
    done[:] = [0.0] * 40
    with pytest.raises(TrainingError, match="not a finite number"):  # at the first rate: there is nothing to tell
        list(try_rates(run))
