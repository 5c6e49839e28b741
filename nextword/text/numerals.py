"""Numbers in digits as languages write them: found in a text, compared, and said in another language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

_PHONE = r"(?:\+|(?<!\d)0)\d+(?:[ -]\d+){2,}"
_GROUPED = r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)(?:[.,]\d+)?"  # 2 500
_WIDE_GROUPED = r"[０-９]{1,3}(?:，[０-９]{3})+(?!\d)"  # of 12，13 each is a number
_SIGN = r"(?:(?<![\w)\]])[-−+])?"
_NUMBER = rf"{_SIGN}(?:{_GROUPED}|{_WIDE_GROUPED}|\d+(?:[.,:/’'：．／-]\d+)*)"
_MYRIADS = {"万": 4, "百万": 6, "千万": 7, "亿": 8, "万亿": 12}
_MYRIAD = r"(\d+(?:[,，]\d{3})*(?:[.．]\d+)?)(万亿|萬億|[百千]?[万萬]|[亿億])"
_IN_MYRIADS = rf"{_SIGN}(?:{_MYRIAD}){{1,3}}(?![\d零])"  # 1亿2.5万 = 100,025,000
NUMERAL = rf"{_PHONE}|{_IN_MYRIADS}|{_NUMBER}"
"""A pattern of numbers with all that belongs to them: sign, decimals, a date or time whole, a telephone number."""

_WIDE = str.maketrans("０１２３４５６７８９：，．／−萬億", "0123456789:,./-万亿")
_THIN = "\u202f"
_GROUPS = {
    "bg": _THIN, "ca": ".", "cs": _THIN, "da": ".", "de": ".", "el": ".", "es": ".", "et": _THIN, "eu": ".",
    "fi": _THIN, "fr": _THIN, "gl": ".", "hr": ".", "hu": _THIN, "id": ".", "is": ".", "it": ".", "lt": _THIN,
    "lv": _THIN, "nb": _THIN, "nl": ".", "nn": _THIN, "no": _THIN, "pl": _THIN, "pt": ".", "ro": ".", "ru": _THIN,
    "sk": _THIN, "sl": ".", "sr": ".", "sv": _THIN, "tr": ".", "uk": _THIN, "vi": ".",
}  # fmt: skip
"""What parts the thousands in languages that write 0,75 for 0.75 (Unicode CLDR; a thin space for any space of it)."""


def essence(value: str) -> str:
    """What two values have in common that are the same: of numbers, the digits and the sign.

    >>> essence("-2,500.5") == essence("−2 500,5"), essence("2.5万") == essence("25.000"), essence("a 1")
    (True, True, 'a 1')
    """
    value = _written_out(value)
    if not re.fullmatch(_NUMBER, value):
        return value
    value = value.translate(_WIDE)
    return "-" * value.startswith("-") + re.sub(r"\D", "", value)


def said_in(value: str, languages: Sequence[str]) -> str:
    """A number as the second language writes it; all else as it is.

    >>> said_in("2,500.75", ("en", "fr")), said_in("2 500,75", ("fr", "en")), said_in("１２", ("zh", "en"))
    ('2\\u202f500,75', '2,500.75', '12')
    >>> said_in("17:45", ("en", "fr")), said_in("3.11.2", ("en", "fr")), said_in("1984", ("en", "fr"))
    ('17:45', '3.11.2', '1984')
    >>> said_in("2.5万", ("zh", "fr")), said_in("2.5万", ("zh", "ja"))
    ('25\\u202f000', '2.5万')
    """
    if len(languages) == 2 and base_language(languages[1]) not in ("zh", "yue", "ja"):
        value = _written_out(value)
    if re.fullmatch(_PHONE, value) or not re.fullmatch(_NUMBER, value):
        return value
    value = value.translate(_WIDE)
    if len(languages) < 2:
        return value
    group, other = (_GROUPS.get(base_language(language), ",") for language in languages)
    mark, groups = (".", r"[, \u00a0\u202f]") if group == "," else (",", r"[. \u00a0\u202f]")
    match = re.fullmatch(rf"(\D?\d+|\D?\d{{1,3}}(?:{groups}\d{{3}})+)(?:{re.escape(mark)}(\d+))?", value)
    if match is None or group == other:
        return value
    whole = re.sub(r"(?<=\d)\D", other, match[1])
    return whole + (f"{'.' if other == ',' else ','}{match[2]}" if match[2] else "")


def base_language(code: str) -> str:
    """The language of a code that may name a region, too.

    >>> base_language("fr-CA"), base_language("zh_Hans")
    ('fr', 'zh')
    """
    return code.lower().replace("_", "-").partition("-")[0]


def _written_out(value: str) -> str:
    """A number in 万 or 亿 without them; all else as it is.

    >>> _written_out("2.5万"), _written_out("-１２亿3万"), _written_out("25")
    ('25,000', '-1,200,030,000', '25')
    """
    if not re.fullmatch(_IN_MYRIADS, value):
        return value
    value = value.translate(_WIDE).replace(",", "")
    parts = (Decimal(number).scaleb(_MYRIADS[unit]) for number, unit in re.findall(_MYRIAD, value))
    whole = sum(parts, Decimal())
    return f"{'-' if value[0] == '-' else ''}{whole.normalize():,f}"
