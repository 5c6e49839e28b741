"""`nextword evaluate` and `compare` of runs for a task: figures that others find too, baselines, confidence."""

import json
import re
import shutil
from pathlib import Path

import pytest

from nextword import corpora
from nextword.cli import run
from nextword.generator import TextGenerator
from nextword.metrics import learned
from nextword.metrics.score import mean_score

TINY = ["--set", "model.hidden_size=8", "--set", "model.num_layers=1", "--set", "model.num_heads=2", "--steps", "3"]
TINY += ["--set", "train.precision='float32'", "--set", "model.max_seq_len=64"]
PAIRS = [
    *corpora.rows("tatoeba-en-fr")[:80],
    *({"en": f"In {year}.", "fr": f"En {year}."} for year in range(1970, 1990)),
]
DOCS = [row for row in corpora.rows("python-docs") if len(row["document"]) < 400][:40]
TALK = [
    {"role": "system", "content": "你是水手。"},
    *({"role": ("user", "assistant")[at % 2], "content": f"{at} 去哪里?"} for at in range(12)),
]
QUICK = ["--set", "num_beams=2", "--set", "max_tokens=12"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs for translation, summarization and dialogue, a plain one, and their data."""
    folder = tmp_path_factory.mktemp("runs")
    for name, rows in (("pairs", PAIRS), ("docs", DOCS), ("talk", [{"messages": TALK}])):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    for side in ("en", "fr"):
        (folder / f"test.{side}").write_text("".join(row[side] + "\n" for row in PAIRS[:6]), encoding="utf-8")
    (folder / "other.jsonl").write_text('{"en": "Go.", "de": "Geh."}\n', encoding="utf-8")
    (folder / "text.txt").write_text("\n\n".join(row["fr"] for row in PAIRS), encoding="utf-8")
    for name, options in (
        ("translator", ["pairs.jsonl", "--task", "translation", "--model", "encoder-decoder"]),
        ("summarizer", ["docs.jsonl", "--task", "summarization", "--set", "task.length_buckets=2"]),
        ("talker", ["talk.jsonl", "--task", "dialogue", "--model", "transformer", "--set", "split.valid=0"]),
        ("plain", ["text.txt"]),
    ):
        data, *task = options
        assert run(["train", str(folder / data), "--out", str(folder / name), *task, *TINY]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(runs)


def figures_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    capsys.readouterr()
    assert run([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_metrics_of_translations_are_those_of_sacrebleu(tmp_path, capsys):
    sacrebleu = pytest.importorskip("sacrebleu")
    out = tmp_path / "answers.jsonl"
    figures = figures_of(capsys, "evaluate", "translator", "test.en", "test.fr", "--out", out, *QUICK)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["prompt"], row["references"]) for row in rows] == [(row["en"], [row["fr"]]) for row in PAIRS[:6]]
    outputs, references = [row["output"] for row in rows], [[row["references"][0] for row in rows]]
    assert figures["metrics"]["chrF"]["value"] == pytest.approx(sacrebleu.corpus_chrf(outputs, references).score)
    assert figures["metrics"]["TER"]["value"] == pytest.approx(sacrebleu.corpus_ter(outputs, references).score)
    assert "tok:13a" in figures["metrics"]["BLEU"]["signature"]
    assert (figures["num_answers"], figures["num_documents"]) == (6, 6)
    assert figures["generation"] == "max_tokens 12, num_beams 2"
    copied = sacrebleu.corpus_chrf([row["prompt"] for row in rows], references).score
    assert figures["baselines"]["source"]["chrF"]["value"] == pytest.approx(copied)


def test_a_run_with_itself_is_itself(capsys):
    alone = figures_of(capsys, "evaluate", "plain", "text.txt")
    together = figures_of(capsys, "evaluate", "plain", "text.txt", "--with", "plain")
    assert together["loss"] == pytest.approx(alone["loss"], rel=1e-4)
    assert run(["translate", "translator", "Go.", "--num-beams", "2"]) == 0
    assert run(["translate", "translator", "Go.", "--num-beams", "2", "--with", "translator"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert run(["evaluate", "translator", "test.en", "test.fr", "--with", "plain"]) == 1
    assert "plain has another tokenizer than translator" in capsys.readouterr().err


def test_a_summarizer_is_told_what_sentences_of_the_text_would_reach(capsys):
    pytest.importorskip("rouge_score")
    assert run(["evaluate", "summarizer", "docs.jsonl", *QUICK]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("ROUGE-Lsum", "compression"))  # whole, however many columns
    assert all(f"{name}-1" in out for name in ("lead", "longest", "textrank"))
    assert "Note: lead-1 is better: ROUGE-1" in out
    assert "rouge-score|F1|stem:porter" in out


SCITLDR = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "summarization" / "scitldr" / "dev.jsonl"
SEVERAL = [
    {"source": row["document"].splitlines(), "target": ["A part.", row["summary"], row["document"][:60]][i % 3 :]}
    for i, row in enumerate(DOCS[:6])
]


@pytest.mark.parametrize("data", ["made up", "SciTLDR"])
def test_of_several_references_the_best_one_counts(data, tmp_path, capsys):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1"], use_stemmer=True)
    if data == "SciTLDR" and not SCITLDR.is_file():
        pytest.skip("SciTLDR is not here")
    lines = SCITLDR.read_text(encoding="utf-8").splitlines()[:6] if data == "SciTLDR" else map(json.dumps, SEVERAL)
    rows = [json.loads(line) for line in lines]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / "out.jsonl"
    figures = figures_of(capsys, "evaluate", "summarizer", tmp_path / "dev.jsonl", *QUICK, "--out", out)
    answers = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [answer["references"] for answer in answers] == [
        [" ".join(t.split()) for t in row["target"]] for row in rows
    ]
    best = [max(scorer.score(one, a["output"])["rouge1"].fmeasure for one in a["references"]) for a in answers]
    assert figures["metrics"]["ROUGE-1"]["value"] == pytest.approx(100 * sum(best) / len(best))
    assert figures["num_answers"] == len(rows)
    assert figures["num_documents"] == sum(len(row["target"]) for row in rows)  # each is predicted


def test_a_summarizer_is_asked_for_each_length_that_it_knows(capsys):
    pytest.importorskip("rouge_score")
    figures = figures_of(capsys, "evaluate", "summarizer", "docs.jsonl", *QUICK)
    assert list(figures["beside"]) == ["length 1", "length 2"]
    assert figures["beside"]["length 2"].keys() == figures["metrics"].keys()
    assert run(["summarize", "summarizer", DOCS[0]["document"], "--length", "long", "--set", "max_tokens=5"]) == 0


def test_metrics_that_are_models_judge_baselines_too(monkeypatch, capsys):
    def bertscore(model: str, device: str) -> learned.Metric:
        return lambda outputs, references, sources: mean_score(model, [len(sources)] * len(outputs))

    monkeypatch.setattr(learned, "bertscore", bertscore)
    figures = figures_of(capsys, "evaluate", "summarizer", "docs.jsonl", *QUICK, "--bertscore", "some-model")
    columns = [figures["metrics"], *figures["baselines"].values(), *figures["beside"].values()]
    assert [column["some-model"]["value"] for column in columns] == [len(DOCS)] * 6


def test_a_comparison_of_texts_is_by_document(capsys):
    figures = figures_of(capsys, "compare", "plain", "plain", "text.txt")
    assert figures["num_documents"] == len(PAIRS)
    assert figures["metrics"]["bits per byte"]["difference"] == 0
    one = figures_of(capsys, "evaluate", "plain", "text.txt")
    assert figures["metrics"]["bits per byte"]["a"] == pytest.approx(one["bits_per_byte"], rel=0.1)  # windows differ


def test_a_run_trained_on_prompts_is_compared_on_a_column_of_text_alone(runs, capsys):
    options = ["--prompt-field", "en", "--target-field", "fr", *TINY]
    assert run(["train", "pairs.jsonl", "--out", "prompted", *options]) == 0
    figures = figures_of(capsys, "compare", "prompted", "prompted", "pairs.jsonl", "--text-field", "fr")
    one = figures_of(capsys, "evaluate", "prompted", "pairs.jsonl", "--text-field", "fr")
    assert figures["metrics"]["bits per byte"]["a"] == pytest.approx(one["bits_per_byte"], rel=0.1)


def test_a_comparison_of_translators_is_in_their_metrics(capsys):
    pytest.importorskip("sacrebleu")
    figures = figures_of(capsys, "compare", "translator", "translator", "test.en", "test.fr", *QUICK, "--samples", 100)
    assert list(figures["metrics"]) == ["bits per byte", "BLEU", "chrF", "chrF++", "TER"]
    one = figures_of(capsys, "evaluate", "translator", "test.en", "test.fr", *QUICK)
    assert figures["metrics"]["bits per byte"]["a"] == pytest.approx(one["bits_per_byte"], rel=1e-4)
    assert figures["metrics"]["chrF"]["b"] == pytest.approx(one["metrics"]["chrF"]["value"])


def test_runs_with_and_without_placeholders_are_compared_on_the_same_texts(tmp_path, capsys):
    shutil.copytree("translator", tmp_path / "plain")
    config = json.loads((tmp_path / "plain/config.json").read_text(encoding="utf-8"))
    assert config["task"]["placeholders"]
    config["task"]["placeholders"] = False
    (tmp_path / "plain/config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "years.jsonl").write_text('{"en": "In 1984.", "fr": "En 1984."}\n', encoding="utf-8")

    def bits(*runs):
        found = figures_of(capsys, "compare", *runs, tmp_path / "years.jsonl", *QUICK, "--samples", 100)
        return [found["metrics"]["bits per byte"][side] for side in "ab"]

    (shown, _), (plain, _) = (bits(run, run) for run in ("translator", tmp_path / "plain"))
    assert shown != plain
    assert bits("translator", tmp_path / "plain") == [plain, plain]
    assert run(["evaluate", str(tmp_path / "plain"), "test.en", "test.fr", "--with", "translator"]) == 1
    assert "translator was trained with placeholders, " in capsys.readouterr().err  # no ensemble: they read other texts


def test_of_a_long_conversation_the_first_turns_are_left_out_and_not_what_the_system_says(monkeypatch, capsys):
    asked, generated = [], TextGenerator.submit_ids

    def spied(self, prompt, **settings):
        asked.append(self.tokenizer.decode(prompt))
        assert len(prompt) + settings["max_tokens"] <= 64  # the beginning is not lost on the way
        return generated(self, prompt, **settings)

    monkeypatch.setattr(TextGenerator, "submit_ids", spied)
    one = figures_of(capsys, "evaluate", "talker", "talk.jsonl", "--set", "max_tokens=30")
    assert len(asked) == one["num_answers"] == 6
    assert one["cut"] == sum(not text.startswith("System: 你是水手。0 去") for text in asked) > 0
    assert all(re.fullmatch(r"System: 你是水手。(\d+ 去哪里\?)+", text) for text in asked)
    assert "in the last turns that fit" in one["how"]
    both = figures_of(capsys, "compare", "talker", "talker", "talk.jsonl", *QUICK, "--samples", 100)
    assert both["metrics"]["bits per byte"]["a"] == pytest.approx(one["bits_per_byte"], rel=1e-5)


def test_conversations_have_a_run_for_no_task_talk_if_it_has_a_template(tmp_path, capsys):
    """As a chat model from elsewhere has; of other texts it is measured as before."""
    shutil.copytree("talker", tmp_path / "theirs")
    config = json.loads((tmp_path / "theirs/config.json").read_text(encoding="utf-8"))
    del config["task"], config["data"]
    (tmp_path / "theirs/config.json").write_text(json.dumps(config), encoding="utf-8")
    ours, theirs = (
        figures_of(capsys, "evaluate", one, "talk.jsonl", *QUICK) for one in ("talker", tmp_path / "theirs")
    )
    assert (theirs["loss"], theirs["metrics"]) == (ours["loss"], ours["metrics"])
    both = figures_of(capsys, "compare", "talker", tmp_path / "theirs", "talk.jsonl", "--samples", 100, *QUICK)
    assert both["metrics"]["bits per byte"]["a"] == both["metrics"]["bits per byte"]["b"]
    assert "metrics" not in figures_of(capsys, "evaluate", tmp_path / "theirs", "text.txt")


@pytest.mark.parametrize("command", [["chat"], ["self-chat", "talker"]])
def test_a_translator_does_not_talk(command, capsys):
    assert run([*command, "translator"]) != 0
    assert "translator was trained for translation, not to talk. Use nextword translate" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["-n", "2"]])
def test_an_answer_to_a_source_stands_alone(more, capsys):
    assert run(["generate", "translator", "Hello.", "--max-tokens", "3", "--seed", "1", *more]) == 0
    assert "Hello." not in capsys.readouterr().out


def test_poets_are_compared_in_what_is_known_of_both(tmp_path, monkeypatch, capsys):
    """Of the second the training data are gone, and so nobody knows what it has copied."""
    poems = [poem for poem in corpora.poems() if poem["form"] == "wujue"][:20]
    rows = (json.dumps({"lines": poem["lines"], "title": poem["title"]}, ensure_ascii=False) for poem in poems)
    monkeypatch.chdir(tmp_path)
    Path("poems.jsonl").write_text("\n".join(rows), encoding="utf-8")
    assert run(["train", "poems.jsonl", "--out", "poet", "--task", "poetry", *TINY]) == 0
    shutil.copytree("poet", "other")
    shutil.rmtree("other/data")
    for a, b in (("poet", "other"), ("other", "poet")):
        found = figures_of(capsys, "compare", a, b, "poems.jsonl", "--set", "max_tokens=5", "--samples", 100)["metrics"]
        assert {"bits per byte", "in-form", "nats a character"} <= found.keys()
        assert "copied lines" not in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "plain", "text.txt", "--set", "num_beams=2"], "plain was trained for no task"),
        (["evaluate", "plain", "text.txt", "--bertscore", "x"], "plain was trained for no task"),
        (["evaluate", "summarizer", "docs.jsonl", "--comet", "x"], "--comet judges translations, and this run is for"),
        (["evaluate", "translator", "test.fr", "test.en"], "the pairs are fr to en, and the run translates from en to"),
        (["compare", "translator", "translator", "other.jsonl"], "the pairs are en to de, and the run translates from"),
        (["compare", "plain", "translator", "text.txt"], "plain is for no task, translator for translation"),
        (
            ["evaluate", "translator", "pairs.jsonl", "--set", "num_baems=2"],
            "num_baems: unknown key. Did you mean num_bea",
        ),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert run(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "odd.jsonl",
            '{"x": "a", "y": "b"}\n',
            "no column for the prompt of summarization. Columns: x, y. Choose one with",
        ),
        ("odd.tsv", "x\ty\na\tb\n", "if the first line has no names, give them: --columns document,summary"),
    ],
)
def test_columns_that_are_not_there(name, text, message, tmp_path, capsys):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert run(["evaluate", "summarizer", str(tmp_path / name)]) == 1
    assert message in capsys.readouterr().err


def test_a_conversation_without_a_reply_is_nothing_to_evaluate(tmp_path, capsys):
    (tmp_path / "one.jsonl").write_text('{"turns": ["Hi"]}\n', encoding="utf-8")
    for command in (["evaluate", "talker"], ["compare", "talker", "talker"]):
        assert run([*command, str(tmp_path / "one.jsonl")]) == 1
        assert "one.jsonl: there is nothing to answer. A conversation needs a reply" in capsys.readouterr().err
