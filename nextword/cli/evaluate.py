"""`nextword evaluate`: what a run makes of a text it has not seen, and for a task, how good its answers are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextword.cli.inputs import chosen
from nextword.cli.options import (
    Columns,
    Device,
    DocumentsAsTrained,
    Json,
    PromptFieldAsTrained,
    TargetFieldAsTrained,
    TextFieldAsTrained,
    With,
)
from nextword.errors import counted

if TYPE_CHECKING:
    from nextword.applied.evaluation import Judged
    from nextword.checkpoint import Run
    from nextword.generator import TextGenerator
    from nextword.metrics.learned import Metric
    from nextword.metrics.score import Score
    from nextword.tasks.base import Item, Task
    from nextword.text.records import ReadConfig, Source
    from nextword.tokenizers.chat import ChatTokenizer
    from nextword.training.evaluation import Evaluation


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder written by `nextword train`.")],
    data: Annotated[list[str], typer.Argument(help="Text files, folders or globs, as for `nextword train`.")],
    documents: DocumentsAsTrained = "",
    text_field: TextFieldAsTrained = "",
    prompt_field: PromptFieldAsTrained = "",
    target_field: TargetFieldAsTrained = "",
    columns: Columns = "",
    encoding: Annotated[str, typer.Option(help="Encoding of text files; left out: as in training.")] = "",
    errors: Annotated[str, typer.Option(help="Bytes that are no valid text: strict or replace.")] = "strict",
    out: Annotated[
        Path | None, typer.Option(help="Of a run for a task: write its answers to this .jsonl file.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Of a run for a task: how it answers, such as num_beams=1.")
    ] = None,
    with_: With = None,
    bertscore: Annotated[
        str, typer.Option(help="Of a run for a task: BERTScore by this model, such as roberta-large, or FOLDER:LAYER.")
    ] = "",
    comet: Annotated[
        str, typer.Option(help="Of a run for translation: COMET by this model, such as Unbabel/wmt22-comet-da.")
    ] = "",
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Perplexity and bits per byte of a text: every token predicted once, each document's end counted.

    Of a run trained on prompts and targets: of the targets, given their prompts. A run trained with --task answers the
    prompts, too, and its answers are measured: BLEU, chrF and TER, or ROUGE beside baselines, or how varied they are;
    of poems, how many keep their form, left to themselves and written in it. So does a chat model from elsewhere, of
    conversations.

    Example: nextword evaluate runs/ptb ptb/test.txt
    """
    from nextword.applied.evaluation import judged_also
    from nextword.applied.reading import reading_of
    from nextword.applied.together import load_together
    from nextword.cli.console import out as console
    from nextword.data.prepare import is_prepared
    from nextword.errors import UsageError
    from nextword.tasks.base import Rows, items
    from nextword.tasks.languages import check_languages
    from nextword.tasks.setup import reading_as

    for source in data:
        if is_prepared(source):
            raise UsageError(f"{source} is a prepared folder, expected text", hint="Name the files it was made from")
    loaded = load_together(run, with_ or (), device)
    given = {
        "documents": documents, "text_field": text_field, "prompt_field": prompt_field, "target_field": target_field,
        "columns": columns, "encoding": encoding, "errors": errors,
    }  # fmt: skip
    given = {key: value for key, value in given.items() if value}
    task = task_for(loaded, data, given)
    if task is None and (out or set_ or bertscore or comet):
        raise UsageError(
            f"{run} was trained for no task that has prompts: it gives no answers",
            hint="Leave out --out, --set, --bertscore and --comet",
        )
    read = reading_as(task, loaded.config.get("data", {}), given, data)
    if task is None:
        result, figures = _predict(loaded, data, read)
    else:
        check_languages(loaded.config, (read.prompt_field, read.target_field), data)
        settings = chosen({}, set_ or ())
        test = list(items(task, data, read))  # a mistake in the data shows before any work
        task = judged_also(task, _learned(task, bertscore, comet, device))
        rows = Rows(task, data, read, reading_of(loaded).pair)
        result, figures = _predict(loaded, data if read.conversations else [rows], read)
        judged = answer(loaded, task, test, settings, chat_for(loaded, test))
        judged = _beside_its_lengths(loaded, task, test, settings, judged)
        figures |= judged.to_dict()
        if out:
            _write(out, test, judged.outputs)
    if as_json:
        print(json.dumps(figures, ensure_ascii=False, indent=2))
        return
    console.print(
        f"perplexity {result.perplexity:.2f} per token, {result.bits_per_byte:.4f} bits per byte "
        f"({result.loss:.4f} nats per token)"
    )
    console.print(
        f"{counted(result.tokens, 'token')}, {counted(result.bytes, 'byte')}, "
        f"{counted(figures['num_documents'], 'document')}; each document's "
        f"closing boundary token counts; {result.how}"
    )
    if figures["unknown"]:
        console.print(f"tokens that are unknown to the tokenizer, scored as <unk>: {figures['unknown']:,}")
    if task is not None:
        _print_judged(judged)
        if out:
            console.print(f"answers: {out}", markup=False)


