"""Conversations as token ids: a chat template and a tokenizer together.

What the template writes may be special tokens; what somebody says in a turn never is. The ids are those of the whole
text, and complete: the boundary token stands at the start if the template puts it there, and then once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

from nextword.errors import RunError, TemplateError
from nextword.text.chat import BUILT_IN, ChatFormat, Conversation, Turn
from nextword.text.template import ChatTemplate
from nextword.text.turns import first_that_fits
from nextword.tokenizers.base import SETTINGS, Tokenizer, read_settings

CHAT_TEMPLATE = "chat_template.jinja"  # in the folder of a model, as transformers has it


class ChatTokenizer:
    """Turns -> ids.

    >>> chat = ChatTokenizer.load("runs/talk", tokenizer)                                      # doctest: +SKIP
    >>> chat.prompt([{"role": "user", "content": "你好"}])                                     # doctest: +SKIP
    """

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        """`template` is Jinja source, or the name of one in `BUILT_IN`. Raises TemplateError if it is wrong."""
        from tokenizers import Tokenizer as Backend

        ids = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id, "unk_token": tokenizer.unk_id}
        tokens = {name: tokenizer.token_text(id) for name, id in ids.items() if id is not None}
        control = {*tokens.values(), *map(tokenizer.token_text, tokenizer.special_ids)}
        self.tokenizer, self.template = tokenizer, template
        self.format = ChatFormat(ChatTemplate(BUILT_IN.get(template, template)), tokens, control)
        self._reader = Backend.from_str(tokenizer.backend.to_str())  # of its own: the setting is the backend's
        self._reader.encode_special_tokens = False

    @classmethod
    def load(cls, folder: str | Path, tokenizer: Tokenizer, default: str = "") -> Self:
        """With the template that lies in the folder of a model, or else the `default`.

        Raises RunError if there is neither, TemplateError if it is wrong.
        """
        file = Path(folder) / CHAT_TEMPLATE
        if file.is_file():
            try:
                return cls(tokenizer, file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise RunError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
        template = read_settings(file.with_name(SETTINGS)).get("chat_template")
        if not isinstance(template, str):
            if default:
                return cls(tokenizer, default)
            raise RunError(
                f"{folder} has no chat template",
                hint=f"Write one to {file}: {' or '.join(BUILT_IN)} of nextword.text.chat, or your own in Jinja",
            )
        return cls(tokenizer, template)

    def prompt(self, turns: Sequence[Turn], **settings: Any) -> list[int]:
        """The ids to which the model writes its reply."""
        return self.encode(self.format.render(turns, **settings))[0]

    def prompt_within(self, turns: Sequence[Turn], room: float) -> tuple[list[int], bool]:
        """The same of the system's words and as many of the last turns as `room` tokens hold, from one of the user on;
        of the last of these, if there is no room for all of it, the end. With it, whether something is left out."""
        whole = self.prompt(turns)
        begins = [at for at, turn in enumerate(turns) if turn["role"] == "user"]
        if len(whole) <= room or not begins:
            return whole, False
        system = [turn for turn in turns if turn["role"] == "system"]
        first = first_that_fits(begins, lambda at: len(self.prompt([*system, *turns[at:]])), room)
        ids = self.prompt([*system, *turns[first:]])
        if len(ids) <= room:
            return ids, True
        asked, *behind = turns[first:]
        text = asked["content"]

        def from_place(place: int) -> list[int]:
            return self.prompt([*system, {"role": "user", "content": text[place:]}, *behind])

        places = [start for start, _ in self.tokenizer.spans(text)] + [len(text)]
        return from_place(first_that_fits(places, lambda place: len(from_place(place)), room)), True

    def with_replies(
        self, turns: Sequence[Turn], last_only: bool = False, **settings: Any
    ) -> tuple[list[int], list[bool]]:
        """The ids of a whole conversation, and of each whether it belongs to a reply: there falls the loss."""
        return self.encode(self.format.with_replies(turns, last_only, **settings))

    def reply(self, before: Sequence[Turn], text: str) -> str:
        """A reply as the template writes it, without what closes it."""
        whole = self.format.with_replies([*before, {"role": "assistant", "content": text}], last_only=True)
        start, end = whole.replies[-1]
        return whole.text[start:end].removesuffix(self.format.ending())

    def ends(self) -> tuple[list[str], list[str]]:
        """The special tokens that close a reply, by name; and if there are none, the text before the user's next."""
        special = [self.tokenizer.token_text(id) for id in self.tokenizer.special_ids]
        try:
            ending, between = self.format.ending(), self.format.between()
        except TemplateError:  # it does not show more turns than one
            return [], []
        closing = [token for token in special if token in ending]
        return closing, [] if any(token in between for token in special) else [between.rstrip()]

    def encode(self, conversation: Conversation) -> tuple[list[int], list[bool]]:
        """The ids of a rendered conversation, and whether each begins within a reply."""
        text, found, place = conversation.text, [], 0
        cuts = {place for span in conversation.replies for place in span}
        for start, end in (*conversation.quoted, (len(text), len(text))):
            found += self._read(text[place:start], place, cuts)
            found += [(id, start) for id in self.tokenizer.encode(text[start:end])]
            place = end
        while [id for id, _ in found[:2]] == [self.tokenizer.bos_id] * 2:
            del found[0]
        mask = [any(start <= place < end for start, end in conversation.replies) for _, place in found]
        return [id for id, _ in found], mask

    def _read(self, text: str, start: int, cuts: Collection[int]) -> list[tuple[int, int]]:
        """(id, place) of the tokens of a text that begins at `start`.

        A token across a cut is none that the model can be asked for, with the prompt before it: the text is cut there,
        as it is when the prompt is read by itself.
        """
        found = self._reader.encode(text, add_special_tokens=False)
        for cut in sorted(cuts):
            if any(a < cut - start < b for a, b in found.offsets):
                here = cut - start
                return self._read(text[:here], start, cuts) + self._read(text[here:], cut, cuts)
        return [(id, start + a) for id, (a, _) in zip(found.ids, found.offsets, strict=True)]
