"""Metrics of translations, summaries and replies: known answers, and the libraries they stand on."""

import numpy as np
import pytest

from nextword.metrics.extracts import lead, longest, textrank
from nextword.metrics.replies import distinct, entropy, repetition, reply_scores
from nextword.metrics.score import mean_score, paired_bootstrap
from nextword.metrics.summaries import rouge_scores, source_scores, unsupported, words
from nextword.metrics.translations import translation_scores
from nextword.text.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Li paid 3.50. Why?", ["Dr. Li paid 3.50.", "Why?"]),
        ("他走了。“真的？”她没走！", ["他走了。", "“真的？”", "她没走！"]),
        ("J. Smith said no", ["J. Smith said no"]),
        ("one\ntwo", ["one", "two"]),
        ("I said no. He said yes.", ["I said no.", "He said yes."]),
        ("", []),
    ],
)
def test_sentences(text, expected):
    assert sentences(text) == expected


def test_bleu_and_chrf_are_those_of_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    outputs = ["the cat sat on the mat", "a dog ran away from me"]
    references = [["the cat sat on a mat", "a cat sat there"], ["the dog ran away from me"]]
    found = {score.name: score for score in translation_scores(outputs, references)}
    streams = [["the cat sat on a mat", "the dog ran away from me"], ["a cat sat there", None]]
    assert found["BLEU"].value == pytest.approx(sacrebleu.corpus_bleu(outputs, streams).score)
    assert found["chrF"].value == pytest.approx(sacrebleu.corpus_chrf(outputs, streams).score)
    assert "tok:13a" in found["BLEU"].signature


def test_chinese_is_not_one_word():
    pytest.importorskip("sacrebleu")
    found = {score.name: score for score in translation_scores(["我昨天去了北京。"], [["我昨天去了上海。"]])}
    assert found["BLEU"].value > 30
    assert "tok:zh" in found["BLEU"].signature


def test_rouge_is_that_of_rouge_score_and_chinese_has_some():
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    output, reference = "The cats were sleeping on mats.", "A cat sleeps on the mat"
    found = {score.name: score.value for score in rouge_scores([output], [[reference]])}
    expected = scorer.score(reference, output)
    assert found["ROUGE-1"] == pytest.approx(100 * expected["rouge1"].fmeasure)
    assert found["ROUGE-L"] == pytest.approx(100 * expected["rougeL"].fmeasure)
    assert rouge_scores(["我去了北京。"], [["我去了上海。", "我去了北京"]])[0].value == pytest.approx(100)


def test_what_the_source_lacks():
    assert unsupported("Then Bob paid 50.", "Anna paid 30.") == ["50", "Bob"]
    assert unsupported("So Ann's dog is O'Neil's, and I'm Jim’s.", "Ann and O'Neil met.") == ["Jim"]
    assert unsupported("李雷和小红1点见面。", "李雷：来吗？\n小红：1点来。") == []
    assert unsupported("李雷和小红1点见面。", "李雷：来吗？\n小明：1点来。") == ["和小红"]
    assert unsupported("小明7号和王老师去了上海。", "小明7号去了北京。") == ["王老师", "上海"]
    by_name = {score.name: score.value for score in source_scores(["a b c"], ["x a b c y z"])}
    assert by_name["novelty"] == 0
    assert by_name["coverage"] == 100
    assert by_name["density"] == pytest.approx(3)
    assert by_name["compression"] == 2


def test_baselines():
    text = "The moon is bright. Cats sleep. The bright moon rises over the bright sea. The sea is bright."
    assert lead(text, 1) == "The moon is bright."
    assert longest(text, 1) == "The bright moon rises over the bright sea."
    assert "Cats" not in textrank(text, 3)
    assert lead("他走了。她没走。", 2) == "他走了。她没走。"
    assert textrank("", 2) == ""


def test_replies():
    assert distinct([words("no no no no")], 1) == 0.25
    assert entropy(["a", "b", "c", "d"]) == 2
    assert repetition(words("a b a b")) == pytest.approx(1 / 3)
    assert {score.name: score.value for score in reply_scores(["you like tea"], ["do you like tea"])}["copied"] == 100


def test_bootstrap_tells_a_real_difference_from_none():
    rng = np.random.default_rng(0)
    a = rng.normal(0, 1, 200)
    better, same = a + 0.5 + rng.normal(0, 0.5, 200), a + rng.normal(0, 0.5, 200)
    sure = paired_bootstrap(mean_score("x", a), mean_score("x", better))
    assert sure.p < 0.01
    assert sure.low < sure.b - sure.a < sure.high
    assert sure.low > 0
    unsure = paired_bootstrap(mean_score("x", a), mean_score("x", same))
    assert unsure.low < 0 < unsure.high
