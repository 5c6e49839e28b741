"""`nextword doctor`: what is wrong with some text before a model is trained on it, or with a run, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextword.cli.options import Json

if TYPE_CHECKING:
    from nextword.training.doctor.visit import Diagnosis

SAMPLES, SAMPLE_TOKENS = 8, 200  # written to see how much of them is copied


def doctor(
    target: Annotated[
        list[str],
        typer.Argument(metavar="RUN|DATA", help="A run folder; or text files, folders, -, or a prepared folder."),
    ],
    config: Annotated[Path | None, typer.Option(help="Recipe of the run that is planned with DATA.")] = None,
    size: Annotated[str, typer.Option(help="Its size: tiny, small, medium or large.")] = "",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any of its settings, such as train.epochs=20. Repeatable.")
    ] = None,
    copied: Annotated[
        bool,
        typer.Option("--copied", help="Have RUN write, and say how much it copied from its training text."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Examine text before training, or a run at any time: what was found, why it matters, what to do.

    Example: nextword doctor poems.txt --size small --set train.epochs=20
    """  # fmt: skip
    from nextword.checkpoint import CONFIG
    from nextword.cli.console import progress_bars
    from nextword.config import assign, read_toml
    from nextword.errors import UsageError
    from nextword.training.doctor.visit import examine_data, examine_run
    from nextword.training.recipe import check_sections

    report: dict[str, Any]
    if len(target) == 1 and (Path(target[0]) / CONFIG).is_file():
        if config or size or set_:
            raise UsageError(
                f"{target[0]} is a run, whose settings are settled", hint="Leave out --config, --size, --set"
            )
        if copied:
            report = _copied(Path(target[0]))
            print(json.dumps(report, ensure_ascii=False, indent=2)) if as_json else _print_copied(report)
            return
        diagnosis = examine_run(Path(target[0]))
    else:
        if copied:
            raise UsageError(f"--copied asks a run to write, and {target[0]} is none", hint="Name the folder of a run")
        values: dict[str, Any] = read_toml(config) if config else {}
        for assignment in set_ or []:
            assign(values, assignment)
        check_sections(values)
        with progress_bars() as progress:
            diagnosis = examine_data(values, target, size, progress=progress)
    if as_json:
        print(json.dumps({"target": target} | diagnosis.to_dict(), ensure_ascii=False, indent=2))
    else:
        _print(diagnosis)


def _print(diagnosis: Diagnosis) -> None:
    from rich.markup import escape
    from rich.table import Table

    from nextword.cli.console import out as console
    from nextword.report.health import corpus_facts, plan_facts

    facts = Table.grid(padding=(0, 2))
    corpus, plan = diagnosis.corpus, diagnosis.plan
    rows = corpus_facts(corpus.to_dict()) if corpus else {"Data": "gone, or several corpora"}
    for name, value in (rows | (plan_facts(plan.to_dict()) if plan else {})).items():
        facts.add_row(f"[dim]{name}[/dim]", escape(value))
    console.print(facts)
    if not diagnosis.findings:
        console.print("\nNothing to object to.")
    for finding in diagnosis.findings:
        colour = "yellow" if finding.severity == "warning" else "cyan"
        when = f" (step {finding.step:,})" if finding.step else ""
        console.print(f"\n[bold {colour}]{finding.severity}[/bold {colour}]  {escape(_sentence(finding.what))}{when}")
        console.print(f"  why   {escape(_sentence(finding.why))}")
        console.print(f"  do    {escape(finding.remedy)}")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _copied(run: Path) -> dict[str, Any]:
    """What a run writes from nothing, and how much of it stands in its training text."""
    from nextword.checkpoint import read_config
    from nextword.data.copies import copied_text_from, held_out_copied, least_span
    from nextword.data.token_files import TokenFiles
    from nextword.errors import RunError
    from nextword.generator import TextGenerator
    from nextword.training.doctor.visit import splits_of

    splits = splits_of(run, read_config(run))
    if not splits:
        raise RunError(f"the data of {run} is gone", hint="Put it back: copies are looked for in the training text")
    generator = TextGenerator.load(run)
    train, valid = splits["train"], splits.get("valid")
    texts = generator.generate_many("", num_samples=SAMPLES, max_tokens=SAMPLE_TOKENS, seed=0)
    samples = []
    for generation in texts:
        found, span = copied_text_from(train, generator.tokenizer, generation.text)
        samples.append(found.to_dict() | {"text": generation.text, "longest_text": span})
    tokens = sum(sample["tokens"] for sample in samples)
    return {
        "run": str(run),
        "least": least_span(train),
        "tokens": tokens,
        "share": sum(sample["copied"] for sample in samples) / tokens if tokens else 0.0,
        "held_out_share": held_out_copied(train, valid).share if isinstance(valid, TokenFiles) else None,
        "longest": max((sample["longest"] for sample in samples), default=0),
        "samples": samples,
    }


def _print_copied(report: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from nextword.cli.console import out as console

    table = Table("sample", "tokens", "copied", "longest", "longest copied span", box=None, pad_edge=False)
    for column in table.columns[:4]:
        column.justify = "right"
    for number, sample in enumerate(report["samples"], 1):
        span = "".join(c if c.isprintable() else " " for c in sample["longest_text"].replace("\n", "⏎"))
        table.add_row(
            str(number), str(sample["tokens"]), f"{sample['share']:.0%}", str(sample["longest"]), escape(span)
        )
    console.print(table)
    held_out = report["held_out_share"]
    beside = "" if held_out is None else f"; of held-out text by the same hands, {held_out:.1%}"
    console.print(
        f"\n{report['share']:.1%} of {report['tokens']:,} tokens stand in the training text in spans of "
        f"{report['least']} tokens or more{beside}."
    )
