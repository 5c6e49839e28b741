"""Which places of a couplet answer each other."""

from nextword.metrics.parallel import answers, parallelism


def test_places_answer_with_words_of_one_kind_and_other_characters() -> None:
    assert answers("山", "水") == 1
    assert answers("山", "看") == 0
    assert answers("山", "山") == 0


def test_which_couplets_count() -> None:
    middle = ["明月松间照", "清泉石上流", "竹喧归浣女", "莲动下渔舟"]
    poem = ["空山新雨后", "天气晚来秋", *middle, "随意春芳歇", "王孙自可留"]
    assert parallelism(poem) == (answers(*middle[:2]) + answers(*middle[2:])) / 2
    assert parallelism(middle[:2]) == answers(*middle[:2])
    assert parallelism(middle) is None
