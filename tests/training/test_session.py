"""From text to a trained folder without a command line: as a program would use it."""

import json
from collections.abc import Iterator

import pytest
import torch

from nextword import corpora
from nextword.checkpoint import load_run, load_weights
from nextword.data.prepare import open_prepared, prepare
from nextword.errors import DataError, RunError, TrainingError, UsageError
from nextword.tokenizers import TokenizerConfig
from nextword.training.new_run import new_run
from nextword.training.session import Session, resume_run

POEMS = corpora.load("tang")[:40]
ROWS = [{"text": poem} for poem in POEMS]
VALUES = {
    "model": {"type": "gru", "hidden_size": 8, "num_layers": 1},
    "train": {"steps": 4, "batch_size": 4, "precision": "float32", "eval_every": 2},
}
RUNS = ("first", "given", "second")


def with_train(**settings: object) -> dict:
    return VALUES | {"train": {**VALUES["train"], **settings}}


def finish(session: Session) -> dict:
    for _ in session.trainer.run():
        pass
    return session.finish()


def test_rows_in_memory_become_a_run(tmp_path):
    session = new_run(VALUES, [ROWS], tmp_path / "run", sample=lambda model, tokenizer, prompt: ("a ", "sample"))
    figures = finish(session)
    assert figures["steps"] == 4
    assert figures["tokens"] > 0
    assert figures["validation"]["step"] in (2, 4)
    loaded = load_run(tmp_path / "run")
    assert loaded.config["figures"] == json.loads(json.dumps(figures))
    best = session.trainer.model
    load_weights(session.folder / "model.safetensors", best)
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight, best.state_dict()[name])
    samples = (tmp_path / "run/samples.jsonl").read_text().splitlines()
    assert all(json.loads(line)["text"] == "a sample" for line in samples)
    assert len(samples) > 0


def test_what_is_left_to_the_data_is_written_down(tmp_path):
    """A new run decays by the size of its text; one that begins with another's weights does not."""
    finish(new_run(VALUES, [ROWS], tmp_path / "first"))
    new_run(with_train(weight_decay=0.5), [ROWS], tmp_path / "given")
    new_run(VALUES, [ROWS], tmp_path / "second", init_from=tmp_path / "first")
    found = [json.loads((tmp_path / name / "config.json").read_text())["train"]["weight_decay"] for name in RUNS]
    assert found[0] > 0
    assert found[1:] == [0.5, 0.0]


def test_rows_that_can_be_read_once_are_all_read(tmp_path):
    def rows() -> Iterator[dict[str, str]]:
        yield from ROWS

    new_run(VALUES, [rows()], tmp_path / "run")
    splits = open_prepared(tmp_path / "run/data")
    assert sum(files.counts.examples for files in splits.values()) == len(ROWS)


def test_the_size_of_a_prepared_corpus_counts(tmp_path):
    """What is prepared gets the model that its text would get."""
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(corpora.load("moby-dick")), encoding="utf-8")
    prepare([text], tmp_path / "prepared", TokenizerConfig(type="byte"))
    values = {"train": {"steps": 1, "precision": "float32"}, "model": {"type": "lstm"}}
    ready = new_run(values, [tmp_path / "prepared"], tmp_path / "a").trainer.model.config
    raw = new_run(values | {"tokenizer": {"type": "byte"}}, [text], tmp_path / "b").trainer.model.config
    assert ready == raw


