"""How good summaries are: ROUGE against references, and by the source alone what they add, keep and copy.

ROUGE is that of rouge-score (Lin 2004), English words stemmed. Where words have no spaces between them (Chinese,
Japanese, Thai, ...) each character is a word; rouge-score's own tokenizer would throw them all away, and report 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import regex  # type: ignore[import-untyped]

from nextword.errors import MissingExtra
from nextword.metrics.score import Score, mean_score
from nextword.text.chinese_words import tagged
from nextword.text.scripts import UNSPACED
from nextword.text.sentences import sentences

ROUGE = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL", "ROUGE-Lsum": "rougeLsum"}
_WORD = regex.compile(rf"[{UNSPACED}]|(?:(?![{UNSPACED}])[\p{{L}}\p{{M}}\p{{N}}])+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_HAN = regex.compile(r"\p{Han}")
_NAMED = ("nr", "ns", "nt")
"""Of jieba's parts of speech, those of names."""
_AND = "和与跟同及"
"""Jieba may take one of these for the surname of whoever is named behind it: 和小红."""
_NAME = regex.compile(r"\p{Lu}(?:[\p{L}\p{M}]|['’-](?!(?:s|m|d|ll|re|ve)\b)(?=\p{L}))+")  # O'Neil's: O'Neil


def words(text: str) -> list[str]:
    """Words in lower case, without punctuation; characters where a script has no spaces.

    >>> words("He's 3 in 北京。")
    ['he', 's', '3', 'in', '北', '京']
    """
    return list(_WORD.findall(text.lower()))


class _Tokenizer:
    """`words`, with English ones stemmed as rouge-score does it: those of more than three letters."""

    def __init__(self) -> None:
        from nltk.stem import porter  # rouge-score's own dependency

        self.stem = cache(porter.PorterStemmer().stem)

    def tokenize(self, text: str) -> list[str]:
        return [self.stem(word) if len(word) > 3 and word.isascii() else word for word in words(text)]


def rouge_scores(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> list[Score]:
    """ROUGE-1, -2, -L and -Lsum, F1, 0 to 100: means over texts, of the best reference of each.

    Raises MissingExtra without rouge-score.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise MissingExtra("rouge-score", "tasks", "measuring summaries") from None
    scorer = RougeScorer(list(ROUGE.values()), tokenizer=_Tokenizer())
    found: dict[str, list[float]] = {name: [] for name in ROUGE}
    for output, some in zip(outputs, references, strict=True):
        lines = "\n".join(sentences(output))
        against = [scorer.score("\n".join(sentences(reference)), lines) for reference in some]
        for name, key in ROUGE.items():
            found[name].append(100 * max(score[key].fmeasure for score in against))
    signature = "rouge-score|F1|stem:porter|no-space scripts:characters|Lsum:sentences|refs:best"
    return [mean_score(name, values, signature) for name, values in found.items()]


def source_scores(outputs: Sequence[str], sources: Sequence[str]) -> list[Score]:
    """What the sources tell of summaries, each a mean over texts.

    unsupported: numbers and names that the source lacks. novelty: % of word bigrams that it lacks. length: in words.
    compression: words of the source for one of the summary. coverage, density: % of words in fragments copied from it,
    and the mean squared length of these (Grusky et al. 2018).
    """
    pairs = list(zip(outputs, sources, strict=True))
    fragments = [_fragments(words(output), words(source)) for output, source in pairs]
    lengths = [max(len(words(output)), 1) for output in outputs]
    counted = list(zip(fragments, lengths, strict=True))
    return [
        mean_score("unsupported", [len(unsupported(*pair)) for pair in pairs], higher_is_better=False),
        mean_score("novelty", [100 * novelty(*pair) for pair in pairs], higher_is_better=None),
        mean_score("length", [len(words(output)) for output in outputs], "words", higher_is_better=None),
        mean_score("compression", [len(words(source)) / n for (_, source), n in zip(pairs, lengths, strict=True)],
                   higher_is_better=None),
        mean_score("coverage", [100 * sum(parts) / n for parts, n in counted], higher_is_better=None),
        mean_score("density", [sum(part**2 for part in parts) / n for parts, n in counted], higher_is_better=None),
    ]  # fmt: skip


def unsupported(summary: str, source: str) -> list[str]:
    """Numbers and names of the summary that the source does not have: what a reader should doubt first.

    A name is a capitalised word that begins no sentence; in Chinese, what jieba takes for a person, a place or an
    organisation.

    >>> unsupported("On Monday Anna paid 50 euros.", "Anna paid 30 euros on Monday.")
    ['50']
    """
    inner = [match for sentence in sentences(summary) for match in _NAME.findall(sentence.partition(" ")[2])]
    known = set(words(source))
    numbers = set(_NUMBER.findall(source))
    found = [number for number in _NUMBER.findall(summary) if number not in numbers]
    found += [name for name in inner if not set(words(name)) <= known]
    found += [name for name in _chinese_names(summary) if name.lstrip(_AND) not in source]
    return list(dict.fromkeys(found))


def _chinese_names(text: str) -> list[str]:
    if not _HAN.search(text):
        return []
    return [word for word, kind in tagged(text, guessing=True) if kind[:2] in _NAMED and len(word) > 1]


def novelty(summary: str, source: str) -> float:
    """The share of the summary's word bigrams that the source does not have, 0 to 1."""
    known, own = (set(pairwise(some)) for some in (words(source), words(summary)))
    return len(own - known) / len(own) if own else 0.0


def _fragments(summary: list[str], source: list[str]) -> list[int]:
    """The lengths of the longest parts that stand in the source, taken greedily from left to right."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(source):
        places.setdefault(word, []).append(place)
    found, i = [], 0
    while i < len(summary):
        longest = max((_common(summary[i:], source, place) for place in places.get(summary[i], ())), default=0)
        if longest:
            found.append(longest)
        i += max(longest, 1)
    return found


def _common(rest: list[str], source: list[str], place: int) -> int:
    most = min(len(rest), len(source) - place)
    return next((i for i in range(most) if rest[i] != source[place + i]), most)
