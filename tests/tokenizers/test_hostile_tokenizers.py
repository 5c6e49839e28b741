"""tokenizer.json files made to do harm (tokenizers issues 2060, 2094, 2151): our error, and soon."""

from __future__ import annotations

import json
import time

import pytest

from nextword.errors import NextwordError
from nextword.tokenizers import Tokenizer

EOS = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"content": "<eos>", "special": True}
MODEL = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}
PARTS = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
RULES = {"version": "1.0", **PARTS, "added_tokens": [{"id": 2, **EOS}], "model": MODEL}
ABSENT = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}], "pair": []}
HOSTILE = {
    "a pattern that backtracks without end": {
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    },
    "a merge longer than any token": {"model": MODEL | {"merges": [["a", "b" * 50]]}},
    "a prefix longer than a token": {
        "model": MODEL | {"vocab": {"a": 0, "#b": 1}, "continuing_subword_prefix": "######", "merges": [["a", "#b"]]}
    },
    "a stride longer than what is cut": {
        "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 5}
    },
    "a template with an absent token": {"post_processor": ABSENT | {"special_tokens": {}}},
    "stripping beyond a token": {"decoder": {"type": "Strip", "content": "a", "start": 100, "stop": 100}},
    "pieces of length 0": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "a table that is none": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "an id beyond 32 bits": {"added_tokens": [{"id": 10**12, **EOS}]},
    "an id twice": {"model": MODEL | {"vocab": {"a": 0, "b": 0}}},
    "an unknown token that is none": {"model": MODEL | {"unk_token": "<unk>"}},
    "a model of no kind": {"model": {"type": "Pickle"}},
    "nothing": {"model": None},
}


def attempt(folder, rules, text) -> str:
    """Load a tokenizer and use it in every way; what our error says, "" where there is none."""
    (folder / "tokenizer.json").write_text(json.dumps(RULES | rules))
    try:
        tokenizer = Tokenizer.load(folder)
        ids = tokenizer.encode(text)
        assert all(0 <= id < tokenizer.vocab_size for id in ids)
        assert tokenizer.encode_batch([text]) == [ids]
        tokenizer.decode(ids)
    except NextwordError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("text", ["a" * 30 + "b", "a" * 100_000, "ab\0月"])
def test_a_hostile_tokenizer_ends_in_our_error_or_in_ids(tmp_path, name, text):
    begun = time.process_time()
    assert "\n" not in attempt(tmp_path, HOSTILE[name], text)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("name", ["a pattern that backtracks without end", "stripping beyond a token"])
def test_what_fails_in_use_only_is_named(tmp_path, name):
    said = attempt(tmp_path, HOSTILE[name], "a" * 30 + "b")
    assert "fails at this text" in said or "is damaged" in said


def test_the_same_rules_without_harm_are_fine(tmp_path):
    assert attempt(tmp_path, {}, "ab") == ""