def task_for(run: Run, data: Sequence[str], given: Mapping[str, Any]) -> Task | None:
    """What a test set asks of a run: what it was trained for; or else to talk, if it has a chat template and these are
    conversations. `given`: how they are to be read."""
    from nextword.tasks.dialogue import DIALOGUE
    from nextword.tasks.registry import task_of
    from nextword.text.records import ReadConfig, read_records
    from nextword.text.turns import is_conversation
    from nextword.tokenizers.chat import CHAT_TEMPLATE

    task = task_of(run.config)
    if task is not None or given.get("text_field") or "-" in data or not (run.folder / CHAT_TEMPLATE).is_file():
        return task
    first = next(iter(read_records(data, ReadConfig(text_field=""))), None)
    return DIALOGUE if first is not None and is_conversation(first) else None


def _learned(task: Task, bertscore: str, comet: str, device: str) -> list[Metric]:
    """The metrics asked for that are models, loaded."""
    from nextword.errors import UsageError
    from nextword.metrics import learned

    if comet and task.name != "translation":
        raise UsageError(f"--comet judges translations, and this run is for {task.name}", hint="Leave it out")
    asked = ((learned.bertscore, bertscore), (learned.comet, comet))
    return [metric(model, device) for metric, model in asked if model]


def _predict(loaded: Run, sources: Sequence[Source], read: ReadConfig) -> tuple[Evaluation, dict[str, Any]]:
    """The loss over a test set, and its figures."""
    import tempfile

    from nextword.cli.console import progress_bars
    from nextword.data.prepare import prepare
    from nextword.data.splits import SplitConfig
    from nextword.tokenizers.chat import ChatTokenizer
    from nextword.training.evaluation import evaluate as evaluate_files

    with tempfile.TemporaryDirectory(prefix="nextword-") as folder, progress_bars() as progress:
        splits = prepare(
            sources,
            Path(folder) / "data",
            loaded.tokenizer,
            read=read,
            split=SplitConfig(valid=0.0),
            template=ChatTokenizer.load(loaded.folder, loaded.tokenizer).template if read.conversations else "",
            progress=progress,
        )
        files = splits["train"]
        # One row reads a carried state from end to end; windows do not depend on how many are read at once.
        result = evaluate_files(
            loaded.model,
            files,
            1 if loaded.model.max_seq_len is None else 16,
            apart=loaded.config.get("corpus", {}).get("apart") or None,
        )
        counts = files.counts
    return result, result.to_dict() | {"num_documents": counts.examples, "unknown": counts.unknown_tokens}


def chat_for(loaded: Run, test: list[Item]) -> ChatTokenizer | None:
    """What writes the conversations of a test set as the run knows them; None if there are none in it."""
    from nextword.tokenizers.chat import ChatTokenizer

    return ChatTokenizer.load(loaded.folder, loaded.tokenizer) if any(item.before for item in test) else None


def answer(
    loaded: Run,
    task: Task,
    test: list[Item],
    settings: dict[str, Any],
    chat: ChatTokenizer | None,
    label: str = "answering",
) -> Judged:
    """The answers of a run to a test set, measured, behind a bar; `chat` as from `chat_for`."""
    from nextword.applied.evaluation import judge
    from nextword.applied.reading import reading_of
    from nextword.cli.console import counting
    from nextword.generator import TextGenerator

    generator, hide = TextGenerator.of(loaded), reading_of(loaded).hidden
    tokenized = bool(loaded.config.get("task", {}).get("tokenized"))
    with counting(label, len(test)) as advance:
        judged = judge(generator, task, test, settings, lambda said: advance(""), tokenized, chat, hide)
    return _beside_its_form(loaded, generator, task, test, settings, judged) if task.name == "poetry" else judged


