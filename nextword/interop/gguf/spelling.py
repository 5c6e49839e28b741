"""The text of a tokenizer.json -> the vocabulary of a GGUF file, as far as llama.cpp can do what it says.

Three kinds can be said: byte-level BPE, SentencePiece's BPE, and an alphabet of characters (as a unigram model whose
pieces are single characters, `t5`: of llama.cpp's kinds the one that has an unknown token). Words and our own unigram
pieces can't. Where reading the entries back would give another tokenizer.json, that goes in as well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np

from nextword.errors import RunError
from nextword.interop.gguf.container import Value
from nextword.interop.gguf.cuts import CUTS, by_pattern
from nextword.interop.gguf.vocabulary import (
    BYTE,
    CONTROL,
    MARK,
    NORMAL,
    ROLES,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    WHOLE,
    merges_of,
    read_vocabulary,
)
from nextword.tokenizers.subword import PATTERN

logger = logging.getLogger(__name__)

NEVER = -1e9  # the score of a piece that no merge makes
APART = "digits and most text are cut alike, but words with combining marks (Hindi, Arabic vowels) otherwise"


def write_vocabulary(
    tokenizer: str, special_tokens: Mapping[str, str], size: int, chat_template: str, ends: list[int]
) -> dict[str, Value]:
    """The tokenizer's keys of a GGUF file whose embedding has `size` rows; `ends`: ids that end a text.

    Every text begins with the bos token if the post_processor of the tokenizer.json has it so. Raises RunError if the
    tokenizer has more tokens than the embedding, or is of a kind that llama.cpp does not know.
    """
    rules = json.loads(tokenizer)
    vocab, kinds = _tokens(rules, size)
    tokens = [f"[PAD{id}]" for id in range(size)]
    types = np.full(size, UNUSED, np.int32)
    for token, id in vocab.items():
        tokens[id], types[id] = token, kinds.get(token, NORMAL)
    found: dict[str, Value] = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types}
    decoder = json.dumps(rules.get("decoder"))
    kind = rules["model"]["type"]
    if kind != "BPE":
        raise RunError(
            f"a tokenizer whose model is {kind} cannot be written as GGUF",
            hint="llama.cpp knows byte-level BPE, bytes, SentencePiece's BPE and characters",
        )
    if '"ByteLevel"' in decoder:
        found |= _byte_level(rules, vocab)
    elif MARK in json.dumps([rules.get("normalizer"), rules.get("pre_tokenizer")], ensure_ascii=False):
        found |= _sentencepiece(rules, vocab, types)
    elif not rules["model"]["merges"] and rules.get("normalizer") is None and rules.get("pre_tokenizer") is None:
        found |= _characters(tokens, types, rules["model"]["unk_token"])
    else:
        raise RunError("this BPE tokenizer is neither byte-level nor SentencePiece's: llama.cpp has no such kind")
    for role, name in ROLES.items():
        text = special_tokens.get(role) or (rules["model"].get("unk_token") if role == "unk_token" else None)
        if text in vocab:
            found[f"tokenizer.ggml.{name}_token_id"] = vocab[text]
    others = [id for id in ends if id != found.get("tokenizer.ggml.eos_token_id") and 0 <= id < size]
    if others and "tokenizer.ggml.eos_token_id" in found:
        found["tokenizer.ggml.eot_token_id"] = others[0]
    bos = special_tokens.get("bos_token")
    found["tokenizer.ggml.add_bos_token"] = bos in vocab and _begins(rules.get("post_processor"), bos)
    found["tokenizer.ggml.add_eos_token"] = False
    if chat_template:
        found["tokenizer.chat_template"] = chat_template
    if not _reads_back(found, rules, size):
        found[WHOLE] = tokenizer
    return found


def _tokens(rules: Mapping[str, Any], size: int) -> tuple[dict[str, int], dict[str, int]]:
    """Token -> id, and the types of those that are not normal."""
    model, added = rules["model"], rules.get("added_tokens") or []
    pairs = model["vocab"].items() if isinstance(model["vocab"], dict) else []
    vocab = dict(pairs) | {token["content"]: token["id"] for token in added}
    highest = max(vocab.values(), default=0)
    if highest >= size:
        raise RunError(f"the tokenizer has an id {highest:,}, but the model has an embedding of {size:,} rows")
    kinds = {token["content"]: CONTROL if token["special"] else USER_DEFINED for token in added}
    if model.get("unk_token") in vocab:
        kinds[model["unk_token"]] = UNKNOWN
    return vocab, kinds


def _byte_level(rules: Mapping[str, Any], vocab: Mapping[str, int]) -> dict[str, Value]:
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in rules["model"]["merges"]]
    whole = bool(rules["model"].get("ignore_merges"))
    alike = [cut for cut in CUTS if _essence(cut.rules) == _essence(rules.get("pre_tokenizer"))]
    composes = rules.get("normalizer") == {"type": "NFC"}
    if not composes and rules.get("normalizer") is not None:
        raise RunError("a byte-level tokenizer with a normalizer cannot be written as GGUF: llama.cpp has none")
    alike.sort(key=lambda cut: (cut.whole != whole, cut.composes != composes))
    if alike:
        name = alike[0].names[0]
    elif not merges:
        name = CUTS[0].names[0]  # bytes by themselves are the same however they are cut
    elif _essence(rules.get("pre_tokenizer")) == _essence(by_pattern(PATTERN)):
        name = "llama-bpe"
        logger.warning("llama.cpp has no name for how this tokenizer cuts text, %s is the nearest: %s", name, APART)
    else:
        raise RunError("how this tokenizer cuts text before its merges has no name in GGUF files")
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": name, "tokenizer.ggml.merges": merges}


def _essence(value: Any) -> Any:
    """Rules without what only concerns offsets, and GPT-2's pattern without its name."""
    if isinstance(value, dict):
        return {key: _essence(part) for key, part in value.items() if key != "trim_offsets"}
    return [_essence(part) for part in value] if isinstance(value, list) else value


