"""A conversation goes on from what was read before, and says what it would say if everything were read anew."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_templates import TEMPLATES
from interop_runs import TEXTS, save_run
from toys import Recital

import nextword
from nextword.data.conversations import replies
from nextword.decoding.prefixes import PrefixCache
from nextword.errors import DataError, UsageError
from nextword.generator import Generation, TextGenerator
from nextword.generator.chat import Chat
from nextword.models import build_model, model_config
from nextword.text.records import Record
from nextword.text.turns import talk
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer
from nextword.tokenizers.chat import ChatTokenizer

TINY = {
    "gru": {"type": "gru", "hidden_size": 16},
    "transformer": {"type": "transformer", "hidden_size": 16, "num_heads": 2, "num_layers": 2, "max_seq_len": 4096},
}
SPECIAL = ("<|im_start|>", "<|im_end|>")
ASKED = ["Is it?", "狐狸 and\n dog?", "Yes"]


def char_tokenizer() -> Tokenizer:
    texts = [*TEXTS, "User: Assistant: System:\n", "".join(TEMPLATES.values()), *ASKED]
    return train_tokenizer(TokenizerConfig(type="char", special_tokens=SPECIAL), texts)


TOKENIZER = char_tokenizer()


def generator_of(tokenizer: Tokenizer = TOKENIZER, **model: Any) -> TextGenerator:
    torch.manual_seed(0)
    built = build_model(model_config({"vocab_size": tokenizer.vocab_size} | model)).eval()
    built.output.weight.data *= 20  # loud enough to prefer some tokens
    return TextGenerator(built, tokenizer)


class Spy:
    """What a generator is asked and what its model reads."""

    def __init__(self, generator: TextGenerator) -> None:
        self.prompts: list[list[int]] = []
        self.read = 0
        submit, features = generator.submit_ids, generator.model.features

        def spied_submit(prompt: list[int], **settings: Any) -> Any:
            self.prompts.append(prompt)
            return submit(prompt, **settings)

        def spied_features(tokens: torch.Tensor, *rest: Any) -> Any:
            self.read += tokens.numel()
            return features(tokens, *rest)

        generator.submit_ids, generator.model.features = spied_submit, spied_features  # type: ignore[method-assign]

    def take(self) -> int:
        """Tokens read since it was asked last."""
        read, self.read = self.read, 0
        return read


def recital(text: str, template: str = "plain", **settings: Any) -> Chat:
    """A chat with a model that knows the whole conversation by heart."""
    return Chat(TextGenerator(Recital(text, TOKENIZER), TOKENIZER), ChatTokenizer(TOKENIZER, template), **settings)


def solid(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("name", ["plain", "turns", "chatml", "llama-2", "smollm2", "phi-3"])
@pytest.mark.parametrize("kind", TINY)
def test_a_reply_costs_the_new_tokens_only(kind: str, name: str) -> None:
    template = TEMPLATES.get(name, name)
    chat = Chat(generator_of(**TINY[kind]), ChatTokenizer(TOKENIZER, template), "A dog.", temperature=0, max_tokens=12)
    spy, anew, known = Spy(chat.generator), generator_of(**TINY[kind]), []
    anew.engine.reader.cache = PrefixCache(0)
    for text in ASKED:
        reply, prompt = chat.say(text), spy.prompts[-1]
        assert prompt[: len(known)] == known
        assert spy.take() == len(prompt) - len(known) + len(reply.token_ids) - 1  # the last one drawn is not read
        known = [*prompt, *reply.token_ids[:-1]]
        rendered = chat.tokenizer.prompt(chat.turns[:-1])
        assert solid(TOKENIZER.decode(prompt)) == solid(TOKENIZER.decode(rendered))
        job = anew.submit_ids(prompt, temperature=0, max_tokens=len(reply.token_ids))
        while not job.finished:
            anew.step()
        assert job.done[0].token_ids == reply.token_ids


def test_what_a_model_is_asked_is_what_it_has_learned() -> None:
    """A conversation that it has, and the row that the same one is in training: the same ids."""
    tokenizer = ChatTokenizer(TOKENIZER, "turns")
    chat = Chat(generator_of(**TINY["gru"]), tokenizer, "狐狸", choices=["dog and dog", "fox"], seed=3)
    spy = Spy(chat.generator)
    for text in ASKED:
        chat.say(text)
    row = [TOKENIZER.bos_id]
    for reply, asked in zip(replies(talk(Record({"messages": chat.turns}, "")), tokenizer), spy.prompts, strict=True):
        assert asked == [*row, *reply.prompt]
        row = [*asked, *reply.ids, TOKENIZER.eos_id]


@pytest.mark.parametrize("kind", TINY)
def test_what_the_model_said_stays_as_it_said_it(kind: str) -> None:
    """A reply may be cut into tokens otherwise than its text would be."""
    tokenizer = train_tokenizer(TokenizerConfig(type="bpe", vocab_size=300, special_tokens=SPECIAL), TEXTS * 3)
    generator = generator_of(tokenizer, **TINY[kind])
    chat, spy = Chat(generator, ChatTokenizer(tokenizer, "chatml"), max_tokens=12, seed=1), Spy(generator)
    replies = [chat.say(text) for text in ASKED]
    for prompt, reply, following in zip(spy.prompts, replies, spy.prompts[1:], strict=False):
        said = reply.token_ids[: -1 if reply.finish_reason == "eos" else None]
        assert following[: len(prompt) + len(said)] == [*prompt, *said]
    assert any(tokenizer.encode(reply.text) != reply.token_ids for reply in replies)
    end = tokenizer.backend.token_to_id("<|im_end|>")
    assert spy.prompts[-1].count(end) == len(ASKED) + len(replies) - 1


def test_a_reply_ends_with_the_turn() -> None:
    chat = recital("<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\nYes", "chatml")
    assert chat.tokenizer.ends() == (["<|im_end|>"], [])
    model = chat.generator.model
    start, end = (TOKENIZER.backend.token_to_id(token) for token in SPECIAL)
    model.ids = [start, *TOKENIZER.encode("user\nIs it?"), end, *TOKENIZER.encode("\n"), start]
    model.ids += [*TOKENIZER.encode("assistant\nYes"), end, *TOKENIZER.encode("No")]
    model.output.weight.data = (
        100.0 * torch.nn.functional.one_hot(torch.tensor(model.ids), TOKENIZER.vocab_size).float().T
    )
    model.output.out_features, model.output.in_features = TOKENIZER.vocab_size, len(model.ids)
    reply = chat.say("Is it?")
    assert (reply.text, reply.finish_reason) == ("Yes", "eos")


TALK = "User: Is it?\nAssistant: Yes.\nUser: No\nAssistant: dog \nUser:"


def test_plain_lines_end_where_the_user_would_speak() -> None:
    chat = recital(TALK)
    spy = Spy(chat.generator)
    assert list(chat.stream("Is it?")) == list("Yes.")
    assert chat.last.finish_reason == "stop"
    spy.take()
    assert chat.say("No").text == "dog"
    assert spy.take() == len(": No\nAssistant:") + len(" dog \nUser")
    assert TOKENIZER.decode(spy.prompts[-1]) == "User: Is it?\nAssistant: Yes.\nUser: No\nAssistant:"
    assert spy.prompts[-1].count(TOKENIZER.eos_id) == 1
    assert [turn["content"] for turn in chat.turns] == ["Is it?", "Yes.", "No", "dog"]


def test_another_stop_string_is_no_part_of_the_history() -> None:
    chat = recital("User: Is it?\nAssistant: The dog: brown", stop=["og:"])
    spy = Spy(chat.generator)
    assert chat.say("Is it?").text == "The d"
    chat.say("No")
    assert TOKENIZER.decode(spy.prompts[-1]) == "User: Is it?\nAssistant: The d\nUser: No\nAssistant:"


@pytest.fixture(params=TINY)
def chat(request: pytest.FixtureRequest) -> Chat:
    return Chat(generator_of(**TINY[request.param]), ChatTokenizer(TOKENIZER, "plain"), max_tokens=8, seed=3)


def test_undo_edit_and_retry_leave_no_trace(chat: Chat) -> None:
    spy = Spy(chat.generator)
    chat.say("Is it?")
    before = chat.turns
    chat.say("No")
    prompt = spy.prompts[-1]
    spy.take()
    old = chat.turns[-1]["content"]
    new = "".join(chat.retry())
    assert (spy.prompts[-1], spy.take()) == (prompt, len(chat.last.token_ids) - 1)  # all of the prompt was known
    assert (chat.turns[-1]["content"], len(chat.turns)) == (new, 4)
    assert new != old
    "".join(chat.edit("Yes"))
    assert [turn["content"] for turn in chat.turns[:3]] == [*(turn["content"] for turn in before), "Yes"]
    assert chat.undo() == "Yes"
    assert (chat.turns, chat.last) == (before, None)
    chat.undo()
    with pytest.raises(UsageError, match="nothing has been said"):
        chat.undo()
    with pytest.raises(UsageError, match="nothing has been said"):
        chat.retry()


def test_other_words_of_the_system_are_read(chat: Chat) -> None:
    spy = Spy(chat.generator)
    chat.say("Is it?")
    chat.system = "A fox."
    chat.say("No")
    said = chat.turns[2]["content"]
    assert TOKENIZER.decode(spy.prompts[-1]) == f"System: A fox.\nUser: Is it?\nAssistant: {said}\nUser: No\nAssistant:"
    chat.clear()
    assert chat.turns == [{"role": "system", "content": "A fox."}]
    saved = [{"role": "system", "content": "A dog."}, {"role": "user", "content": "Is it?"}]
    assert Chat(chat.generator, chat.tokenizer, turns=saved).turns == saved
    assert Chat(chat.generator, chat.tokenizer, "A fox.", saved).turns == [
        {"role": "system", "content": "A fox."},
        saved[1],
    ]


def test_a_reply_can_be_stopped(chat: Chat) -> None:
    pieces = chat.stream("Is it?")
    said = next(pieces) + next(pieces)
    chat.stop()
    said += "".join(pieces)
    assert chat.last.finish_reason == "cancelled"
    assert chat.turns[-1] == {"role": "assistant", "content": said}
    spy = Spy(chat.generator)
    chat.say("No")
    assert TOKENIZER.decode(spy.prompts[-1]).startswith(f"User: Is it?\nAssistant:{said}\nUser")
    nothing = chat.stream("Yes")
    nothing.close()
    assert chat.turns[-2]["content"] == "No"


@pytest.mark.parametrize("system", ["", "A dog."])
def test_a_long_conversation_loses_its_first_turns_whole(system: str) -> None:
    generator = generator_of(**TINY["transformer"] | {"max_seq_len": 200})
    chat = Chat(generator, ChatTokenizer(TOKENIZER, "plain"), system, max_tokens=8, seed=1)
    spy, short = Spy(generator), 0
    for number in range(20):
        chat.say(f"Is it {number % 4}?")
        text = TOKENIZER.decode(spy.prompts[-1])
        assert text.startswith(f"System: {system}\nUser: Is it " if system else "User: Is it ")
        assert text.endswith(f"User: Is it {number % 4}?\nAssistant:")
        assert len(spy.prompts[-1]) <= 192  # there is room for the reply
        short += number > 0 and len(spy.prompts[-1]) < len(spy.prompts[-2])
    assert 2 <= short < 8  # the context is read anew, but seldom
    assert len(chat.turns) == 40 + bool(system)  # the user has lost none
    said = chat.turns
    with pytest.raises(UsageError, match="context holds 200"):
        chat.say("dog" * 80)
    assert chat.turns == said


def test_a_model_with_an_encoder_reads_all_that_it_can() -> None:
    kind = {"type": "encoder-decoder", "hidden_size": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": 60}
    generator = generator_of(**kind)
    chat = Chat(generator, ChatTokenizer(TOKENIZER, "turns"), "狐狸", choices=["dog", "fox"], seed=1)
    spy = Spy(generator)
    for number in range(10):
        chat.say(f"Is it {number}?")
    for shown, following in pairwise(TOKENIZER.decode(prompt) for prompt in spy.prompts):
        assert shown.startswith("System: 狐狸Is it ")
        assert following.startswith(shown) or len(shown) > 60 - 2 * len("Is it 0?dog") - 10  # the <eos> are not shown


def test_a_reply_has_the_context_left_to_it() -> None:
    generator = generator_of(**TINY["transformer"] | {"max_seq_len": 40})
    chat = Chat(generator, ChatTokenizer(TOKENIZER, "plain"), ignore_eos=True, seed=1)
    assert len(chat.say("Is it?").token_ids) == 40 - len("_User: Is it?\nAssistant:")


def test_the_same_seed_gives_the_same_conversation(chat: Chat) -> None:
    again = Chat(chat.generator, chat.tokenizer, max_tokens=8, seed=3)
    assert [chat.say(text).text for text in ASKED] == [again.say(text).text for text in ASKED]


def test_the_best_of_several_replies(chat: Chat) -> None:
    several = Chat(chat.generator, chat.tokenizer, max_tokens=8, seed=3, best_of=4)
    pieces = list(several.stream("Is it?"))
    assert pieces == [several.last.text] == [several.turns[-1]["content"]]
    with pytest.raises(UsageError, match="one reply"):
        Chat(chat.generator, chat.tokenizer, num_samples=2)


def test_why_tells_of_the_reply_that_was_given(chat: Chat) -> None:
    with pytest.raises(UsageError, match="nothing has been said"):
        chat.why()
    for options in ({}, {"best_of": 3}, {"min_tokens": 8}):
        talk = Chat(chat.generator, chat.tokenizer, max_tokens=8, seed=3, **options)
        for text in ASKED:
            reply = talk.say(text)
            assert [step.token for step in talk.why().trace.steps] == reply.token_ids
            assert talk.last is reply
    pieces = talk.stream("No")
    next(pieces)
    pieces.close()
    assert [step.token for step in talk.why().trace.steps] == talk.last.token_ids
    assert talk.last.finish_reason == "cancelled"


def test_a_choice_that_is_stopped_at_once_is_none(chat: Chat) -> None:
    talk = Chat(chat.generator, chat.tokenizer, max_tokens=8, seed=3, best_of=3)
    talk.say("Is it?")
    turns = talk.turns
    pieces, step = talk.stream("No"), talk.generator.step
    talk.generator.step = talk.stop  # type: ignore[method-assign]
    assert list(pieces) == []
    talk.generator.step = step  # type: ignore[method-assign]
    assert talk.turns == turns


def test_of_several_replies_the_one_that_says_most(chat: Chat) -> None:
    drawn = TextGenerator(chat.generator.model, TOKENIZER)
    prompt, nothing = (chat.tokenizer.prompt([{"role": "user", "content": text}]) for text in ("Is it?", ""))
    job = drawn.submit_ids(prompt, num_samples=6, max_tokens=8, seed=3, stop=["\nUser:"])
    while not job.finished:
        drawn.step()

    def worth(weight: float) -> Generation:
        def score(reply: Generation) -> float:
            ids = torch.tensor([[*nothing, *reply.token_ids]])
            with torch.inference_mode():
                logits, _ = chat.generator.model(ids[:, :-1])
            steps = logits[0, len(nothing) - 1 :].log_softmax(-1)[range(len(reply.token_ids)), reply.token_ids]
            return (reply.log_prob - weight * float(steps.sum())) / len(reply.token_ids)

        return max(job.done.values(), key=score)

    for weight in (0.5, 2.0):
        talk = Chat(chat.generator, chat.tokenizer, max_tokens=8, seed=3, best_of=6, mmi=weight)
        assert talk.say("Is it?").token_ids == worth(weight).token_ids
        assert list(talk.stream("No")) == [talk.last.text]
    assert worth(0.5).token_ids != worth(2.0).token_ids
    with pytest.raises(UsageError, match="best_of 8"):
        Chat(chat.generator, chat.tokenizer, mmi=0.5)


def test_no_reply_repeats_what_was_said(chat: Chat) -> None:
    ours = Chat(chat.generator, chat.tokenizer, max_tokens=12, temperature=0, no_repeat_ngram_size=2)
    spy = Spy(ours.generator)
    for text in [*ASKED, *ASKED]:
        reply = ours.say(text)
        whole = [*spy.prompts[-1], *reply.token_ids]
        before = [*pairwise(whole)]
        for i in range(len(spy.prompts[-1]) - 1, len(before)):
            assert before[i] not in before[:i]


def test_turns_of_unknown_roles_are_refused(chat: Chat) -> None:
    with pytest.raises(DataError, match=r"turns: turn 2 has the role 'asistant'. Did you mean assistant"):
        Chat(
            chat.generator,
            chat.tokenizer,
            turns=[{"role": "user", "content": "a"}, {"role": "asistant", "content": "b"}],
        )


def test_an_encoder_answers_too() -> None:
    generator = generator_of(type="gru-attention", hidden_size=8)
    chat = Chat(generator, ChatTokenizer(TOKENIZER, "plain"), max_tokens=4, seed=1)
    assert [len(chat.say(text).token_ids) > 0 for text in ASKED] == [True] * 3


def test_a_run_talks_by_its_own_template_or_in_plain_lines(tmp_path: Path) -> None:
    save_run(tmp_path, TINY["gru"], TOKENIZER)
    assert "User: Is it?" in nextword.chat(tmp_path, max_tokens=2).say("Is it?").prompt
    (tmp_path / "chat_template.jinja").write_text("{{ messages[-1].content }}", encoding="utf-8")
    chat = nextword.chat(tmp_path, "Be short.", max_tokens=2)
    assert chat.say("Is it?").prompt == "Is it?"
    assert chat.turns[0] == {"role": "system", "content": "Be short."}
