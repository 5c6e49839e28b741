"""JSON from strangers: limits on size, depth and numbers, no key twice. What passes is safe to walk and to write again.

`json` alone takes the last of two equal keys, reads NaN and 1e999, integers of any length and half a character, and
meets deep nesting with a RecursionError.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any

MOST_BYTES = 2**27  # the largest tokenizer.json in use (Gemma 3's) has 33 MB
MOST_DEPTH = 64
MOST_VALUES = 2**22  # in objects and arrays; Gemma 3's tokenizer.json has two million
MOST_DIGITS = 40  # of an integer: 64 bits have 20, and 10^30 is how transformers writes that there is no limit

_ALL_BUT_MARKS = bytes(set(range(256)) - set(b"[]{},"))
_HALF_CHARACTER = re.compile(rb"\\u[dD][89abAB]")


def loads(
    data: bytes | bytearray,
    most_bytes: int = MOST_BYTES,
    most_depth: int = MOST_DEPTH,
    most_values: int = MOST_VALUES,
) -> Any:
    """The value of a JSON text in UTF-8. Raises ValueError saying in a few words what is wrong with it.

    >>> loads(b'{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> loads(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: the key 'a' stands there twice
    """
    if len(data) > most_bytes:
        raise ValueError(f"{len(data):,} bytes of JSON, at most {most_bytes:,} are read")
    marks = _marks(data)
    if len(marks) > most_values:
        raise ValueError(f"more than {most_values:,} values")
    if _depth(marks) > most_depth:
        raise ValueError(f"nested deeper than {most_depth} levels")
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
        if _HALF_CHARACTER.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte {error.start}") from None
    except UnicodeEncodeError:
        raise ValueError("a string holds half of a character (a lone surrogate)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except (RecursionError, MemoryError):  # the latter: 128 MB of brackets are gigabytes of lists
        raise ValueError("too much for the memory at hand") from None
    return value


def _marks(data: bytes | bytearray) -> bytes:
    """The brackets and commas that stand outside of strings."""
    bare = re.sub(rb'"[^"]*"', b"", re.sub(rb"\\.", b"", data, flags=re.DOTALL))
    return bare.translate(None, _ALL_BUT_MARKS)


def _depth(marks: bytes) -> int:
    """The deepest nesting, counted without recursion."""
    brackets = marks.replace(b",", b"")
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} stands there twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits):,} digits")
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:20]} is out of range")
    return number


def _constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