def _beside_its_form(
    loaded: Run, generator: TextGenerator, task: Task, test: list[Item], settings: dict[str, Any], judged: Judged
) -> Judged:
    """Poems judged, and others for the same prompts that are written in the form. Of both, how likely they are, whether
    they keep to their theme, and what lines were copied: the last two where the training data are still there."""
    from nextword.applied.evaluation import nats_per_character
    from nextword.cli.console import counting
    from nextword.poetry.evaluation import copied_lines, fields_of, on_theme, poems_in_form, texts_in
    from nextword.poetry.lexicon import words_of
    from nextword.training.doctor.visit import splits_of
    from nextword.verse.layout import said_in
    from nextword.verse.units import is_chinese, lines_of

    splits = splits_of(loaded.folder, loaded.config)
    texts = texts_in(splits["train"], loaded.tokenizer) if splits else []
    prompts = [item.prompt for item in test]
    lexicon = words_of("\n".join(text for text in texts if not is_chinese(text))) or None
    with counting("in the form", len(test)) as advance:
        poems = poems_in_form(generator, prompts, settings, lambda said: advance(""), lexicon)
    titles = [said_in(prompt)[3] for prompt in prompts]
    known = {line for text in texts for line in lines_of(text)}
    fields = fields_of(titles, texts)

    def more(outputs: list[str]) -> list[Score]:
        likely = nats_per_character(generator, zip(prompts, outputs, strict=True))
        theme = [on_theme(outputs, fields)] if texts and any(titles) else []
        return [likely, *theme, *([copied_lines(outputs, known)] if texts else [])]

    beside = [*task.scores(poems, test, False), *more(poems)]
    return replace(judged, scores=[*judged.scores, *more(judged.outputs)], beside={"in the form": beside})


def _beside_its_lengths(loaded: Run, task: Task, test: list[Item], settings: dict[str, Any], judged: Judged) -> Judged:
    """Judged, and beside it what comes of asking for each length that the run knows, if any."""
    from nextword.applied.evaluation import at_each_length
    from nextword.applied.reading import reading_of
    from nextword.cli.console import counting
    from nextword.generator import TextGenerator

    lengths = loaded.config.get("task", {}).get("length_buckets", 0)
    if not lengths:
        return judged
    with counting("of each length", len(test) * lengths) as advance:
        generator, hide = TextGenerator.of(loaded), reading_of(loaded).hidden
        beside = at_each_length(generator, task, test, settings, lengths, lambda said: advance(""), hide)
    return replace(judged, beside=judged.beside | beside)


def _write(out: Path, test: list[Item], outputs: list[str]) -> None:
    from nextword.files import write_text

    rows = (
        {"prompt": item.prompt, "references": item.references, "output": output}
        for item, output in zip(test, outputs, strict=True)
    )
    write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _print_judged(judged: Judged) -> None:
    """The metrics, beside those of the baselines; what makes them comparable; where a baseline is better."""
    from rich import box
    from rich.table import Table

    from nextword.cli.console import out as console

    others = judged.beside | judged.baselines
    close = len(others) > 5  # so many columns in 80 characters
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 - close))
    table.add_column("", no_wrap=True)
    for heading in ("run", *others):
        table.add_column(heading, justify="right")
    for row in zip(judged.scores, *others.values(), strict=True):
        table.add_row(row[0].name, *(f"{score.value:.2f}" for score in row))
    console.print(table)
    signatures: dict[str, list[str]] = {}
    for score in judged.scores:
        if score.signature:
            signatures.setdefault(score.signature, []).append(score.name)
    for signature, names in signatures.items():
        console.print(f"{', '.join(names)}: {signature}", markup=False)
    console.print(f"{counted(len(judged.outputs), 'answer')} in {judged.seconds:.1f} s: {judged.how}", markup=False)
    if judged.cut:
        console.print(f"prompts that were longer than the model reads, and cut: {judged.cut:,}")
    for line in judged.beaten_by():
        console.print(f"Note: {line}", markup=False)
