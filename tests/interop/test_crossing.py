"""Models in and out of Hugging Face's folders, as a person at the command line has it."""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from cases import rarely
from references import theirs

from nextword.checkpoint import load_run, save_config, save_weights
from nextword.cli import run as command
from nextword.interop import convert, parity, reference
from nextword.interop.huggingface import read_folder
from nextword.interop.sources import read_source
from nextword.models import build_model, model_config
from nextword.models.transformer_config import GPT2
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer

transformers = pytest.importorskip("transformers")
V = 300
OFTEN = ["llama", "gpt2", "gemma3", "phi3"]
RARELY = ["mistral", "qwen2", "qwen3", "gemma2", "olmo2", "smollm3"]
TEXTS = ["the cat sat on the mat. 猫坐在垫子上。", "a dog and another dog, 1,234 <b>times</b>"] * 5
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@pytest.fixture(scope="module")
def tokenizer():
    settings = TokenizerConfig(type="bpe", vocab_size=290, special_tokens=("<bos>", "<|end|>"))
    return train_tokenizer(settings, TEXTS)


def qwens(tokenizer):
    """The same vocabulary by the rules of Qwen 2, the only ones that AutoTokenizer takes for that family."""
    rules = json.loads(tokenizer.backend.to_str())
    theirs = json.loads(transformers.Qwen2Tokenizer().backend_tokenizer.to_str())
    rules |= {key: theirs[key] for key in ("normalizer", "pre_tokenizer")}
    return tokenizer.backend.from_str(json.dumps(rules))


@pytest.fixture
def folder(tmp_path, tokenizer):
    """A Hugging Face folder of a family, as its own library writes it; the tokenizer has fewer tokens than rows."""

    def make(name="llama", shards="10GB", **changes):
        place = tmp_path / f"their-{name}"
        model = theirs(name, vocab_size=V, **changes)
        ends = [tokenizer.eos_id, tokenizer.backend.token_to_id("<|end|>")]
        model.generation_config.eos_token_id = ends
        model.save_pretrained(place, max_shard_size=shards)
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=qwens(tokenizer) if name == "qwen2" else tokenizer.backend,
            bos_token="<bos>",
            eos_token="<eos>",
            pad_token="<eos>",
        )
        fast.chat_template = "{{ messages[0].content }}"
        fast.save_pretrained(place)
        return place

    return make


def tensors(folder):
    from safetensors.torch import load_file

    found = {key: value for path in folder.glob("*.safetensors") for key, value in load_file(path).items()}
    return {key: value for key, value in found.items() if key != "lm_head.weight"}  # written though it is tied, or not


def same(first: Mapping, second: Mapping) -> bool:
    return first.keys() == second.keys() and all(
        first[k].dtype == second[k].dtype and torch.equal(first[k], second[k]) for k in first
    )


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", [*OFTEN, *map(rarely, RARELY)])
def test_in_and_out_again(name, folder, tmp_path, capsys, tokenizer):
    """Both commands compare and say so; what comes out is what went in, bit for bit, and loads without code of ours."""
    there, run, back = folder(name), tmp_path / "run", tmp_path / "back"
    for arguments in (["import", str(there), str(run)], ["export", str(run), str(back)]):
        assert command(arguments) == 0
        said = capsys.readouterr().out
        assert "the same as in transformers: largest difference of logits" in said
        assert ("nextword chat" in said) == (arguments[0] == "import")
    assert same(tensors(there), tensors(back))
    first, second = (transformers.AutoModelForCausalLM.from_pretrained(place) for place in (there, back))
    assert type(first) is type(second)
    ids = torch.randint(V, (1, 12))
    assert torch.equal(first(ids).logits, second(ids).logits)
    assert second.generation_config.eos_token_id == first.generation_config.eos_token_id
    assert (back / "chat_template.jinja").read_text() == "{{ messages[0].content }}"
    assert "nextword.chat(" in (run / "README.md").read_text()
    one, two = (transformers.AutoTokenizer.from_pretrained(place) for place in (there, back))
    assert one(TEXTS[0] + "<eos>").input_ids == two(TEXTS[0] + "<eos>").input_ids
    assert [one.bos_token, one.eos_token, one.pad_token] == [two.bos_token, two.eos_token, two.pad_token]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_keep_their_type(dtype, folder, tmp_path, capsys):
    there = folder("llama")
    transformers.AutoModelForCausalLM.from_pretrained(there).to(dtype).save_pretrained(there)
    assert command(["import", str(there), str(tmp_path / "run")]) == 0
    assert command(["export", str(tmp_path / "run"), str(tmp_path / "back")]) == 0
    assert same(tensors(there), tensors(tmp_path / "back"))
    assert str(dtype).removeprefix("torch.") in capsys.readouterr().out


