"""An offline page on which people judge, blind, which of two replies is better; it counts the votes and saves them."""

from __future__ import annotations

import hashlib
import json
import random
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nextword.report.page import write_page
from nextword.text.chat import Turn


@dataclass(frozen=True)
class Rivals:
    """Two replies to the same words."""

    turns: Sequence[Turn]
    """What was said before."""
    a: str
    b: str


def write_judging(items: Sequence[Rivals], runs: tuple[str, str], out: Path, seed: int = 0) -> None:
    """Write the page. `runs` are the names of A and B; which of them is on the left is drawn for each item, by `seed`.

    Names and sides are in the page in base64 only, so that its source does not tell them at a glance.
    """
    rng = random.Random(seed)
    key = [rng.randrange(2) for _ in items]  # 1: B is on the left
    shown = [
        {"turns": [dict(turn) for turn in item.turns], "replies": [item.b, item.a] if swapped else [item.a, item.b]}
        for item, swapped in zip(items, key, strict=True)
    ]
    data = {
        "items": shown,
        "key": _hidden("".join(map(str, key))),
        "runs": _hidden(json.dumps({"A": runs[0], "B": runs[1]}, ensure_ascii=False)),
    }
    data["id"] = hashlib.sha256(json.dumps(data).encode()).hexdigest()[:12]
    write_page(out, "judging", data=data, title="Which reply is better?")


def _hidden(text: str) -> str:
    return b64encode(text.encode()).decode()
