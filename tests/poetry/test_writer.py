"""Poems by small models of random weights: in form whatever the model says, ranked, and at the price they say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toys import write_tokens

from nextword.applied.evaluation import nats_per_character
from nextword.cli import run
from nextword.corpora import load
from nextword.errors import DataError, UsageError
from nextword.generator import TextGenerator
from nextword.models import build_model, model_config
from nextword.poetry import given
from nextword.poetry.evaluation import copied_lines, fields_of, on_theme, poems_in_form, texts_in
from nextword.poetry.writer import Wish, in_script_of, prompt_for, stream_poem, submit, write_poems
from nextword.tokenizers import TokenizerConfig, train_tokenizer
from nextword.verse.check import check, rhymes_of, split_lines
from nextword.verse.chinese import rhyme_book
from nextword.verse.forms import find_form
from nextword.verse.patterns import only
from nextword.verse.regulated import couplet
from nextword.verse.units import lines_of


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TokenizerConfig(type="char"), load("tang")[:1500])


def generator_of(tokenizer, kind: str = "gru", **how) -> TextGenerator:
    torch.manual_seed(1)
    sizes = {"type": kind, "num_layers": 1, "hidden_size": 8, "vocab_size": tokenizer.vocab_size}
    attention = {"num_heads": 2, "max_seq_len": 20} if kind == "transformer" else {}
    model = build_model(model_config(sizes | attention))
    return TextGenerator(model.eval(), tokenizer, **how)


def test_tokens_of_several_characters_and_parts_of_one_are_told_line_by_line() -> None:
    pairs = train_tokenizer(TokenizerConfig(type="bpe", vocab_size=1500), load("tang")[:400])
    (poem,) = write_poems(generator_of(pairs), Wish(find_form("如梦令")), 1, seed=1)
    assert poem.verdict.faults == ()
    assert "".join(step.text for step in poem.steps) == poem.text
    assert [step.line for step in poem.steps] == sorted(step.line for step in poem.steps)
    assert {step.line for step in poem.steps} == set(range(7))


@pytest.mark.parametrize("kind", ["gru", "transformer"])
def test_poems_are_in_form_best_first_and_come_again_with_their_seed(tokenizer, kind) -> None:
    generator = generator_of(tokenizer, kind)
    wish = Wish(find_form("qijue"), theme="秋思", rhymes=("一东",), given=given.acrostic("春夏秋冬"))
    poems = write_poems(generator, wish, 3, seed=5)
    for poem in poems:
        assert poem.verdict.faults == ()
        assert "".join(line[0] for line in poem.verdict.lines) == "春夏秋冬"
        assert "".join(step.text for step in poem.steps) == poem.text
        assert [sum(step.line == i for step in poem.steps) for i in range(4)] == [8, 9, 8, 8]
    assert len({poem.text for poem in poems}) == 3
    assert [poem.score for poem in poems] == sorted((poem.score for poem in poems), reverse=True)
    assert "".join(stream_poem(generator, wish, seed=poems[0].seed)) == poems[0].text


def test_the_cost_is_what_the_model_gave_to_what_the_form_forbids(tokenizer) -> None:
    generator = generator_of(tokenizer)
    wish = Wish(find_form("wujue"))
    (poem,) = write_poems(generator, wish, 1, seed=1)
    (job,) = submit(generator, wish, 1, True, seed=1)
    row = job.request.constraint.fork()
    ids = [*job.request.prompt, *tokenizer.encode(poem.text)]
    log_probs = generator.model(torch.tensor([ids]))[0][0].log_softmax(-1).detach()
    for step, written in enumerate(poem.steps):
        allowed = row.mask(100)
        assert written.cost == pytest.approx(-float(log_probs[step][allowed].logsumexp(0)), abs=1e-4)
        token = ids[len(job.request.prompt) + step]
        assert written.log_prob == pytest.approx(float(log_probs[step][token]), abs=1e-4)
        row.accept(token)
    told = [step.log_prob for step in poem.steps]
    end = float(log_probs[len(told)][tokenizer.eos_id])
    assert poem.log_prob == pytest.approx(math.fsum([*told, end]) / (len(told) + 1), abs=1e-4)


def test_a_beam_search_finds_a_likelier_poem_than_chance(tokenizer) -> None:
    generator = generator_of(tokenizer)
    wish = Wish(find_form("wujue"))
    (found,) = write_poems(generator, wish, 1, num_beams=4)
    drawn = write_poems(generator, wish, 5, seed=1)
    assert found.verdict.faults == ()
    assert found.log_prob > drawn[0].log_prob


def test_words_stand_somewhere_and_each_poem_may_have_them_elsewhere(tokenizer) -> None:
    wish = Wish(find_form("qijue"), words=("明月", "山"))
    poems = write_poems(generator_of(tokenizer), wish, 4, seed=1)
    places = set()
    for poem in poems:
        assert poem.verdict.faults == ()
        assert "明月" in poem.text
        assert "山" in poem.text
        places.add(poem.text.index("明月"))
    assert len(places) > 1
    crowd = Wish(find_form("忆江南"), words=("明月", "春山", "长江", "天地", "风雨", "白日", "流水", "青云", "千里"))
    with pytest.raises(UsageError, match="no place was found for 明月 春山"):
        write_poems(generator_of(tokenizer), crowd, 1, seed=1)
    with pytest.raises(UsageError, match="'海内存知己天涯' has no place in 五律"):
        next(given.placements(find_form("wulü"), ["海内存知己天涯"], {}, 0))


def test_a_couplet_answers_the_line_given(tokenizer) -> None:
    form = couplet("明月松间照", rhyme_book("pingshui"))
    (poem,) = write_poems(generator_of(tokenizer), Wish(form, given=given.beginning(["明月松间照"])), 1)
    assert poem.text.startswith("明月松间照，")
    assert poem.verdict.faults == ()
    assert not set(poem.text[6:11]) & set("明月松间照")
    assert poem.parallelism is not None


def test_what_is_in_brackets_stays() -> None:
    lines, kept = given.draft("[白日]依山尽，\n黄河入[海流]。")
    assert lines == ["白日依山尽", "黄河入海流"]
    assert kept == {(0, 0): "白", (0, 1): "日", (1, 3): "海", (1, 4): "流"}
    for wrong, reason in {
        "白日": "nothing is marked",
        "[白日": "no partner",
        "白]日": "no partner",
        "[a]": "no Chinese",
    }.items():
        with pytest.raises(DataError, match=reason):
            given.draft(wrong)


def test_what_is_given_twice_must_agree() -> None:
    assert given.together([{(0, 0): "春"}, {(0, 0): "春", (1, 0): "夏"}]) == {(0, 0): "春", (1, 0): "夏"}
    with pytest.raises(UsageError, match="line 1, place 1 cannot be both 春 and 白"):
        given.together([given.acrostic("春"), given.beginning(["白日"])])


def test_a_run_trained_on_prompts_is_asked_in_its_layout(tokenizer) -> None:
    wish = Wish(find_form("qijue"), theme="秋思", author="李白", rhymes=("一东",))
    assert prompt_for(generator_of(tokenizer, separator="\n"), wish) == "七绝|东|李白|秋思"
    with pytest.raises(UsageError, match="knows no authors"):
        prompt_for(generator_of(tokenizer), wish)
    assert prompt_for(generator_of(tokenizer), Wish(find_form("qijue"), theme="秋思")) == "秋思\n"
    with pytest.raises(UsageError, match="the theme has 50 characters"):
        prompt_for(generator_of(tokenizer), Wish(find_form("qijue"), theme="秋" * 50))


def test_what_is_asked_in_the_other_script_is_written_in_that_of_the_run(tokenizer) -> None:
    wish = Wish(find_form("qijue"), theme="登樓", given=given.acrostic("風月龘"), words=("長江",))
    found = in_script_of(tokenizer, wish)
    assert (found.theme, found.words) == ("登楼", ("长江",))
    assert [*found.given.values()] == ["风", "月", "龘"]


def test_a_word_is_put_where_it_fits_as_poets_read_it(tokenizer) -> None:
    """龙 can be oblique, and is not here."""
    wish = Wish(only(find_form("qijue"), "仄起首句不入韵"), words=("龙",))
    for poem in write_poems(generator_of(tokenizer), wish, 6, seed=1, costs=False):
        assert "龙" in poem.text
        assert not any("poets hardly use" in note for note in poem.verdict.notes)


def test_the_prompts_of_a_test_set_are_answered_in_their_form(tokenizer) -> None:
    generator = generator_of(tokenizer, separator="\n")
    prompts = ["五绝|东||秋思", "七律|||", "|||秋思", "五绝|董||"]
    found = poems_in_form(generator, prompts, {"temperature": 0.5, "stop": ("。",)})
    assert found[2:] == ["", ""]
    for text, form in zip(found, ("五绝", "七律"), strict=False):
        assert check(split_lines(text), find_form(form)).faults == ()
    assert rhymes_of(split_lines(found[0]), find_form("五绝")) == ["一东"]


def test_lines_learnt_by_heart_are_counted(tokenizer, tmp_path: Path) -> None:
    ids = tokenizer.encode("五绝|尤||登楼\n白日依山尽，黄河入海流。")
    files = write_tokens(tmp_path / "tokens", [([], ids)], tokenizer)
    (text,) = texts_in(files, tokenizer)
    assert lines_of(text)[-2:] == ["白日依山尽", "黄河入海流"]
    score = copied_lines(["白日依山尽，明月下高楼。", "山中一夜雨。", ""], {*lines_of(text)})
    assert score.value == pytest.approx(100 / 6)


def test_a_poem_on_its_theme_has_its_words_and_their_companions_more_often_than_others() -> None:
    texts = ["月夜霜", "月夜光", "马风沙", "马沙尘", "山"] * 5
    fields = fields_of(["月", "马", ""], texts)
    assert on_theme(["夜光", "沙尘", "山山"], fields).value == 2
    assert on_theme(["沙尘", "夜光", "山山"], fields).value == 0
    without_words = on_theme(["山山", "", "月"], fields)
    assert without_words.value == 0
    assert len(without_words.rows) == 3, "one a poem, so that two systems can be compared"


def test_what_a_run_thinks_of_a_poem_is_a_figure_of_each_character(tokenizer) -> None:
    generator = generator_of(tokenizer)
    one, two = (nats_per_character(generator, [("", text)]).value for text in ("山中", "夜光沙尘"))
    found = nats_per_character(generator, [("", "山中"), ("", ""), ("", "夜光沙尘")])
    assert found.value == pytest.approx((2 * one + 4 * two) / 6)
    assert len(found.rows) == 3, "the empty one stands there, and does not count"


@pytest.fixture
def poem(tokenizer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable:
    generator = generator_of(tokenizer)
    monkeypatch.setattr(TextGenerator, "load", lambda folder, **how: generator)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(["poem", "runs/x", *arguments])
        return code, *capsys.readouterr()

    return command


def test_the_command_writes_shows_and_writes_json(poem, tmp_path: Path) -> None:
    code, out, err = poem("--form", "qijue", "--theme", "秋思", "--seed", "1")
    assert (code, err) == (0, "")
    assert out.count("，") == out.count("。") == 2
    code, shown, _ = poem("--form", "七律", "--pattern", "平起首句入韵", "-n", "2", "--show", "form", "--rhyme", "阳")
    assert code == 0
    assert shown.count("七律  平起首句入韵") == 2
    assert shown.count("七阳") == 2
    assert shown.count("  韵  ") == 2 * 5, "the first line rhymes, too"
    assert shown.count("parallelism") == 2
    code, text, _ = poem("--form", "浣溪沙", "-n", "2", "--json")
    document = json.loads(text)
    assert document["form"] == "浣溪沙"
    assert all(one["verdict"]["in_form"] for one in document["poems"])
    file = tmp_path / "draft.txt"
    file.write_text("[白日]依山尽，黄河入[海流]。欲穷千里目，更上一层楼。", encoding="utf-8")
    code, polished, err = poem("--polish", str(file), "--card", str(tmp_path / "card.svg"))
    assert (code, err) == (0, f"Wrote {tmp_path / 'card.svg'}\n")
    assert ">白<" in (tmp_path / "card.svg").read_text(encoding="utf-8")
    assert polished.startswith("白日")
    assert polished[9:11] == "海流"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "no form is named"),
        (["--form", "qijeu"], "no form is called 'qijeu'. Did you mean qijue?"),
        (["--form", "qijue", "--rhyme", "看"], "看 is of several classes of 平水韵. Name one: 十四寒, 十五翰"),
        (["--form", "qijue", "--acrostic", "abc"], "an acrostic is Chinese characters"),
        (["--form", "qijue", "--acrostic", "春夏秋冬春"], "七绝 has no line 5"),
        (["--form", "duilian"], "duilian answers one line"),
        (["--form", "Duilian", "--begin", "春风入喜，财入户。"], "duilian answers one line, not 2"),
        (["--form", "沁园春"], "no form is called '沁园春'. Known: duilian, wujue, qijue, wulü, qilü, 忆江南"),
        (["--form", "qijue", "--rhyme", "东", "--rhyme", "冬"], "七绝 has 1 rhyme, but 2 are asked for"),
        (["--form", "qijue", "--slant"], "七绝 is a Chinese form, and takes no --slant"),
        (["--form", "limerick", "--no-rescues"], "limerick is an English form, and takes no --no-rescues"),
        (["--form", "qijue", "--card", "poem.gif"], "'poem.gif' is no kind of card"),
        (["--form", "qijue", "--pattern", "起首"], ""),
        (["--form", "qijue", "--pattern", "无"], "七绝 has no pattern '无'"),
    ],
)
def test_wrong_usage_is_one_line(poem, arguments, reason) -> None:
    code, _, err = poem(*arguments)
    assert reason in err
    assert (code == 0) == (reason == "")
    assert err.count("\n") <= 1


def test_characters_that_the_tokenizer_lacks_are_named(poem) -> None:
    code, _, err = poem("--form", "qijue", "--acrostic", "龘")
    assert (code, "no '龘'" in err) == (2, True)
