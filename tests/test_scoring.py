import itertools
import json
import math

import pytest
import torch
from toys import Bag, Bigram, ByteTokenizer, CharTokenizer, random_table

from nextword.errors import RunError, UsageError
from nextword.scoring import score_text

LETTERS = CharTokenizer("abcd")
V, EOS = LETTERS.vocab_size, LETTERS.eos_id


def text_of(length: int, seed: int = 0) -> str:
    ids = torch.randint(4, (length,), generator=torch.Generator().manual_seed(seed))
    return "".join("abcd"[i] for i in ids)


def test_the_chain_rule_by_hand() -> None:
    """P(ab) = P(a | <eos>) P(b | a), and P(<eos> | b) with include_eos."""
    table = random_table(V)
    score = score_text(Bigram(table), LETTERS, "ab")
    a, b = float(table[EOS, 0]), float(table[0, 1])
    assert [t.prob for t in score.tokens] == pytest.approx([a, b])
    assert math.exp(score.log_prob) == pytest.approx(a * b)
    assert score.perplexity == pytest.approx((a * b) ** -0.5)
    assert score.bits_per_byte == pytest.approx(-math.log2(a * b) / 2)
    assert (score.num_tokens, score.num_bytes, score.bos, score.include_eos) == (2, 2, "<eos>", False)

    ended = score_text(Bigram(table), LETTERS, "ab", include_eos=True)
    assert math.exp(ended.log_prob) == pytest.approx(a * b * float(table[1, EOS]))
    assert [t.text for t in ended.tokens] == ["a", "b", "<eos>"]
    assert ended.num_bytes == 2


@pytest.mark.parametrize("limit", [None, 4, 40])
@pytest.mark.parametrize("length", [0, 1, 9])
def test_a_prompt_is_read_and_not_scored(length: int, limit: int | None) -> None:
    """P(text | prompt) = P(prompt text) / P(prompt), whatever the windows; to its end, too."""
    model, prompt = Bag(random_table(V), limit), text_of(length, seed=1)
    for include_eos in (False, True):
        given = score_text(model, LETTERS, "abca", include_eos, prompt)
        whole = score_text(model, LETTERS, prompt + "abca", include_eos)
        assert [t.log_prob for t in given.tokens] == [t.log_prob for t in whole.tokens[length:]]
        assert (given.num_bytes, given.prompt) == (4, prompt)
        assert ("and the prompt" in given.conditions) == bool(prompt)


def test_all_texts_share_a_probability_of_one() -> None:
    """All texts of up to 3 letters that end, all of 3 letters that go on, and the empty text."""
    tokenizer = CharTokenizer("ab")
    model = Bag(random_table(tokenizer.vocab_size))
    model.output.weight[tokenizer.unk_id] = -1e30  # <unk> is no letter
    total = float(model(torch.tensor([[tokenizer.eos_id]]))[0].softmax(-1)[0, 0, tokenizer.eos_id])
    for length in (1, 2, 3):
        for letters in itertools.product("ab", repeat=length):
            going = math.exp(score_text(model, tokenizer, "".join(letters)).log_prob)
            ended = math.exp(score_text(model, tokenizer, "".join(letters), include_eos=True).log_prob)
            total += ended if length < 3 else going
    assert total == pytest.approx(1, abs=1e-5)


def test_rank_and_entropy() -> None:
    table = torch.full((V, V), 1 / V)
    table[EOS] = torch.tensor([0.1, 0.5, 0.1, 0.1, 0.1, 0.1])
    table[1] = torch.tensor([1.0, 0, 0, 0, 0, 0])
    b, a, c = score_text(Bigram(table), LETTERS, "bac").tokens
    assert b.rank == 1
    assert b.entropy == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(10), abs=1e-6)
    assert (a.rank, a.entropy) == (1, 0.0)
    assert (c.rank, c.entropy) == (1, pytest.approx(math.log(V)))  # ties share the better rank
    assert score_text(Bigram(table), LETTERS, "a").tokens[0].rank == 2


@pytest.mark.parametrize("length", [1, 5, 8, 9, 12, 13, 40, 41])
@pytest.mark.parametrize("limit", [1, 2, 5, 8])
def test_windows_against_their_definition(length: int, limit: int) -> None:
    """Windows begin every limit // 2 tokens; each token counts in the first window that holds it."""
    free, bounded = Bag(random_table(V)), Bag(random_table(V), max_seq_len=limit)
    text = text_of(length)
    inputs, stride = [EOS, *LETTERS.encode(text)], max(1, limit // 2)
    score = score_text(bounded, LETTERS, text)
    assert len(score.tokens) == length
    for i, token in enumerate(score.tokens):
        begin = next(start for start in range(0, length, stride) if start + limit > i)
        logits, _ = free(torch.tensor([inputs[begin : i + 1]]))
        assert token.log_prob == pytest.approx(float(logits[0, -1].log_softmax(-1)[token.id]), abs=1e-4)
    assert score.stride == (stride if length > limit else None)
    assert ("stride" in score.conditions) == (length > limit)


def test_a_model_without_a_limit_carries_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(50)
    whole = score_text(Bag(random_table(V)), LETTERS, text)
    monkeypatch.setattr("nextword.scoring.CARRIED", 7)
    monkeypatch.setattr("nextword.scoring.CHUNK_ELEMENTS", 3 * V)
    model = Bag(random_table(V))
    chunked = score_text(model, LETTERS, text)
    assert max(T for _, T in model.reads) == 7
    assert [t.log_prob for t in chunked.tokens] == pytest.approx([t.log_prob for t in whole.tokens], abs=1e-5)
    assert whole.window is None
    assert whole.stride is None


def test_bytes_of_chinese_are_counted_and_pieces_are_whole_characters() -> None:
    tokenizer = ByteTokenizer()
    score = score_text(Bigram(random_table(257)), tokenizer, "明月🌙!", include_eos=True)
    assert score.num_bytes == 11
    assert "".join(score.pieces) == "明月🌙!"
    assert score.pieces == ["", "", "明", "", "", "月", "", "", "", "🌙", "!", ""]
    assert len(score.pieces) == len(score.tokens)


def test_json_has_exactly_these_keys() -> None:
    values = json.loads(json.dumps(score_text(Bigram(random_table(V)), LETTERS, "abc").to_dict()))
    assert list(values) == [
        "tokens", "log_prob", "num_tokens", "num_bytes", "perplexity", "bits_per_byte",
        "prompt", "bos", "include_eos", "window", "stride",
    ]  # fmt: skip
    assert list(values["tokens"][0]) == ["text", "id", "log_prob", "prob", "rank", "entropy"]


def test_an_empty_text_and_broken_logits_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Bigram(random_table(V))
    with pytest.raises(UsageError, match="empty"):
        score_text(model, LETTERS, "")
    monkeypatch.setattr(LETTERS, "encode", lambda text: [])  # as words do with white space
    with pytest.raises(UsageError, match="' ' has no token"):
        score_text(model, LETTERS, " ")
    monkeypatch.undo()
    model.output.weight.data[0] = torch.nan
    with pytest.raises(RunError, match="not finite"):
        score_text(model, LETTERS, "ab")


def test_an_impossible_text_has_infinite_perplexity() -> None:
    table = torch.full((V, V), 1 / (V - 1))
    table[:, 0] = 0
    assert score_text(Bigram(table), LETTERS, "ba").perplexity == math.inf
