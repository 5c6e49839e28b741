"""Metrics that are models: what their libraries are given, what is made of their figures, and what is said without
them. The libraries are stood in for: what they compute is theirs."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from nextword.errors import NextwordError
from nextword.metrics.learned import bertscore, comet


def overlap(a: str, b: str) -> float:
    return len(set(a) & set(b)) / len(set(a) | set(b))


@pytest.fixture
def libraries(monkeypatch):
    """bert_score and comet as far as they are called; what they were asked for."""
    asked: dict = {}

    class BERTScorer:
        hash = "some-model_L9"

        def __init__(self, model_type, num_layers, device):
            if num_layers is None and "/" in model_type:
                raise KeyError(model_type)
            if model_type == "absent":
                raise OSError("absent is not a local folder\nand is not on the hub")
            asked["bertscore"] = (model_type, num_layers, device)

        def score(self, outputs, references):
            assert all(output.strip() for output in outputs)  # the library itself fails on nothing
            assert all(isinstance(some, list) for some in references)
            best = [max(overlap(a, b) for b in some) for a, some in zip(outputs, references, strict=True)]
            return None, None, np.array(best)

    class Judge:
        def predict(self, rows, batch_size, gpus, progress_bar):
            asked["rows"], asked["gpus"] = rows, gpus
            return SimpleNamespace(scores=[overlap(row["mt"], row["ref"]) for row in rows])

    def load(path):
        asked["comet"] = path
        return Judge()

    def download(name):
        if name == "absent":
            raise KeyError("Model 'absent' not supported by COMET.")
        return f"cache/{name}/model.ckpt"

    for name, members in (
        ("bert_score", {"BERTScorer": BERTScorer}),
        ("comet", {"load_from_checkpoint": load, "download_model": download}),
    ):
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return asked


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("roberta-large", ("roberta-large", None, "cpu")),
        ("models/bert:9", ("models/bert", 9, "cpu")),
        ("C:bert", ("C:bert", None, "cpu")),
    ],
)
def test_bertscore_is_of_the_best_reference_and_nothing_for_nothing(given, asked, libraries):
    score = bertscore(given)(["abc", " ", "xy"], [("abd", "abc"), ("a",), ("yz",)], ["", "", ""])
    assert libraries["bertscore"] == asked
    assert score.rows[:, 0] == pytest.approx([100, 0, 100 / 3])
    assert score.value == pytest.approx(400 / 9)
    assert (score.name, score.signature) == ("BERTScore", "some-model_L9|refs:best")
    assert bertscore(given)([""], [("a",)], [""]).value == 0


def test_comet_reads_sources_too(libraries, tmp_path):
    score = comet("wmt", "cuda")(["ab", "x"], [("cd", "ab"), ("xy",)], ["源", "文"])
    assert libraries["rows"] == [
        {"src": "源", "mt": "ab", "ref": "cd"},
        {"src": "源", "mt": "ab", "ref": "ab"},
        {"src": "文", "mt": "x", "ref": "xy"},
    ]
    assert score.rows[:, 0] == pytest.approx([100, 50])
    assert (libraries["comet"], libraries["gpus"]) == ("cache/wmt/model.ckpt", 1)
    (tmp_path / "own.ckpt").touch()
    comet(str(tmp_path / "own.ckpt"))
    assert libraries["comet"] == str(tmp_path / "own.ckpt")


@pytest.mark.parametrize(
    ("metric", "model", "message"),
    [
        (bertscore, "models/bert", "no layer that suits 'models/bert'. Say at which layer"),
        (bertscore, "absent", "BERTScore: the model 'absent' cannot be loaded: absent is not a local folder$"),
        (comet, "absent", "COMET: the model 'absent' cannot be loaded: .Model 'absent' not supported"),
    ],
)
def test_a_model_that_cannot_be_had_is_one_line(metric, model, message, libraries):
    with pytest.raises(NextwordError, match=message):
        metric(model)


@pytest.mark.parametrize(
    ("metric", "module", "message"),
    [
        (bertscore, "bert_score", "BERTScore needs the library bert-score, .* pip install bert-score"),
        (comet, "comet", "COMET needs the library unbabel-comet, .* pip install unbabel-comet"),
    ],
)
def test_a_library_that_is_not_there_is_one_line(metric, module, message, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NextwordError, match=message):
        metric("some-model")
    monkeypatch.delitem(sys.modules, module)
    (tmp_path / f"{module}.py").write_text("import nowhere_to_be_found\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NextwordError, match="cannot be loaded: No module named 'nowhere_to_be_found'"):
        metric("some-model")
