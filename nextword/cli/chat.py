"""`nextword chat`: talk with a run."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextword.cli.inputs import chosen, newlines, save, warn_unknown
from nextword.cli.options import (
    CONTENT,
    DRAWING,
    ENDING,
    SEARCHING,
    Device,
    Json,
    MinP,
    Precision,
    RepetitionPenalty,
    Settings,
    Stop,
    Temperature,
    TopK,
    TopP,
    option,
)
from nextword.cli.prompt import Lines
from nextword.errors import DataError, NextwordError, UsageError, counted, did_you_mean

if TYPE_CHECKING:
    from nextword.generator import Generation
    from nextword.generator.chat import Chat
    from nextword.text.chat import Turn

COMMANDS = {
    "/retry": "another reply in place of the last",
    "/edit [TEXT]": "say something else in place of your last words",
    "/undo": "take back your last words and the reply",
    "/new": "begin anew",
    "/system [TEXT]": "what the model is told before all else; - is nothing",
    "/why": "how the last reply came about, token by token",
    "/save FILE": "the conversation: .jsonl as data to train on or to --resume, others as text",
    "/help": "this list",
    "/quit": "leave, as Ctrl-D does",
}
HELP = "\n".join(f"{name:<16}{what}" for name, what in COMMANDS.items())
LINES = 'A line that ends in \\ goes on in the next; """ begins and ends a text of several lines.'
PROMPT = "> "


def chat(
    run: Annotated[Path, typer.Argument(help="Folder written by nextword train or import.", show_default=False)],
    system: Annotated[str, typer.Option(help="What the model is told before all else: its persona, say.")] = "",
    resume: Annotated[Path | None, typer.Option(help="Go on with a conversation saved as .jsonl.")] = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    no_repeat: Annotated[int | None, option(DRAWING, "No n tokens in a row that were said before.")] = None,
    seed: Annotated[int | None, option(DRAWING, "Same seed and same words, same conversation.")] = None,
    ban: Annotated[list[str] | None, option(CONTENT, "No reply has this text in it. Repeatable.")] = None,
    best_of: Annotated[int | None, option(SEARCHING, "Draw so many replies, give the likeliest.")] = None,
    mmi: Annotated[
        float, option(SEARCHING, "Of these, give the one that says most about your words, this much: 0.5, say.")
    ] = 0.0,
    max_tokens: Annotated[int | None, option(ENDING, "Most tokens of a reply.")] = None,
    stop: Stop = None,
    set_: Settings = None,
    as_json: Json = False,
    device: Device = "cpu",
    precision: Precision = "float32",
) -> None:
    """Talk with a run, by its own chat template. /help lists what can be asked for besides.

    Without a terminal each line of stdin is said, and each reply is printed.

    Example: nextword chat runs/talk --system "You are a sailor." --temperature 0.7
    """
    given = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "no_repeat_ngram_size": no_repeat,
        "seed": seed,
        "banned_words": ban,
        "best_of": best_of,
        "max_tokens": max_tokens,
        "stop": newlines(stop),
    }
    settings = chosen(given, set_ or [])
    lines = Lines()
    if as_json and lines.on_terminal:
        raise UsageError("--json is for programs", hint="Pipe into it what is to be said, a line each")
    from nextword.generator.chat import Chat

    turns = _saved(resume) if resume else []
    talk = Chat.load(run, system, device=device, precision=precision, turns=turns, mmi=mmi, **settings)
    warn_unknown(talk.generator.tokenizer, system)
    session = Session(talk, lines, quiet=as_json)
    if lines.on_terminal:
        kind, size = talk.generator.model.config.type, talk.generator.model.num_parameters()
        print(f"{run}: {kind}, {size:,} parameters. /help lists what you can do, /quit leaves.", file=sys.stderr)
        if talk.tokenizer.template == "plain":
            print("It has no chat template, and reads what is said as lines: User: ... Assistant: ...", file=sys.stderr)
    with lines.history("chat_history"):
        session.run()
    if as_json:
        from nextword.cli.documents import as_dict

        document = {"messages": session.chat.turns, "replies": [as_dict(reply) for reply in session.replies]}
        print(json.dumps(document, ensure_ascii=False, indent=2))


