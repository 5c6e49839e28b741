"""Logs survive what happens to runs: kills, resumes, full disks, losses that are not numbers."""

from __future__ import annotations

import errno
import json
import math
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextword.errors import MissingExtra, RunError, TrainingError
from nextword.metrics.copying import Copied
from nextword.training.logs import RunLogger, append_line, cut, read_findings, read_metrics, read_samples
from nextword.training.recipe import complete


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def steps(folder: Path) -> list[int]:
    return [line["step"] for line in read_metrics(folder / "metrics.jsonl")]


def test_a_line_is_on_disk_at_once_with_its_keys(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path / "new" / "run")
    logger.log(10, "train", 3.5, lr=1e-3, grad_norm=0.5, tokens=100, tokens_per_s=5.0)
    logger.log(10, "valid", 3.6, bits_per_byte=1.5)
    logger.log_sample(10, "春风\n</script>😀")
    train, valid = read_metrics(tmp_path / "new" / "run" / "metrics.jsonl")
    assert list(train) == ["step", "split", "loss", "lr", "grad_norm", "tokens", "tokens_per_s", "wall_time"]
    assert (valid["split"], valid["loss"], valid["bits_per_byte"]) == ("valid", 3.6, 1.5)
    assert "lr" not in valid
    assert train["wall_time"] <= valid["wall_time"]
    assert read_samples(tmp_path / "new" / "run" / "samples.jsonl") == [{"step": 10, "text": "春风\n</script>😀"}]
    logger.close()


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_strict_json_and_comes_back(tmp_path: Path, loss: float) -> None:
    with RunLogger(tmp_path) as logger:
        logger.log(1, "train", loss)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    [line] = read_metrics(tmp_path / "metrics.jsonl")
    assert line["loss"] == loss or math.isnan(line["loss"]) == math.isnan(loss)
    assert isinstance(line["loss"], float)


def test_resuming_drops_what_came_after_and_goes_on(tmp_path: Path) -> None:
    with RunLogger(tmp_path) as logger:
        for step in (10, 20, 30):
            logger.log(step, "train", 1.0)
            logger.log_sample(step, f"at {step}")
    with RunLogger(tmp_path, step=20) as logger:
        assert steps(tmp_path) == [10, 20]
        logger.log(30, "train", 2.0)
    assert steps(tmp_path) == [10, 20, 30]
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["loss"] == 2.0
    assert [s["step"] for s in read_samples(tmp_path / "samples.jsonl")] == [10, 20]


def test_time_goes_on_after_a_resume(tmp_path: Path) -> None:
    line = {"step": 10, "split": "train", "loss": 1.0, "wall_time": 3600.0}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    with RunLogger(tmp_path, step=10) as logger:
        assert 3600 <= logger.wall_time < 3700


def test_a_new_run_begins_anew(tmp_path: Path) -> None:
    for _ in range(2):
        with RunLogger(tmp_path) as logger:
            logger.log(0, "valid", 9.0)
    assert steps(tmp_path) == [0]