def _sentencepiece(rules: Mapping[str, Any], vocab: Mapping[str, int], types: np.ndarray) -> dict[str, Value]:
    model = rules["model"]
    if not model.get("byte_fallback"):
        raise RunError("SentencePiece's BPE without bytes cannot be written as GGUF: llama.cpp stops at the unknown")
    types[[vocab[token] for token in (f"<0x{byte:02X}>" for byte in range(256)) if token in vocab]] = BYTE
    pairs = [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
    order = list(dict.fromkeys("".join(pair) for pair in pairs))
    scores = np.full(len(types), NEVER, np.float32)
    for rank, piece in enumerate(order):
        scores[vocab[piece]] = -rank
    pieces = {token: id for token, id in vocab.items() if types[id] in (NORMAL, USER_DEFINED)}
    again = merges_of(pieces, scores)
    if [piece for piece, _ in groupby("".join(pair) for pair in pairs)] != order or set(again) != set(pairs):
        raise RunError("the merges of this tokenizer are not those of SentencePiece: llama.cpp would cut otherwise")
    steps = json.dumps([rules.get("normalizer"), rules.get("pre_tokenizer")])
    prefix = '"Prepend"' in steps or ('"Metaspace"' in steps and '"never"' not in steps)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_space_prefix": prefix,
    }


def _characters(tokens: list[str], types: np.ndarray, unknown: str | None) -> dict[str, Value]:
    if unknown is None:
        raise RunError("an alphabet without an unknown token cannot be written as GGUF")
    if " " in tokens:
        if MARK in tokens:
            raise RunError(f"an alphabet with both a space and {MARK} cannot be written as GGUF, where they are one")
        tokens[tokens.index(" ")] = MARK
    return {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": np.where(types == NORMAL, np.float32(-1), np.float32(0)),
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.remove_extra_whitespaces": False,
    }


def _begins(post_processor: Any, bos: str | None) -> bool:
    """Whether a post_processor puts `bos` before every text."""
    if not isinstance(post_processor, dict):
        return False
    steps = [post_processor, *post_processor.get("processors", [])]
    first = [step["single"][0] for step in steps if step["type"] == "TemplateProcessing" and step["single"]]
    return any(piece.get("SpecialToken", {}).get("id") == bos for piece in first)


def _reads_back(metadata: Mapping[str, Value], rules: Mapping[str, Any], size: int) -> bool:
    try:
        again = json.loads(read_vocabulary(metadata, size).tokenizer)
    except RunError:  # an alphabet: only its tokenizer.json says what it is
        return False
    return _comparable(again) == _comparable(rules)


def _comparable(rules: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the ids of a text, merges as pairs."""
    model = dict(rules["model"])
    model["merges"] = [list(pair) if isinstance(pair, list) else pair.split(" ", 1) for pair in model["merges"]]
    parts = {key: _essence(rules.get(key)) for key in ("normalizer", "pre_tokenizer", "decoder", "added_tokens")}
    return parts | {"model": model, "begins": _essence(rules.get("post_processor"))}
