import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from toys import Bag, ByteTokenizer, random_table

from nextword.report.heatmap import probability, visible, write_heatmap
from nextword.scoring import TextScore, score_text

HOSTILE = 'a<b> & "c"\n明月🌙</script><script>alert(1)</script>\x00 $title ${x}'


class Page(HTMLParser):
    """Collects what the reader sees: the spans of the text, all attributes, the data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.spans: list[str] = []
        self.data = ""
        self.within = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.within = "data" if ("id", "data") in attrs else tag
        if tag == "span":
            self.spans.append("")

    def handle_endtag(self, tag: str) -> None:
        self.within = "span" if tag == "i" else ""

    def handle_data(self, data: str) -> None:
        if self.within == "span":
            self.spans[-1] += data
        if self.within == "data":
            self.data += data


@pytest.fixture
def score() -> TextScore:
    return score_text(Bag(random_table(257)), ByteTokenizer(), HOSTILE, include_eos=True)


@pytest.fixture
def html(score: TextScore, tmp_path: Path) -> str:
    write_heatmap(score, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_text_is_shown_in_whole_characters(html: str) -> None:
    spans = Page(html).spans
    assert spans[-1] == "<eos>"
    assert "".join(spans[:-1]) == HOSTILE.replace("\x00", "\ufffd")
    assert "明" in spans
    assert "🌙" in spans


def test_the_card_has_every_token_once(score: TextScore, html: str) -> None:
    page = Page(html)
    cards = json.loads(page.data)
    assert len(cards) == len(page.spans)
    assert sum(map(len, cards)) == score.num_tokens
    assert sum(card[1] for cards_ in cards for card in cards_) == pytest.approx(score.log_prob, abs=1e-2)
    assert len(cards[page.spans.index("明")]) == 3


def test_colour_grows_with_surprise(score: TextScore, html: str) -> None:
    heats = [float(h) for h in re.findall(r"--h:([\d.]+)", html)]
    surprise = [-sum(card[1] for card in cards) for cards in json.loads(Page(html).data)]
    assert all(0 <= h <= 1 for h in heats)
    ordered = [h for _, h in sorted(zip(surprise, heats, strict=True))]
    assert ordered == sorted(ordered)
    assert heats[0] == pytest.approx(min(1, surprise[0] / math.log(1e4)), abs=0.006)


def test_nothing_is_asked_of_the_network_and_no_text_becomes_code(html: str) -> None:
    page = Page(html)
    assert "default-src 'none'" in html
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not any({"src", "href", "onclick"} & attrs.keys() for _, attrs in page.tags)
    assert not re.search(r"url\(|@import|https?://", html)


@pytest.mark.parametrize(
    ("log_prob", "shown"),
    [
        (math.log(0.25), "0.25"),
        (0.0, "1"),
        (-2000.0, "2.58e-869"),
        (math.log(9.9999e-6), "1.00e-05"),
        (-math.inf, "0"),
    ],
)
def test_probabilities_too_small_for_a_float(log_prob: float, shown: str) -> None:
    assert probability(log_prob) == shown


def test_white_space_is_visible() -> None:
    assert [visible(t) for t in (" the", "\n", "\t月", "\x00", "\x7f", "明")] == ["␣the", "↵", "⇥月", "␀", "␡", "明"]
