"""Under lm-eval, a run scores and writes as its own `hf` does with the same weights."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from interop_runs import TEXTS, random_run, save_run

from nextword.cli import run as command_line
from nextword.errors import RunError, UsageError
from nextword.generator import TextGenerator
from nextword.interop.convert import export_huggingface
from nextword.models.transformer_config import GPT2
from nextword.scoring import score_continuations, score_text
from nextword.text.chat import CHATML
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer

lm_eval = pytest.importorskip("lm_eval")
pytest.importorskip("lm_eval.tasks")

LIMIT = 48
CHOICES = [
    {"question": "床前明月光，", "choices": ["疑是地上霜", " the dog", "!"], "answer": 0},
    {"question": "The quick brown ", "choices": ["fox", "fix the lazy"], "answer": 0},  # the blank joins the choice
    {"question": "Is it? " * 9, "choices": ["No", "Yes", "no"], "answer": 1},  # longer than the context
]
TASKS = {
    "choose": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
    },
    "read": {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{question}}"},
    "continue": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{choices[0]}}",
        "generation_kwargs": {"until": ["x", "。"], "max_gen_toks": 12},
    },
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks that need no network."""
    folder = tmp_path_factory.mktemp("tasks")
    data = folder / "data.jsonl"
    data.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in CHOICES), encoding="utf-8")
    for name, task in TASKS.items():
        source = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test"}
        metrics = {"choose": "acc", "read": "bits_per_byte", "continue": "exact_match"}
        full = {"task": f"our_{name}", **source, **task, "metric_list": [{"metric": metrics[name]}]}
        (folder / f"{name}.yaml").write_text(json.dumps(full, ensure_ascii=False), encoding="utf-8")  # JSON is YAML
    return folder


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and what `nextword export` makes of it."""
    pytest.importorskip("accelerate")
    folder = tmp_path_factory.mktemp("pair")
    tokenizer = train_tokenizer(TokenizerConfig(type="bpe", vocab_size=300), TEXTS)
    settings = {"type": "transformer", "hidden_size": 16, "num_layers": 2, "num_heads": 2, "max_seq_len": LIMIT}
    save_run(folder / "run", settings | (GPT2 if request.param == "gpt2" else {}), tokenizer)
    export_huggingface(folder / "run", folder / "hf", check=False)
    return folder / "run", folder / "hf"


def evaluate(model: str, args: dict[str, Any], tasks: Path, names: list[str]) -> dict[str, Any]:
    import nextword.interop.lm_eval  # noqa: F401

    manager = lm_eval.tasks.TaskManager(include_path=str(tasks), include_defaults=False)
    return lm_eval.simple_evaluate(
        model=model, model_args=args, tasks=names, task_manager=manager, bootstrap_iters=0, log_samples=True
    )


def test_every_sample_is_what_hf_makes_of_it(pair: tuple[Path, Path], tasks: Path) -> None:
    names = [f"our_{name}" for name in TASKS]
    ours = evaluate("nextword", {"path": str(pair[0])}, tasks, names)
    theirs = evaluate("hf", {"pretrained": str(pair[1]), "device": "cpu", "dtype": "float32"}, tasks, names)
    for name in names:
        assert len(ours["samples"][name]) == len(CHOICES)
        for a, b in zip(ours["samples"][name], theirs["samples"][name], strict=True):
            assert a["doc"] == b["doc"]
            if name == "our_continue":
                assert a["resps"] == b["resps"]
                continue
            for (x,), (y,) in zip(a["resps"], b["resps"], strict=True):
                x, y = (r if isinstance(r, tuple | list) else (r, True) for r in (x, y))
                assert float(x[0]) == pytest.approx(float(y[0]), abs=1e-3)
                assert str(x[1]) == str(y[1])
        figures = [{k: v for k, v in r["results"][name].items() if isinstance(v, float)} for r in (ours, theirs)]
        assert figures[0] == pytest.approx(figures[1], rel=1e-4)


def test_the_command(
    tmp_path: Path, tasks: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    random_run(tmp_path / "a,run=1", type="lstm", hidden_size=8)
    monkeypatch.setattr("sys.argv", ["nextword"])
    own = functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)  # 30 s to list all of theirs
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", own)
    options = ["--tasks", "our_choose,our_read,our_continue", "--include_path", str(tasks), "--limit", "2"]
    assert command_line(["lm-eval", str(tmp_path / "a,run=1"), *options]) == 0
    printed = capsys.readouterr().out
    assert "our_choose" in printed
    assert "bits_per_byte" in printed
    assert command_line(["lm-eval", str(tmp_path / "a,run=1"), "--tasks", "our_chose"]) == 2
    assert "Error: lm-eval: Tasks not found: our_chose" in capsys.readouterr().err
    assert command_line(["lm-eval", str(tmp_path / "a,run=1"), "--limit", "2"]) == 2
    assert "no task is named" in capsys.readouterr().err


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["lm-eval", str(tmp_path / "none"), "--tasks", "x"]) == 1
    assert "is not a run folder" in capsys.readouterr().err


def adapter(folder: Path, **settings: Any) -> Any:
    from nextword.interop.lm_eval import NextwordLM

    return NextwordLM(str(folder), **settings)


def test_a_recurrent_run_reads_a_text_in_one_go(tmp_path: Path) -> None:
    model = random_run(tmp_path, type="gru", hidden_size=8)
    text = TEXTS[0] * 40
    request = type("Request", (), {"args": (text,)})()
    scored = score_text(model, Tokenizer.load(tmp_path), text).log_prob
    assert adapter(tmp_path, add_bos_token=False).loglikelihood_rolling([request]) == [pytest.approx(scored, rel=1e-5)]


def test_the_boundary_can_be_left_out(tmp_path: Path) -> None:
    random_run(tmp_path, type="rnn", hidden_size=8)
    lm = adapter(tmp_path, add_bos_token=False)
    assert lm.tok_encode("The") == lm.tokenizer.encode("The")
    assert adapter(tmp_path).tok_encode("The") == [lm.prefix_token_id, *lm.tokenizer.encode("The")]


def test_a_conversation_goes_through_the_template_of_the_run(tmp_path: Path) -> None:
    random_run(tmp_path, type="rnn", hidden_size=8)
    turns = [{"role": "user", "content": "Is it?"}]
    with pytest.raises(RunError, match="has no chat_template"):
        adapter(tmp_path).apply_chat_template(turns)
    (tmp_path / "chat_template.jinja").write_text(CHATML)
    lm = adapter(tmp_path)
    text = lm.apply_chat_template(turns)
    assert text.endswith("<|im_start|>assistant\n")
    assert lm.tok_encode(text).count(lm.prefix_token_id) == 1
    opened = lm.apply_chat_template([*turns, {"role": "assistant", "content": "No"}], add_generation_prompt=False)
    assert opened == text + "No"
    assert lm.chat_template(True) == CHATML


def test_an_unknown_setting(tmp_path: Path) -> None:
    random_run(tmp_path, type="rnn", hidden_size=8)
    with pytest.raises(UsageError, match="Did you mean device"):
        adapter(tmp_path, devise="cpu")


# -- the scores themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
@pytest.mark.parametrize("batch_tokens", [1, 40, 8192])
def test_continuations_are_scored_by_the_chain_rule(tmp_path: Path, kind: str, batch_tokens: int) -> None:
    model = random_run(tmp_path, type=kind, hidden_size=12, num_layers=2)
    ids = [torch.randint(model.config.vocab_size, (n,)).tolist() for n in (1, 5, 9, 3, 5)]
    requests = [(a, b) for a in ids for b in ids] + [(ids[2], [token]) for token in range(4)]
    found = dict(score_continuations(model, requests, batch_tokens))
    assert sorted(found) == list(range(len(requests)))
    for number, (context, continuation) in enumerate(requests):
        with torch.inference_mode():
            logits = model(torch.tensor([context + continuation]))[0][0]
        places = range(len(context) - 1, len(context + continuation) - 1)
        expected = math.fsum(float(logits[p].log_softmax(-1)[t]) for p, t in zip(places, continuation, strict=True))
        assert found[number].log_prob == pytest.approx(expected, abs=1e-4)
        assert found[number].greedy == all(
            int(logits[p].argmax()) == t for p, t in zip(places, continuation, strict=True)
        )


def test_a_context_loses_its_beginning_and_a_continuation_nothing(tmp_path: Path) -> None:
    model = random_run(tmp_path, type="transformer", hidden_size=8, num_layers=1, num_heads=2, max_seq_len=6)
    long, short = list(range(1, 15)), list(range(9, 15))
    (_, a), (_, b) = sorted(score_continuations(model, [(long, [3]), (short, [3])]))
    assert a == b
    with pytest.raises(UsageError, match="7 tokens is longer than the model's context, 6"):
        next(score_continuations(model, [(short, [1] * 7)]))
    with pytest.raises(UsageError, match="request 2 has no context"):
        next(score_continuations(model, [(short, [1]), ([], [1])]))


def test_a_prompt_in_ids_is_continued_like_its_text(tmp_path: Path) -> None:
    random_run(tmp_path, type="lstm", hidden_size=8)
    generator = TextGenerator.load(tmp_path)
    ids = [generator.tokenizer.eos_id, *generator.tokenizer.encode("The 床")]
    job = generator.submit_ids(ids, seed=3, max_tokens=20)
    while not job.finished:
        generator.step()
    (found,) = job.results(lambda a, b: 0.0)
    assert (found.prompt, found.text) == ("The 床", generator.generate("The 床", seed=3, max_tokens=20).text)
    with pytest.raises(UsageError, match="no token"):
        generator.submit_ids([])
