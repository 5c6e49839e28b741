"""What a corpus is: size, scripts, odd characters, duplicates, lengths. One pass, bounded memory.

Characters are counted per code point in one array, and most answers are read off it at the end. Languages are
guessed from scripts alone: Latin text may be any of hundreds of languages, and is called just that.
"""

from __future__ import annotations

import heapq
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextword.text.duplicates import ExactDuplicates, NearDuplicates
from nextword.text.records import ReadConfig, Source, find_files, read_records, source_bytes, text_of
from nextword.text.scripts import CODE_POINTS, characters_in, code_points, script_shares
from nextword.text.sources import Progress

NEAR_DOCUMENTS = 50_000
"""Near duplicates are looked for among this many documents only: they cost 1 KB and up to milliseconds each."""

NEAR_CHARACTERS = 20_000
"""Of each of them, this much from its start."""

EDGES = [step * 10**power for power in range(9) for step in (1, 2, 5)]
"""Lower ends of the length histogram: 1, 2, 5, 10, 20, 50, ... characters."""

ODD = {
    "control": "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]",
    "replacement U+FFFD": "\ufffd",
    "zero-width": "[\u200b\u2060\ufeff\u00ad]",
    "private use": r"\p{Co}",
    "unassigned": r"\p{Cn}",
}
"""Characters that clean text has no use for."""

# UTF-8 read as Windows-1252 or Latin-1 (an accented letter gives "Ã" or "Â" and one character more; a quote
# gives "â€"); UTF-8 read as GBK (U+FFFD twice gives "锟斤拷"); GBK read as Latin-1 (runs like "ÎÒÃÇ").
MOJIBAKE = re.compile("[ÃÂ][\u0080-¿]|â€|ï¿½|锟斤拷|[À-þ]{6,}")

SIMPLIFIED = "们这来时会对发说国过后经动还学进开实现点问关长见话车书马门东两个从为无业"
TRADITIONAL = "們這來時會對發說國過後經動還學進開實現點問關長見話車書馬門東兩個從為無業"


@dataclass(frozen=True, slots=True)
class Odd:
    """A kind of odd character: how many, and where the first one is."""

    count: int
    source: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Document:
    """One document among the longest or shortest."""

    characters: int
    source: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Bin:
    """Documents of `low` to `high` characters (both included)."""

    low: int
    high: int
    documents: int


@dataclass(slots=True)
class CorpusReport:
    """The findings of `inspect_corpus`."""

    files: int
    """Files read; 0 for rows in memory."""
    bytes_on_disk: int | None
    """Of all files, packed if they are packed; None where unknown."""
    documents: int = 0
    characters: int = 0
    utf8_bytes: int = 0
    """Of the documents' text."""
    words: int = 0
    """Runs of letters, marks and digits; every ideograph and kana counts as one."""
    distinct_characters: int = 0
    scripts: dict[str, float] = field(default_factory=dict)
    """Share of the letters in each Unicode script, most first."""
    languages: list[str] = field(default_factory=list)
    """A guess by script alone, for every script with at least 5% of the letters."""
    exact_duplicates: int = 0
    """Documents equal to an earlier one but for case, white space and compatibility forms."""
    near_duplicates: int = 0
    """Documents much like an earlier one, and not exact duplicates, among the first `near_examined`."""
    near_examined: int = 0
    odd: dict[str, Odd] = field(default_factory=dict)
    lengths: list[Bin] = field(default_factory=list)
    """Histogram of document lengths in characters."""
    longest: list[Document] = field(default_factory=list)
    shortest: list[Document] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def inspect_corpus(
    sources: Sequence[Source], config: ReadConfig | None = None, progress: Progress | None = None
) -> CorpusReport:
    """Read all of `sources` once and say what they are. Raises DataError as `read_records` does."""
    config = config or ReadConfig()
    report = CorpusReport(len(find_files(sources)), source_bytes(sources))
    characters = _Characters()
    exact, near = ExactDuplicates(), NearDuplicates()
    lengths = [0] * (len(EDGES) + 1)
    longest, shortest = _Top(), _Top()
    for record in read_records(sources, config, progress):
        text = text_of(record, config.text_field or "text")
        examine = report.documents < NEAR_DOCUMENTS
        report.near_examined += examine
        if exact.add(text):
            report.exact_duplicates += 1
        elif examine:
            report.near_duplicates += near.add(text[:NEAR_CHARACTERS])
        report.documents += 1
        lengths[bisect_right(EDGES, len(text))] += 1
        longest.offer(len(text), text, record.source)
        shortest.offer(-len(text), text, record.source)
        characters.add(text, record.source)
    report.longest, report.shortest = longest.documents(), shortest.documents()
    filled = [i for i, count in enumerate(lengths) if count]
    ends = [0, *EDGES, 10 * EDGES[-1]]
    report.lengths = [Bin(ends[i], ends[i + 1] - 1, lengths[i]) for i in range(filled[0], filled[-1] + 1)]
    characters.finish(report)
    return report


