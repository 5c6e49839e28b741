"""A SentencePiece model (tokenizer.model) as a tokenizer.json: the same pieces, the same rules, the same ids.

The file is a protocol buffer, of which a few fields matter; twenty lines read them. SentencePiece merges the neighbours
whose joined piece has the highest score, so a list of merges sorted by that score does the same.

Format: https://github.com/google/sentencepiece, src/sentencepiece_model.proto
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nextword.errors import RunError
from nextword.tokenizers.base import ELSEWHERE

SPACE = "▁"
UNIGRAM, BPE = 1, 2
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
MOST_PIECES = 2**20
LONGEST_PIECE = 2**10  # characters; the trainer's own limit is 16
MARIAN_SPECIAL = {"<unk>": UNKNOWN, "</s>": CONTROL, "<pad>": CONTROL}
LANGUAGE = re.compile(r">>[\w.-]+<<")


@dataclass(frozen=True)
class Piece:
    """A row of the vocabulary."""

    text: str
    score: float = 0.0
    kind: int = NORMAL


@dataclass(frozen=True)
class Model:
    """What of a tokenizer.model decides about ids."""

    pieces: list[Piece] = field(default_factory=list)
    algorithm: int = UNIGRAM
    byte_fallback: bool = False
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    named: Mapping[str, int] = field(default_factory=dict)
    """bos, eos and pad: ids; absent where there is none."""


def read_model(data: bytes) -> Model:
    """Raises RunError for what is no SentencePiece model, or one of a kind that is not supported."""
    pieces: list[Piece] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for number, value in _fields(data):
            if number == 1:
                piece = dict(_fields(value))
                score = struct.unpack("<f", piece.get(2, bytes(4)))[0]
                pieces.append(Piece(piece.get(1, b"").decode(), score, piece.get(3, NORMAL)))
            elif number == 2:
                trainer = dict(_fields(value))
            elif number == 3:
                normalizer = dict(_fields(value))
        algorithm, charsmap = trainer.get(3, UNIGRAM), bytes(normalizer.get(2, b""))
    except (ValueError, TypeError, AttributeError, struct.error):
        raise RunError("it is no SentencePiece model") from None
    if algorithm not in (UNIGRAM, BPE):
        raise RunError("its SentencePiece model is neither unigram nor BPE")
    if not 0 < len(pieces) <= MOST_PIECES or len({p.text for p in pieces}) < len(pieces):
        raise RunError(f"it is no SentencePiece model: expected up to {MOST_PIECES:,} different pieces")
    if max(len(p.text) for p in pieces) > LONGEST_PIECE:
        raise RunError(f"its SentencePiece model has a piece of more than {LONGEST_PIECE} characters")
    if trainer.get(24, 0):
        raise RunError("its SentencePiece model puts the space after words, which is not supported")
    numbers = {"bos": trainer.get(41, 1), "eos": trainer.get(42, 2), "pad": trainer.get(43, -1)}
    named = {name: id for name, id in numbers.items() if 0 <= id < len(pieces)}
    return Model(
        pieces,
        algorithm,
        bool(trainer.get(35, 0)),
        charsmap,
        bool(normalizer.get(3, 1)),
        bool(normalizer.get(4, 1)),
        named,
    )


def special_tokens(model: Model) -> dict[str, str]:
    """bos_token, eos_token, unk_token and pad_token, as far as there are any."""
    found = {f"{name}_token": model.pieces[id].text for name, id in model.named.items()}
    unknown = [piece.text for piece in model.pieces if piece.kind == UNKNOWN]
    return found | ({"unk_token": unknown[0]} if unknown else {})


def with_ids(model: Model, ids: Mapping[str, int]) -> Model:
    """The model with the ids, from 0 on, of another vocabulary, as Marian has one for the models of two languages.

    There, pieces are looked up as strings: also a stretch of text of which the model knows nothing, if that happens to
    be a piece of the other. So those that the model lacks are kept, marked by ELSEWHERE. A piece that the vocabulary
    lacks is left out. A language such as `>>fra<<` is found in a text.

    Raises RunError for a model that is not unigram.
    """
    if model.algorithm != UNIGRAM:
        raise RunError("its SentencePiece model is BPE, whose ids cannot be those of another vocabulary")
    own = {piece.text: piece for piece in model.pieces if piece.kind not in (UNKNOWN, CONTROL)}
    least = min((piece.score for piece in own.values()), default=0.0)
    pieces = []
    for text in sorted(ids, key=lambda text: ids[text]):
        if text in MARIAN_SPECIAL:
            pieces.append(Piece(text, 0.0, MARIAN_SPECIAL[text]))
        elif LANGUAGE.fullmatch(text):
            pieces.append(Piece(text, 0.0, USER_DEFINED))
        else:
            pieces.append(own.get(text) or Piece(ELSEWHERE + text, least, UNUSED))
    return replace(model, pieces=pieces, named={})


def with_sentinels(model: Model) -> Model:
    """The model with T5's hundred names of gaps behind its pieces, the first one last (Raffel et al. 2020)."""
    sentinels = [Piece(f"<extra_id_{i}>", 0.0, CONTROL) for i in reversed(range(100))]
    return replace(model, pieces=[*model.pieces, *sentinels])


