"""How a byte-level vocabulary cuts text before its merges: a name in GGUF files, rules in a tokenizer.json.

Sources: llama-vocab.cpp of llama.cpp for the names, the tokenizer.json of each family for the rules.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Cut(NamedTuple):
    """One way to cut."""

    names: tuple[str, ...]
    """tokenizer.ggml.pre; the first is written."""
    rules: dict[str, Any]
    """The pre_tokenizer of a tokenizer.json."""
    whole: bool = False
    """A cut that is a token is that token, whatever the merges say (`ignore_merges`)."""
    composes: bool = False
    """Text is composed (NFC) first. llama.cpp leaves that out."""


def byte_level(use_regex: bool) -> dict[str, Any]:
    """The step that turns bytes into the letters of the vocabulary; `use_regex`: it cuts as GPT-2 does, too."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


def by_pattern(pattern: str) -> dict[str, Any]:
    """Cuts by a pattern, then bytes."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return _sequence(split, byte_level(use_regex=False))


_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LLAMA3 = rf"{_SHORT}|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_SHORT}|{_BEFORE}\p{{L}}+|\p{{N}}|{_REST}"
_TEKKEN = rf"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|\p{{N}}|{_REST_SLASH}"
_GPT4O = rf"{_BEFORE}{_UPPER}*{_LOWER}+{_SHORT}?|{_BEFORE}{_UPPER}+{_LOWER}*{_SHORT}?|\p{{N}}{{1,3}}|{_REST_SLASH}"

CUTS = (
    Cut(("gpt-2", "phi-2", "olmo", "mpt"), byte_level(use_regex=True)),
    Cut(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"), by_pattern(LLAMA3), whole=True),
    Cut(("dbrx", "smaug-bpe"), by_pattern(LLAMA3)),
    Cut(("qwen2", "deepseek-r1-qwen", "megrez"), by_pattern(_QWEN2), composes=True),
    Cut(("stablelm2",), by_pattern(_QWEN2)),
    Cut(
        ("smollm", "starcoder", "refact", "codeshell"),
        _sequence({"type": "Digits", "individual_digits": True}, byte_level(use_regex=True)),
    ),
    Cut(("tekken",), by_pattern(_TEKKEN), whole=True),
    Cut(("gpt-4o", "llama4"), by_pattern(_GPT4O)),
)