@given(st.integers(min_value=0, max_value=400))
def test_a_log_cut_anywhere_is_read_up_to_its_last_whole_line(cut: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "metrics.jsonl"
        lines = [json.dumps({"step": i, "split": "验证", "loss": 1.5}, ensure_ascii=False) + "\n" for i in range(5)]
        data = "".join(lines).encode()[:cut]
        path.write_bytes(data)
        found = [line["step"] for line in read_metrics(path)]
        whole = data.count(b"\n")
        assert found[:whole] == list(range(whole))
        assert len(found) in (whole, whole + 1)  # one more where just the newline was lost
        with RunLogger(Path(name), step=100) as logger:
            logger.log(100, "train", 1.0)
        assert [line["step"] for line in read_metrics(path)] == [*found, 100]


@pytest.mark.parametrize("damage", ["garbage", "[1]", '{"loss": 1}', "\x00\x00"])
def test_damage_before_the_end_is_named_with_its_line(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n' + damage + '\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2"):
        read_metrics(path)


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"metrics\.jsonl.*No such file"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_an_empty_log_is_empty(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").touch()
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_a_resume_that_fails_leaves_the_old_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunLogger(tmp_path) as logger:
        logger.log(1, "train", 1.0)
        logger.log(2, "train", 1.0)
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainingError, match="No space left"):
        RunLogger(tmp_path, step=1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl", "samples.jsonl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_for_people(tmp_path: Path) -> None:
    logger = RunLogger(tmp_path)
    logger._files["metrics.jsonl"] = open("/dev/full", "a", encoding="utf-8")  # noqa: SIM115
    with pytest.raises(TrainingError, match="cannot write the log: No space left on device"):
        logger.log(1, "train", 1.0)


def test_half_a_character_does_not_stop_a_run(tmp_path: Path) -> None:
    with RunLogger(tmp_path) as logger:
        logger.log_sample(1, "a\ud83d")
    assert read_samples(tmp_path / "samples.jsonl") == [{"step": 1, "text": "a?"}]


class Writer:
    """Stands in for TensorBoard's SummaryWriter."""

    made: Writer

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self.purge_step, self.scalars, self.closed = purge_step, [], False
        Writer.made = self

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.append((tag, value, step))

    def add_text(self, tag: str, text: str, step: int) -> None:
        self.scalars.append((tag, text, step))

    def close(self) -> None:
        self.closed = True


def test_tensorboard_gets_the_numbers_and_forgets_what_was_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with RunLogger(tmp_path, step=20) as logger:
        logger.log(30, "valid", 1.5, perplexity=4.5)
    assert Writer.made.purge_step == 21
    assert {("valid/loss", 1.5, 30), ("valid/perplexity", 4.5, 30)} <= set(Writer.made.scalars)
    assert not any(tag.endswith("/step") for tag, _, _ in Writer.made.scalars)
    assert Writer.made.closed


class Project:
    """Stands in for the library wandb."""

    Error = RuntimeError

    def __init__(self, key: bool = False, network: bool = True) -> None:
        self.key, self.network = key, network
        self.runs: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.finished = 0
        self.__spec__ = object()  # it is installed

    def Settings(self, **settings: Any) -> dict[str, Any]:
        return settings

    def login(self, prompt: bool) -> bool:
        assert not prompt, "nobody is there to answer"
        return self.key

    def init(self, **settings: Any) -> Project:
        if settings["mode"] != "offline" and not self.network:
            raise self.Error("no network\nat all")
        self.runs.append(settings)
        return self

    def log(self, values: dict[str, Any], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished += 1


@pytest.mark.parametrize(
    ("key", "network", "mode"), [(False, True, "offline"), (True, True, None), (True, False, "offline")]
)
def test_wandb_gets_the_figures_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: bool, network: bool, mode: str | None
) -> None:
    (tmp_path / "config.json").write_text('{"model": {"type": "gru"}}')
    project = Project(key, network)
    monkeypatch.setitem(sys.modules, "wandb", project)
    with RunLogger(tmp_path):
        pass
    assert project.runs == []
    copied = Copied(10, 4, 3, 4, 0)
    with RunLogger(tmp_path, wandb="poems") as logger:
        logger.log(10, "train", 3.5, lr=1e-3)
        logger.log_sample(10, "春风", copied, "春")
    with RunLogger(tmp_path, step=10, wandb="poems") as logger:
        logger.log(20, "valid", 3.0)
    first, again = project.runs
    assert (first["project"], first["mode"], first["dir"]) == ("poems", mode, str(tmp_path))
    assert first["config"] == {"model": {"type": "gru"}}
    assert first["id"] == again["id"]  # a run that is resumed goes on there, too
    assert project.finished == 2
    values = {key: value for _, logged in project.logged for key, value in logged.items()}
    assert values.items() >= {"train/loss": 3.5, "sample/text": "春风", "sample/copied": 0.4, "valid/loss": 3.0}.items()
    assert [step for step, _ in project.logged] == [10, 10, 10, 20]
    with RunLogger(tmp_path, wandb="poems"):
        pass
    assert project.runs[-1]["id"] != first["id"]  # a run that begins anew is another


def test_a_missing_wandb_is_told_before_the_text_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nextword.training.logs.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"train\.wandb needs the library wandb.*nextword\[wandb\]"):
        complete({"train": {"wandb": "poems"}}, "text")
    complete({}, "text")


def test_what_was_copied_is_logged_with_its_text(tmp_path: Path) -> None:
    with RunLogger(tmp_path) as logger:
        logger.log_sample(10, "ab\ud83d", Copied(10, 4, 3, 4, 0), "b\ud83d")
    [line] = read_metrics(tmp_path / "metrics.jsonl")
    assert (line["split"], line["copied"], line["longest_copied"]) == ("sample", 0.4, 4)
    [sample] = read_samples(tmp_path / "samples.jsonl")
    assert sample["longest_copied_text"] == "b?"


def test_lines_are_appended_one_by_one_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "findings.jsonl"
    for step in (0, 10, 20):
        append_line(path, {"step": step, "what": "漏"})
    assert [line["step"] for line in cut(path, 10)] == [0, 10]
    assert read_findings(path) == [{"step": 0, "what": "漏"}, {"step": 10, "what": "漏"}]
    with pytest.raises(TrainingError, match="cannot write the log"):
        append_line(tmp_path / "nowhere" / "x", {})
