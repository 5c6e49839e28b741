"""The doctor before, at and after a run: what is wrong is found, with its number; what is well goes unmentioned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nextword import corpora
from nextword.checkpoint import read_config
from nextword.data.copies import copied_text_from, held_out_copied, least_span
from nextword.data.prepare import open_prepared, prepare
from nextword.data.splits import SplitConfig
from nextword.errors import TrainingError
from nextword.text.records import ReadConfig
from nextword.tokenizers import Tokenizer, TokenizerConfig
from nextword.training import parallel
from nextword.training.doctor.after import examine_log, relive
from nextword.training.doctor.attend import WARM, Doctor
from nextword.training.doctor.corpus import examine_corpus, look_at
from nextword.training.doctor.findings import Finding, finding_of
from nextword.training.doctor.plan import CERTAIN_RATE, Plan, examine_plan
from nextword.training.doctor.visit import examine_data, examine_run
from nextword.training.events import Advised, Sampled, Step
from nextword.training.logs import DOCTOR, FINDINGS, METRICS, SAMPLES, read_findings, read_metrics, read_samples
from nextword.training.new_run import new_run
from nextword.training.session import Session, resume_run

PROSE = corpora.load("moby-dick")[:400]
POEMS = corpora.load("tang")[:400]


def kinds(findings: list[Finding]) -> set[str]:
    return {finding.kind for finding in findings}


def looked_at(folder: Path, texts: list[str], valid: list[str] | None = None, thorough: bool = True, **tokenizer):
    prepare(
        [[{"text": text} for text in texts]],
        folder / "data",
        TokenizerConfig(**({"type": "char"} | tokenizer)),
        valid_sources=[[{"text": text} for text in valid]] if valid else (),
        split=SplitConfig(valid=0.0 if valid == [] else 0.05),
    )
    return look_at(open_prepared(folder / "data"), Tokenizer.load(folder / "data"), thorough)


# -- before ----------------------------------------------------------------------------------------------------------


def test_ordinary_text_is_well(tmp_path):
    corpus = looked_at(tmp_path, PROSE, type="bpe", vocab_size=1024)
    assert examine_corpus(corpus) == []
    assert 0.3 < corpus.tokens_per_character < 0.5
    assert corpus.ideographs == 0
    assert corpus.documents + corpus.valid_documents == 400
    assert json.loads(json.dumps(corpus.to_dict()))["shared"]["share"] < 0.05


@pytest.mark.parametrize(
    ("texts", "settings", "share"),
    [
        (POEMS, {"type": "byte"}, "2.93 tokens"),
        (PROSE, {"type": "char"}, ""),
        (PROSE, {"type": "byte"}, ""),
        (POEMS, {"type": "bpe", "vocab_size": 1500}, ""),
    ],
)
def test_a_tokenizer_that_does_not_fit_the_script_is_found(tmp_path, texts, settings, share):
    found = {f.kind: f for f in examine_corpus(looked_at(tmp_path, texts, **settings))}
    assert ("tokenizer-script" in found) == bool(share)
    if share:
        assert share in found["tokenizer-script"].what
        assert "--tokenizer char" in found["tokenizer-script"].remedy


def test_a_tokenizer_from_another_language_is_found(tmp_path):
    """English pieces fall apart into letters when they are to cut another language."""
    english = tmp_path / "english"
    prepare([[{"text": text} for text in PROSE]], english, TokenizerConfig(type="bpe", vocab_size=1024))
    other = [{"text": "".join(chr(0x430 + ord(c) % 32) if c.isalpha() else c for c in text)} for text in PROSE]
    prepare([other], tmp_path / "data", Tokenizer.load(english))
    corpus = look_at(open_prepared(tmp_path / "data"), Tokenizer.load(english))
    assert kinds(examine_corpus(corpus)) >= {"tokenizer-script"}
    assert corpus.tokens_per_character > 1.5


def test_unknown_tokens_and_a_vocabulary_too_large_are_found(tmp_path):
    corpus = looked_at(tmp_path, PROSE, type="word", vocab_size=200)
    assert kinds(examine_corpus(corpus)) == {"unknown-tokens"}
    assert 0.2 < corpus.unknown < 0.6
    corpus = looked_at(tmp_path, PROSE, type="word")
    found = {f.kind: f for f in examine_corpus(corpus)}
    assert "tokenizer.min_frequency=5" in found["vocabulary"].remedy
    assert corpus.rare > 0.5
    few = looked_at(tmp_path, [f"{word} " for word in PROSE[0].split()[:20]], type="bpe", vocab_size=270)
    assert "--tokenizer char" in {f.kind: f for f in examine_corpus(few)}["vocabulary"].remedy


def test_splits_that_share_text_are_found(tmp_path):
    copies = looked_at(tmp_path, PROSE, valid=PROSE[:40], type="bpe", vocab_size=1024)
    assert kinds(examine_corpus(copies)) == {"split-duplicates"}
    assert copies.in_both == 1.0
    assert copies.shared is not None
    assert copies.shared.share > 0.95
    parts = ["And then he said it. " + text[10:-10] for text in PROSE[:40]]
    corpus = looked_at(tmp_path, PROSE, valid=parts, type="bpe", vocab_size=1024)
    assert kinds(examine_corpus(corpus)) == {"split-overlap"}


def test_repeated_documents_are_found(tmp_path):
    corpus = looked_at(tmp_path, PROSE + PROSE[:100], thorough=False)
    assert kinds(examine_corpus(corpus)) == {"duplicates"}
    assert corpus.repeated == pytest.approx(0.2, abs=0.03)
    assert corpus.near_repeated is None
    nearly = [text + " Amen." for text in PROSE[:100] if len(text) > 200]
    corpus = looked_at(tmp_path, PROSE + nearly)
    assert corpus.repeated < 0.01
    assert corpus.near_repeated > 0.05


def test_too_little_held_out_is_found(tmp_path):
    assert kinds(examine_corpus(looked_at(tmp_path, PROSE, valid=["a few words"]))) == {"small-validation"}
    assert kinds(examine_corpus(looked_at(tmp_path, PROSE, valid=[]))) == {"no-validation"}


PLAN = Plan(
    parameters=1_000_000, dropout=0.0, tokens=5_000_000, bytes=20_000_000, step_tokens=4096,
    warmup_steps=30, memory=1e8, memory_present=8e9, steps=2500,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, {}),
        ({"steps": None}, {}),
        ({"tokens": 50_000, "bytes": 200_000}, {"memorisation": "warning"}),
        ({"tokens": 50_000, "bytes": 200_000, "dropout": 0.3}, {"memorisation": "note"}),
        ({"tokens": 50_000, "bytes": 200_000, "steps": 40}, {"few-steps": "warning"}),  # read three times only
        ({"tokens": 50_000, "bytes": 200_000, "steps": None}, {}),
        ({"warmup_steps": 1000}, {"long-warmup": "warning"}),
        ({"memory": 7e9}, {"memory": "warning"}),
        ({"parameters": 10_000}, {"small-model": "note"}),
        ({"steps": 600}, {"unread": "note"}),
    ],
)
def test_what_is_wrong_with_a_plan_is_found(changes, found):
    plan = Plan(**(PLAN.__dict__ | changes))
    assert {finding.kind: finding.severity for finding in examine_plan(plan)} == found


def test_the_rest_is_known_once_the_speed_is():
    budget = Plan(**(PLAN.__dict__ | {"steps": None}))
    hour = budget.measured(20, tokens_per_s=40_960, seconds_left=3600)
    assert hour.steps == 36_020
    assert hour.epochs == pytest.approx(36_020 * 4096 / 5e6)
    assert kinds(examine_plan(budget.measured(20, tokens_per_s=4096, seconds_left=30))) >= {"few-steps"}
    slow = PLAN.measured(20, tokens_per_s=40, seconds_left=None)
    assert slow.seconds == pytest.approx(2480 * 4096 / 40)
    assert kinds(examine_plan(slow)) == {"long-run"}


# -- a run -----------------------------------------------------------------------------------------------------------

SETTINGS = {
    "tokenizer": {"type": "char"},
    "model": {"type": "lstm", "hidden_size": 32, "num_layers": 1},
    "train": {"steps": 40, "batch_size": 4, "context": 16, "precision": "float32", "log_every": 1, "eval_every": 20,
              "sample_every": 20},
}  # fmt: skip


def session(out: Path, text: str = "", **train) -> Session:
    settings = SETTINGS | {"train": SETTINGS["train"] | train}
    return new_run(settings, [[{"text": t} for t in PROSE[:40]]], out, sample=lambda *_: (PROSE[4], text or PROSE[3]))


def test_an_attended_run_writes_down_what_was_found(tmp_path):
    events = list(Doctor(session(tmp_path / "run")).attend())
    found = [finding_of(line) for line in read_findings(tmp_path / "run" / FINDINGS)]
    assert {"few-steps", "long-warmup", "copying"} & kinds(found) == {"few-steps", "copying"}
    assert [event.finding.kind for event in events if isinstance(event, Advised)] == ["copying", "copying"]
    sampled = [event for event in events if isinstance(event, Sampled)]
    assert all(event.copied is not None and event.copied.share > 0.9 for event in sampled)
    lines = [line for line in read_metrics(tmp_path / "run" / METRICS) if line["split"] == "sample"]
    assert [line["step"] for line in lines] == [20, 40]
    assert all(line["copied"] > 0.9 and line["longest_copied"] > 50 for line in lines)
    assert all(s["longest_copied_text"] in PROSE[3] for s in read_samples(tmp_path / "run" / SAMPLES))
    numbers = json.loads((tmp_path / "run" / DOCTOR).read_text())
    assert numbers["corpus"]["documents"] > 30
    assert numbers["plan"]["seconds"] > 0  # known once the speed was
    environment = read_config(tmp_path / "run")["environment"]
    assert environment.keys() >= {"python", "torch", "processor", "threads", "device"}


def test_a_resumed_run_keeps_what_was_found_until_then(tmp_path):
    doctor = Doctor(session(tmp_path / "run", checkpoint_every=20))
    for event in doctor.attend():
        if isinstance(event, Advised) and event.step == 20:
            doctor.session.trainer.interrupt()
    before = read_findings(tmp_path / "run" / FINDINGS)
    again = resume_run(tmp_path / "run", sample=lambda *_: ("", PROSE[3]))
    assert read_config(tmp_path / "run")["environment"] == again.sections["environment"]
    attending = Doctor(again)
    assert attending.findings == []  # the data was looked at then
    list(attending.attend())
    after = read_findings(tmp_path / "run" / FINDINGS)
    assert after[: len(before)] == before
    assert [line["step"] for line in after if line["kind"] == "copying"] == [20, 40]


def test_the_plan_is_looked_at_again_when_the_speed_is_known(tmp_path, monkeypatch):
    doctor = Doctor(session(tmp_path / "run", steps=0, budget=100.0))
    assert doctor.plan.steps is None
    tokens = doctor.plan.step_tokens
    # Two steps a second, once the machine is warm.
    steps = [Step(i, i / 200, 0, 5.0, 1e-3, 1.0, i * tokens, 2.0 * tokens, 30 + i / 2) for i in range(1, 40)]
    monkeypatch.setattr(doctor.session.trainer, "run", lambda: iter(steps))
    [advice] = [event for event in doctor.attend() if isinstance(event, Advised) and event.finding.kind != "few-steps"]
    assert advice.step == WARM + CERTAIN_RATE
    assert advice.finding.kind == "unread"  # about 150 steps of 64 tokens
    plan = json.loads((tmp_path / "run" / DOCTOR).read_text())["plan"]
    left = 100 - (30 + advice.step / 2)
    assert (plan["steps"], plan["seconds"]) == (pytest.approx(advice.step + 2 * left), pytest.approx(left))


def test_a_run_that_breaks_is_written_down_with_the_remedy(tmp_path, monkeypatch):
    run = session(tmp_path / "run", checkpoint_every=5)
    real, calls = parallel.next_token_loss, []

    def loss(*arguments):
        calls.extend([1] * torch.is_grad_enabled())  # a step, not an evaluation
        value, state = real(*arguments)
        return (value * float("nan") if len(calls) == 12 else value), state

    monkeypatch.setattr(parallel, "next_token_loss", loss)
    with pytest.raises(TrainingError, match=r"not a finite number at step 12") as caught:
        list(Doctor(run).attend())
    assert "--resume goes on from step-00000010" in str(caught.value)
    assert "train.learning_rate=0.001" in str(caught.value)
    line = read_findings(tmp_path / "run" / FINDINGS)[-1]
    assert (line["kind"], line["remedy"]) == ("stopped", caught.value.hint)


def test_a_run_is_examined_with_and_without_its_data(tmp_path):
    run = session(tmp_path / "run")
    list(Doctor(run).attend())
    run.finish()
    diagnosis = examine_run(tmp_path / "run")
    assert kinds(diagnosis.findings) >= {"few-steps", "copying", "small-validation"}
    assert diagnosis.corpus is not None
    assert diagnosis.plan is not None
    assert len(kinds(diagnosis.findings)) == len(diagnosis.findings)
    severities = [finding.severity for finding in diagnosis.findings]
    assert severities == sorted(severities, reverse=True)  # warnings first
    json.dumps(diagnosis.to_dict())
    del run
    (tmp_path / "run" / "data").rename(tmp_path / "elsewhere")
    (tmp_path / "run" / FINDINGS).unlink()
    (tmp_path / "run" / DOCTOR).unlink()
    diagnosis = examine_run(tmp_path / "run")
    assert diagnosis.corpus is None
    assert diagnosis.plan is None


def test_text_is_examined_as_a_run_would_take_it(tmp_path):
    (tmp_path / "poems.txt").write_text("\n\n".join(POEMS), encoding="utf-8")
    diagnosis = examine_data({"train": {"epochs": 50.0}}, [str(tmp_path / "poems.txt")])
    assert diagnosis.corpus is not None
    assert diagnosis.corpus.tokenizer == "char"
    assert diagnosis.corpus.ideographs == 1.0
    assert "memorisation" in kinds(diagnosis.findings)
    assert [path.name for path in tmp_path.iterdir()] == ["poems.txt"]
    prepare([str(tmp_path / "poems.txt")], tmp_path / "p", TokenizerConfig(type="byte"), read=ReadConfig())
    assert "tokenizer-script" in kinds(examine_data({}, [tmp_path / "p"]).findings)


def test_each_corpus_of_a_mixture_is_looked_at(tmp_path):
    (tmp_path / "poems.txt").write_text("\n\n".join(POEMS), encoding="utf-8")
    (tmp_path / "prose.txt").write_text("\n\n".join(PROSE[:100] * 2), encoding="utf-8")
    corpora = {name: {"data": str(tmp_path / f"{name}.txt")} for name in ("poems", "prose")}
    values = SETTINGS | {"mix": {"corpora": corpora}}
    run = new_run(values, [], tmp_path / "run", sample=lambda *_: ("", POEMS[0]))
    doctor = Doctor(run)
    assert doctor.corpus is None
    assert [f.what[:24] for f in doctor.findings if f.kind == "duplicates"] == ["prose: 50% of the traini"]
    list(doctor.attend())
    run.finish()
    diagnosis = examine_run(tmp_path / "run")
    assert {"duplicates", "few-steps"} <= kinds(diagnosis.findings)
    assert diagnosis.plan is not None


# -- after -----------------------------------------------------------------------------------------------------------


def log(*losses: float) -> list[dict]:
    return [{"step": 100 * i, "split": "valid", "loss": loss} for i, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (log(5.0, 4.0, 3.5, 3.48, 3.47), set()),
        (log(5.0, 4.0, 4.5, 5.0, 5.5), {"past-best"}),
        (log(5.0, 4.5, 4.0, 3.5), {"unfinished"}),
        ([*log(5.0, 4.0), {"step": 3, "split": "train", "loss": float("nan")}], {"not-finite"}),
        ([{"step": 3, "split": "sample", "copied": 0.8, "longest_copied": 40}], {"copying"}),
        ([], set()),
    ],
)
def test_what_a_log_says_is_found(lines, found):
    assert kinds(examine_log(lines)) == found


def test_a_run_that_nobody_attended_is_relived():
    lines = []
    for step in range(1, 101):
        lines.append({"step": 10 * step, "split": "train", "loss": 5.0 - step / 50, "grad_norm": 1.0})
        if step % 20 == 0:
            lines.append({"step": 10 * step, "split": "valid", "loss": 4.0 + abs(step - 40) / 50})
    assert kinds(relive(lines, 8.0, 0, 1e-3)) == {"over-fitting"}


def test_a_finding_survives_its_file():
    finding = Finding("slow", "note", "what", "why", "remedy", 7)
    assert finding_of(json.loads(json.dumps(finding.to_dict()))) == finding
    assert finding_of({"step": 3}).kind == ""


# -- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("texts", "least"), [(PROSE, 32), (POEMS, 11)])
def test_copies_are_told_from_what_is_new(tmp_path, texts, least):
    prepare([[{"text": text} for text in texts]], tmp_path / "p", TokenizerConfig(type="char"), shard_tokens=5000)
    splits, tokenizer = open_prepared(tmp_path / "p"), Tokenizer.load(tmp_path / "p")
    train = splits["train"]
    assert least_span(train) == pytest.approx(least, abs=1)
    ids = train.window(4980, 60)  # over the end of a shard
    text = tokenizer.decode(ids.tolist())
    found, span = copied_text_from(train, tokenizer, text)
    assert found.share > 0.4
    assert span in text
    shuffled, _ = copied_text_from(train, tokenizer, text[::-1])
    assert shuffled.share == 0
    assert held_out_copied(train, splits["valid"]).share < 0.2
