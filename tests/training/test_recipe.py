"""Recipes: what is left open is filled in sensibly, what is wrong is named, and those we ship can be run."""

from pathlib import Path

import pytest

from nextword import corpora
from nextword.config import read_toml
from nextword.errors import UsageError
from nextword.models import MODELS, build_model, model_config
from nextword.tasks.setup import set_up
from nextword.tokenizers import train_tokenizer
from nextword.training.new_run import new_run
from nextword.training.recipe import DEFAULT_BUDGET, SIZES, complete, family

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
ENGLISH = "\n\n".join(corpora.load("moby-dick")[:400])
CHINESE = "\n\n".join(corpora.load("tang")[:1000])


FROM_NOTHING = [path for path in RECIPES if "adapter" not in read_toml(path)["train"]]  # others need a model that chats


@pytest.mark.parametrize("path", FROM_NOTHING, ids=lambda path: path.stem)
def test_our_recipes_are_complete_and_train(path, tmp_path):
    """With their own settings and model, on a text of a few lines, for one step."""
    values = read_toml(path)
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert "xpected" in path.read_text(encoding="utf-8")  # each says what to expect
    values["train"] = {key: value for key, value in values["train"].items() if key not in ("budget", "epochs")}
    values["train"] |= {"steps": 1, "batch_size": 2, "precision": "float32"}
    values["train"]["context"] = min(values["train"].get("context", 8), 8)
    values.get("model", {}).pop("max_seq_len", None)
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat\na <unk> sat on N mats\n" * 20)
    sources, template = [text], ""
    if "task" in values:
        pair = {"source": "Tom: hi Ann\nAnn: hi", "target": "Tom and Ann meet."}
        poems = corpora.load("tang")
        rows = [
            pair | {"turns": [f"Hi Ann {n}", "Hi"], "source": f"{pair['source']} {n}", "text": poems[n]}
            for n in range(40)
        ]
        setup = set_up(values, [rows])
        values, sources, template = setup.values, list(setup.sources), setup.template
    session = new_run(values, sources, tmp_path / "run", template=template)
    (*_, finished) = session.trainer.run()
    assert (finished.step, finished.reason) == (1, "completed")
    assert session.finish()["validation"]["perplexity"] > 1


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_our_recipes_as_they_stand_are_valid(path):
    recipe = complete(read_toml(path), ENGLISH)
    assert recipe.train.budget or recipe.train.steps or recipe.train.epochs


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("size", ["tiny", "small", "medium", "large"])
def test_every_size_of_every_model_is_a_model(kind, size):
    import torch

    recipe = complete({"model": {"type": kind}}, ENGLISH, size)
    with torch.device("meta"):
        model = build_model(model_config(recipe.model | {"vocab_size": 100}))
    assert model.config.hidden_size == SIZES[family(kind)][size]["hidden_size"]


def test_sizes_grow():
    import torch

    for kind in MODELS:
        with torch.device("meta"):
            counts = [
                build_model(model_config(complete({"model": {"type": kind}}, "", size).model | {"vocab_size": 100}))
                for size in ("tiny", "small", "medium", "large")
            ]
        sizes = [model.num_parameters() for model in counts]
        assert sizes == sorted(set(sizes))


def test_left_open_it_suits_the_text():
    assert complete({}, CHINESE).tokenizer.type == "char"
    assert complete({}, ENGLISH).tokenizer.type == "bpe"
    assert complete({}, "a few words").tokenizer.type == "char"
    assert complete({}, ENGLISH).train.budget == DEFAULT_BUDGET
    few, many = complete({}, "a few words").model, complete({}, ENGLISH * 20).model
    assert few["hidden_size"] < many["hidden_size"]


def test_what_is_given_stays():
    values = {
        "model": {"type": "lstm", "hidden_size": 7, "tied": False, "dropout": 0.0},
        "train": {"steps": 3, "learning_rate": 0.5, "optimizer": "sgd"},
        "tokenizer": {"type": "word", "vocab_size": 9},
    }
    recipe = complete(values, CHINESE, "large")
    assert recipe.model.items() >= values["model"].items()
    for name, value in values["train"].items():
        assert getattr(recipe.train, name) == value
    assert (recipe.train.budget, recipe.train.epochs) == (0, 0)
    assert (recipe.tokenizer.type, recipe.tokenizer.vocab_size) == ("word", 9)
    assert "steps" in values["train"]  # and nobody writes into the caller's values
    assert set(values) == {"model", "train", "tokenizer"}


def test_a_vocabulary_size_alone_does_not_choose_the_tokenizer():
    recipe = complete({"tokenizer": {"vocab_size": 500}}, CHINESE)
    assert (recipe.tokenizer.type, recipe.tokenizer.vocab_size) == ("char", 500)
    assert train_tokenizer(recipe.tokenizer, [CHINESE]).vocab_size == 500
    assert complete({"tokenizer": {"type": "word"}}, ENGLISH).tokenizer.vocab_size == 0


def test_the_context_of_training_is_that_of_the_model():
    assert complete({"train": {"context": 48}}, ENGLISH).model["max_seq_len"] == 48
    given = {"train": {"context": 48}, "model": {"max_seq_len": 96}}
    assert complete(given, ENGLISH).model["max_seq_len"] == 96
    assert "max_seq_len" not in complete({"train": {"context": 48}, "model": {"type": "gru"}}, ENGLISH).model


def test_sections_give_the_same_recipe_again():
    recipe = complete({"model": {"type": "gru"}, "train": {"epochs": 2.0}}, ENGLISH)
    again = complete(recipe.sections() | {"model": recipe.model, "tokenizer": {"type": "bpe"}}, ENGLISH)
    assert (again.train, again.data, again.split, again.model) == (
        recipe.train,
        recipe.data,
        recipe.split,
        recipe.model,
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"trian": {}}, r"\[trian\]: unknown section. Did you mean train\?"),
        ({"train": 3}, r"train: expected a section \[train\], got 3"),
        ({"train": {"steps": 3, "epochs": 1.0}}, "give one of"),
        ({"train": {"steps": 0}}, "nothing says how long"),
        ({"train": {"budget": "0s"}}, "nothing says how long"),
        ({"train": {"stpes": 3}}, r"train.stpes: unknown key. Did you mean steps\?"),
        ({"split": {"valid": 1.5}}, "split.valid"),
        ({"data": {"encoding": "klingon"}}, "unknown encoding"),
        ({"model": {"type": "lsmt"}}, r"Did you mean lstm\?"),
        ({"model": {"type": ["lstm"]}}, "unknown architecture"),
        ({"model": {"type": "lstm", "num_heads": 2}}, "model.num_heads: lstm has no such setting, but transformer"),
        ({"model": {"type": "lstm", "hiden_size": 2}}, "model.hiden_size: unknown key. Did you mean hidden_size"),
        ({"tokenizer": {"type": "chars"}}, "tokenizer.type"),
    ],
)
def test_mistakes_are_named(values, said):
    with pytest.raises(UsageError, match=said):
        complete(values, ENGLISH)


def test_an_unknown_size_is_named():
    with pytest.raises(UsageError, match=r"--size: unknown size 'smal'. Did you mean small\?"):
        complete({}, ENGLISH, "smal")
