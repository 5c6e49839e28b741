"""The training loop: it learns, it ends when told, it goes on where it stopped, and it never takes a bad step."""

import json
import math
from itertools import islice

import pytest
import torch
from songs import MODELS, trainer, weights

from nextword.errors import TrainingError
from nextword.models import build_model, model_config
from nextword.training.evaluation import evaluate
from nextword.training.events import Evaluated, Finished, Sampled, Step
from nextword.training.logs import read_metrics
from nextword.training.resume import checkpoints, latest


def test_it_learns(name, files, tmp_path):
    run = trainer(name, files, tmp_path / "run", steps=150, learning_rate=0.02)
    before = evaluate(run.model, files, 4).loss
    events = list(run.run())
    after = evaluate(run.model.eval(), files, 4).loss
    assert before > 2.3  # near ln 12
    assert after < 0.5
    assert events[-1] == Finished(150, "completed")


def test_everything_happens_in_its_time(name, files, tmp_path):
    run = trainer(
        name, files, tmp_path / "run", sample=lambda model: ("te", "xt"), steps=20, eval_every=5, sample_every=10
    )
    events = list(run.run())
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 21))
    assert [event.step for event in events if isinstance(event, Evaluated)] == [5, 10, 15, 20]
    assert [event.step for event in events if isinstance(event, Sampled)] == [10, 20]
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines if line["split"] == "train"] == list(range(1, 21))
    assert [line["step"] for line in lines if line["split"] == "valid"] == [5, 10, 15, 20]
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-00000015", "step-00000020"]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_resumed_run_ends_with_the_same_bits(name, files, tmp_path, accumulate, ema):
    settings = {"steps": 30, "checkpoint_every": 7, "accumulate": accumulate, "ema": ema, "optimizer": "muon"}
    whole = trainer(name, files, tmp_path / "whole", **settings)
    losses = [event.loss for event in whole.run() if isinstance(event, Step)]

    broken, resumed_losses = trainer(name, files, tmp_path / "broken", **settings), []
    for stop in (10, 19):  # dies after steps that no checkpoint has seen
        list(islice((event for event in broken.run() if isinstance(event, Step)), stop - broken.position.step))
        broken = trainer(name, files, tmp_path / "broken", **settings)
        broken.resume(latest(tmp_path / "broken"))
        assert broken.position.step == stop // 7 * 7
        resumed_losses = resumed_losses[: broken.position.step]
    resumed_losses = losses[: broken.position.step]
    resumed_losses += [event.loss for event in broken.run() if isinstance(event, Step)]

    assert resumed_losses == losses
    for a, b in zip(weights(whole), weights(broken), strict=True):
        assert torch.equal(a, b)
    steps = [line["step"] for line in read_metrics(tmp_path / "broken" / "metrics.jsonl") if line["split"] == "train"]
    assert steps == list(range(1, 31))


def test_an_interrupted_run_saves_and_says_so(name, files, tmp_path):
    run = trainer(name, files, tmp_path / "run", steps=1000)
    for event in run.run():
        if isinstance(event, Step) and event.step == 3:
            run.interrupt()
    assert event == Finished(3, "interrupted")
    again = trainer(name, files, tmp_path / "run", steps=1000)
    again.resume(latest(tmp_path / "run"))
    assert again.position.step == 3


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_number_that_is_none_stops_before_the_update(name, files, tmp_path, where):
    run = trainer(name, files, tmp_path / "run", steps=100)
    events = run.run()
    next(events)
    before = weights(run)
    if where == "loss":
        with torch.no_grad():
            run.model.output.weight[0, 0] = math.nan
        before = weights(run)
    else:
        run.model.output.weight.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(TrainingError, match=f"{where} is not a finite number at step 2"):
        next(events)
    for a, b in zip(before, weights(run), strict=True):
        assert torch.equal(a.nan_to_num(), b.nan_to_num())


def test_a_budget_ends_on_time_with_the_learning_rate_at_its_end(name, files, tmp_path):
    run = trainer(name, files, tmp_path / "run", budget=4, schedule="linear")
    steps = [event for event in run.run() if isinstance(event, Step)]
    assert 2 < run.position.seconds < 6  # a busy machine may take long over the last save
    assert steps[-1].lr < 0.3 * steps[0].lr


def test_a_budget_sets_time_aside_for_its_only_evaluation(name, files, tmp_path):
    run = trainer(name, files, tmp_path / "run", budget=60, eval_every=10**6)
    next(event for event in run.run() if isinstance(event, Step) and event.step > 3)
    spent = run.clock.elapsed
    assert spent / 60 < run.clock.progress  # more of it is over than has passed
    assert run.clock.progress <= spent / 54 + 1e-9  # a tenth at most


