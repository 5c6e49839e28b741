"""generation_config.json: what of Hugging Face's settings has a place among ours, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nextword.checkpoint import GENERATION_DEFAULTS
from nextword.config import parse
from nextword.decoding.config import GenerationConfig
from nextword.errors import UsageError
from nextword.interop.foreign import Foreign
from nextword.tokenizers import Tokenizer

# Theirs and ours: settings that mean the same.
NAMES = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "epsilon_cutoff": "epsilon_cutoff",
    "eta_cutoff": "eta_cutoff",
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram_size": "no_repeat_ngram_size",
    "num_beams": "num_beams",
    "length_penalty": "length_penalty",
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
}
BEAMS = ("num_beams", "length_penalty")
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def ours(theirs: Mapping[str, Any], stop_tokens: Sequence[str] = (), encodes: bool = False) -> dict[str, Any]:
    """Defaults of `generate`: settings of sampling only where theirs samples, of beams only where it has some, and
    nothing that is out of range. What answers to a source (`encodes`) does so greedily, if nothing is said."""
    samples, beams = bool(theirs.get("do_sample")), theirs.get("num_beams") not in (None, 1)
    unused = {*(() if samples else SAMPLING), *(BEAMS if samples or not beams else ())}
    found = {NAMES[key]: value for key, value in theirs.items() if key in NAMES and value is not None}
    found = {name: value for name, value in found.items() if name not in unused}
    settings = dict(GENERATION_DEFAULTS)
    if not found.keys().isdisjoint((*SAMPLING, *BEAMS)):  # its makers chose: nothing of ours goes on top
        settings = {"max_tokens": GENERATION_DEFAULTS["max_tokens"]}
    elif encodes and not samples:
        settings = {"temperature": 0.0, "max_tokens": GENERATION_DEFAULTS["max_tokens"]}
    for key, value in found.items():
        try:
            parse(GenerationConfig, settings | {key: value})
        except UsageError:
            continue
        settings[key] = value
    return settings | ({"stop_tokens": list(stop_tokens)} if stop_tokens else {})


def stop_tokens(foreign: Foreign, tokenizer: Tokenizer) -> list[str]:
    """The names of special tokens that end a text besides `<eos>`: chat models have several ids in eos_token_id."""
    ids = foreign.generation.get("eos_token_id") or foreign.config.get("eos_token_id")
    special = tokenizer.special_ids - {tokenizer.eos_id}
    return [tokenizer.token_text(id) for id in ids if id in special] if isinstance(ids, list) else []


def theirs(ours: Mapping[str, Any], ids: Mapping[str, Any]) -> dict[str, Any]:
    """A generation_config.json; `ids` are bos_token_id and the like.

    It says nothing of a text's length: there, `max_new_tokens` overrules the max_length of whoever calls `generate`, as
    lm-eval does, and lets a text run over the end of the positions.
    """
    names = {ours: theirs for theirs, ours in NAMES.items() if theirs != "max_new_tokens"}
    found = {names[key]: value for key, value in ours.items() if key in names}
    greedy = found.get("temperature") == 0
    if greedy:
        found = {key: value for key, value in found.items() if key not in SAMPLING}
    return {**ids, "do_sample": not greedy, **found}
