"""A run folder comes back as it was saved, and every way of damaging it is told in one line."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nextword.checkpoint import check_weights, load_run, load_weights, read_config, save_config, save_weights
from nextword.cli import run
from nextword.errors import NextwordError, RunError, UsageError
from nextword.models import MODELS as KINDS
from nextword.models import build_model, model_config
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer

MODELS = {
    "lstm": {"type": "lstm", "hidden_size": 6, "num_layers": 2},
    "tied gru": {"type": "gru", "hidden_size": 6, "tied": True},
    "transformer": {"type": "transformer", "hidden_size": 8, "num_layers": 2, "num_heads": 2, "max_seq_len": 16},
    "gpt2": {"type": "transformer", "hidden_size": 8, "num_layers": 1, "num_heads": 2, "positions": "learned"},
}
TEXT = "床前明月光，疑是地上霜。"


def tokenizer_of(text: str) -> Tokenizer:
    return train_tokenizer(TokenizerConfig(type="char"), [text])


def make_run(folder: Path, settings: dict, text: str = TEXT) -> Path:
    tokenizer = tokenizer_of(text)
    model = build_model(model_config(settings | {"vocab_size": tokenizer.vocab_size}))
    save_config(folder, model, tokenizer, {"train": {"seed": 1}})
    save_weights(folder / "model.safetensors", model)
    return folder


@pytest.fixture
def lstm(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", MODELS["lstm"])


@pytest.mark.parametrize("name", MODELS)
def test_a_run_comes_back_as_it_was_saved(name, tmp_path):
    torch.manual_seed(3)
    tokenizer = tokenizer_of(TEXT)
    model = build_model(model_config(MODELS[name] | {"vocab_size": tokenizer.vocab_size})).eval()
    save_config(tmp_path, model, tokenizer, {"train": {"seed": 1}, "figures": {"steps": 5}})
    save_weights(tmp_path / "model.safetensors", model)
    before = torch.get_rng_state()
    loaded = load_run(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)  # loading draws nothing from the user's rng
    assert not loaded.model.training
    assert loaded.config["figures"] == {"steps": 5}
    assert loaded.generation["temperature"] > 0
    tokens = torch.tensor([tokenizer.encode(TEXT)])
    with torch.no_grad():
        assert torch.equal(loaded.model(tokens)[0], model(tokens)[0])
    if "tied" in name or name == "gpt2":
        assert loaded.model.output.weight is loaded.model.embedding.weight


def test_saving_again_keeps_the_user_s_generation_settings_and_leaves_no_other_files(lstm):
    (lstm / "generation_config.json").write_text('{"temperature": 0.1}')
    before = sorted(path.name for path in lstm.iterdir())
    loaded = load_run(lstm)
    save_config(lstm, loaded.model, loaded.tokenizer, {})
    save_weights(lstm / "model.safetensors", loaded.model)
    assert load_run(lstm).generation == {"temperature": 0.1}
    assert sorted(path.name for path in lstm.iterdir()) == before
    assert stat.S_IMODE((lstm / "model.safetensors").stat().st_mode) == 0o644


def edit(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """A damage that changes config.json."""

    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return damage


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: void((folder / name).write_bytes(content))


def cut(name: str, share: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return damage


def delete(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def tensors(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """A damage that changes what the weights file holds."""

    def damage(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors")

    return damage


def void(_: object) -> None: ...


def another_tokenizer(folder: Path) -> None:
    tokenizer_of(TEXT.replace("床", "窗")).save(folder)  # as many characters, others


def a_larger_tokenizer(folder: Path) -> None:
    tokenizer_of(TEXT + "窗").save(folder)


DAMAGE = {
    "gone": (shutil.rmtree, "is not a run folder: no such folder"),
    "no config": (delete("config.json"), "it has no config.json"),
    "config empty": (write("config.json", b""), "config.json: not valid JSON"),
    "config cut": (cut("config.json", 0.5), "config.json: not valid JSON"),
    "config binary": (write("config.json", b"\xff\x00\x80"), "config.json: not valid JSON"),
    "config a list": (write("config.json", b"[1]"), "expected a JSON object"),
    "config nested too deep": (write("config.json", b"[" * 100_000), "config.json: not valid JSON"),
    "newer format": (edit(lambda c: c.update(format_version=2)), "format_version 2, this nextword reads 1"),
    "no format": (edit(lambda c: c.pop("format_version")), "format_version None"),
    "no model": (edit(lambda c: c.pop("model")), "no section 'model'"),
    "model a number": (edit(lambda c: c.update(model=3)), "no section 'model'"),
    "tokenizer a number": (edit(lambda c: c.update(tokenizer=3)), "no section 'tokenizer'"),
    "no fingerprint": (edit(lambda c: c["tokenizer"].pop("fingerprint")), "is not the one"),
    "unknown model key": (edit(lambda c: c["model"].update(hiden_size=3)), "Did you mean hidden_size?"),
    "unknown type": (edit(lambda c: c["model"].update(type="lsmt")), "Did you mean lstm?"),
    "type a list": (edit(lambda c: c["model"].update(type=["lstm"])), "unknown architecture"),
    "size a text": (edit(lambda c: c["model"].update(hidden_size="6")), "expected an integer, got '6'"),
    "negative size": (edit(lambda c: c["model"].update(hidden_size=-6)), "at least 1, got -6"),
    "no vocabulary size": (edit(lambda c: c["model"].pop("vocab_size")), "the model was trained with None"),
    "endless layers": (edit(lambda c: c["model"].update(num_layers=10**9)), "num_layers: expected a number of at most"),
    "endless width": (
        edit(lambda c: c["model"].update(hidden_size=10**9)),
        "hidden_size: expected a number of at most",
    ),
    "beyond 64 bits": (edit(lambda c: c["model"].update(hidden_size=10**30)), "expected a number of at most"),
    "as wide as can be": (edit(lambda c: c["model"].update(hidden_size=2**16)), "does not fit its config.json"),
    "other width": (edit(lambda c: c["model"].update(hidden_size=7)), "has shape"),
    "one layer less": (edit(lambda c: c["model"].update(num_layers=1)), "is not part of this model"),
    "no weights": (delete("model.safetensors"), "model.safetensors is missing"),
    "weights empty": (write("model.safetensors", b""), "model.safetensors is damaged"),
    "weights cut in the header": (cut("model.safetensors", 0.05), "model.safetensors is damaged"),
    "weights cut in the data": (cut("model.safetensors", 0.9), "model.safetensors is damaged"),
    "weights are text": (write("model.safetensors", b"hello, I am a poem" * 9), "model.safetensors is damaged"),
    "a tensor missing": (tensors(lambda t: t.pop("output.bias")), "tensor output.bias is missing"),
    "a tensor too many": (tensors(lambda t: t.update(x=torch.ones(1))), "tensor x is not part of this model"),
    "a tensor of another shape": (
        tensors(lambda t: t.update({"output.bias": torch.ones(3)})),
        "tensor output.bias has shape [3], expected [",
    ),
    "no tokenizer": (delete("tokenizer.json"), "tokenizer.json: No such file"),
    "tokenizer cut": (cut("tokenizer.json", 0.7), "tokenizer.json is damaged"),
    "tokenizer of another run": (another_tokenizer, "is not the one the model was trained with"),
    "tokenizer of another size": (a_larger_tokenizer, "tokens, but the model was trained with"),
    "generation settings cut": (write("generation_config.json", b'{"temp'), "Delete it to use the defaults"),
    "generation settings a list": (write("generation_config.json", b"[1]"), "Delete it to use the defaults"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_told_in_one_line(name, lstm):
    damage, said = DAMAGE[name]
    damage(lstm)
    with pytest.raises(RunError) as caught:
        load_run(lstm)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(lstm) in str(caught.value)


def test_position_tables_of_an_impossible_length_are_not_made(tmp_path):
    folder = make_run(tmp_path / "run", MODELS["transformer"] | {"num_heads": 1, "head_size": 128})
    edit(lambda config: config["model"].update(max_seq_len=2**24))(folder)
    with pytest.raises(RunError, match="GiB of position tables"):
        load_run(folder)


@pytest.mark.parametrize("command", [["generate", "x"], ["score", "x"], ["evaluate", "{run}/config.json"]])
def test_the_commands_say_it_too(command, lstm, capsys):
    cut("model.safetensors", 0.5)(lstm)
    name, argument = command
    assert run([name, str(lstm), argument.format(run=lstm)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("Error: ")


def test_no_flipped_bit_in_the_header_is_a_crash(lstm):
    """Some flips change a name or a shape, some break the JSON; a few change nothing that matters."""
    path = lstm / "model.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    model = load_run(lstm).model
    told = []
    for at in range(header):
        for bit in (0x01, 0x80):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            try:
                load_weights(path, model)
            except RunError as error:
                told.append(str(error))
    assert len(told) > header
    assert not any("\n" in line for line in told)


def test_no_flipped_bit_in_the_weights_goes_unseen(lstm, monkeypatch):
    path = lstm / "model.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    model = load_run(lstm).model
    for at in range(header, len(whole), 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RunError, match="SHA-256 differs from the recorded one"):
            load_weights(path, model)
    monkeypatch.setattr("nextword.checkpoint.MOST_HASHED", 0)  # large weights are not read twice
    load_weights(path, model)


def test_weights_that_come_back_otherwise_take_no_place(lstm, monkeypatch):
    before = (lstm / "model.safetensors").read_bytes()
    model = load_run(lstm).model
    wrong = {name: tensor + 1 for name, tensor in model.named_parameters()}
    monkeypatch.setattr("nextword.checkpoint.read_safetensors", lambda path: wrong)
    with pytest.raises(OSError, match="what was read back"):
        save_weights(lstm / "model.safetensors", model)
    assert (lstm / "model.safetensors").read_bytes() == before


def test_weights_are_compared_before_anything_is_allocated(lstm):
    """The real sizes, each as large as a damaged file can claim: an allocation would end this process."""
    largest = {"hidden_size": 2**16, "vocab_size": 2**24, "embedding_size": 2**16, "num_layers": 1000}
    with pytest.raises(RunError, match="does not fit"):
        check_weights(lstm / "model.safetensors", model_config(read_config(lstm)["model"] | largest))


def test_a_failed_save_leaves_the_weights_of_before(lstm, monkeypatch):
    before = (lstm / "model.safetensors").read_bytes()
    model = load_run(lstm).model

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        save_weights(lstm / "model.safetensors", model)
    assert (lstm / "model.safetensors").read_bytes() == before
    assert not list(lstm.glob(".*"))


def test_a_device_that_is_not_there_is_wrong_usage(lstm):
    for device in ("tpu", "cuda:99", ""):
        with pytest.raises(UsageError, match="Use cpu, cuda"):
            load_run(lstm, device)


def test_a_run_folder_may_be_given_as_a_text(lstm):
    assert load_run(str(lstm)).folder == lstm
    with pytest.raises(NextwordError):
        load_run(lstm / "config.json")


def test_a_model_is_outlined_without_what_torch_compiles_with():
    """torch imports sympy, for a second, as soon as it computes with tensors that have no memory."""
    program = """
import sys
from nextword.checkpoint import outline
from nextword.models import MODELS, model_config
for name in MODELS:
    outline(model_config({"type": name, "vocab_size": 10, "num_layers": 1}))
    print(name, "sympy" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told == "".join(f"{name} False\n" for name in KINDS)
