"""The checker against famous poems, and against the same poems spoilt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nextword.cli import run
from nextword.verse.check import check, guess_form, judge, split_lines
from nextword.verse.chinese import neighbours, rhyme_book
from nextword.verse.forms import find_form

POEMS = {
    "wujue": "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
    "wulü": ("国破山河在，城春草木深。感时花溅泪，恨别鸟惊心。烽火连三月，家书抵万金。白头搔更短，浑欲不胜簪。"),
    "qijue": "朝辞白帝彩云间，千里江陵一日还。两岸猿声啼不住，轻舟已过万重山。",
    "忆江南": "江南好，风景旧曾谙。日出江花红胜火，春来江水绿如蓝。能不忆江南。",
    "如梦令": "昨夜雨疏风骤，浓睡不消残酒。试问卷帘人，却道海棠依旧。知否，知否，应是绿肥红瘦。",
    "浣溪沙": ("山下兰芽短浸溪，松间沙路净无泥。萧萧暮雨子规啼。谁道人生无再少，门前流水尚能西。休将白发唱黄鸡。"),
    "菩萨蛮": (
        "平林漠漠烟如织，寒山一带伤心碧。暝色入高楼，有人楼上愁。玉阶空伫立，宿鸟归飞急。何处是归程，长亭更短亭。"
    ),
    "西江月": (
        "明月别枝惊鹊，清风半夜鸣蝉。稻花香里说丰年，听取蛙声一片。"
        "七八个星天外，两三点雨山前。旧时茅店社林边，路转溪桥忽见。"
    ),
    "鹧鸪天": (
        "彩袖殷勤捧玉钟，当年拚却醉颜红。舞低杨柳楼心月，歌尽桃花扇底风。"
        "从别后，忆相逢，几回魂梦与君同。今宵剩把银釭照，犹恐相逢是梦中。"
    ),
    "虞美人": (
        "春花秋月何时了，往事知多少。小楼昨夜又东风，故国不堪回首月明中。"
        "雕栏玉砌应犹在，只是朱颜改。问君能有几多愁，恰似一江春水向东流。"
    ),
    "蝶恋花": (
        "花褪残红青杏小，燕子飞时，绿水人家绕。枝上柳绵吹又少，天涯何处无芳草。"
        "墙里秋千墙外道，墙外行人，墙里佳人笑。笑渐不闻声渐悄，多情却被无情恼。"
    ),
    "破阵子": (
        "醉里挑灯看剑，梦回吹角连营。八百里分麾下炙，五十弦翻塞外声。沙场秋点兵。"
        "马作的卢飞快，弓如霹雳弦惊。了却君王天下事，赢得生前身后名。可怜白发生。"
    ),
    "江城子": (
        "十年生死两茫茫，不思量，自难忘。千里孤坟，无处话凄凉。"
        "纵使相逢应不识，尘满面，鬓如霜。夜来幽梦忽还乡，小轩窗，正梳妆。"
        "相顾无言，惟有泪千行。料得年年肠断处，明月夜，短松冈。"
    ),
}


@pytest.mark.parametrize("name", POEMS)
def test_a_famous_poem_is_in_form_and_its_form_is_guessed(name: str) -> None:
    lines = split_lines(POEMS[name])
    assert check(lines, find_form(name)).faults == ()
    assert guess_form(lines).name == name


def test_a_fault_is_found_at_its_place() -> None:
    lines = split_lines(POEMS["wujue"])
    form = find_form("wujue")
    faults = {
        "tone": check(["白云依山尽", *lines[1:]], form),
        "rhyme": check([*lines[:3], "更上一层山"], form),
        "length": check([*lines[:3], "更上一层高楼"], form),
        "对": check([lines[0], "白日入海流", *lines[2:]], form),
        "三平尾": check([lines[0], "黄河归天流", *lines[2:]], form),
        "孤平": check(["白日依山尽", "落河入海流", *lines[2:]], form),
    }
    for rule, verdict in faults.items():
        assert rule in {fault.rule for fault in verdict.faults}, rule
    assert [(f.line, f.place) for f in faults["rhyme"].faults] == [(4, 5)]


@pytest.mark.parametrize(
    "poem",
    [
        "清明时节雨纷纷，路上行人欲断魂。借问酒家何处有，牧童遥指杏花村。",
        "众芳摇落独暄妍，占尽风情向小园。疏影横斜水清浅，暗香浮动月黄昏。"
        "霜禽欲下先偷眼，粉蝶如知合断魂。幸有微吟可相狎，不须檀板共金尊。",
    ],
)
def test_the_first_line_may_borrow_its_rhyme_which_is_noted(poem: str) -> None:
    lines = split_lines(poem)
    form = guess_form(lines)
    verdict = check(lines, form)
    assert verdict.faults == ()
    assert verdict.notes[0].startswith("line 1 borrows its rhyme (借韵)")
    assert "首句入韵" in verdict.pattern
    assert [(f.line, f.rule) for f in check(lines, form, borrowing=False).faults] in ([(1, "rhyme")], [(1, "tone")])
    swapped = [lines[0][:-1] + "东", *lines[1:]]
    assert [fault.line for fault in check(swapped, form).faults] == [1], "no neighbour"


def test_niannujiao_by_poems_that_depart_from_it_at_one_place() -> None:
    """Xin Qiji rhymes across classes of the entering tone, as others of the Song did; Li Qingzhao has a level 阑."""
    poems = {
        "野棠花落，又匆匆过了，清明时节。刬地东风欺客梦，一枕云屏寒怯。曲岸持觞，垂杨系马，此地曾经别。楼空人去，旧游飞燕能说。"
        "闻道绮陌东头，行人曾见，帘底纤纤月。旧恨春江流不断，新恨云山千叠。料得明朝，尊前重见，镜里花难折。也应惊问，"
        "近来多少华发。": [(5, "rhyme")],
        "萧条庭院，又斜风细雨，重门须闭。宠柳娇花寒食近，种种恼人天气。险韵诗成，扶头酒醒，别是闲滋味。征鸿过尽，"
        "万千心事难寄。楼上几日春寒，帘垂四面，玉阑干慵倚。被冷香消新梦觉，不许愁人不起。清露晨流，新桐初引，多少游春意。"
        "日高烟敛，更看今日晴未。": [(13, "tone")],
    }
    for poem, faults in poems.items():
        assert guess_form(split_lines(poem)).name == "念奴娇"
        verdict = check(split_lines(poem), find_form("念奴娇"))
        assert [(fault.line, fault.rule) for fault in verdict.faults] == faults


def test_of_ways_to_read_a_poem_the_usual_one_is_told() -> None:
    """间 can be oblique, and 不 level; nobody reads them so here."""
    verdict = check(split_lines(POEMS["qijue"]), find_form("qijue"))
    assert (verdict.pattern, verdict.rhymes) == ("平起首句入韵", ("十五删",))
    assert verdict.beats[0] == "中平中仄仄平平"
    assert verdict.notes == ("read as: 间 平, 不 仄, 过 仄, 重 平",)
    court = check(split_lines(POEMS["wujue"].replace("白日", "白庭")), find_form("wujue"))
    assert (court.faults, court.notes[-1]) == ((), "of which poets hardly use: 庭 仄")


def test_what_a_tune_says_twice_is_the_same_words() -> None:
    once = split_lines(POEMS["如梦令"].replace("知否，知否", "知否，能否"))
    assert [(f.line, f.rule, f.message) for f in check(once, find_form("如梦令")).faults] == [
        (6, "叠", "it should say 知否 once more")
    ]


def test_a_couplet_answers_its_first_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "couplet.txt"
    file.write_text("海内存知己，天涯若比邻", encoding="utf-8")
    assert run(["poem", "check", str(file)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert (out[0], out[-1]) == ("对联  (平水韵)", "in form")
    file.write_text("海内存知己，四方若比友", encoding="utf-8")
    assert run(["poem", "check", str(file), "--form", "对联", "--json"]) == 0
    assert [fault["place"] for fault in json.loads(capsys.readouterr().out)["faults"]] == [5]


def test_lines_are_parted_as_the_form_has_them() -> None:
    """Editions punctuate ci differently; a poem may have no punctuation at all."""
    bare = judge("白日依山尽黄河入海流欲穷千里目更上一层楼")
    assert (bare.form, bare.faults, bare.notes[0]) == ("wujue", (), "lines parted as 五绝 has them")
    moved = POEMS["如梦令"].replace("试问卷帘人，却道海棠依旧", "试问卷帘，人却道、海棠依旧")
    assert judge(moved).lines == judge(POEMS["如梦令"]).lines
    assert judge("白日依，山尽黄河入海流。欲穷千里目，更上一层楼。", find_form("wujue")).faults[0].rule == "length"


def test_neighbours_are_level_mutual_and_of_pingshui_alone() -> None:
    book = rhyme_book("pingshui")
    for rhyme, others in neighbours().items():
        assert all(book.characters(other, "平") and not book.characters(other, "仄") for other in others)
        assert all(rhyme in book.near([other]) for other in others)
    assert book.near(["十一尤"]) == {"十一尤"}
    assert rhyme_book("cilin").near(["第一部"]) == {"第一部"}


def test_the_command_speaks_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "poem.txt"
    file.write_text(POEMS["qijue"], encoding="utf-8")
    assert run(["poem", "check", str(file)]) == 0
    assert "in form" in capsys.readouterr().out
    assert run(["poem", "check", str(file), "--form", "七绝", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["in_form"] is True
    file.write_text("no verse", encoding="utf-8")
    assert run(["poem", "check", str(file), "--form", "qijue"]) == 1
    assert "no Chinese verse" in capsys.readouterr().err