def test_what_was_imported_is_a_run_like_any_other(folder, tmp_path, capsys, tokenizer):
    run = tmp_path / "run"
    assert command(["import", str(folder("gemma3")), str(run)]) == 0
    loaded = load_run(run)
    assert loaded.tokenizer.vocab_size == V == loaded.model.config.vocab_size
    assert loaded.tokenizer.bos_id == tokenizer.backend.token_to_id("<bos>")
    assert loaded.generation["stop_tokens"] == ["<|end|>"]
    assert all(loaded.tokenizer.token_text(id) for id in range(V))
    assert command(["score", str(run), "the cat"]) == 0
    assert command(["generate", str(run), "the cat", "--max-tokens", "5", "--seed", "1"]) == 0
    assert command(["runs", str(tmp_path)]) == 0
    assert "gemma3_text" in (run / "README.md").read_text()


def test_a_model_in_several_files(folder, tmp_path, capsys):
    there = folder("llama", shards="20KB")
    assert len(list(there.glob("*.safetensors"))) > 1
    assert command(["import", str(there), str(tmp_path / "run")]) == 0
    sorted(there.glob("*.safetensors"))[1].unlink()
    assert command(["import", str(there), str(tmp_path / "other")]) == 1
    assert "00002-of" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_each_tensor_is_read_once(folder, tmp_path):
    """As it is written: so no more than one of ours is in memory at a time."""
    foreign = read_folder(folder("llama"))
    reads: list[str] = []

    class Counted(Mapping):
        def __getitem__(self, name):
            reads.append(name)
            return foreign.tensors[name]

        def __iter__(self):
            return iter(foreign.tensors)

        def __len__(self):
            return len(foreign.tensors)

        def __contains__(self, name):
            return name in foreign.tensors

    convert.import_model(replace(foreign, tensors=Counted()), tmp_path / "run", source="x", check=False)
    assert sorted(reads) == sorted(foreign.tensors)


def test_a_difference_leaves_nothing_behind_unless_asked(folder, tmp_path, capsys, monkeypatch):
    there, run = folder("llama"), tmp_path / "run"
    right = reference.model_of

    def wrong(foreign):
        model = right(foreign)
        with torch.no_grad():
            model.model.norm.weight.mul_(1.01)
        return model

    monkeypatch.setattr(reference, "model_of", wrong)
    assert command(["import", str(there), str(run)]) == 1
    assert "not the same as in transformers: largest difference of logits" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [there]
    assert command(["import", str(there), str(run), "--keep"]) == 1
    assert "Kept all the same" in capsys.readouterr().err
    assert load_run(run)
    shutil.rmtree(run)
    assert command(["import", str(there), str(run), "--no-check"]) == 0
    assert "not compared with transformers: --no-check" in capsys.readouterr().out


def test_a_tokenizer_that_auto_tokenizer_has_other_rules_for(folder, tmp_path, capsys, tokenizer):
    """It comes in as its file says; and may not leave, because transformers would cut texts otherwise."""
    there = folder("qwen2")
    tokenizer.backend.save(str(there / "tokenizer.json"))
    assert command(["import", str(there), str(tmp_path / "run")]) == 0
    assert "16 of 16 lines, by tokenizer.json as it is" in capsys.readouterr().out
    assert command(["export", str(tmp_path / "run"), str(tmp_path / "out")]) == 1
    assert "it is not the same as in transformers" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_transformers_nothing_is_compared_and_that_is_said(folder, tmp_path, capsys, monkeypatch):
    there = folder("llama")
    monkeypatch.setattr(parity, "available", lambda: False)
    assert command(["import", str(there), str(tmp_path / "run")]) == 0
    assert 'it is not installed (pip install "nextword[hf]")' in capsys.readouterr().out