class _Top:
    """The three documents of greatest rank; of equals, the first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Document]] = []
        self._offers = 0

    def offer(self, rank: int, text: str, source: str) -> None:
        self._offers -= 1  # the later, the lower
        if len(self._heap) < 3 or rank > self._heap[0][0]:
            item = (rank, self._offers, Document(len(text), source, _excerpt(text, 0)))
            (heapq.heappush if len(self._heap) < 3 else heapq.heapreplace)(self._heap, item)

    def documents(self) -> list[Document]:
        return [document for _, _, document in sorted(self._heap, reverse=True)]


class _Characters:
    """Counts every code point, a million characters at a time."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._sources: list[str] = []
        self._pending = 0
        self._counts: NDArray[np.int64] = np.zeros(CODE_POINTS, np.int64)
        self._words = 0
        self._mojibake = 0
        self._first: dict[str, tuple[str, str]] = {}  # kind of odd character -> (source, excerpt)
        self._ideographs = characters_in(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
        self._letters = characters_in(r"[\p{L}\p{M}\p{N}'’]") & ~self._ideographs
        self._odd = np.zeros(CODE_POINTS, np.uint8)  # 1 + index of the kind in ODD
        for number, pattern in enumerate(ODD.values(), 1):
            self._odd[characters_in(pattern)] = number

    def add(self, text: str, source: str) -> None:
        self._texts.append(text)
        self._sources.append(source)
        self._pending += len(text) + 1
        if self._pending >= 2**20:
            self._count()

    def _count(self) -> None:
        text = "".join(document + "\n" for document in self._texts)
        codes = code_points(text)
        self._counts += np.bincount(codes, minlength=CODE_POINTS)
        self._counts[ord("\n")] -= len(self._texts)
        inside = self._letters[codes]
        self._words += int(self._ideographs[codes].sum()) + int((inside[1:] > inside[:-1]).sum() + inside[:1].sum())

        kinds = self._odd[codes]
        for number in np.unique(kinds[kinds > 0]) if kinds.any() else ():
            self._note(list(ODD)[number - 1], int(np.argmax(kinds == number)))
        for match in () if text.isascii() else MOJIBAKE.finditer(text):
            self._mojibake += 1
            self._note("mojibake", match.start())
        self._texts, self._sources, self._pending = [], [], 0

    def _note(self, kind: str, position: int) -> None:
        """Keep where the first character of this kind is."""
        if kind not in self._first:
            ends = np.cumsum([len(document) + 1 for document in self._texts])
            index = int(np.searchsorted(ends, position, side="right"))
            document = self._texts[index]
            start = max(0, position - (int(ends[index]) - 1 - len(document)) - 10)
            self._first[kind] = self._sources[index], _excerpt(document, start)

    def finish(self, report: CorpusReport) -> None:
        """Write what the counts say into the report."""
        self._count()
        counts, present = self._counts, np.flatnonzero(self._counts)
        widths = 1 + (present >= 0x80) + (present >= 0x800) + (present >= 0x10000)  # bytes in UTF-8
        report.characters = int(counts.sum())
        report.utf8_bytes = int((counts[present] * widths).sum())
        report.words = self._words
        report.distinct_characters = len(present)
        report.scripts = script_shares(counts)
        report.languages = _languages(report.scripts, counts)
        totals = dict(zip(ODD, np.bincount(self._odd, counts, len(ODD) + 1)[1:], strict=True))
        for kind, (source, excerpt) in self._first.items():
            count = self._mojibake if kind == "mojibake" else int(totals[kind])
            report.odd[kind] = Odd(count, source, excerpt)


def _excerpt(text: str, start: int, width: int = 40) -> str:
    return text[start : start + width].replace("\n", " ").strip()


LANGUAGES = {
    "Hangul": "Korean", "Thai": "Thai", "Greek": "Greek", "Hebrew": "Hebrew", "Georgian": "Georgian",
    "Armenian": "Armenian", "Tamil": "Tamil", "Telugu": "Telugu", "Kannada": "Kannada", "Lao": "Lao",
    "Malayalam": "Malayalam", "Gujarati": "Gujarati", "Khmer": "Khmer", "Sinhala": "Sinhala",
}  # fmt: skip
"""Scripts that are as good as one language."""


def _languages(scripts: dict[str, float], counts: NDArray[np.int64]) -> list[str]:
    common = {script: share for script, share in scripts.items() if share >= 0.05}
    kana = scripts.get("Hiragana", 0.0) + scripts.get("Katakana", 0.0)
    if kana > 0.1 * scripts.get("Han", 0.0) and kana >= 0.05:
        common = {"Japanese": 1.0} | {s: x for s, x in common.items() if s not in ("Han", "Hiragana", "Katakana")}
    names = []
    for script in common:
        if script == "Han":
            simplified, traditional = (sum(int(counts[ord(c)]) for c in s) for s in (SIMPLIFIED, TRADITIONAL))
            both = min(simplified, traditional) > 0.1 * max(simplified, traditional)
            kind = "simplified and traditional" if both else "simplified" if simplified > traditional else "traditional"
            names.append("Chinese" + (f", {kind}" if simplified + traditional else ""))
        else:
            names.append(LANGUAGES.get(script, script if script == "Japanese" else f"{script} script"))
    return names
