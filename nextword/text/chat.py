"""A conversation as one text: what a chat template makes of its turns, which parts of it are replies, and which words
of a turn must not be taken for control tokens.

A *turn* is {"role": "system" | "user" | "assistant" | ..., "content": text}. Replies are the assistant's turns with
what closes them: there, and nowhere else, falls the loss. Knows no tokenizer but the names of its special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nextword.errors import DataError, TemplateError
from nextword.text.template import ChatTemplate, Rendering

Turn = Mapping[str, Any]
Span = tuple[int, int]
"""(start, end) in characters."""

CHATML = """\
{{ bos_token }}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
"""OpenAI's ChatML, as many models have it. The tokenizer should have <|im_start|> and <|im_end|> as special tokens."""
PLAIN = """\
{{ bos_token }}
{%- for message in messages %}
{{- message.role | capitalize + ': ' + message.content | trim }}
{{- eos_token if loop.last and message.role == 'assistant' else '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}Assistant:{% endif %}"""
"""Readable lines, for a model that has never learned a conversation: a reply ends with the end of the text."""
TURNS = """\
{{ bos_token }}
{%- for message in messages %}
{{- 'System: ' if message.role == 'system' }}{{ message.content | trim + eos_token }}
{%- endfor %}"""
"""Turns one after the other, each closed by <eos>, as DialoGPT has them (Zhang et al. 2020): what a run for dialogue
learns. Who speaks is not written down, so a conversation of two people is the same text for both."""
BUILT_IN = {"chatml": CHATML, "plain": PLAIN, "turns": TURNS}

# Unicode keeps these for uses within a program; no text has them. They stand around what a turn has in common with a
# control token while the template handles it.
QUOTE, UNQUOTE, HERE = "\ufdd0", "\ufdd1", "\ufdd2"


@dataclass(frozen=True)
class Conversation:
    """A conversation as one text."""

    text: str
    replies: tuple[Span, ...] = ()
    """What the model has to say, with what ends it."""
    quoted: tuple[Span, ...] = ()
    """Where a turn spells a control token: these characters are text, and no token reaches across their ends."""

    def behind(self, place: int) -> Conversation:
        """What stands behind the first characters, none of which is quoted or a reply's."""
        shifted = [tuple((start - place, end - place) for start, end in spans) for spans in (self.replies, self.quoted)]
        return Conversation(self.text[place:], *shifted)


