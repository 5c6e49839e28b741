"""Which languages a corpus for translation is in, by its own names: columns en and zh, files a.en and a.zh, en-zh/."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nextword.errors import UsageError
from nextword.text.records import Source
from nextword.text.sources import COMPRESSED

# ISO 639-1, all of it
_CODES = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee "
    "el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is "
    "it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms "
    "mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk "
    "sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi "
    "yo za zh zu"
)
CODES = frozenset(_CODES.split())

# Which languages are written in other scripts than Latin, or in others, too (Unicode CLDR, likely subtags)
_WRITTEN = {
    "Han": "ja ko zh",
    "Hiragana": "ja",
    "Katakana": "ja",
    "Hangul": "ko",
    "Cyrillic": "ab av az ba be bg bs ce cu cv kk kv ky mk mn os ru sr tg tk tt uk uz",
    "Greek": "el",
    "Arabic": "ar az fa kk ks ku pa ps sd ug ur",
    "Hebrew": "he yi",
    "Devanagari": "bh hi ks mr ne pi sa sd",
    "Bengali": "as bn",
    "Gurmukhi": "pa",
    "Gujarati": "gu",
    "Oriya": "or",
    "Tamil": "ta",
    "Telugu": "te",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Sinhala": "si",
    "Thai": "th",
    "Lao": "lo",
    "Tibetan": "bo dz",
    "Myanmar": "my",
    "Khmer": "km",
    "Georgian": "ka",
    "Armenian": "hy",
    "Ethiopic": "am ti",
    "Mongolian": "mn",
    "Yi": "ii",
    "Thaana": "dv",
    "Canadian_Aboriginal": "cr iu oj",
    "Latin": "az bs cr iu kk ku oj pi sr tk uz",
}


def is_language(name: str) -> bool:
    """Whether this is a language's code, with or without a country or script behind it.

    >>> is_language("zh"), is_language("zh-Hant"), is_language("source")
    (True, True, False)
    """
    return _code(name) in CODES and re.fullmatch(r"\w\w([-_]\w{2,4})?", name) is not None


def _code(name: str) -> str:
    return re.split("[-_]", name.lower())[0]


def scripts_of(name: str) -> list[str]:
    """The scripts a language is written in; [] where that is not known.

    >>> scripts_of("zh"), scripts_of("sr"), scripts_of("de"), scripts_of("source")
    (['Han'], ['Cyrillic', 'Latin'], ['Latin'], [])
    """
    code, *more = re.split("[-_]", name.lower())
    if not is_language(name) or any(len(part) == 4 and part not in ("hans", "hant") for part in more):
        return []
    return [script for script, codes in _WRITTEN.items() if code in codes.split()] or ["Latin"]


def check_languages(run: Mapping[str, Any], names: Sequence[str], sources: Sequence[Source]) -> None:
    """Raises UsageError where the endings of two files, or else the columns read, name other languages than the
    config.json of a `run` for translation does; countries and scripts do not matter."""
    known = tuple(run.get("task", {}).get("languages", ()))
    found = languages_of((), sources) if len(sources) == 2 else ()
    found = found or (tuple(names) if all(map(is_language, names)) else ())
    if known and found and [_code(one) for one in known] != [_code(one) for one in found]:
        raise UsageError(
            f"the pairs are {found[0]} to {found[1]}, and the run translates from {known[0]} to {known[1]}",
            hint="Use a run that was trained for it, or name the columns the other way round",
        )


def languages_of(names: Sequence[str], sources: Sequence[Source]) -> tuple[str, ...]:
    """(from, to) by the names of the two columns, the endings of two files or a folder's or file's name; or ().

    >>> languages_of(("source", "target"), ["tatoeba/en-fr/train.tsv"])
    ('en', 'fr')
    """
    if len(names) == 2 and all(map(is_language, names)):
        return tuple(names)
    paths = [Path(one) for one in sources if isinstance(one, str | Path)]
    paths = [path.with_suffix("") if path.suffix in COMPRESSED else path for path in paths]
    endings = [path.suffix[1:] for path in paths]
    if len(paths) == 2 and all(map(is_language, endings)):
        return tuple(endings)
    for path in paths[:1]:
        for part in (path.stem, path.parent.name):
            pair = re.search(r"(?<![a-z])([a-z]{2})[-_.]([a-z]{2})(?![a-z])", part)
            if pair and CODES.issuperset(pair.groups()):
                return pair.groups()
    return ()
