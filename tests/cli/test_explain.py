"""What --explain draws and --trace writes is what happened."""

from __future__ import annotations

import io
import json
import math
import re

import pytest
from rich.cells import cell_len
from rich.console import Console
from toys import Bag, ByteTokenizer, CharTokenizer, Recital, random_table

from nextword.cli.documents import trace_document
from nextword.cli.explain import explain, grow, heat, percent
from nextword.generator import Generation, TextGenerator
from nextword.report.heatmap import visible

LETTERS = CharTokenizer("abcdefgh")
CHINESE = CharTokenizer("床前明月光 \n\x1b")


def writer(tokenizer: CharTokenizer = LETTERS) -> TextGenerator:
    return TextGenerator(Bag(random_table(tokenizer.vocab_size)), tokenizer)


def drawn(generations: list[Generation], tokenizer, width: int = 100, **console) -> str:
    out = io.StringIO()
    explain(generations, tokenizer, Console(file=out, width=width, highlight=False, **console))
    return out.getvalue()


ROW = re.compile(r"^ (\S+) +([\d.e-]+) +([\d,]+) +(\d+\.\d\d)(?= )", re.MULTILINE)


def test_each_token_has_its_row_and_the_sum_stands_below() -> None:
    [g] = writer().generate_many("ab", seed=1, max_tokens=6, ignore_eos=True, trace=True)
    page = drawn([g], LETTERS)
    tokens = ROW.findall(page)
    scores = [[LETTERS.token_text(s.token), float(f"{math.exp(s.log_prob):.3g}"), str(s.rank)] for s in g.trace.steps]
    assert [[token, float(prob), rank] for token, prob, rank, _ in tokens] == scores
    assert f"exp({g.log_prob:.4f})" in page
    assert f"perplexity       {math.exp(-g.log_prob / 6):.4g} per token, 6 tokens" in page
    assert "ended by length; seed 1" in page


def test_what_the_settings_did_is_named() -> None:
    [g] = writer().generate_many("ab", seed=1, max_tokens=1, temperature=0.5, top_k=3, trace=True)
    page = drawn([g], LETTERS)
    _, temperature, top_k = g.trace.steps[0].stages
    assert f"temperature moved {percent(temperature.moved)}" in page
    assert f"top_k −{percent(top_k.removed)}" in page
    [g] = writer().generate_many("ab", seed=1, max_tokens=1, trace=True)
    assert "settings" not in drawn([g], LETTERS)


def test_the_alternatives_are_the_five_likeliest_others() -> None:
    [g] = writer().generate_many("ab", seed=1, max_tokens=1, trace=True)
    step = g.trace.steps[0]
    others = [(token, prob) for token, prob in step.stages[0].top if token != step.token]
    page = drawn([g], LETTERS)
    for token, prob in others[:5]:
        assert f"{LETTERS.token_text(token)} {percent(prob)}" in page
    assert f"{LETTERS.token_text(others[5][0])} {percent(others[5][1])}" not in page


@pytest.mark.parametrize("width", [50, 80, 120])
def test_wide_characters_align(width: int) -> None:
    generations = writer(CHINESE).generate_many("床前", seed=1, max_tokens=30, top_p=0.8, trace=True, ignore_eos=True)
    page = drawn(generations, CHINESE, width)
    found = list(ROW.finditer(page))
    assert [row[1] for row in found] == [visible(CHINESE.token_text(id)) for id in generations[0].token_ids]
    assert {cell_len(row[1]) for row in found} >= {1, 2}
    assert len({cell_len(row[0]) for row in found}) == 1
    assert max(map(cell_len, page.splitlines())) <= width
    assert "…" not in page


def test_white_space_and_control_characters_are_seen() -> None:
    text = "床 \n\x1b光"
    [g] = TextGenerator(Recital(text, CHINESE), CHINESE).generate_many("", trace=True)
    page = drawn([g], CHINESE)
    assert "\x1b" not in page
    for sign in ("␣", "↵", "␛"):
        assert sum(line.startswith(f" {sign}") for line in page.splitlines()) == 1  # its row in the table


def test_colours_where_there_are_colours_else_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    [g] = writer().generate_many("ab", seed=1, max_tokens=6, ignore_eos=True, trace=True)
    text = "".join(f"{LETTERS.token_text(s.token)}[{percent(math.exp(s.log_prob))}]" for s in g.trace.steps)
    plain = drawn([g], LETTERS, width=200)
    assert plain.startswith("ab" + text)
    assert "\x1b" not in plain
    terminal = {"force_terminal": True, "color_system": "truecolor"}
    coloured = drawn([g], LETTERS, width=200, **terminal)
    assert "\x1b[38;2;0;0;0;48;2;" in coloured
    assert text not in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert text in drawn([g], LETTERS, width=200, **terminal)