def tokenizer_json(model: Model) -> str:
    """The text of the tokenizer.json that cuts texts as the model does. Raises RunError where pieces are missing."""
    unknown = next((id for id, piece in enumerate(model.pieces) if piece.kind == UNKNOWN), None)
    if unknown is None:
        raise RunError("its SentencePiece model has no piece for what is unknown")
    before = [{"type": "Precompiled", "precompiled_charsmap": base64.b64encode(model.charsmap).decode()}]
    normalizers: list[dict[str, Any]] = before if model.charsmap else []
    if model.remove_extra_whitespaces:
        normalizers += [
            {"type": "Strip", "strip_left": True, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        ]
    if model.add_dummy_prefix:
        normalizers.append({"type": "Prepend", "prepend": SPACE})
    normalizers.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if model.add_dummy_prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    if any(piece.text.startswith(ELSEWHERE) for piece in model.pieces):
        unmark = {"type": "Replace", "pattern": {"String": ELSEWHERE}, "content": ""}
        normalizers, decoders = [unmark, *normalizers], [unmark, *decoders]
    rules = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": id,
                "content": piece.text,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": piece.kind != USER_DEFINED,
            }
            for id, piece in enumerate(model.pieces)
            if piece.kind in (CONTROL, USER_DEFINED, UNKNOWN)
        ],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": _bpe(model, unknown) if model.algorithm == BPE else _unigram(model, unknown),
    }
    return json.dumps(rules, ensure_ascii=False)


def _unigram(model: Model, unknown: int) -> dict[str, Any]:
    vocab = [[piece.text, piece.score] for piece in model.pieces]
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": model.byte_fallback}


def _bpe(model: Model, unknown: int) -> dict[str, Any]:
    score = {piece.text: piece.score for piece in model.pieces if piece.kind == NORMAL}
    pairs = [
        (whole, whole[:cut], whole[cut:])
        for whole in score
        for cut in range(1, len(whole))
        if whole[:cut] in score and whole[cut:] in score
    ]
    pairs.sort(key=lambda pair: (-score[pair[0]], -len(pair[1])))
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": model.pieces[unknown].text,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": model.byte_fallback,
        "ignore_merges": False,
        "vocab": {piece.text: id for id, piece in enumerate(model.pieces)},
        "merges": [[left, right] for _, left, right in pairs],
    }


def _fields(data: Any) -> Iterator[tuple[int, Any]]:
    """The fields of a message: number, and an integer or bytes. Raises ValueError for what is no message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value - 2**64 if value >> 63 else value  # ids of -1 are written so
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(data):
            raise ValueError("cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("cut off")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")
