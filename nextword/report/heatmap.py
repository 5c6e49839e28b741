"""A scored text as a heat map: one offline HTML page, each token coloured by its probability.

Tokens that end inside a character (bytes of a Chinese one, say) are coloured together, by their product; the card
that appears under the pointer lists them one by one. Knows nothing of models: it is given a TextScore.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nextword.report.page import write_page
from nextword.report.svg import escape, shorten

if TYPE_CHECKING:
    from nextword.scoring import TextScore, TokenScore

DARKEST = 1e-4  # probability that gets the full colour; colour is linear in -log P up to it
TICKS = ["1", "0.1", "0.01", "0.001", "≤ 0.0001"]


def write_heatmap(score: TextScore, out: Path) -> None:
    """Write the page; it works from file:// and asks nothing of the network."""
    groups = list(_groups(score))
    cards = [
        [[visible(t.text), round(t.log_prob, 4), t.rank, round(t.entropy, 4)] for t in tokens] for _, tokens in groups
    ]
    perplexity = figure(score.perplexity)
    write_page(
        out,
        "heatmap",
        data=cards,
        title=escape(f"{shorten(' '.join(score.text[:99].split()), 40)} · score"),
        lead=f"Perplexity {perplexity}: at each token the model was as unsure as in a choice among "
        f"{perplexity} equally likely ones. The stronger the colour, the less a token was expected.",
        figures=_figures(score),
        ticks="".join(f"<li>{tick}</li>" for tick in TICKS),
        lang=_lang(score.text),
        spans="".join(_span(piece, tokens) for piece, tokens in groups),
        caption=escape(score.conditions),
    )


def visible(text: str) -> str:
    """A token with its white space and control characters to be seen; one space before a word stays a sign too.

    >>> visible(" the"), visible("\\n"), visible("\\t月"), visible("\\x00")
    ('␣the', '↵', '⇥月', '␀')
    """
    text = text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥").replace("\u3000", "□")
    return re.sub("[\x00-\x1f]", lambda found: chr(0x2400 + ord(found[0])), text).replace("\x7f", "␡")


def figure(value: float) -> str:
    """Four significant digits, and separators in large numbers: 3.142, 12,345, 1.2e+09."""
    if value >= 1e7:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def probability(log_prob: float) -> str:
    """exp(log_prob) to three digits, also where it is too small for a float.

    >>> probability(math.log(0.25)), probability(-2000)
    ('0.25', '2.58e-869')
    """
    if log_prob > math.log(1e-4):
        return f"{math.exp(log_prob):.3g}"
    if log_prob == -math.inf:
        return "0"
    exponent = math.floor(log_prob / math.log(10))
    mantissa = f"{math.exp(log_prob - exponent * math.log(10)):.2f}"
    if mantissa.startswith("10"):  # 9.996 rounds up to the next power
        exponent, mantissa = exponent + 1, "1.00"
    return f"{mantissa}e{exponent:+03d}"


def _groups(score: TextScore) -> Iterator[tuple[str, list[TokenScore]]]:
    """What is shown as one, and its tokens; a piece of "" is a token of the next character, or shows no text."""
    tokens: list[TokenScore] = []
    for token, piece in zip(score.tokens, score.pieces, strict=True):
        tokens.append(token)
        if piece:
            yield piece, tokens
            tokens = []
    if tokens:  # <eos>
        yield "", tokens


def _span(piece: str, tokens: list[TokenScore]) -> str:
    surprisal = -sum(token.log_prob for token in tokens)
    heat = max(0.0, min(1.0, surprisal / -math.log(DARKEST)))
    kind = "" if piece else ' class="special"'
    shown = escape(piece or " ".join(token.text for token in tokens)).replace("\n", "<i>↵</i>\n")
    return f'<span{kind} style="--h:{heat:.2f}">{shown}</span>'


def _figures(score: TextScore) -> str:
    facts = [
        ("tokens", f"{score.num_tokens:,}", ""),
        ("P(text)", probability(score.log_prob), ""),
        ("log-probability", f"{score.log_prob:,.2f}", "nats"),
        ("perplexity", figure(score.perplexity), "per token"),
        ("bits per byte", f"{score.bits_per_byte:.3f}", f"of {score.num_bytes:,} bytes"),
    ]
    return "".join(f"<div><dt>{name}</dt><dd>{value} <small>{unit}</small></dd></div>" for name, value, unit in facts)


def _lang(text: str) -> str:
    """The language of the letter shapes: Han characters look different in Chinese and Japanese fonts."""
    if re.search("[\u3040-\u30ff]", text):
        return ' lang="ja"'
    return ' lang="zh"' if re.search("[\u4e00-\u9fff]", text) else ""
