"""The vocabulary of a GGUF file -> the text of a tokenizer.json.

Two kinds. `gpt2`: byte-level BPE with its merges; only the name of the cuts before them is in the file. `llama`:
SentencePiece's BPE, which has a score for each piece and no merges; they are found again, as every way to make a piece
of two others, the better piece first. A tokenizer.json inside the file goes first: nextword puts one there where the
other entries cannot say all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nextword import strict_json
from nextword.errors import RunError
from nextword.interop.gguf.container import Value
from nextword.interop.gguf.cuts import CUTS, Cut, byte_level
from nextword.interop.huggingface import first_token

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of tokens, in tokenizer.ggml.token_type."""
ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
"""Hugging Face's name of a special token, and that of its key in the file, before _token_id."""
TURN_ENDS = ("<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>")
"""Control tokens that end a turn, whether a file says so or not, as in llama.cpp."""
WHOLE = "tokenizer.huggingface.json"
MARK = "▁"  # a space, in SentencePiece's pieces
MOST_CHARACTERS = 2**24  # of all pieces, each cut into two everywhere; Gemma's have two million


@dataclass(frozen=True)
class Vocabulary:
    """What a file says about text and ids."""

    tokenizer: str
    """The text of a tokenizer.json."""
    special_tokens: Mapping[str, str]
    """As in `Foreign`."""
    special_ids: Mapping[str, int]
    """The same by id."""
    ends: list[int]
    """The ids that end a text or a turn of a conversation."""
    chat_template: str


def read_vocabulary(metadata: Mapping[str, Value], size: int) -> Vocabulary:
    """The vocabulary of a file whose embedding has `size` rows.

    Raises RunError if it has none, if its parts do not fit each other, or if its kind is not supported.
    """
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise RunError("the GGUF file has no vocabulary (tokenizer.ggml.tokens)")
    if len(tokens) != size:
        raise RunError(f"the vocabulary has {len(tokens):,} tokens, the embedding {size:,} rows")
    types = _numbers(metadata, "token_type", len(tokens))
    kinds = [NORMAL] * len(tokens) if types is None else types.astype(int).tolist()
    ids = {}
    for role, name in {**ROLES, "eot_token": "eot"}.items():
        id = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if id is None:
            continue
        if type(id) is not int or not 0 <= id < len(tokens):
            raise RunError(f"tokenizer.ggml.{name}_token_id: {id!r} is no token of {len(tokens):,}")
        ids[role] = id
        if kinds[id] == NORMAL:
            kinds[id] = CONTROL
    given = metadata.get(WHOLE)
    model = metadata.get("tokenizer.ggml.model")
    if isinstance(given, str):
        text = _given(given, tokens)
    else:
        vocab = _distinct(tokens, kinds)
        if model == "gpt2":
            rules = _byte_level(metadata, vocab)
        elif model == "llama":
            rules = _sentencepiece(metadata, vocab, tokens, kinds)
        else:
            raise RunError(f"a GGUF vocabulary of type {model!r} is not supported", hint="Supported: llama, gpt2")
        rules["added_tokens"] = [
            added_token(id, token, special=kinds[id] != USER_DEFINED)
            for token, id in sorted(vocab.items(), key=lambda item: item[1])
            if kinds[id] in (UNKNOWN, CONTROL, USER_DEFINED)
        ]
        begins = model == "llama" or _cut(metadata).whole  # as llama.cpp has it where a file says nothing
        if metadata.get("tokenizer.ggml.add_bos_token", begins) is True and "bos_token" in ids:
            rules["post_processor"] = first_token(tokens[ids["bos_token"]], ids["bos_token"])
        text = json.dumps(rules, ensure_ascii=False)
    template = metadata.get("tokenizer.chat_template", "")
    if not isinstance(template, str):
        raise RunError("tokenizer.chat_template is not a text")
    special = {role: tokens[id] for role, id in ids.items() if role in ROLES}
    ends = {ids[role] for role in ("eos_token", "eot_token") if role in ids}
    ends |= {id for id, token in enumerate(tokens) if kinds[id] == CONTROL and token in TURN_ENDS}
    return Vocabulary(text, special, ids, sorted(ends), template)


def _given(text: str, tokens: list[str]) -> str:
    """A tokenizer.json that lies in the file. Raises RunError if it is not one, or gives other tokens their ids."""
    try:
        rules = strict_json.loads(text.encode())
        model = rules["model"]
        vocab = dict(model["vocab"])
        if model["type"] == "Unigram":
            vocab = {piece: id for id, (piece, _) in enumerate(model["vocab"])}
        vocab |= {token["content"]: token["id"] for token in rules["added_tokens"]}
        wrong = [token for token, id in vocab.items() if type(id) is not int or not 0 <= id < len(tokens)]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{WHOLE} in the GGUF file is damaged: {error!r}") from None
    if wrong:
        raise RunError(f"{WHOLE} in the GGUF file gives {wrong[0]!r} an id that is none of {len(tokens):,} tokens")
    return text