@dataclass(frozen=True)
class ChatFormat:
    """A template, with the special tokens of the tokenizer that it is for."""

    template: ChatTemplate
    tokens: Mapping[str, str]
    """bos_token, eos_token and the like, as far as there are any."""
    control: Collection[str] = ()
    """All tokens that a turn cannot spell."""

    def render(self, turns: Sequence[Turn], add_generation_prompt: bool = True, **settings: Any) -> Conversation:
        """The text to which the model writes a reply; see `ChatTemplate.render` for the settings.

        Its replies are those of earlier turns, as far as it is clear where they are.
        """
        settings["add_generation_prompt"] = add_generation_prompt
        return self._conversation(turns, _replies(turns), settings, strict=False)

    def with_replies(self, turns: Sequence[Turn], last_only: bool = False, **settings: Any) -> Conversation:
        """The text of a whole conversation, and where its replies are; with `last_only`, that of the last turn alone.

        They are what the template itself declares by `{% generation %}`; otherwise a reply is what its turn adds to
        the text before it. Raises TemplateError if a template writes earlier turns in another way once others follow.
        """
        wanted = [i for i in _replies(turns) if i == len(turns) - 1 or not last_only]
        return self._conversation(turns, wanted, settings, strict=True)

    def open_end(self, turns: Sequence[Turn], **settings: Any) -> Conversation:
        """The text up to the last word of the last turn, for the model to go on with that turn."""
        return self.parted(turns, len(turns) - 1, **settings)[0]

    def parted(self, turns: Sequence[Turn], i: int, **settings: Any) -> tuple[Conversation, Conversation]:
        """The text up to the last word of turn i, and what follows it."""
        quoted = self._quoted(turns)
        content = quoted[i].get("content") if quoted and isinstance(quoted[i], Mapping) else None
        if not isinstance(content, str):
            raise DataError("there is no last turn with a text to go on with")
        marked = [*quoted[:i], {**quoted[i], "content": content + HERE}, *quoted[i + 1 :]]
        before, found, after = self._run(marked, settings).text.rpartition(HERE)
        if not found:
            raise TemplateError("the chat template leaves out the last turn")
        return _unquoted(before, ()), _unquoted(after, ())

    def ending(self) -> str:
        """What closes a reply: "<|im_end|>\\n" of ChatML. Where it comes, the reply is over."""
        return self.parted([{"role": "user", "content": "?"}, {"role": "assistant", "content": ""}], 1)[1].text

    def between(self) -> str:
        """What stands between a reply and the user's next words: "<|im_end|>\\n<|im_start|>user\\n" of ChatML."""
        turns = [{"role": role, "content": "?"} for role in ("user", "assistant", "user")]
        reply, after = self.parted(turns, 1)[0].text, self.parted([*turns[:2], {**turns[2], "content": ""}], 2)[0].text
        return after.removeprefix(reply)

    def _conversation(
        self, turns: Sequence[Turn], wanted: Sequence[int], settings: dict[str, Any], strict: bool
    ) -> Conversation:
        """The text, and the replies of the turns `wanted`; unless `strict`, without those that cannot be told."""
        quoted = self._quoted(turns)
        settings = {"now": datetime.now(), **settings}  # the same in all the renderings that are compared
        rendering = self._run(quoted, settings)
        spans = list(rendering.generated[-len(wanted) :]) if wanted else []
        if not rendering.generated:
            for i in wanted:
                try:
                    spans.append(self._reply(rendering.text, quoted, i, settings))
                except TemplateError:
                    if strict:
                        raise
        return _unquoted(rendering.text, spans)

    def _reply(self, whole: str, turns: Sequence[Turn], i: int, settings: Mapping[str, Any]) -> Span:
        before = self._run(turns[:i], {**settings, "add_generation_prompt": True}).text
        after = self._run(turns[: i + 1], {**settings, "add_generation_prompt": False}).text
        if not whole.startswith(after):  # Phi-3's closes every text with <eos>, whatever the last turn
            after = after.removesuffix(self.tokens.get("eos_token", ""))
        if not (whole.startswith(after) and after.startswith(before)):
            raise TemplateError(
                f"the chat template writes the turns up to {i + 1} in another way when more follow, "
                "so it is not clear what the model has to say there",
                hint="Learn the last reply of each conversation only",
            )
        return len(before), len(after)

    def _run(self, turns: Sequence[Turn], settings: Mapping[str, Any]) -> Rendering:
        names = {name: value for name, value in settings.items() if name != "now"}
        return self.template.run(turns, {**self.tokens, **names}, settings.get("now"))

    def _quoted(self, turns: Sequence[Turn]) -> list[Turn]:
        """The turns, with marks around whatever in them spells a control token."""
        longest_first = sorted(filter(None, self.control), key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

        def quote(value: Any) -> Any:
            if isinstance(value, str):
                return pattern.sub(rf"{QUOTE}\g<0>{UNQUOTE}", re.sub(f"[{QUOTE}{UNQUOTE}{HERE}]", "", value))
            if isinstance(value, Mapping):
                return {key: quote(item) for key, item in value.items()}
            return [quote(item) for item in value] if isinstance(value, list | tuple) else value

        return [quote(turn) for turn in turns]


def _replies(turns: Sequence[Turn]) -> list[int]:
    return [i for i, turn in enumerate(turns) if isinstance(turn, Mapping) and turn.get("role") == "assistant"]


def _unquoted(text: str, replies: Sequence[Span]) -> Conversation:
    """The text without its marks; places are counted without them."""
    pieces, quoted, removed = [], [], []
    start = length = 0
    for mark in re.finditer(f"{QUOTE}([^{QUOTE}{UNQUOTE}]*){UNQUOTE}|[{QUOTE}{UNQUOTE}]", text):
        before, inside = text[start : mark.start()], mark[1] or ""
        pieces += [before, inside]
        quoted.append((length + len(before), length + len(before + inside)))  # empty, where the template parted two
        length += len(before + inside)
        removed += [mark.start(), mark.end() - 1] if len(mark[0]) > 1 else [mark.start()]
        start = mark.end()
    spans = [tuple(place - sum(mark < place for mark in removed) for place in span) for span in replies]
    return Conversation("".join([*pieces, text[start:]]), tuple(spans), tuple(quoted))  # type: ignore[arg-type]
