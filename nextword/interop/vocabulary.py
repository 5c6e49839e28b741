"""A tokenizer from elsewhere, made to fit the rows of a model's embedding: an id for each row, none beyond.

Models are padded to round sizes, and files leave ids unused. Ids that no token has get one that no text can spell; an
export takes these away again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nextword.errors import RunError
from nextword.files import write_json, write_text
from nextword.tokenizers import Tokenizer
from nextword.tokenizers.base import FILE, SETTINGS, SOURCE

FILLER = "<|unused_{}|>"
_FILLER = re.compile(r"<\|unused_\d+\|>")
MOST_FILLERS = 2**16


def fitted(tokenizer: str, vocab_size: int) -> str:
    """The text of a tokenizer.json with exactly the ids below `vocab_size`.

    Special tokens beyond the model are left out: it cannot read them (Gemma 3 has one for images). Raises RunError if
    ordinary ones are, or if the file is no tokenizer.json.
    """
    rules = _parsed(tokenizer)
    ids, added = _ids(rules), rules["added_tokens"]
    rules["added_tokens"] = [t for t in added if t["id"] < vocab_size or not t.get("special")]
    beyond = [token for token, id in ids.items() if id >= vocab_size]
    ordinary = set(beyond) - {t["content"] for t in added if t.get("special")}
    if ordinary:
        raise RunError(
            f"the tokenizer has {max(ids.values()) + 1:,} tokens, but the model's vocabulary has {vocab_size:,}",
            hint="They were not made for each other; name the right one with --tokenizer",
        )
    missing = sorted(set(range(vocab_size)) - set(ids.values()))
    if len(missing) > MOST_FILLERS:
        raise RunError(
            f"the tokenizer has {len(ids):,} tokens, but the model's vocabulary has {vocab_size:,}",
            hint="They were not made for each other; name the right one with --tokenizer",
        )
    if not beyond and not missing:
        return tokenizer
    rules["added_tokens"] += [_filler(id) for id in missing]
    rules["added_tokens"].sort(key=lambda token: token["id"])
    return json.dumps(rules, ensure_ascii=False)


def unfilled(tokenizer: str) -> str:
    """The text of a tokenizer.json without what `fitted` put in."""
    rules = _parsed(tokenizer)
    kept = [token for token in rules["added_tokens"] if not _FILLER.fullmatch(token["content"])]
    if len(kept) == len(rules["added_tokens"]):
        return tokenizer
    return json.dumps(rules | {"added_tokens": kept}, ensure_ascii=False)


def token_of(tokenizer: str, id: Any) -> str | None:
    """The token of an id, or of the first of several; None where there is none."""
    id = id[0] if isinstance(id, list) and id else id
    return next((token for token, number in _ids(_parsed(tokenizer)).items() if number == id), None)


def write_tokenizer(folder: Path, tokenizer: str, special: Mapping[str, str], source: str = "") -> Tokenizer:
    """Write tokenizer.json, tokenizer_config.json, and source_tokenizer.json if there is one; load them.

    Raises RunError if the library takes offence.
    """
    write_text(folder / FILE, tokenizer)
    if source:
        write_text(folder / SOURCE, source)
    write_json(folder / SETTINGS, dict(special))
    try:
        return Tokenizer.load(folder)
    except RunError as error:
        raise RunError(error.message.replace(str(folder / FILE), f"its {FILE}")) from None


def _filler(id: int) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": id, "content": FILLER.format(id)} | flags


def _parsed(tokenizer: str) -> dict[str, Any]:
    """Checked as far as it is read here; the rest is up to the tokenizers library."""
    try:
        rules = json.loads(tokenizer)
        rules["added_tokens"] = rules.get("added_tokens") or []
        assert all(
            isinstance(t["id"], int) and isinstance(t["content"], str) and t["id"] >= 0 for t in rules["added_tokens"]
        )
        assert isinstance(rules["model"]["vocab"], dict | list)
        _ids(rules)
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError, RecursionError, IndexError):
        raise RunError("its tokenizer.json is damaged: it has no vocabulary of tokens and ids") from None
    return rules


def _ids(rules: Mapping[str, Any]) -> dict[str, int]:
    vocab = rules["model"]["vocab"]
    ids = dict(vocab) if isinstance(vocab, dict) else {piece: id for id, (piece, _) in enumerate(vocab)}
    ids |= {token["content"]: token["id"] for token in rules["added_tokens"]}
    if not ids or not all(isinstance(id, int) for id in ids.values()):
        raise ValueError("no ids")
    return ids
