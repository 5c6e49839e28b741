"""How near translations are to their references: BLEU, chrF, chrF++ and TER, all by sacreBLEU (Post 2018).

Texts of mostly Chinese characters are cut by sacreBLEU's `zh` tokenizer, those with Japanese kana into characters:
with the usual one, a whole Chinese sentence would be one word and BLEU nearly 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from nextword.errors import MissingExtra, UsageError
from nextword.metrics.score import Rows, Score
from nextword.text.scripts import share_in


def bleu_tokenizer(references: Sequence[str]) -> str:
    """sacreBLEU's name of the tokenizer that suits a language.

    >>> bleu_tokenizer(["他走了。"]), bleu_tokenizer(["He left."])
    ('zh', '13a')
    """
    text = "".join(references[:1000])
    if share_in(text, ["Hiragana", "Katakana"]) > 0.1:
        return "char"
    return "zh" if share_in(text, ["Han"]) > 0.3 else "13a"


def translation_scores(outputs: Sequence[str], references: Sequence[Sequence[str]], tokenize: str = "") -> list[Score]:
    """BLEU, chrF, chrF++ and TER of a corpus; `references` are those of each text, at least one.

    `tokenize` is sacreBLEU's; "" chooses by script, "none" is for text that is tokenised already. Raises UsageError
    for lengths that differ, MissingExtra without sacrebleu.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF, TER
    except ImportError:
        raise MissingExtra("sacrebleu", "tasks", "measuring translations") from None
    if len(outputs) != len(references):
        raise UsageError(f"{len(outputs)} translations, but {len(references)} references", "Give one for each line")
    tokenize = tokenize or bleu_tokenizer([some[0] for some in references])
    asian = tokenize in ("zh", "char")
    metrics: list[tuple[str, Any]] = [
        ("BLEU", BLEU(tokenize=tokenize, force=tokenize == "none")),  # unwarned
        ("chrF", CHRF()),
        ("chrF++", CHRF(word_order=2)),
        ("TER", TER(normalized=asian, asian_support=asian, case_sensitive=True)),
    ]
    return [_score(name, metric, list(outputs), references) for name, metric in metrics]


def _score(name: str, metric: Any, outputs: list[str], references: Sequence[Sequence[str]]) -> Score:
    most = max(map(len, references), default=1)
    streams = [[some[i] if i < len(some) else None for some in references] for i in range(most)]
    # The two halves of corpus_score, which sacrebleu.significance calls apart for the same reason: to resample.
    rows = np.asarray(metric._extract_corpus_statistics(outputs, streams), np.float64)
    total = partial(_figure, metric)
    return Score(name, total(rows.sum(0)), str(metric.get_signature()), rows, total, name != "TER")


def _figure(metric: Any, total: Rows) -> float:
    return float(metric._compute_score_from_stats(total.tolist()).score)