def _numbers(metadata: Mapping[str, Value], name: str, count: int) -> np.ndarray | None:
    """One number for each token. Raises RunError if there are more or fewer, or other things."""
    values = metadata.get(f"tokenizer.ggml.{name}")
    if values is None:
        return None
    if not isinstance(values, np.ndarray) or len(values) != count or not np.isfinite(values).all():
        raise RunError(f"tokenizer.ggml.{name} does not have a number for each of {count:,} tokens")
    return values


def _distinct(tokens: list[str], kinds: list[int]) -> dict[str, int]:
    """Token -> id. Raises RunError if a token that text can have stands there twice; unused ones are left out."""
    vocab: dict[str, int] = {}
    for id, token in enumerate(tokens):
        if kinds[id] == UNUSED:
            continue
        if vocab.setdefault(token, id) != id:
            raise RunError(f"the token {token[:80]!r} stands in the vocabulary twice, as {vocab[token]} and {id}")
    return vocab


def added_token(id: int, token: str, special: bool) -> dict[str, Any]:
    """One of the added_tokens of a tokenizer.json: found in text as a whole, before all else."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id, "content": token, **flags, "special": special}


def _rules(**given: Any) -> dict[str, Any]:
    parts = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    return {"version": "1.0", **parts, **given}


def bpe(vocab: Mapping[str, int], merges: list[tuple[str, str]], **given: Any) -> dict[str, Any]:
    """The model of a tokenizer.json."""
    settings = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    return {**settings, **given, "vocab": dict(vocab), "merges": [list(pair) for pair in merges]}


# -- byte-level BPE ----------------------------------------------------------------------------------------------------


def _byte_level(metadata: Mapping[str, Value], vocab: dict[str, int]) -> dict[str, Any]:
    cut = _cut(metadata)
    merges = metadata.get("tokenizer.ggml.merges", [])
    if not isinstance(merges, list):
        raise RunError("tokenizer.ggml.merges is not a list of texts")
    pairs = []
    for merge in merges:
        first, space, second = merge.partition(" ")
        if not space or first not in vocab or second not in vocab or first + second not in vocab:
            raise RunError(f"tokenizer.ggml.merges: {merge[:80]!r} does not make a token of two others")
        pairs.append((first, second))
    return _rules(
        model=bpe(vocab, pairs, ignore_merges=cut.whole),
        normalizer={"type": "NFC"} if cut.composes else None,
        pre_tokenizer=cut.rules,
        post_processor=byte_level(use_regex=True) | {"trim_offsets": False},
        decoder=byte_level(use_regex=True),
    )


def _cut(metadata: Mapping[str, Value]) -> Cut:
    name = metadata.get("tokenizer.ggml.pre")
    if name is None and metadata.get("general.architecture") == "gpt2":
        name = "gpt-2"
    for cut in CUTS:
        if name in cut.names:
            return cut
    known = ", ".join(cut.names[0] for cut in CUTS)
    raise RunError(
        f"tokenizer.ggml.pre {name!r} is not supported: how text is cut is not known", hint=f"Known: {known}"
    )


# -- SentencePiece's BPE -----------------------------------------------------------------------------------------------


def _sentencepiece(
    metadata: Mapping[str, Value], vocab: dict[str, int], tokens: list[str], kinds: list[int]
) -> dict[str, Any]:
    scores = _numbers(metadata, "scores", len(tokens))
    if scores is None:
        raise RunError("the GGUF file has no tokenizer.ggml.scores, without which its pieces cannot be merged")
    pieces = {token: id for token, id in vocab.items() if kinds[id] in (NORMAL, USER_DEFINED)}
    unknown = next((token for token, id in vocab.items() if kinds[id] == UNKNOWN), None)
    fallback = all(f"<0x{byte:02X}>" in vocab for byte in range(256))
    model = bpe(vocab, merges_of(pieces, scores), unk_token=unknown, fuse_unk=True, byte_fallback=fallback)
    return sentencepiece_rules(model, prefix=metadata.get("tokenizer.ggml.add_space_prefix", True) is True)


def sentencepiece_rules(model: Mapping[str, Any], prefix: bool) -> dict[str, Any]:
    """A tokenizer.json around a model whose spaces are `▁`; `prefix`: a text begins with one."""
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
    first = {"type": "Prepend", "prepend": MARK}
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": MARK}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return _rules(
        model=model,
        normalizer={"type": "Sequence", "normalizers": [first, spaces]} if prefix else spaces,
        decoder={"type": "Sequence", "decoders": steps},
    )


def merges_of(pieces: Mapping[str, int], scores: np.ndarray) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, that of the highest score first: what SentencePiece's BPE does.

    `pieces`: piece -> id; `scores`: one for each id. Equal scores: in order of ids, the shorter left part first.
    """
    if sum(map(len, pieces)) > MOST_CHARACTERS:
        raise RunError(f"the pieces of the vocabulary have more than {MOST_CHARACTERS:,} characters")
    found = []
    for piece, id in pieces.items():
        for i in range(1, len(piece)):
            if piece[:i] in pieces and piece[i:] in pieces:
                found.append((-float(scores[id]), id, i, piece))
    return [(piece[:i], piece[i:]) for _, _, i, piece in sorted(found)]
