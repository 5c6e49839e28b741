"""`nextword train`: text in, a run folder out."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextword.cli.options import Columns, Device
from nextword.errors import counted

if TYPE_CHECKING:
    from nextword.models import LanguageModel
    from nextword.tokenizers import Tokenizer
    from nextword.training.session import Prompt, Session

SAMPLE_TOKENS = 80


def train(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="Text files (.txt .jsonl .csv .tsv .parquet, also .gz .zst), folders, globs, - for stdin, or a folder "
            "written by `nextword data prepare`."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    task: Annotated[
        str,
        typer.Option(
            help="translation, summarization, dialogue or poetry: DATA is a table, for pairs also two aligned files."
        ),
    ] = "",
    example: Annotated[
        bool, typer.Option("--example", help="In place of DATA: the embedded data of the task.")
    ] = False,
    mix: Annotated[
        list[str] | None,
        typer.Option(help="In place of DATA: several corpora, each NAME=PATH:WEIGHT; left out: weights by size."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="transformer, lstm, gru, rnn; for prompts and targets encoder-decoder, prefix-lm, gru-attention, "
            "lstm-attention; left out: by the time there is."
        ),
    ] = "",
    size: Annotated[
        str, typer.Option(help="tiny, small, medium or large; left out: by the time and the text there is.")
    ] = "",
    tokenizer: Annotated[
        str, typer.Option(help="char, word, byte, bpe or unigram; left out: by the script and amount of text.")
    ] = "",
    vocab_size: Annotated[int, typer.Option(help="Most tokens in the vocabulary; 0 = by the tokenizer.")] = 0,
    budget: Annotated[str, typer.Option(help="Time for everything: 90s, 10m, 1h30m.")] = "",
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data.")] = None,
    valid: Annotated[list[str] | None, typer.Option(help="Validation text; left out: 5 % of the documents.")] = None,
    documents: Annotated[str, typer.Option(help="A document in a .txt file: block, line or file.")] = "",
    text_field: Annotated[str, typer.Option(help="Column that holds the text; left out: text.")] = "",
    prompt_field: Annotated[
        str, typer.Option(help="Column that is read, but not learned; goes with --target-field.")
    ] = "",
    target_field: Annotated[str, typer.Option(help="Column that is learned, given the prompt.")] = "",
    columns: Columns = "",
    encoding: Annotated[str, typer.Option(help="Encoding of text files; left out: utf-8.")] = "",
    errors: Annotated[str, typer.Option(help="Bytes that are no valid text: strict or replace.")] = "",
    config: Annotated[Path | None, typer.Option(help="Recipe in TOML; options given here go before it.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, such as train.learning_rate=3e-4. Repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, dropout and the order of the data.")] = None,
    init_from: Annotated[
        Path | None, typer.Option(help="Run whose weights, tokenizer and model this one begins with.")
    ] = None,
    adapter: Annotated[
        str, typer.Option(help="With --init-from: keep its weights, and train small adapters: lora or dora.")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    device: Device = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON document.")] = False,
    sweep: Annotated[
        Path | None,
        typer.Option(help="TOML file of settings to vary: train one run after another, in folders within --out."),
    ] = None,
    find_lr: Annotated[
        Path | None,
        typer.Option(help="Make no run, but try learning rates for 100 steps, suggest one, and draw FILE.svg."),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all settings, commented, as a recipe, and train nothing.")
    ] = False,
) -> int:
    """Train a language model on your text.

    Example: nextword train poems.txt --out runs/poems --model lstm --budget 10m

    On several GPUs: torchrun --nproc-per-node 8 -m nextword train poems.txt --out runs/poems --device cuda
    """
    started = time.monotonic()
    from nextword.cli import watch
    from nextword.cli.console import err, hush, progress_bars
    from nextword.config import assign, read_toml
    from nextword.errors import UsageError
    from nextword.training.distributed import processes
    from nextword.training.mixing import mixes
    from nextword.training.new_run import new_run
    from nextword.training.recipe import check_sections, commented
    from nextword.training.session import resume_run
    from nextword.training.settling import settle

    with processes(os.environ, device) as world:
        if not world.leads:
            hush()
        if world.size > 1 and (find_lr or sweep):
            raise UsageError("--find-lr and --sweep train in one process", hint="Leave out torchrun")
        if out is None and not print_config and not find_lr:
            raise UsageError("--out is missing", hint="Name the folder of the run: --out runs/NAME")
        values: dict[str, Any] = read_toml(config) if config else {}
        check_sections(values)
        flags: list[tuple[str, str, Any]] = [
            ("task", "name", task),
            ("model", "type", model),
            ("tokenizer", "type", tokenizer),
            ("tokenizer", "vocab_size", vocab_size),
            ("data", "documents", documents),
            ("data", "text_field", text_field),
            ("data", "prompt_field", prompt_field),
            ("data", "target_field", target_field),
            ("data", "columns", columns),
            ("data", "encoding", encoding),
            ("data", "errors", errors),
            ("train", "seed", seed),
        ]
        limits = [("train", "budget", budget or None), ("train", "steps", steps), ("train", "epochs", epochs)]
        if any(value is not None for *_, value in limits):
            for _, key, _ in limits:  # the command line's limit replaces the recipe's, whatever its kind
                values.get("train", {}).pop(key, None)
        flags = [flag for flag in flags if flag[2] not in ("", None, 0) or flag[1] == "seed"]
        for section, key, value in [*flags, *limits]:
            if value is not None:
                values.setdefault(section, {})[key] = value
        if adapter:
            assign(values, f"train.adapter.kind={adapter}")
        if mix:
            values.setdefault("mix", {})["corpora"] = _corpora(mix)
        for assignment in set_ or []:
            assign(values, assignment)
        check_sections(values)
        given: dict[str, Any] = {"valid": valid or (), "size": size, "device": device, "init_from": init_from}
        sources: list[Any] = list(data or [])
        if example:
            sources, given["corpus"] = _embedded(values, sources)
        if "task" in values and not resume:
            values, sources = _for_task(values, sources, given)
        if print_config:
            print(commented(settle(values, sources, size, world.device, init_from), given.get("task")), end="")
            return 0
        if not sources and not resume and not mixes(values):
            raise UsageError("DATA is missing", hint="Name text files or folders, or - for standard input")
        if find_lr:
            if resume or sweep:
                other = "--resume" if resume else "--sweep"
                raise UsageError(f"--find-lr trains a new model for a moment: leave out {other}")
            from nextword.cli.find_lr import try_and_tell

            try_and_tell(find_lr, as_json, values, sources, **given)
            return 0
        assert out is not None
        if sweep:
            if resume:
                raise UsageError("a sweep goes on by itself where it stopped: leave out --resume")
            from nextword.cli.sweep import sweep as train_all

            return train_all(sweep, out, values, sources, overwrite=overwrite, as_json=as_json, **given)

        if resume:
            only_new = (("--size", size), ("--valid", valid), ("--overwrite", overwrite), ("--init-from", init_from))
            others = [
                *(["DATA"] if sources else []),
                *(name for name, value in only_new if value),
                *(f"[{name}]" for name in values if name != "train"),
            ]
            if others:
                raise UsageError(
                    f"--resume keeps its data and model: {others[0]} cannot be given",
                    hint="Give only --out, and how long in all: --steps, --epochs or --budget",
                )
            session = resume_run(out, values.get("train"), sample=sample, device=device, started=started, world=world)
            err.print(f"resuming {out} at step {session.trainer.position.step:,}", markup=False)
        else:
            with progress_bars() as progress:
                session = new_run(
                    values,
                    sources,
                    out,
                    sample=sample,
                    progress=progress,
                    overwrite=overwrite,
                    started=started,
                    world=world,
                    **given,
                )
        introduce(session)
        before = session.trainer.position.step
        finished = watch.train(session)
        figures = watch.finish(session)
        if finished.step == before and finished.reason == "completed":
            err.print("the run was complete already; to go on, say how long in all: --steps, --epochs or --budget")
        if as_json and world.leads:
            print(json.dumps({"run": str(out), "reason": finished.reason} | figures, ensure_ascii=False, indent=2))
        else:
            _conclude(out, finished.reason, figures, session.sections)
        return int(world.max(watch.exit_code()))  # a signal to one ends all


def _embedded(values: dict[str, Any], sources: list[Any]) -> tuple[list[Any], str]:
    """The embedded data of a task, and what it is called. Raises UsageError for a task that has none."""
    from nextword import corpora
    from nextword.errors import UsageError
    from nextword.tasks.registry import TASKS, task_named

    if sources:
        raise UsageError(f"--example stands in place of DATA, got {sources[0]}", hint="Leave one of them out")
    name = values.get("task", {}).get("name", "")
    if not name or not task_named(name).example:
        having = " or ".join(task.name for task in TASKS.values() if task.example)
        raise UsageError(f"--example: expected --task {having}, got {name or 'none'}")
    embedded = TASKS[name].example
    return [corpora.rows(embedded)], corpora.titled(embedded)


def _for_task(values: dict[str, Any], sources: list[Any], given: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """The recipe and the data for section [task]; what else a new run is given goes into `given`."""
    from nextword.data.prepare import is_prepared
    from nextword.errors import UsageError
    from nextword.tasks.setup import set_up

    for source in sources:
        if isinstance(source, str) and is_prepared(source):
            raise UsageError(f"--task reads pairs, got {source}, which is prepared", hint="Name what it was made from")
    setup = set_up(values, sources, given["valid"], init_from=given["init_from"])
    given |= {"valid": setup.valid, "task": setup.task, "generation": setup.generation, "template": setup.template}
    given.setdefault("corpus", setup.corpus)
    return setup.values, list(setup.sources)


def _corpora(given: list[str]) -> dict[str, Any]:
    """What --mix NAME=PATH:WEIGHT means in [mix]. Of a name given twice, all files. Raises UsageError."""
    from nextword.errors import UsageError

    corpora: dict[str, Any] = {}
    for one in given:
        name, _, path = one.partition("=")
        before, _, last = path.rpartition(":")
        try:
            path, weight = (before, float(last)) if before else (path, None)
        except ValueError:  # a colon of the path
            weight = None
        if not name or not path:
            raise UsageError(f"--mix {one!r}: expected NAME=PATH:WEIGHT, such as poems=tang.jsonl:2")
        corpus = corpora.setdefault(name, {"data": []})
        corpus["data"].append(path)
        if weight is not None:
            corpus["weight"] = weight
    return corpora


def sample(model: LanguageModel, tokenizer: Tokenizer, prompt: Prompt) -> tuple[str, str]:
    """`prompt`, and how the model goes on now: always from the same seed, so that samples can be compared."""
    from nextword.generator import TextGenerator
    from nextword.metrics.overlap import chrf

    training = model.training
    settings: dict[str, Any] = {"temperature": 0.8, "max_tokens": SAMPLE_TOKENS, "seed": 0, "num_samples": 1}
    try:
        generator = TextGenerator(model.eval(), tokenizer)
        if isinstance(prompt, str):
            job = generator.submit(prompt, **settings)
        else:
            job = generator.submit_ids(prompt, **settings)
        while not job.finished:
            generator.step()
        # From a source, or from turns, to the answer, which does not go on from them.
        arrow = " → " if model.encodes or not isinstance(prompt, str) else ""
        return job.prompt + arrow, job.results(chrf)[0].text
    finally:
        model.train(training)


def introduce(session: Session) -> None:
    """Say what will be trained, on what."""
    from nextword.cli.console import err
    from nextword.data.batches import fit
    from nextword.data.mixture import Mixture
    from nextword.tasks.lengths import described
    from nextword.training.freezing import num_trainable
    from nextword.training.order import DEFAULT_BPTT

    trainer, counts = session.trainer, session.splits["train"].counts
    settings = trainer.model.config
    total, trained = trainer.model.num_parameters(), num_trainable(trainer.model)
    trained_of = "" if trained == total else f"{trained:,} of "
    if not trainer.position.step:
        for reason in session.sections.get("chosen", ()):
            err.print(reason, markup=False, highlight=False)
    err.print(
        f"{settings.type}, {trained_of}{total:,} parameters{' trained' if trained_of else ''}, {trainer.precision}; "
        f"{session.tokenizer.kind} tokenizer, {session.tokenizer.vocab_size:,} tokens"
    )
    if trained_of and "init" not in session.sections:
        err.print("Note: what is frozen keeps its random values; --init-from gives it those of another run")
    if task := session.sections.get("task"):
        err.print(f"task: {task['name']}" + (f", {' to '.join(task['languages'])}" if task["languages"] else ""))
        if bounds := task.get("length_bounds"):
            err.print(f"lengths: {described(bounds)}")
    if init := session.sections.get("init"):
        err.print(f"from {init['from']}: {init['taken']}", markup=False)
    held_out = f", {session.splits['valid'].counts.tokens:,} for validation" if "valid" in session.splits else ""
    err.print(
        f"{counted(counts.tokens, 'token')} in {counted(counts.examples, 'document')} to train on{held_out}; "
        f"batches of {trainer.batches.size}"
    )
    if isinstance(files := session.splits["train"], Mixture):
        err.print("mixture: " + ", ".join(f"{name} {share:.1%}" for name, share in files.shares.items()), markup=False)
    context = trainer.config.context or trainer.model.max_seq_len or DEFAULT_BPTT
    _, _, note = fit(counts.tokens, trainer.config.batch_size, context)
    if note and not trainer.batches.whole_examples:
        err.print(f"Note: {note}")


def _conclude(out: Path, reason: str, figures: dict[str, Any], sections: dict[str, Any]) -> None:
    """What was reached, and what to do next."""
    from nextword.cli.console import out as console
    from nextword.tasks.registry import task_of

    valid = figures.get("validation")
    reached = (
        f"validation {valid['loss']:.4f} nats/token, perplexity {valid['perplexity']:.2f}, "
        f"{valid['bits_per_byte']:.3f} bits/byte at step {valid['step']:,}"
        if valid
        else "not validated"
    )
    console.print(f"{reason} after {counted(figures['steps'], 'step')}, {figures['seconds']:.0f} s: {reached}")
    if corpora := figures.get("corpora"):
        parts = (f"{name} {read['share']:.1%}, {read['epochs']:.2f} epochs" for name, read in corpora.items())
        console.print(f"read: {'; '.join(parts)}", markup=False)
    folder = shlex.quote(str(out))
    if reason == "interrupted":
        console.print(f"go on with:  nextword train --resume --out {folder}", markup=False)
    else:
        task = task_of(sections)
        console.print(f"try it:      nextword {task.command if task else 'generate'} {folder}", markup=False)
