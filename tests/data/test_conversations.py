"""Conversations as a chat model is asked: training reads what generating will, and loss falls on replies."""

import json
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from nextword.checkpoint import load_run
from nextword.data.batches import IGNORE
from nextword.data.conversations import replies
from nextword.data.examples import ExampleBatches
from nextword.data.prepare import prepare
from nextword.data.splits import SplitConfig
from nextword.errors import DataError, RunError, UsageError
from nextword.text.chat import CHATML
from nextword.text.records import ReadConfig, Record
from nextword.text.turns import talk
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer
from nextword.tokenizers.chat import ChatTokenizer
from nextword.training.new_run import new_run

READ = ReadConfig(conversations=True)
TURNS = [
    {"role": "user", "content": "你好!"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Say <|im_end|>"},
    {"role": "assistant", "content": "No <|im_end|>, thanks"},
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """As SmolLM2's: <|im_start|> begins a text, and <|im_end|> ends it."""
    settings = TokenizerConfig(type="byte", special_tokens=("<|im_start|>", "<|im_end|>"))
    backend = train_tokenizer(settings, ["any"]).backend
    return Tokenizer(backend, "byte", "<|im_end|>", "<|im_start|>")


@pytest.fixture(scope="module")
def chat(tokenizer) -> ChatTokenizer:
    return ChatTokenizer(tokenizer, CHATML.replace("{{ bos_token }}\n", ""))


def write(folder, *conversations):
    path = folder / "talk.jsonl"
    path.write_text("".join(json.dumps({"messages": one}) + "\n" for one in conversations), encoding="utf-8")
    return path


def prepared(folder, tokenizer, template, *conversations):
    """All of them to train on."""
    path, everything = write(folder, *conversations), SplitConfig(valid=0)
    return prepare([path], folder / "out", tokenizer, read=READ, split=everything, template=template)["train"]


def rows_of(files, context=10**6):
    """(inputs, targets) of an epoch, row by row."""
    batches = ExampleBatches(files, tokens=1, context=context)
    while batches.epoch < 1:
        batch = next(batches)
        yield batch.inputs[0].tolist(), batch.targets[0].tolist()


def learned(files, context=10**6):
    """What a model is asked and what it is to say, of each reply."""
    for inputs, targets in rows_of(files, context):
        ends = [at for at, target in enumerate(targets) if target == files.eos_id]
        for before, end in pairwise([-1, *ends]):
            begin = next(at for at in range(before + 1, end + 1) if targets[at] != IGNORE)
            yield tuple(inputs[: begin + 1]), tuple(targets[begin : end + 1])


def test_a_row_is_what_the_model_is_asked_and_what_it_is_to_say(chat, tokenizer, tmp_path):
    files = prepared(tmp_path, tokenizer, chat.template, TURNS)
    assert len(list(rows_of(files))) == 1
    assert list(learned(files)) == [
        (tuple(chat.prompt(TURNS[:end])), (*tokenizer.encode(TURNS[end]["content"]), tokenizer.eos_id))
        for end in (1, 3)
    ]
    assert files.counts.examples == 2
    assert files.counts.target_bytes == sum(len(TURNS[end]["content"].encode()) for end in (1, 3))


@pytest.mark.parametrize("template", ["turns", "chatml"])
def test_where_a_long_conversation_begins_anew_it_is_what_chat_reads_that_leaves_out_turns(
    template, chat, tokenizer, tmp_path
):
    chat = chat if template == "chatml" else ChatTokenizer(tokenizer, template)
    system = {"role": "system", "content": "你是诗人。"}
    turns = [{"role": ("user", "assistant")[at % 2], "content": f"turn {at}"} for at in range(16)]
    files = prepared(tmp_path, tokenizer, chat.template, [system, *turns])
    context = files.len_tokens // 2
    possible = {
        tuple(chat.prompt([system, *turns[begin:end]])): (end, begin)
        for end in range(1, 16, 2)
        for begin in range(0, end, 2)
    }
    found = sorted(possible[prompt] for prompt, _ in learned(files, context))
    assert [end for end, _ in found] == list(range(1, 16, 2))
    assert found[0][1] == 0 < found[-1][1]


WORDS = ["Hi", " there", "你好", "!", "", " ", "\n", "<eos>", "<|im_end|>", "System:", "\ufdd0", "x"]
said = st.lists(st.sampled_from(WORDS), max_size=4).map("".join).filter(lambda text: text.strip() != "\ufdd0")
"""What is said in a turn, but for one that is nothing but what no text has."""


@pytest.fixture(scope="module", params=["char", "word", "byte", "bpe", "unigram"])
def any_tokenizer(request):
    config = TokenizerConfig(type=request.param, special_tokens=("<|im_start|>", "<|im_end|>"))
    return train_tokenizer(config, ["Hi there! 你好 x\nuser assistant System: <eos"] * 9)


@pytest.mark.parametrize("template", ["turns", "chatml"])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(said, min_size=2, max_size=5), st.sampled_from(["", "Be kind."]), st.booleans())
def test_a_reply_is_given_the_same_ids_in_training_and_when_the_model_talks(
    any_tokenizer, template, texts, system, told
):
    if (any_tokenizer.kind, template) == ("word", "chatml"):
        pytest.skip("how a word is cut tells what follows it")
    chat = ChatTokenizer(any_tokenizer, template)
    turns = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    row = {"messages": turns} if told else {"turns": texts}
    found = talk(Record(row | {"persona": system}, "talk.jsonl:1"))
    eos, bos, read, given = any_tokenizer.eos_id, any_tokenizer.bos_id, [], []
    for reply in replies(found, chat):
        read = [*(read if reply.goes_on else []), *reply.prompt]
        given.append([bos, *read])
        read += [*reply.ids, *[eos] * reply.closed]
    assert sorted(given) == sorted(chat.prompt(found.up_to(at)[:-1]) for at in found.replies)
    rows = sum(not reply.goes_on for reply in replies(found, chat))
    alike = told or template == "turns"  # else each of two people has a role of their own
    assert rows == min(1, len(found.replies)) or (not alike and rows == 2)


def test_where_earlier_turns_are_written_otherwise_each_reply_stands_alone(any_tokenizer):
    plain = ChatTokenizer(any_tokenizer, "plain")  # <eos> ends a reply, unless others follow
    found = list(replies(talk(Record({"messages": TURNS}, "talk.jsonl:1")), plain))
    assert [reply.goes_on for reply in found] == [False, False]
    assert [[any_tokenizer.bos_id, *reply.prompt] for reply in found] == [plain.prompt(TURNS[:end]) for end in (1, 3)]


def test_what_ends_a_turn_is_learned_where_it_does_not_end_a_text(tmp_path):
    """As with Llama 3, whose turns end with <|eot_id|>."""
    backend = train_tokenizer(
        TokenizerConfig(type="byte", special_tokens=("<|im_start|>", "<|im_end|>")), ["any"]
    ).backend
    other = Tokenizer(backend, "byte", "<eos>", "<eos>")
    chat = ChatTokenizer(other, CHATML)
    files = prepared(tmp_path, other, chat.template, TURNS[:2])
    ids, prompt = next(files.examples())
    assert ids[prompt:].tolist() == [*other.encode("Hello."), backend.token_to_id("<|im_end|>"), 10, other.eos_id]


SYSTEM = {"role": "system", "content": "你是诗人。"}


@pytest.mark.parametrize("system", [[], [SYSTEM]])
def test_where_turns_do_not_end_with_eos_a_conversation_is_a_row_all_the_same(system, tmp_path):
    """As with Gemma, whose turns end with <end_of_turn>."""
    config = TokenizerConfig(type="byte", special_tokens=("<|im_start|>", "<|im_end|>"))
    other = Tokenizer(train_tokenizer(config, ["any"]).backend, "byte", "<eos>", "<eos>")
    chat = ChatTokenizer(other, CHATML)
    talk = [*system, *({"role": ("user", "assistant")[at % 2], "content": f"turn {at}"} for at in range(8))]
    files = prepared(tmp_path, other, chat.template, talk)
    ids, mask = chat.with_replies(talk)
    [(inputs, targets)] = rows_of(files)
    assert inputs == ids
    assert targets == [*(id if said else IGNORE for id, said in zip(ids[1:], mask[1:], strict=True)), other.eos_id]
    anew = next(row for row, _ in rows_of(files, context=len(ids) // 2) if row != ids[: len(row)])
    before = chat.with_replies(system)[0] if system else [other.bos_id, *other.encode("\n")]
    assert anew[: len(before)] == before
    assert anew[len(before)] == other.backend.token_to_id("<|im_start|>")


def test_the_replies_of_a_conversation_are_held_out_together(chat, tokenizer, tmp_path):
    talks = [[{**turn, "content": f"{turn['content']} {i}"} for turn in TURNS] for i in range(60)]
    split = SplitConfig(valid=0.5)
    files = prepare(
        [write(tmp_path, *talks)], tmp_path / "out", tokenizer, read=READ, split=split, template=chat.template
    )
    seen = {
        name: {tokenizer.decode(ids.tolist()).split("\n")[1].split()[-1] for ids in files[name].threads()}
        for name in files
    }
    assert not seen["train"] & seen["valid"]
    assert all(files[name].counts.examples == 2 * len(seen[name]) > 20 for name in files)


def test_done_again_with_another_template_it_is_done_anew(chat, tokenizer, tmp_path):
    path = write(tmp_path, TURNS)
    split = SplitConfig(valid=0)
    other = ChatTokenizer(
        tokenizer,
        "{% for m in messages %}{{ '>' if m.role == 'assistant' }}{{ m.content }};{% endfor %}"
        "{{ '>' if add_generation_prompt }}",
    )
    lengths = [
        prepare([path], tmp_path / "out", tokenizer, read=READ, split=split, template=one.template)["train"].len_tokens
        for one in (chat, chat, other)
    ]
    assert lengths[0] == lengths[1] > lengths[2]


def test_mistakes_name_the_line(chat, tokenizer, tmp_path):
    path = write(tmp_path, TURNS, [{"role": "user"}, {"role": "assistant", "content": "?"}])
    with pytest.raises(DataError, match=r"talk.jsonl:2: turn 1"):
        prepare([path], tmp_path / "out", tokenizer, read=READ, template=chat.template)
    refuses = ChatTokenizer(tokenizer, "{{ raise_exception('no such talk') }}")
    with pytest.raises(DataError, match=r"talk.jsonl:1: .*no such talk"):
        prepare([write(tmp_path, TURNS)], tmp_path / "out", tokenizer, read=READ, template=refuses.template)
    with pytest.raises(UsageError, match="chat template"):
        prepare([path], tmp_path / "out", tokenizer, read=READ)


def test_a_tuned_model_has_learned_to_reply(chat, tokenizer, tmp_path):
    """From conversations to a run that chats: the template goes with it."""
    from nextword.checkpoint import save_config, save_weights
    from nextword.models import build_model, model_config

    source, model = tmp_path / "source", {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "max_seq_len": 256}
    torch.manual_seed(0)
    built = build_model(model_config({"type": "transformer", "vocab_size": tokenizer.vocab_size, **model}))
    save_config(source, built, tokenizer, {"origin": {"source": "elsewhere"}})
    save_weights(source / "model.safetensors", built)
    talk = write(tmp_path, *[TURNS[:2]] * 4)
    values = {
        "data": {"conversations": True},
        "split": {"valid": 0.0},
        "train": {"steps": 3, "batch_size": 1, "learning_rate": 0.1, "precision": "float32", "adapter": {"rank": 2}},
    }
    with pytest.raises(RunError, match="no chat template"):
        new_run(values, [talk], tmp_path / "run", init_from=source)
    (source / "chat_template.jinja").write_text(chat.template, encoding="utf-8")
    session = new_run(values, [talk], tmp_path / "run", init_from=source)
    losses = [event.loss for event in session.trainer.run() if hasattr(event, "grad_norm")]
    session.finish()
    assert losses[-1] < losses[0]
    assert load_run(tmp_path / "run").tokenizer.fingerprint() == tokenizer.fingerprint()
    assert ChatTokenizer.load(tmp_path / "run", tokenizer).template == chat.template
    assert load_file(tmp_path / "run" / "adapter.safetensors")
    with pytest.raises(UsageError, match="--init-from"):
        new_run(values, [talk], tmp_path / "new")