def test_epochs_end_where_the_data_ends(name, files, tmp_path):
    run = trainer(name, files, tmp_path / "run", epochs=2.0)
    list(run.run())
    assert run.batches.epoch == pytest.approx(2.0, abs=0.1)


def test_early_stopping_counts_evaluations_without_a_best(name, files, tmp_path):
    run = trainer(name, files, tmp_path / "run", steps=500, eval_every=1, patience=3, learning_rate=1e-9)
    *_, last = run.run()
    assert last.reason == "early stopping"
    assert last.step < 100


def test_plateau_halves_the_learning_rate(name, files, tmp_path):
    settings = {"steps": 30, "eval_every": 5, "schedule": "plateau", "learning_rate": 5.0, "optimizer": "sgd"}
    run = trainer(name, files, tmp_path / "run", clip_norm=1.0, **settings)
    rates = {event.lr for event in run.run() if isinstance(event, Step)}
    assert rates <= {5.0 / 2**k for k in range(10)}
    assert run.position.plateau_factor * 5.0 in (min(rates), min(rates) / 2)  # the last evaluation may halve it too


def test_the_best_weights_are_kept_not_the_last(files, tmp_path):
    from nextword.checkpoint import load_weights

    run = trainer("lstm", files, tmp_path / "run", steps=60, eval_every=20, learning_rate=0.02)
    for event in run.run():
        if isinstance(event, Step) and event.step == 40:  # ruin what follows
            run.optimizers.set_learning_rate = lambda lr: None
            for part in run.optimizers.parts:
                for group in part.param_groups:
                    group["lr"] = 5.0
    assert run.position.best_step == 40
    model = build_model(model_config(MODELS["lstm"]))
    load_weights(tmp_path / "run" / "model.safetensors", model)
    assert evaluate(model, files, 4).loss == pytest.approx(run.position.best_loss, rel=1e-5)


def test_without_validation_the_latest_weights_are_kept(name, files, tmp_path):
    run = trainer(name, files, tmp_path / "run", valid=False, steps=4)
    assert not [event for event in run.run() if isinstance(event, Evaluated)]
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_checkpoints_hold_no_pickle(files, tmp_path):
    list(trainer("lstm", files, tmp_path / "run", steps=2).run())
    checkpoint = latest(tmp_path / "run")
    assert {path.suffix for path in checkpoint.iterdir()} == {".safetensors", ".json"}
    json.loads((checkpoint / "training.json").read_text())


def test_a_transformer_cannot_carry_its_state(files, tmp_path):
    with pytest.raises(TrainingError, match="carry_state"):
        trainer("transformer", files, tmp_path / "run", steps=1, carry_state=True)


def test_a_model_without_blocks_cannot_compute_them_again(files, tmp_path):
    with pytest.raises(TrainingError, match="activation_checkpointing"):
        trainer("lstm", files, tmp_path / "run", steps=1, activation_checkpointing=True)


def test_r_drop_needs_dropout(files, tmp_path, monkeypatch):
    list(trainer("transformer", files, tmp_path / "with", steps=2, r_drop=1.0).run())
    monkeypatch.setitem(MODELS, "transformer", MODELS["transformer"] | {"dropout": 0.0})
    with pytest.raises(TrainingError, match=r"r_drop .* different dropout"):
        trainer("transformer", files, tmp_path / "without", steps=2, r_drop=1.0)


def test_unlikelihood_is_for_whole_examples(files, tmp_path):
    list(trainer("lstm", files, tmp_path / "with", steps=2, unlikelihood=1.0, rows="examples").run())
    with pytest.raises(TrainingError, match=r"train.unlikelihood is for whole examples"):
        trainer("lstm", files, tmp_path / "without", steps=2, unlikelihood=1.0)


def test_a_context_longer_than_the_model_is_refused(files, tmp_path):
    with pytest.raises(TrainingError, match=r"train\.context is 9"):
        trainer("transformer", files, tmp_path / "run", steps=1, context=9)


def test_some_rows_start_from_nothing_and_the_others_carry_on(files, tmp_path):
    """Half the rows fresh: a row's state either continues the one before or is that of a first batch."""
    run = trainer("lstm", files, tmp_path / "run", steps=10, fresh_share=0.5)
    batch = next(run.batches)
    fresh = run.carried.before(batch, 1)
    assert not fresh.tensors()[1].any()
    _, state = run.model(batch.inputs, fresh)
    run.carried.keep(batch, state)
    carried = state.tensors()[1].clone()
    seen = set()
    for number in range(2, 22):
        hidden = run.carried.before(next(run.batches), number).tensors()[1]
        for row in range(4):
            assert torch.equal(hidden[row], carried[row]) or not hidden[row].any()
            seen.add(bool(hidden[row].any()))
    assert seen == {True, False}