def test_a_prepared_folder_that_no_longer_fits_its_text_is_refused(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(POEMS), encoding="utf-8")
    prepare([text], tmp_path / "prepared", TokenizerConfig(type="char"))
    text.write_text("something else")
    with pytest.raises(RunError, match="has changed since"):
        new_run(VALUES, [tmp_path / "prepared"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_model_does_not_depend_on_what_was_drawn_before(tmp_path):
    torch.manual_seed(1)
    first = new_run(VALUES, [ROWS], tmp_path / "a").trainer.model.state_dict()
    torch.manual_seed(2)
    second = new_run(VALUES, [ROWS], tmp_path / "b").trainer.model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_nothing_is_left_when_it_cannot_begin(tmp_path):
    cases: list[tuple[dict, list, type[Exception]]] = [
        (VALUES, [tmp_path / "missing.txt"], DataError),
        (with_train(stpes=3), [ROWS], UsageError),
        (with_train(carry_state=True) | {"model": {"type": "transformer"}}, [ROWS], TrainingError),
        (VALUES, [[{"text": ""}]], DataError),
        (VALUES, [[]], DataError),
        (VALUES, [[{"txt": "a"}]], DataError),
    ]
    for values, sources, error in cases:
        with pytest.raises(error):
            new_run(values, sources, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", fail)
    with pytest.raises(RunError, match="cannot be written: Permission denied"):
        new_run(VALUES, [tmp_path], tmp_path / "run")


def test_the_older_run_is_there_until_the_new_one_is_ready(tmp_path, monkeypatch):
    out = tmp_path / "run"
    finish(new_run(VALUES, [ROWS], out))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def fail(*arguments, **options):
        assert all(path.read_bytes() == content for path, content in before.items())
        raise KeyboardInterrupt

    monkeypatch.setattr("nextword.training.new_run.save_config", fail)  # the last thing before it is ready
    with pytest.raises(KeyboardInterrupt):
        new_run(VALUES, [ROWS[:20]], out, overwrite=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("memory", "settings", "needed"),
    [
        # A GRU of 2**14: 2 * 3 * 2**28 weights and 6 * 2**14 biases, and of each token an embedding and a bias.
        (2**30, {"optimizer": "sgd"}, "12.0 GiB of memory, and cpu has 1.0 GiB"),
        (2**30, {"optimizer": "adamw"}, "24.0 GiB"),
        (2**30, {"optimizer": "adamw", "ema": 0.9}, "30.0 GiB"),
    ],
)
def test_a_model_beyond_the_memory_is_refused_before_the_data_is_read(tmp_path, monkeypatch, memory, settings, needed):
    monkeypatch.setattr("nextword.training.memory._memory", lambda place: memory)
    monkeypatch.setattr("nextword.training.new_run.prepare", None)
    values = with_train(**settings) | {"model": {"type": "gru", "hidden_size": 2**14, "num_layers": 1}}
    with pytest.raises(UsageError, match=needed):
        new_run(values, [ROWS], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_vocabulary_counts_and_a_resumed_run_is_checked_too(tmp_path, monkeypatch):
    def memory(size: int) -> None:
        monkeypatch.setattr("nextword.training.memory._memory", lambda place: size)

    memory(2**14)  # enough for the layers alone
    with pytest.raises(UsageError, match="takes at least"):
        new_run(VALUES, [ROWS], tmp_path / "run")
    memory(2**30)
    finish(new_run(VALUES, [ROWS], tmp_path / "run"))
    memory(2**14)
    with pytest.raises(UsageError, match="takes at least"):
        resume_run(tmp_path / "run")


def test_memory_that_is_there_but_not_free_is_told(tmp_path, monkeypatch):
    def fail(config):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory\nmore")

    monkeypatch.setattr("nextword.training.beginning.build_model", fail)
    with pytest.raises(UsageError, match="cannot be made: DefaultCPUAllocator: can't allocate memory"):
        new_run(VALUES, [ROWS], tmp_path / "run")


def test_what_a_killed_preparation_left_is_swept_up(tmp_path):
    out = tmp_path / "run"
    (out / ".new-killed/data").mkdir(parents=True)
    finish(new_run(VALUES, [ROWS], out))
    assert not list(out.glob(".*"))


def test_a_resumed_run_keeps_its_best(tmp_path):
    figures = finish(new_run(VALUES, [ROWS], tmp_path / "run"))
    again = finish(resume_run(tmp_path / "run"))
    assert again["validation"] == figures["validation"]
    assert again["steps"] == figures["steps"]


def test_a_run_stopped_before_its_first_evaluation_keeps_its_weights(tmp_path):
    session = new_run(with_train(eval_every=100), [ROWS], tmp_path / "run")
    for event in session.trainer.run():
        if getattr(event, "progress", 1.0) < 0.3:
            session.trainer.interrupt()
    figures = session.finish()
    assert figures["steps"] == 1
    assert "validation" not in figures
    load_run(tmp_path / "run")


def test_a_resumed_run_may_be_lengthened_in_another_unit(tmp_path):
    finish(new_run(VALUES, [ROWS], tmp_path / "run"))
    session = resume_run(tmp_path / "run", {"epochs": 1.0})
    assert (session.trainer.config.steps, session.trainer.config.epochs) == (0, 1.0)


def test_the_card_says_what_was_reached(tmp_path):
    figures = finish(new_run(VALUES, [ROWS], tmp_path / "run"))
    card = (tmp_path / "run/README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: nextword\n")
    assert f"{figures['validation']['loss']:.4f} nats per token" in card
    assert f"{figures['parameters']:,} parameters" in card
    assert 'nextword.load("run")' in card


def test_the_card_names_files_and_what_is_no_file(tmp_path):
    (tmp_path / "poems.txt").write_text("\n\n".join(POEMS), encoding="utf-8")
    finish(new_run(VALUES, [tmp_path / "poems.txt", ROWS], tmp_path / "run", corpus="Rows from a table"))
    assert "| data | poems.txt, Rows from a table |" in (tmp_path / "run/README.md").read_text(encoding="utf-8")
