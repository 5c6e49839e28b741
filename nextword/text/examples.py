"""What a model learns from a record, and some of all there is to learn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from nextword.text.records import Example, ReadConfig, Record, Source, encodable, read_records, text_of
from nextword.text.turns import talk


def example_of(record: Record, config: ReadConfig) -> Example:
    """The example that a record is: its text, its prompt (ended by the separator) and its target, or a conversation.

    Raises DataError for a column that is missing or no text, and for what is no conversation.
    """
    if config.conversations:
        return talk(record)
    if not config.prompt_field:
        return Example("", text_of(record, config.text_field))
    prompt = text_of(record, config.prompt_field, "--prompt-field")
    target = text_of(record, config.target_field, "--target-field")
    prompt, target = (encodable(text, record.source, config.errors) for text in (prompt, target))
    return Example(prompt + config.separator, target)


def sample_text(sources: Sequence[Source], config: ReadConfig, characters: int, records: int = 200_000) -> str:
    """The first `characters` of what there is to read, prompts included, from no more than so many `records`."""
    pieces: list[str] = []
    room = characters
    for record in islice(read_records(sources, config), records):
        example = example_of(record, config)
        text = "\n".join(example.texts()) if config.conversations else example.prompt + example.target
        pieces.append(text[:room])
        room -= len(pieces[-1])
        if room <= 0:
            break
    return "\n".join(pieces)
