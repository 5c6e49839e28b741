"""`nextword translate`: text in one language in, text in another out, line by line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nextword.cli.inputs import chosen, given_text, warn_unknown
from nextword.cli.options import Device, Json, With
from nextword.errors import UsageError, counted

if TYPE_CHECKING:
    from nextword.applied.translator import Translation, Translator

TAG = "<BT>"
"""Begins a source that is itself a translation (Caswell et al. 2019)."""


def translate(
    run: Annotated[Path, typer.Argument(help="Folder written by `nextword train --task translation`.")],
    text: Annotated[
        str | None, typer.Argument(help="A file, a text, or - for standard input; left out: what is piped in.")
    ] = None,
    from_: Annotated[str, typer.Option("--from", help="Language of the text: an error if the run knows another.")] = "",
    to: Annotated[str, typer.Option(help="Language to translate into, likewise.")] = "",
    with_: With = None,
    nbest: Annotated[int, typer.Option(help="So many translations of each sentence, with their scores.", min=1)] = 1,
    num_beams: Annotated[
        int | None, typer.Option(help="Hypotheses of the search; left out: as the run has it.")
    ] = None,
    glossary: Annotated[
        Path | None, typer.Option(help="A .tsv file of terms and what each must be in the translation.")
    ] = None,
    alignment: Annotated[
        bool,
        typer.Option("--alignment", help="Behind each line which word of the source each word comes from: 0-0 1-2."),
    ] = False,
    prefix: Annotated[
        str,
        typer.Option(
            help="Before each sentence: the task of an imported T5, or the language, as '>>fra<< ' of Marian."
        ),
    ] = "",
    split: Annotated[bool, typer.Option(help="Translate a line sentence by sentence.")] = True,
    to_data: Annotated[
        Path | None, typer.Option(help="Write pairs for training the other way to this .tsv file: back-translation.")
    ] = None,
    tag: Annotated[str, typer.Option(help="Of --to-data: what marks a source as translated.")] = TAG,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting of generation, such as length_penalty=0.6.")
    ] = None,
    as_json: Json = False,
    device: Device = "cpu",
) -> None:
    """Translate a text, one line out for each line in. What looks wrong is told on stderr, with its line.

    Words between <keep> and </keep>, addresses and longer numbers stay as they are.

    Example: nextword translate runs/enfr "Where is my book?"
    """
    from nextword.applied.answers import in_portions
    from nextword.applied.translator import PORTION, Translator
    from nextword.cli.console import counting
    from nextword.text.terms import read_glossary

    settings = chosen({"num_beams": num_beams}, set_ or ())
    if nbest > 1:
        settings.setdefault("num_beams", max(nbest, 5))
    if to_data is not None and (nbest > 1 or as_json):
        raise UsageError(f"--to-data writes pairs, got {'--json' if as_json else '--nbest'}", hint="Give one of them")
    if to_data is not None and to_data.suffix != ".tsv":
        raise UsageError(f"--to-data {to_data}: expected a name that ends in .tsv")
    if alignment and (nbest > 1 or to_data is not None):
        raise UsageError(f"--alignment is of one translation, got {'--nbest' if nbest > 1 else '--to-data'}")
    if alignment and prefix:
        raise UsageError("--alignment counts the words of a sentence, without --prefix", hint="Give one of them")
    terms = read_glossary(glossary) if glossary else {}
    translator = Translator.load(run, with_ or (), device, prefix)
    translator.check_languages(from_, to)
    lines = given_text(text, "translate").split("\n")
    warn_unknown(translator.generator.tokenizer.source, *(shown for line in lines for shown in translator.shown(line)))
    if doubt := translator.doubt("\n".join(lines)):
        print(f"Warning: {doubt}", file=sys.stderr)
    done: list[Translation] = []
    with counting("translating", len(lines)) as advance:
        for portion in in_portions(lines, PORTION):
            found = translator.translate(
                portion, num_best=nbest, split=split, glossary=terms, aligned=alignment, **settings
            )
            for translation in found:
                done.append(translation)
                advance("")
                for fault in translation.faults:
                    print(f"Warning: line {len(done)}: the translation {fault}", file=sys.stderr)
                if not as_json and to_data is None:
                    _print(translation, len(done), nbest, alignment)
    if as_json:
        print(json.dumps([one.to_dict() for one in done], ensure_ascii=False, indent=2))
    elif to_data is not None:
        print(f"{counted(_write_pairs(to_data, done, translator, tag), 'pair')}: {to_data}")


def _print(translation: Translation, line: int, nbest: int, alignment: bool) -> None:
    if nbest == 1:
        print(f"{translation.text}\t{translation.alignment.pharaoh()}" if alignment else translation.text)
        return
    for sentence in translation.sentences:
        for text, score in sentence.alternatives:
            print(f"{line}\t{score:.4f}\t{text}")


def _write_pairs(path: Path, done: list[Translation], translator: Translator, tag: str) -> int:
    """A .tsv file whose sources are the translations, marked, and whose targets the texts; only those without fault."""
    from nextword.files import write_text

    names = translator.languages[::-1] or ("source", "target")
    rows = [(f"{tag} {one.text}", one.source) for one in done if one.text and not one.faults]
    lines = ("\t".join(" ".join(side.split()) for side in row) for row in [names, *rows])
    write_text(path, "".join(f"{line}\n" for line in lines))
    return len(rows)