def test_the_result_as_json(folder, tmp_path, capsys):
    assert command(["import", str(folder("llama")), str(tmp_path / "run"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["same"] is True
    assert document["difference"] < 1e-4
    assert document["family"] == "llama"


def test_token_ids_that_differ_are_a_difference(folder, tmp_path, capsys, monkeypatch):
    wrong = reference.Encode(lambda text: [1])
    monkeypatch.setattr(reference, "tokenizers_of", lambda folder: [lambda: wrong])
    assert command(["import", str(folder("llama")), str(tmp_path / "run")]) == 1
    assert "token ids equal on 0 of 16 lines" in capsys.readouterr().err


def own_run(place, tokenizer, **settings):
    torch.manual_seed(0)
    model = build_model(model_config(settings | {"vocab_size": tokenizer.vocab_size}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_config(place, model, tokenizer, {})
    save_weights(place / "model.safetensors", model)
    return place


SMALL = {"type": "transformer", "num_layers": 2, "hidden_size": 16, "num_heads": 2, "max_seq_len": 32}


@pytest.mark.parametrize(
    ("changes", "model_type"), [({}, "llama"), (GPT2, "gpt2"), ({"window": 9, "num_kv_heads": 1}, "mistral")]
)
def test_a_run_of_our_own_leaves_as_an_ordinary_model(changes, model_type, tokenizer, tmp_path, capsys):
    run, out = own_run(tmp_path / "run", tokenizer, **SMALL, **changes), tmp_path / "out"
    assert command(["export", str(run), str(out), "--licence", "cc0-1.0"]) == 0
    assert json.loads((out / "config.json").read_text())["model_type"] == model_type
    assert "license: cc0-1.0" in (out / "README.md").read_text()
    model, fast = (cls.from_pretrained(out) for cls in (transformers.AutoModelForCausalLM, transformers.AutoTokenizer))
    ours = load_run(run)
    ids = fast("the cat <eos>").input_ids
    assert ids == [ours.tokenizer.bos_id, *ours.tokenizer.encode("the cat <eos>")]
    tokens = torch.tensor([ids])
    torch.testing.assert_close(model(tokens).logits, ours.model(tokens)[0], rtol=1e-4, atol=1e-4)
    assert command(["import", str(out), str(tmp_path / "again")]) == 0
    again = load_run(tmp_path / "again")
    assert same(dict(again.model.named_parameters()), dict(ours.model.named_parameters()))


@pytest.mark.parametrize("kind", ["char", "word", "unigram"])
def test_every_kind_of_tokenizer_leaves(kind, tmp_path, capsys):
    tokenizer = train_tokenizer(TokenizerConfig(type=kind), TEXTS)
    run = own_run(tmp_path / "run", tokenizer, **SMALL)
    assert command(["export", str(run), str(tmp_path / "out")]) == 0
    assert "token ids equal on 16 of 16 lines" in capsys.readouterr().out


def test_a_recurrent_network_is_no_hugging_face_model(tokenizer, tmp_path, capsys):
    run = own_run(tmp_path / "run", tokenizer, type="lstm", hidden_size=8, num_layers=1)
    assert command(["export", str(run), str(tmp_path / "out")]) == 2
    assert "recurrent network (lstm)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [run]


def test_a_transformer_of_no_family_is_told_what_is_strange(tokenizer, tmp_path, capsys):
    run = own_run(tmp_path / "run", tokenizer, **SMALL, norm="layer")
    assert command(["export", str(run), str(tmp_path / "out")]) == 2
    assert "norm = 'layer'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [run]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda f: change_json(f / "config.json", model_type="lama"), "Did you mean llama?"),
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "not JSON"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "nested deeper"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json is damaged"),
        (lambda f: (f / "tokenizer_config.json").write_text("[]"), "expected a JSON object"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\0" * 9), "damaged"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pickle"),
        (lambda f: change_json(f / "config.json", vocab_size=200), "tokenizer has 290 tokens"),
        (lambda f: change_json(f / "config.json", vocab_size=10**6), "tokenizer has 290 tokens"),
        (lambda f: change_json(f / "config.json", num_hidden_layers=2), "is not part of this model"),
        (lambda f: change_json(f / "config.json", num_hidden_layers=4), "is missing"),
        (lambda f: change_json(f / "config.json", hidden_size=-1), "hidden_size"),
    ],
)
def test_a_damaged_folder_is_told_in_one_line_and_leaves_nothing(damage, told, folder, tmp_path, capsys):
    there = folder("llama")
    damage(there)
    capsys.readouterr()
    assert command(["import", str(there), str(tmp_path / "run")]) in (1, 2)
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert str(tmp_path / ".run") not in error
    assert list(tmp_path.iterdir()) == [there]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["import", "nowhere", "out"], "there is no file or folder nowhere"),
        (["import", "file.txt", "out"], "of no known kind"),
        (["import", "weights.pt", "out"], "pickle"),
        (["import", "empty", "out"], "no config.json"),
        (["import", "empty", "out", "--tokenizer", "none.json"], "--tokenizer none.json"),
        (["export", "empty", "out"], "is not a run folder"),
        (["export", "empty", "out", "--format", "ggfu"], "Did you mean gguf?"),
        (["export", "empty", "out", "--format", "gguf", "--quantization", "q4"], "'q4' is unknown"),
    ],
)
def test_mistakes_at_the_command_line(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("text")
    (tmp_path / "weights.pt").write_bytes(b"PK\x03\x04")
    (tmp_path / "empty").mkdir()
    assert command(arguments) in (1, 2)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_second_time_and_a_run_as_its_own_source(folder, tmp_path, capsys):
    there, run = folder("llama"), tmp_path / "run"
    assert command(["import", str(there), str(run), "--no-check"]) == 0
    assert command(["import", str(there), str(run), "--no-check"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert command(["import", str(there), str(run), "--no-check", "--overwrite"]) == 0
    assert command(["import", str(run), str(tmp_path / "again")]) == 2
    assert "a run of nextword already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["notes.txt", "config.json/deeper", "poems.json"])
def test_overwriting_removes_a_model_and_nothing_else(name, folder, tmp_path, capsys):
    """A folder of the user's own, beside nothing that looks like a model; then a model with something beside it."""
    there, out = folder("llama"), tmp_path / "mine"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("dear")
    assert command(["import", str(there), str(out), "--no-check", "--overwrite"]) == 2
    assert "which would be lost" in capsys.readouterr().err
    assert (out / name).read_text() == "dear"
    assert command(["import", str(there), str(tmp_path / "run"), "--no-check"]) == 0
    (tmp_path / "run" / "notes.txt").write_text("dear")
    assert command(["import", str(there), str(tmp_path / "run"), "--no-check", "--overwrite"]) == 2
    assert "notes.txt" in capsys.readouterr().err


def test_nothing_in_a_folder_chooses_code(folder, tmp_path, capsys):
    there, evil = folder("llama"), tmp_path / "evil.txt"
    (there / "evil.py").write_text(f"open({str(evil)!r}, 'w')")
    strange = {"auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    change_json(there / "config.json", **strange, _attn_implementation_internal="evil/kernel")
    change_json(there / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})
    assert command(["import", str(there), str(tmp_path / "run")]) == 0
    assert "auto_map of config.json is not known here" in capsys.readouterr().err
    assert not evil.exists()


def test_a_special_token_beyond_the_model_is_left_out(folder, tmp_path):
    """Gemma 3's text models have a tokenizer with one token for images, for which they have no row."""
    there = folder("llama")
    rules = json.loads((there / "tokenizer.json").read_text())
    rules["added_tokens"].append(rules["added_tokens"][-1] | {"id": V, "content": "<image>"})
    (there / "tokenizer.json").write_text(json.dumps(rules))
    assert command(["import", str(there), str(tmp_path / "run")]) == 0
    assert Tokenizer.load(tmp_path / "run").vocab_size == V


def test_gpt2_vocabulary_in_two_files(folder, tmp_path, capsys):
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, trainers

    there = folder("gpt2")
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    backend.model.save(str(there))
    for name in TOKENIZER_FILES:
        (there / name).unlink(missing_ok=True)
    change_json(there / "config.json", bos_token_id=0, eos_token_id=0)
    change_json(there / "generation_config.json", bos_token_id=0, eos_token_id=0)
    assert command(["import", str(there), str(tmp_path / "run")]) == 0
    assert "token ids equal on 16 of 16" in capsys.readouterr().out
    assert load_run(tmp_path / "run").tokenizer.eos_id == 0


def test_a_sentencepiece_tokenizer(folder, tmp_path, capsys):
    pytest.importorskip("sentencepiece")
    from test_sentencepiece import KINDS, trained

    there = folder("llama")
    for name in TOKENIZER_FILES:
        (there / name).unlink(missing_ok=True)
    (there / "tokenizer.model").write_bytes(trained(**KINDS["llama"], vocab=V))
    assert command(["import", str(there), str(tmp_path / "run")]) == 0, capsys.readouterr().err
    assert "token ids equal on 16 of 16 lines, by sentencepiece" in capsys.readouterr().out
    assert load_run(tmp_path / "run").tokenizer.bos_id == 1


def test_a_name_of_the_hub_is_fetched_without_code(folder, tmp_path, monkeypatch, capsys):
    there = folder("llama")
    asked = {}

    def fetch(name, local_dir, allow_patterns):
        asked[name] = allow_patterns
        shutil.copytree(there, local_dir, dirs_exist_ok=True)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    assert command(["import", "org/model", "run"]) == 0
    assert load_run(tmp_path / "run").config["origin"]["source"] == "org/model"
    assert not {"*.py", "*.bin", "*"} & {*asked["org/model"]}


def test_without_a_network_the_hub_is_told_of_in_one_line(tmp_path, monkeypatch, capsys):
    def fetch(*args, **kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    assert command(["import", "org/model", "run"]) == 1
    error = capsys.readouterr().err
    assert "org/model is no folder here, and cannot be fetched from the hub: no route" in error
    assert error.count("\n") == 1


def test_the_source_is_told_apart_by_what_it_is(tmp_path, monkeypatch):
    gguf = ModuleType("nextword.interop.gguf")
    gguf.read_gguf = lambda path: ("gguf", path)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nextword.interop.gguf", gguf)
    (tmp_path / "weights.bin").write_bytes(b"GGUF\x03\0\0\0")
    assert read_source(str(tmp_path / "weights.bin"), tmp_path).foreign == ("gguf", tmp_path / "weights.bin")
