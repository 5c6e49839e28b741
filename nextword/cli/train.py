"""`nextword train`: text in, a run folder out."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextword.cli.options import Columns, Device
from nextword.errors import UsageError

if TYPE_CHECKING:
    from nextword.models import LanguageModel
    from nextword.tokenizers import Tokenizer
    from nextword.training.session import Prompt

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
    from nextword.cli.recipes import embedded, for_task, recipe_values
    from nextword.training.distributed import processes
    from nextword.training.mixing import mixes
    from nextword.training.new_run import new_run
    from nextword.training.recipe import commented
    from nextword.training.session import resume_run
    from nextword.training.settling import settle

    with processes(os.environ, device) as world:
        if not world.leads:
            hush()
        if world.size > 1 and (find_lr or sweep):
            raise UsageError("--find-lr and --sweep train in one process", hint="Leave out torchrun")
        if out is None and not print_config and not find_lr:
            raise UsageError("--out is missing", hint="Name the folder of the run: --out runs/NAME")
        reading = {"documents": documents, "text_field": text_field, "columns": columns}
        reading |= {"prompt_field": prompt_field, "target_field": target_field, "encoding": encoding, "errors": errors}
        options: dict[str, dict[str, Any]] = {
            "task": {"name": task},
            "model": {"type": model},
            "tokenizer": {"type": tokenizer, "vocab_size": vocab_size or None},
            "data": reading,
            "train": {"seed": seed, "budget": budget, "steps": steps, "epochs": epochs},
        }
        values = recipe_values(config, options, mix or (), adapter, set_ or ())
        given: dict[str, Any] = {"valid": valid or (), "size": size, "device": device, "init_from": init_from}
        sources: list[Any] = list(data or [])
        if example:
            sources, given["corpus"] = embedded(values, sources)
        if "task" in values and not resume:
            values, sources = for_task(values, sources, given)
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
            beside = {"DATA": sources, "--size": size, "--valid": valid, "--overwrite": overwrite}
            _check_kept(beside | {"--init-from": init_from}, values)
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
        watch.introduce(session)
        before = session.trainer.position.step
        finished = watch.train(session)
        figures = watch.finish(session)
        if finished.step == before and finished.reason == "completed":
            err.print("the run was complete already; to go on, say how long in all: --steps, --epochs or --budget")
        if as_json and world.leads:
            print(json.dumps({"run": str(out), "reason": finished.reason} | figures, ensure_ascii=False, indent=2))
        else:
            watch.conclude(session, finished.reason, figures)
        return int(world.max(watch.exit_code()))  # a signal to one ends all


def _check_kept(given: dict[str, Any], values: dict[str, Any]) -> None:
    """Raises UsageError for what is given, by option or in `values`, though a run that goes on keeps its own."""
    others = [name for name, value in given.items() if value] + [f"[{name}]" for name in values if name != "train"]
    if others:
        raise UsageError(
            f"--resume keeps its data and model: {others[0]} cannot be given",
            hint="Give only --out, and how long in all: --steps, --epochs or --budget",
        )


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