def test_the_scale_is_none_for_the_certain_and_grows_with_surprise() -> None:
    assert heat(0.0) == ""
    greens = [int(heat(math.log(p)).split(",")[1]) for p in (0.5, 0.1, 0.01, 0.001, 1e-4)]
    assert greens == sorted(greens, reverse=True)
    assert heat(-math.inf) == heat(math.log(1e-4))


def test_bytes_of_a_character_are_coloured_together() -> None:
    tokenizer = ByteTokenizer()
    [g] = TextGenerator(Recital("明月", tokenizer), tokenizer).generate_many("", trace=True)
    page = drawn([g], tokenizer)
    assert page.startswith("明[100 %]月[100 %]<eos>[100 %]")
    assert [row[0] for row in ROW.findall(page)][:3] == ["<E6>", "<98>", "<8E>"]
    [g] = TextGenerator(Recital("明月", tokenizer), tokenizer).generate_many("", trace=True, max_tokens=4)
    assert drawn([g], tokenizer).startswith("明[100 %]�[100 %]")


def test_several_samples_one_after_the_other() -> None:
    page = drawn(writer().generate_many("ab", seed=1, max_tokens=3, num_samples=3, trace=True), LETTERS)
    assert [seed for seed in (1, 2, 3) if f"seed {seed}\n" in page] == [1, 2, 3]


@pytest.mark.parametrize("groups", [{}, {"num_beam_groups": 2, "diversity_penalty": 1.0}])
def test_the_tree_leads_to_every_text(groups: dict) -> None:
    found = writer().generate_many("ab", num_beams=4, num_samples=4, max_tokens=8, trace=True, **groups)
    root, seen = grow(found[0].trace, found), []

    def walk(node, way):
        seen.extend((place, [*way, node.token]) for place in node.finished)
        for child in node.children:
            assert child.parent is node
            assert child.step == node.step + 1
            assert child.total <= node.total
            walk(child, [*way, node.token])

    walk(root, [])
    assert {place: way[1:] for place, way in seen} == {i: g.token_ids[:-1] for i, g in enumerate(found)}
    winners, node = [], root
    while node.children and any(child.wins for child in node.children):
        [node] = [child for child in node.children if child.wins]
        winners.append(node.token)
    assert winners == found[0].token_ids[:-1]


def test_a_beam_search_shows_its_tree_and_its_best() -> None:
    found = writer().generate_many("ab", num_beams=3, num_samples=2, max_tokens=6, trace=True)
    page = drawn(found, LETTERS)
    marked = "".join(line.split()[1] for line in page.splitlines() if line.startswith(" ▸"))
    assert marked == "(prompt)" + "".join(map(LETTERS.token_text, found[0].token_ids))
    assert f"no. 1, score {found[0].score:.4f}" in page
    assert f"no. 2, score {found[1].score:.4f}" in page
    assert found[1].text in page.split("ended by")[1]


def test_the_trace_as_a_document() -> None:
    generator = writer()
    [g] = generator.generate_many("ab", seed=1, max_tokens=5, top_k=2, trace=True)
    document = json.loads(json.dumps(trace_document(LETTERS, "ab", generator.config, [g]), allow_nan=False))
    assert (document["prompt"], document["beams"]) == ("ab", [])
    [text] = document["texts"]
    assert (text["text"], text["seed"], text["score"]) == (g.text, 1, g.log_prob)
    assert [step["token"] for step in text["steps"]] == text["token_ids"]
    assert sum(step["log_prob"] for step in text["steps"]) == pytest.approx(g.log_prob)
    model, top_k = text["steps"][0]["stages"]
    assert (model["name"], model["kept"]) == ("model", LETTERS.vocab_size)
    assert (top_k["name"], top_k["kept"], len(top_k["top"])) == ("top_k", 2, 2)
    assert top_k["removed"] == pytest.approx(1 - sum(token["prob"] for token in model["top"][:2]))
    assert {token["text"] for token in top_k["top"]} == {token["text"] for token in model["top"][:2]}


def test_the_trace_of_a_beam_search_holds_its_tree() -> None:
    generator = writer()
    found = generator.generate_many("ab", num_beams=3, num_samples=3, max_tokens=4, trace=True)
    document = trace_document(LETTERS, "ab", generator.config, found)
    assert [entry["step"] for entry in document["beams"]] == list(range(len(document["beams"])))
    first = document["beams"][0]["beams"][0]
    assert list(first) == ["from", "token", "text", "total"]
    assert len(document["texts"]) == 3
    assert document["texts"][0]["score"] >= document["texts"][1]["score"]


@pytest.mark.parametrize(
    ("prob", "expected"),
    [(1, "100 %"), (0.314, "31 %"), (0.0996, "10 %"), (0.0314, "3.1 %"), (0.00314, "0.31 %"), (1e-5, "<0.01 %")],
)
def test_percent(prob: float, expected: str) -> None:
    assert percent(prob) == expected
