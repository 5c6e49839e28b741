"""Clean text in named steps, and say what each step did.

A step takes a document's text and gives the new text, or None to drop the document. Steps run in the order of
`CleanReport.steps`, one document at a time; the report fills while the records stream through. None of the
steps rewrites what an author wrote: no lower case, no changed punctuation unless NFKC is asked for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import Field, field_validator

from nextword.config import Config
from nextword.errors import did_you_mean
from nextword.text.duplicates import ExactDuplicates, NearDuplicates
from nextword.text.records import Record, text_of
from nextword.text.scripts import SCRIPTS, share_in

EXAMPLES = 3
"""Examples kept for each step, of changed and of dropped documents each."""


class CleanConfig(Config):
    """Which steps run, in this order."""

    mojibake: bool = True
    """Repair UTF-8 once read as another encoding ("schÃ¶n" -> "schön")."""
    unicode: Literal["none", "NFC", "NFKC"] = "NFC"
    """Normalisation. NFKC also makes full-width forms narrow: "，" becomes ","."""
    control: bool = True
    """Remove control characters, soft hyphens and zero-width spaces; every line separator becomes "\\n"."""
    whitespace: bool = True
    """Remove indentation and trailing spaces; one space between words, one blank line between paragraphs."""
    min_chars: int = Field(default=1, ge=0)
    """Drop shorter documents."""
    max_chars: int = Field(default=0, ge=0)
    """Drop longer documents; 0 = no limit."""
    scripts: list[str] = Field(default=[])
    """Keep documents whose letters are mostly in these Unicode scripts, such as ["Han"]; empty = all."""
    min_script_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """How much "mostly" is."""
    duplicates: Literal["none", "exact", "near"] = "exact"
    """Drop documents equal to an earlier one but for case and white space; "near": or much like one."""
    near_threshold: float = Field(default=0.8, ge=0.7, le=1.0)
    """Share of common character n-grams (Jaccard) from which documents count as near duplicates."""

    @field_validator("scripts")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in SCRIPTS:
                raise ValueError(f"unknown script {name!r}. {did_you_mean(name, SCRIPTS)}")
        return names


@dataclass(frozen=True, slots=True)
class Change:
    """One example of what a step did: excerpts around the first difference; `after` is None for a drop."""

    source: str
    before: str
    after: str | None


@dataclass(slots=True)
class StepReport:
    """Counts of one step, in documents."""

    name: str
    seen: int = 0
    changed: int = 0
    dropped: int = 0
    examples: list[Change] = field(default_factory=list)


@dataclass(slots=True)
class CleanReport:
    """What became of the documents; complete once the records have been read to their end."""

    steps: list[StepReport]
    read: int = 0
    kept: int = 0
    characters_read: int = 0
    characters_kept: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def clean(
    records: Iterable[Record], config: CleanConfig | None = None, text_field: str = "text"
) -> tuple[Iterator[Record], CleanReport]:
    """Cleaned records as a stream, and the report that fills as they are read.

    >>> records, report = clean([Record({"text": "schÃ¶n \\x07"}, "a:1"), Record({"text": "Schön"}, "a:2")])
    >>> [record["text"] for record in records], report.read, report.kept
    (['schön'], 2, 1)
    """
    steps = _steps(config or CleanConfig())
    report = CleanReport([StepReport(name) for name in steps])
    return _cleaned(records, list(steps.values()), report, text_field), report


Step = Callable[[str], str | None]


def _cleaned(records: Iterable[Record], steps: list[Step], report: CleanReport, text_field: str) -> Iterator[Record]:
    for record in records:
        text: str | None = text_of(record, text_field)
        report.read += 1
        report.characters_read += len(text or "")
        for step, counts in zip(steps, report.steps, strict=True):
            before, text = text, step(text)  # type: ignore[arg-type]
            counts.seen += 1
            if text is None:
                counts.dropped += 1
            elif text != before:
                counts.changed += 1
            else:
                continue
            if (counts.dropped if text is None else counts.changed) <= EXAMPLES:
                counts.examples.append(_example(record.source, before or "", text))
            if text is None:
                break
        else:
            assert text is not None
            report.kept += 1
            report.characters_kept += len(text)
            yield Record({**record, text_field: text}, record.source)


def _example(source: str, before: str, after: str | None, width: int = 40) -> Change:
    if after is None:
        return Change(source, before[:width], None)
    pairs = enumerate(zip(before, after, strict=False))
    first = next((i for i, (old, new) in pairs if old != new), min(len(before), len(after)))
    start = max(0, first - width // 4)
    return Change(source, before[start : start + width], after[start : start + width])


def _steps(config: CleanConfig) -> dict[str, Step]:
    """The steps that the configuration asks for, by name, in order."""
    steps: dict[str, Step] = {}
    if config.mojibake:
        steps["mojibake"] = fix_mojibake
    if config.unicode != "none":
        form = config.unicode
        steps[f"unicode {form}"] = lambda text: unicodedata.normalize(form, text)
    if config.control:
        steps["control"] = remove_control
    if config.whitespace:
        steps["whitespace"] = collapse_whitespace
    if config.min_chars or config.max_chars:
        most = config.max_chars or float("inf")
        steps["length"] = lambda text: text if config.min_chars <= len(text) <= most else None
    if config.scripts:
        least = config.min_script_share
        steps["script"] = lambda text: text if share_in(text, config.scripts) >= least else None
    if config.duplicates != "none":
        exact = ExactDuplicates()
        steps["exact duplicates"] = lambda text: None if exact.add(text) else text
    if config.duplicates == "near":
        near = NearDuplicates(config.near_threshold)
        steps["near duplicates"] = lambda text: None if near.add(text) else text
    return steps


# Every wrongly decoded sequence holds one of these. Chinese text, and English with curly quotes, hold none.
_SUSPECT = re.compile("[\x80-\xb6\xb8-\u2012\u2015-\u2017\u201a\u201b\u201e-\u2025\u2027-\u2fff]")


def fix_mojibake(text: str) -> str:
    """Undo wrong decodings, line by line: a document may be broken in places only. Text that is fine stays.

    Uses ftfy (Speer 2019), and only its repair of encodings: quotes and full-width forms are left alone.
    """
    if not _SUSPECT.search(text):  # ftfy's own test takes ten times as long
        return text
    import ftfy
    from ftfy.badness import is_bad

    if not is_bad(text):
        return text
    return "\n".join(ftfy.fix_encoding(line) if is_bad(line) else line for line in text.split("\n"))


_SEPARATORS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile("[\0-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff\ufff9-\ufffb]")


def remove_control(text: str) -> str:
    """Line separators of every kind as "\\n"; no other control character but the tab, nothing invisible.

    Joiners (U+200C, U+200D), direction marks and variation selectors stay: emoji and many scripts need them.
    """
    return _CONTROL.sub("", _SEPARATORS.sub("\n", text))


_SPACES = re.compile("[\t\u00a0\u1680\u2000-\u200a\u202f\u205f]|  |\u3000\u3000")
_RUN_OF_SPACES = re.compile("[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f]+")
_BLANK_LINES = re.compile("\n{3,}")


def collapse_whitespace(text: str) -> str:
    """Lines without spaces around them, one space between words (or one U+3000), at most one blank line."""
    if _SPACES.search(text):
        text = re.sub("\u3000+", "\u3000", _RUN_OF_SPACES.sub(" ", text))
    return _BLANK_LINES.sub("\n\n", "\n".join(line.strip() for line in text.split("\n"))).strip()
