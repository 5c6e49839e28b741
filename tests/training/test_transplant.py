"""A run that begins with the weights of another: what comes over, and what a new vocabulary changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nextword.checkpoint import load_run
from nextword.cli import run
from nextword.errors import UsageError
from nextword.models import build_model, model_config
from nextword.tokenizers import TokenizerConfig, train_tokenizer
from nextword.training.transplant import transplant

SETTINGS = [
    {"type": "lstm", "hidden_size": 8, "num_layers": 1, "tied": True},
    {"type": "gru", "hidden_size": 8, "num_layers": 2, "embedding_size": 6},
    {"type": "transformer", "hidden_size": 8, "num_layers": 1, "num_heads": 2, "max_seq_len": 16},
]


def char(text: str):
    return train_tokenizer(TokenizerConfig(type="char"), [text])


def model_for(tokenizer, settings: dict, seed: int):
    torch.manual_seed(seed)
    return build_model(model_config(settings | {"vocab_size": tokenizer.vocab_size})).eval()


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings["type"])
def test_the_same_vocabulary_gives_the_same_model(settings):
    tokenizer = char("abcdefg")
    old, new = (model_for(tokenizer, settings, seed) for seed in (1, 2))
    taken = transplant(new, tokenizer, old, tokenizer)
    tokens = torch.randint(tokenizer.vocab_size, (2, 7))
    assert torch.equal(new(tokens)[0], old(tokens)[0])
    assert taken.known == taken.tokens == tokenizer.vocab_size
    assert taken.parameters == new.num_parameters()


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings["type"])
def test_tokens_known_by_name_keep_their_meaning(settings):
    """A text of common letters has the same logits for common letters, whatever their ids."""
    before, after = char("abcdefg"), char("xgfedcyz")
    old, new = model_for(before, settings, 1), model_for(after, settings, 2)
    taken = transplant(new, after, old, before)
    assert taken.known == len("cdefg") + 2  # <unk> and <eos>, too
    text, letters = "gfedc", "cdefg"
    logits = [m(torch.tensor([t.encode(text)]))[0][0][:, t.encode(letters)] for m, t in ((old, before), (new, after))]
    torch.testing.assert_close(*logits)
    assert "3 new ones begin as the mean" in str(taken)
    x, y = after.encode("xy")
    assert torch.equal(new.embedding.weight[x], new.embedding.weight[y])


def test_another_network_is_refused():
    tokenizer = char("abc")
    with pytest.raises(UsageError, match=r"--init-from: .* has shape"):
        transplant(
            model_for(tokenizer, SETTINGS[0] | {"hidden_size": 9}, 1),
            tokenizer,
            model_for(tokenizer, SETTINGS[0], 1),
            tokenizer,
        )


def test_training_goes_on_from_another_run(tmp_path: Path, capsys):
    (tmp_path / "a.txt").write_text("the sea was calm. " * 300, encoding="utf-8")
    (tmp_path / "b.txt").write_text("the whale was near! " * 300, encoding="utf-8")
    first, second, third = (str(tmp_path / name) for name in ("first", "second", "third"))
    common = ["--steps", "2", "--documents", "file"]
    assert run(["train", str(tmp_path / "a.txt"), "--out", first, "--model", "lstm", "--size", "tiny", *common]) == 0
    assert run(["train", str(tmp_path / "b.txt"), "--out", second, "--init-from", first, *common]) == 0
    assert f"from {first}: " in capsys.readouterr().err
    a, b = load_run(first), load_run(second)
    assert a.tokenizer.fingerprint() == b.tokenizer.fingerprint()
    assert a.config["model"] == b.config["model"]
    assert "from the weights of" in (tmp_path / "second" / "README.md").read_text(encoding="utf-8")
    other = ["--init-from", first, "--tokenizer", "char", *common]
    assert run(["train", str(tmp_path / "b.txt"), "--out", third, *other]) == 0
    assert load_run(third).tokenizer.kind == "char"
    assert json.loads((tmp_path / "third" / "config.json").read_text())["init"]["from"] == first
    again = ["train", str(tmp_path / "b.txt"), "--out", str(tmp_path / "fourth"), *common]
    for arguments, code, message in (
        ([*again, "--init-from", str(tmp_path)], 1, "is not a run folder"),
        ([*again, "--init-from", first, "--set", "model.hidden_size=64"], 2, "has shape"),
        (["train", "--out", third, "--resume", "--init-from", first], 2, "--init-from cannot be given"),
    ):
        assert run(arguments) == code
        assert message in capsys.readouterr().err
    assert not (tmp_path / "fourth").exists()