class Session:
    """Somebody and a model, taking turns."""

    def __init__(self, chat: Chat, lines: Lines, quiet: bool = False) -> None:
        self.chat, self.lines, self.quiet = chat, lines, quiet
        self.replies: list[Generation] = []
        self._interrupted = False  # by Ctrl-C, since a line was entered

    def run(self) -> None:
        """Until there is no more to say. A second Ctrl-C in a row leaves as an interrupted command does."""
        while True:
            try:
                text = self.lines.read(self.lines.bold(PROMPT))
            except KeyboardInterrupt:
                if self._interrupted:
                    raise
                self._interrupted = True
                self.tell("\nCtrl-C again, Ctrl-D or /quit leaves")
                continue
            self._interrupted = False
            if text is None or text.split()[:1] in (["/quit"], ["/exit"]):
                return
            try:
                self.act(text)
            except NextwordError as error:
                if not self.lines.on_terminal:
                    raise
                print(error, file=sys.stderr)

    def act(self, text: str) -> None:
        """Say it, or do what it asks for."""
        command, _, rest = text.strip().partition(" ")
        rest = rest.strip()
        if not command.startswith("/"):
            if command:
                self.reply(self.chat.stream(text), text)
        elif command == "/retry":
            self.reply(self.chat.retry())
        elif command == "/edit":
            self.edit(rest)
        elif command == "/undo":
            self.tell(f"taken back: {self.chat.undo()}")
        elif command == "/new":
            self.chat.clear()
        elif command == "/system":
            if rest:
                self.chat.system = "" if rest == "-" else rest
                warn_unknown(self.chat.generator.tokenizer, self.chat.system)
            self.tell(self.chat.system or "no words of the system")
        elif command == "/why":
            self.why()
        elif command == "/save":
            if not rest:
                raise UsageError("/save needs the name of a file", hint="Such as: /save talk.jsonl")
            if not self.chat.turns:
                raise UsageError("nothing has been said yet")
            self.tell(save(_as_file(self.chat.turns, rest), rest))
        elif command == "/help":
            self.tell(f"{HELP}\n{LINES}")
        else:
            known = [name.split()[0] for name in COMMANDS]
            raise UsageError(f"unknown command {command}", hint=did_you_mean(command, known))

    def reply(self, pieces: Iterator[str], said: str = "") -> None:
        """Write a reply as it comes."""
        warn_unknown(self.chat.generator.tokenizer, said)
        before = self.chat.last
        with self._stoppable():
            for piece in pieces:
                if not self.quiet:
                    sys.stdout.write(piece)
                    sys.stdout.flush()
        if not self.quiet:
            print(flush=True)
        reply = self.chat.last
        if reply is None or reply is before:
            return
        self.replies.append(reply)
        if self.lines.on_terminal and reply.finish_reason == "length":
            self.tell(f"(cut after {counted(len(reply.token_ids), 'token')}: --max-tokens)")
        elif self.lines.on_terminal and not reply.text:
            self.tell("(nothing: /retry, or say something else)")

    def edit(self, text: str) -> None:
        """Other words in place of the last: those given, or the last ones to be changed on the terminal."""
        if not text:
            last = next((turn["content"] for turn in reversed(self.chat.turns) if turn["role"] == "user"), "")
            if "\n" in last:
                raise UsageError("/edit: what you said has several lines", hint="Give the new text: /edit How are you?")
            if not last or not self.lines.on_terminal:
                raise UsageError("/edit needs the new text", hint="Such as: /edit How are you?")
            try:
                text = self.lines.read(self.lines.bold(PROMPT), last) or ""
            except KeyboardInterrupt:  # all stays as it was
                self._interrupted = True
                self.tell("\nnothing was changed; Ctrl-C again, Ctrl-D or /quit leaves")
        if text:
            self.reply(self.chat.edit(text), text)

    def why(self) -> None:
        """How the last reply came about."""
        from dataclasses import replace

        from nextword.cli.console import out
        from nextword.cli.explain import explain

        explain([replace(self.chat.why(), prompt="")], self.chat.generator.tokenizer, out)

    def tell(self, note: str) -> None:
        """What is no reply."""
        print(note, file=sys.stderr)

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """On a terminal Ctrl-C ends the reply, where its tokens are whole; another one ends the command."""
        if not self.lines.on_terminal:
            yield
            return

        def stop(number: int, frame: object) -> None:
            self._interrupted = True
            self.chat.stop()
            signal.signal(signal.SIGINT, signal.default_int_handler)

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def _saved(file: Path) -> list[Turn]:
    """The conversation in a file. Raises DataError if there are several."""
    from nextword.text.records import ReadConfig, read_records
    from nextword.text.turns import turns_of

    records = [*islice(read_records([str(file)], ReadConfig(text_field="")), 2)]
    if len(records) != 1:
        raise DataError(f"{file} has {'several conversations' if records else 'no conversation'}", hint="Expected one")
    return turns_of(records[0])


def _as_file(turns: Iterable[Turn], name: str) -> str:
    """A conversation as a row of data, or for people."""
    if Path(name).suffix in (".jsonl", ".json"):
        return json.dumps({"messages": [*turns]}, ensure_ascii=False) + "\n"
    return "".join(f"{turn['role'].capitalize()}: {turn['content']}\n" for turn in turns)
