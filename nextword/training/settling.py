"""All settings of a run, from what was given, the text at hand, and the speed of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from nextword.checkpoint import read_config
from nextword.config import parse
from nextword.data.prepare import open_prepared
from nextword.errors import UsageError
from nextword.text.examples import example_of, sample_text
from nextword.text.records import ReadConfig, Source, read_records
from nextword.text.sources import source_bytes
from nextword.tokenizers import Tokenizer
from nextword.training.budget import measure
from nextword.training.mixing import mixes, sample_mix
from nextword.training.recipe import Recipe, begun, chooses_by_time, complete

SAMPLE_CHARACTERS = 1_000_000
ROWS_COUNTED = 1_000_000


def settle(
    values: Mapping[str, Mapping[str, Any]],
    sources: Sequence[Source],
    size: str = "",
    device: torch.device | None = None,
    init_from: Path | None = None,
) -> Recipe:
    """The complete recipe of a run, as `new_run` would choose it for this text; without text, for a small one."""
    if init_from is not None:
        values = begun(values, read_config(init_from))
    if mixes(values):
        sample, characters = sample_mix(values, SAMPLE_CHARACTERS)
        return _chosen(values, sample, size, device=device, characters=characters)
    sample = _peek(values, sources) if sources else ""
    return _chosen(values, sample, size or ("" if sources else "small"), sources, device)


def settle_prepared(
    values: Mapping[str, Mapping[str, Any]],
    data: Path,
    valid: Sequence[Source] = (),
    size: str = "",
    device: torch.device | None = None,
) -> Recipe:
    """The recipe for a prepared folder, whose reading, splitting and tokenizer are settled."""
    if valid:
        raise UsageError(f"{data} is prepared already: --valid comes too late", hint="Give it to nextword data prepare")
    tokenizer = Tokenizer.load(data)
    files = open_prepared(data, tokenizer)["train"]
    files.check_sources()
    wanted = values.get("tokenizer", {}).get("type", tokenizer.kind)
    if wanted != tokenizer.kind:
        raise UsageError(
            f"tokenizer.type: {data} was prepared with a {tokenizer.kind} tokenizer, got {wanted!r}",
            hint="Leave it out, or prepare the data again",
        )
    made = files.index.settings
    settled = {"data": made.get("read", {}), "split": made.get("split", {})}
    sample = tokenizer.decode(files.window(0, min(files.len_tokens, SAMPLE_CHARACTERS)).tolist())
    characters = round(files.counts.target_bytes * len(sample) / max(len(sample.encode()), 1))
    return _chosen(dict(values) | settled, sample, size, (), device, characters)


def _chosen(
    values: Mapping[str, Mapping[str, Any]],
    sample: str,
    size: str,
    sources: Sequence[Source] = (),
    device: torch.device | None = None,
    characters: int = 0,
) -> Recipe:
    """The complete recipe; where a time budget chooses, by the rules of `budget`, for the machine as it is now."""
    if not chooses_by_time(values, size):
        return complete(values, sample, size)
    if not characters and len(sample) >= SAMPLE_CHARACTERS:  # there is more
        characters = _count(values, sources, len(sample) / len(sample.encode()))
    return complete(values, sample, size, measure(device), max(characters, len(sample)))


def _count(values: Mapping[str, Mapping[str, Any]], sources: Sequence[Source], per_byte: float) -> int:
    """How many characters there are, roughly: by the size of files, `per_byte` each; rows and conversations are read
    once, or many of them."""
    read = parse(ReadConfig, values.get("data", {}), "data")
    if not sources or (any(isinstance(source, str | Path) for source in sources) and not read.conversations):
        return round((source_bytes(sources) or 0) * per_byte)
    examples = (example_of(record, read) for record in islice(read_records(sources, read), ROWS_COUNTED))
    return sum(len(example.prompt) + len(example.target) for example in examples)


def _peek(values: Mapping[str, Mapping[str, Any]], sources: Sequence[Source]) -> str:
    """Some of the text, to choose a tokenizer and a size by."""
    read = parse(ReadConfig, values.get("data", {}), "data")
    return sample_text(sources, read, SAMPLE_CHARACTERS)
