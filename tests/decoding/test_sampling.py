import math

import pytest
import torch
from toys import Bag, Bigram, random_table

from nextword.decoding.config import GenerationConfig
from nextword.decoding.sampling import Sampler, draw, likeliest
from nextword.errors import RunError

V = 6


def run(
    model: Bigram, steps: int, prompt: tuple[int, ...] = (0,), rows: tuple[int, ...] = (0,), seed: int = 0, **settings
):
    """{row: [(token, log_prob), ...]} after some steps."""
    sampler = Sampler(model, prompt, GenerationConfig(**settings), seed=seed, rows=rows)
    drawn = {row: [] for row in rows}
    for _ in range(steps):
        for row, token, log_prob in sampler.step():
            drawn[row].append((token, log_prob))
    return drawn


def test_greedy_takes_the_likeliest_with_its_probability() -> None:
    table = random_table(V)
    token = 0
    for got, log_prob in run(Bigram(table), steps=10, temperature=0.0)[0]:
        assert got == int(table[token].argmax())
        assert log_prob == pytest.approx(math.log(table[token, got]), abs=1e-5)
        token = got


def test_frequencies_are_the_probabilities() -> None:
    """Chi-square over 20,000 draws, 3 degrees of freedom: 16.27 is passed once in a thousand seeds."""
    probs = torch.tensor([0.1, 0.2, 0.3, 0.4])
    rng = torch.Generator().manual_seed(1)
    counts = torch.bincount(draw(probs.log().expand(20_000, 4), [rng] * 20_000), minlength=4)
    assert ((counts - 20_000 * probs) ** 2 / (20_000 * probs)).sum() < 16.27


def test_removed_tokens_are_never_drawn() -> None:
    logits = torch.full((5_000, 7), -torch.inf)
    logits[:, [1, 4]] = torch.tensor([0.0, 3.0])
    rng = torch.Generator().manual_seed(1)
    assert set(draw(logits, [rng] * 5_000).tolist()) == {1, 4}


def test_log_probs_are_the_models_own_whatever_the_settings() -> None:
    table = random_table(V)
    drawn = run(Bigram(table), 20, temperature=0.3, top_k=3, top_p=0.9, repetition_penalty=1.2)[0]
    before = 0
    for token, log_prob in drawn:
        assert log_prob == pytest.approx(math.log(table[before, token]), abs=1e-5)
        before = token


def test_same_seed_same_tokens_and_rows_are_seeds() -> None:
    model = Bag(random_table(V))
    three = run(model, 15, rows=(0, 1, 2), seed=7)
    assert three == run(model, 15, rows=(0, 1, 2), seed=7)
    for row in range(3):
        assert three[row] == run(model, 15, seed=7 + row)[0]
    assert three[0] != three[1]


def test_a_row_that_ends_leaves_the_others_alone() -> None:
    model = Bag(random_table(V))
    expected = run(model, 12, rows=(0, 1, 2), seed=3)
    sampler = Sampler(model, (0,), GenerationConfig(), seed=3, rows=(0, 1, 2))
    got = [sampler.step() for _ in range(4)]
    sampler.finish(1)
    got += [sampler.step() for _ in range(8)]
    assert [(d.token, d.log_prob) for step in got for d in step if d.row == 2] == expected[2]
    assert sum(d.row == 1 for step in got for d in step) == 4
    sampler.finish(0, 2)
    assert sampler.rows == []


def test_the_prompt_is_read_once_for_all_rows_and_then_one_token_a_step() -> None:
    model = Bigram(random_table(V))
    run(model, 3, prompt=(0, 1, 2, 3), rows=(0, 1, 2, 3, 4))
    assert model.reads == [(1, 4), (5, 1), (5, 1)]


def test_the_penalty_sees_prompt_and_text() -> None:
    table = torch.full((V, V), 1 / V)
    drawn = run(Bigram(table), 5, prompt=(2,), temperature=0.0, repetition_penalty=1000.0)[0]
    assert sorted([2, *(token for token, _ in drawn)]) == list(range(V))


def test_a_full_context_goes_on_from_its_last_half() -> None:
    """Against the definition: read the prompt; when 8 tokens are in, start again from the last 4."""
    free, bounded = Bag(random_table(V)), Bag(random_table(V), max_seq_len=8)
    drawn = run(bounded, 30, prompt=(0, 1, 2), seed=5)[0]
    text, begin = [0, 1, 2], 0
    for token, log_prob in drawn:
        if len(text) - begin > 8:
            begin = len(text) - 4
        logits, _ = free(torch.tensor([text[begin:]]))
        assert log_prob == pytest.approx(float(logits[0, -1].log_softmax(-1)[token]), abs=1e-4)
        text.append(token)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_smallest_contexts_work(limit: int) -> None:
    assert len(run(Bag(random_table(V), max_seq_len=limit), 9)[0]) == 9


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_broken_logits_are_an_error(value: float, bad: float) -> None:
    model = Bigram(random_table(V))
    model.output.weight.data[3] = bad
    with pytest.raises(RunError, match="not finite"):
        run(model, 1, temperature=value)


def test_nothing_left_to_draw_is_an_error() -> None:
    sampler = Sampler(Bigram(random_table(V)), (0,), GenerationConfig(), seed=0, forbidden=range(V))
    with pytest.raises(RunError, match="forbid"):
        sampler.step()


def test_likeliest_takes_the_lowest_id_among_equals() -> None:
    assert likeliest(torch.tensor([[1.0, 3.0, 3.0]])).tolist() == [1]
