"""Runs that train adapters: the source's weights stay, the run folder is whole, and a resumed run goes on exactly."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from nextword import corpora
from nextword.checkpoint import load_run
from nextword.errors import RunError, UsageError
from nextword.models import build_model, model_config
from nextword.training import soup
from nextword.training.adapting import adapt, is_adapted, merged, trained
from nextword.training.compiling import compile_model
from nextword.training.config import AdapterConfig
from nextword.training.new_run import new_run
from nextword.training.session import resume_run

TINY = {"type": "transformer", "num_layers": 2, "hidden_size": 16, "num_heads": 2, "max_seq_len": 32}
TRAIN = {"batch_size": 4, "precision": "float32", "compile": "never", "eval_every": 2}
KINDS = pytest.mark.parametrize("kind", ["lora", "dora"])


def model(**changes):
    torch.manual_seed(0)
    return build_model(model_config({**TINY, "vocab_size": 11, **changes}))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "poems.txt"
    path.write_text("\n\n".join(corpora.load("tang")[:30]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def source(text, tmp_path_factory):
    """A run, as if it had been imported: with a template and settings of its own."""
    out = tmp_path_factory.mktemp("runs") / "source"
    session = new_run({"model": TINY, "train": TRAIN | {"steps": 4}}, [text], out)
    list(session.trainer.run())
    session.finish()
    (out / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    (out / "generation_config.json").write_text('{"temperature": 0.5}', encoding="utf-8")
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    config["origin"] = {"source": "elsewhere", "family": "llama", "dtype": "float32", "special_tokens": {}}
    (out / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return out


def tune(source, text, out, steps=4, **settings):
    values = {"train": TRAIN | {"steps": steps, "learning_rate": 0.01} | settings}
    session = new_run(values, [text], out, init_from=source)
    list(session.trainer.run())
    session.finish()
    return session


@KINDS
@pytest.mark.parametrize("base", ["float32", "bfloat16", "int8"])
def test_a_tuned_run_is_as_any_other(kind, base, source, text, tmp_path):
    out = tmp_path / "run"
    session = tune(source, text, out, adapter={"kind": kind, "rank": 2, "base": base})
    run, before = load_run(out), load_run(source)
    tokens = torch.arange(10)[None]
    logits = session.trainer.model.eval()(tokens)[0].float()
    tolerance = 1e-5 if base == "float32" else 0.05
    torch.testing.assert_close(run.model(tokens)[0], logits, atol=tolerance, rtol=tolerance)
    assert (run.model(tokens)[0] - before.model(tokens)[0]).abs().max() > 0.05  # it has learned something
    assert run.config["figures"]["parameters"] == before.model.num_parameters()
    frozen = {"embedding.weight", "norm.weight"}
    for name in frozen:
        expected = before.model.get_parameter(name)
        torch.testing.assert_close(run.model.get_parameter(name), expected, atol=tolerance, rtol=tolerance)
    assert load_file(out / "adapter.safetensors").keys() == trained(session.trainer.model).keys()


def test_a_kept_tokenizer_keeps_how_the_source_speaks(source, text, tmp_path):
    out = tmp_path / "run"
    tune(source, text, out, steps=1)
    for name in ("chat_template.jinja", "generation_config.json"):
        assert (out / name).read_bytes() == (source / name).read_bytes()
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["origin"]["source"] == "elsewhere"
    resume_run(out, {"steps": 2}).finish()
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["origin"] == config["origin"]
    values = {"train": TRAIN | {"steps": 1}, "tokenizer": {"type": "byte"}}
    new_run(values, [text], tmp_path / "other", init_from=source)
    assert not (tmp_path / "other" / "chat_template.jinja").exists()


@pytest.mark.parametrize("settings", [{}, {"ema": 0.5}, {"adapter": {"kind": "dora", "rank": 2, "base": "int8"}}])
def test_a_resumed_run_goes_on_exactly(settings, source, text, tmp_path):
    settings = {"adapter": {"rank": 2, "dropout": 0.2}} | settings
    tune(source, text, tmp_path / "whole", steps=6, **settings)
    tune(source, text, tmp_path / "parts", steps=6, **settings)
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "step-00000006")
    session = resume_run(tmp_path / "parts")
    assert session.trainer.position.step == 4
    list(session.trainer.run())
    session.finish()
    for name in ("adapter.safetensors", "model.safetensors"):
        whole, parts = load_file(tmp_path / "whole" / name), load_file(tmp_path / "parts" / name)
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_checkpoints_hold_the_adapters_only(source, text, tmp_path):
    session = tune(source, text, tmp_path / "run", adapter={"targets": ["qkv"]})
    names = load_file(tmp_path / "run" / "checkpoints" / "step-00000004" / "model.safetensors").keys()
    assert names == {f"blocks.{i}.attention.qkv.{name}" for i in (0, 1) for name in ("up", "down")}
    assert names == trained(session.trainer.model).keys()
    with pytest.raises(UsageError, match="adapters, not models"):
        soup.last(tmp_path / "run", 2)


def test_what_a_run_adapts_must_be_there_and_be_the_same(source, text, tmp_path):
    here = shutil.copytree(source, tmp_path / "source")
    tune(here, text, tmp_path / "run", steps=1, adapter={})
    shutil.copy(tmp_path / "run" / "model.safetensors", here / "model.safetensors")
    with pytest.raises(RunError, match="other weights than those"):
        resume_run(tmp_path / "run", {"steps": 2})
    shutil.rmtree(here)
    with pytest.raises(RunError, match="is gone"):
        resume_run(tmp_path / "run", {"steps": 2})
    assert load_run(tmp_path / "run")  # but to generate nothing else is needed


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        ((), 8),
        (("attention.qkv",), 2),
        (("qkv", "out"), 4),
        (("blocks.1",), 4),
        (("mlp",), 4),
        (("blocks.[0]*.up",), 1),
    ],
)
def test_targets(targets, count):
    adapted = model()
    adapt(adapted, AdapterConfig(rank=1, targets=targets))
    assert len(trained(adapted)) == 2 * count
    assert {name for name, p in adapted.named_parameters() if p.requires_grad} == trained(adapted).keys()


def test_without_adapters_all_is_trained():
    plain = model()
    adapt(plain, None)
    assert not is_adapted(plain)
    assert trained(plain).keys() == merged(plain).keys() == dict(plain.named_parameters()).keys()


def test_int8_takes_a_quarter():
    wide, narrow = model(hidden_size=64).blocks, model(hidden_size=64)
    adapt(narrow, AdapterConfig(rank=1, base="int8"))
    adapters = sum(p.nbytes for p in trained(narrow).values())
    size = sum(p.nbytes for p in narrow.blocks.parameters()) - adapters
    assert size < 0.27 * sum(p.nbytes for p in wide.parameters())


def test_int8_is_not_compiled():
    narrow = model()
    adapt(narrow, AdapterConfig(rank=1, base="int8"))
    assert not compile_model(narrow)


@pytest.mark.parametrize(
    ("kind", "targets", "said"),
    [
        (
            "transformer",
            ("q_proj",),
            "'q_proj' matches no linear layer.*attention.qkv, attention.out, mlp.up, mlp.down",
        ),
        ("transformer", ("output",), "matches no linear layer"),  # the loss has its weights by itself
        ("lstm", (), "has no linear layers to adapt"),
    ],
)
def test_what_cannot_be_adapted(kind, targets, said):
    settings = TINY if kind == "transformer" else {"type": kind, "hidden_size": 8}
    with pytest.raises(UsageError, match=said):
        adapt(build_model(model_config({**settings, "vocab_size": 11})), AdapterConfig(targets=targets))


def test_adapters_need_weights_to_go_with(text, tmp_path):
    with pytest.raises(UsageError, match="--init-from"):
        new_run({"model": TINY, "train": TRAIN | {"steps": 1, "adapter": {}}}, [text], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_settings_are_those_of_fine_tuning(source, text, tmp_path):
    session = new_run({"train": {"steps": 1, "adapter": {}}}, [text], tmp_path / "run", init_from=source)
    train = session.trainer.config
    assert (train.optimizer, train.learning_rate) == ("adamw", 2e-4)
    assert (train.context, train.batch_size, train.accumulate) == (32, 1, 8)
