import json
import re

import pytest

from nextword.cli import run

POEMS = [f"第{i}首\n床前明月光，疑是地上霜。{'🌙' * (i % 3)}" for i in range(200)]


@pytest.fixture
def poems(tmp_path):
    path = tmp_path / "poems.txt"
    path.write_text("\n\n".join(POEMS), encoding="utf-8")
    return str(path)


@pytest.fixture
def couplets(tmp_path):
    path = tmp_path / "couplets.jsonl"
    path.write_text("\n".join(json.dumps({"up": f"上{i}", "down": "下 a"}) for i in range(50)))
    return str(path)


@pytest.fixture
def command(tmp_path, capfd):
    """Runs `nextword data prepare ... --out out`; exit code, stdout, stderr."""

    def call(*arguments):
        code = run(["data", "prepare", *arguments, "--out", str(tmp_path / "out")])
        return code, *capfd.readouterr()

    return call


def test_text_becomes_token_files_and_a_second_run_has_nothing_to_do(command, poems):
    code, out, err = command(poems, "--tokenizer", "char")
    assert (code, err) == (0, "")
    assert re.search(r"train +\d+", out)
    assert re.search(r"valid +\d+", out)
    assert "written; char tokenizer of" in out
    code, out, _ = command(poems, "--tokenizer", "char")
    assert code == 0
    assert "up to date, nothing to do" in out


def test_json_is_one_document_whose_counts_add_up(command, poems):
    code, out, _ = command(poems, "--tokenizer", "byte", "--valid", "0.2", "--show", "2", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["up_to_date"] is False
    counts = report["splits"].values()
    assert sum(split["examples"] for split in counts) == len(POEMS)
    assert sum(split["target_bytes"] for split in counts) == sum(len(poem.encode()) for poem in POEMS)
    assert sum(split["tokens"] for split in counts) == sum(len(poem.encode()) + 1 for poem in POEMS)
    assert len(report["examples"]) == 2
    assert all(all(example["loss"]) for example in report["examples"])


def test_prompts_are_shown_in_brackets_and_marked_in_json(command, couplets):
    pair = ["--tokenizer", "char", "--prompt-field", "up", "--target-field", "down", "--show", "1"]
    code, out, _ = command(couplets, *pair)
    assert code == 0
    assert re.search(r"tokens +\[上\|\d+(\|\d+)?\|\\n\] 下\|␣\|a\|<eos>", out)
    code, out, _ = command(couplets, *pair, "--json")
    (example,) = json.loads(out)["examples"]
    assert "".join(t for t, loss in zip(example["tokens"], example["loss"], strict=True) if loss) == "下 a<eos>"


def test_held_out_files_and_a_tokenizer_that_exists(command, poems, tmp_path):
    (tmp_path / "valid.txt").write_text("疑是地上霜")
    command(poems, "--tokenizer", "char", "--valid", "0")
    (tmp_path / "out").rename(tmp_path / "first")
    code, out, _ = command(
        poems, "--tokenizer", str(tmp_path / "first"), "--valid", str(tmp_path / "valid.txt"), "--json"
    )
    assert code == 0
    assert json.loads(out)["splits"]["valid"]["tokens"] == 6
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (tmp_path / "first/tokenizer.json").read_bytes()


def test_unknown_characters_are_reported_on_stderr(command, poems, tmp_path):
    (tmp_path / "valid.txt").write_text("龘龘龘")
    code, out, err = command(poems, "--tokenizer", "char", "--valid", str(tmp_path / "valid.txt"))
    assert code == 0
    assert "3 (75.00%)" in out
    assert "valid: 75.00 % of the tokens are unknown" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--tokenizer", "bpee"], 2, "bpee"),
        (["--tokenizer", "char", "--valid", "0.6", "--test", "0.5"], 2, "leave nothing to train on"),
        (["--tokenizer", "char", "--valid", "1.5"], 2, "split.valid"),
        (["--tokenizer", "char", "--valid", "nowhere.txt"], 1, "nowhere.txt"),
        (["--tokenizer", "char", "--split", "middle"], 2, "'document' or 'tail'"),
        (["--tokenizer", "char", "--prompt-field", "a"], 2, "go together"),
        (["--tokenizer", "char", "--text-field", "nothing"], 0, ""),  # of no meaning in a .txt file
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(command, poems, tmp_path, arguments, code, message):
    got, out, err = command(poems, *arguments)
    assert got == code
    if code:
        assert err.startswith("Error: ")
        assert message in err
        assert err.count("\n") == 1
        assert out == ""
        assert [path.name for path in tmp_path.iterdir()] == ["poems.txt"]


def test_a_missing_column_is_named_with_those_that_exist(command, couplets):
    code, _, err = command(couplets, "--tokenizer", "char", "--prompt-field", "up", "--target-field", "donw")
    assert code == 1
    assert "couplets.jsonl:1: no column 'donw'. Columns: up, down" in err
