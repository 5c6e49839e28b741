"""`nextword demo`: the main job from end to end on the embedded texts, in a few minutes.

An LSTM and a Transformer learn from an English novel, a Transformer from Tang poems, each in the same time. Then they
are compared, continue a text, judge a sentence word by word, and write a poem.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from nextword.generator import TextGenerator

SENTENCE = "The quick brown fox jumps over the lazy dog"
START = "The"


@dataclass(frozen=True)
class Part:
    """One model of the demo."""

    name: str
    title: str
    corpus: str
    values: dict[str, Any]


ENGLISH = {"tokenizer": {"type": "bpe", "vocab_size": 2048}}
PARTS = (
    Part("lstm", "LSTM", "moby-dick", ENGLISH | {"model": {"type": "lstm"}}),
    Part("transformer", "Transformer", "moby-dick", ENGLISH | {"model": {"type": "transformer"}}),
    Part("poems", "Transformer, Tang poems", "tang", {"tokenizer": {"type": "char"}, "model": {"type": "transformer"}}),
)


def demo(
    budget: Annotated[str, typer.Option(help="Time for each of the three models: 15s, 60s, 5m.")] = "60s",
    out: Annotated[Path, typer.Option(help="Folder of the demo's runs; replaced if it is there.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Same seed, same samples, as far as time allows.")] = 0,
) -> int:
    """Train three small models on the embedded texts, compare them, score a sentence, write a poem.

    Example: nextword demo --budget 60s
    """
    from nextword import corpora
    from nextword.cli import watch
    from nextword.cli.console import out as console
    from nextword.generator import TextGenerator
    from nextword.report.curves import write_report
    from nextword.report.summary import read_summary

    seconds = _seconds(budget)
    figures: dict[str, dict[str, Any]] = {}
    for part in PARTS:
        console.rule(f"{part.title}: {seconds:.0f} s of training", align="left")
        figures[part.name] = _train(part, seconds, out / part.name, seed)
        if watch.exit_code():
            return watch.exit_code()
    generators = {part.name: TextGenerator.load(out / part.name) for part in PARTS}

    _compare(figures)
    for part in PARTS[:2]:
        _continue(part.title, generators[part.name], seed)
    better = min(PARTS[:2], key=lambda part: figures[part.name]["validation"]["bits_per_byte"])
    _score(better, generators[better.name])
    _poem(generators["poems"], seed)

    page = out / "report.html"
    write_report([read_summary(out / part.name, part.title, corpora.TITLES[part.corpus]) for part in PARTS], page)
    console.rule("Next", align="left")
    console.print(f"loss curves:  {page}", markup=False)
    console.print("try:")
    console.print(f'  nextword generate {quote(str(out / better.name))} "Call me" --temperature 0.7', markup=False)
    console.print(f'  nextword score {quote(str(out / "poems"))} "床前明月光，疑是地上霜。"', markup=False)
    console.print("  nextword train YOUR_TEXT.txt --out runs/mine --budget 10m")
    return 0


def _seconds(budget: str) -> float:
    from nextword.errors import UsageError
    from nextword.training.config import parse_duration

    try:
        seconds = parse_duration(budget)
    except ValueError as error:
        raise UsageError(f"--budget: {error}") from None
    if seconds < 1:
        raise UsageError(f"--budget: expected at least 1s, got {budget}")
    return seconds


def _train(part: Part, seconds: float, folder: Path, seed: int) -> dict[str, Any]:
    from nextword import corpora
    from nextword.cli import watch
    from nextword.cli.console import progress_bars
    from nextword.cli.train import sample
    from nextword.training.new_run import new_run

    started = time.monotonic()
    documents = [{"text": text} for text in corpora.load(part.corpus)]
    values = part.values | {"train": {"budget": seconds, "seed": seed}}
    with progress_bars() as progress:
        session = new_run(
            values,
            [documents],
            folder,
            sample=sample,
            progress=progress,
            overwrite=True,
            started=started,
            corpus=corpora.titled(part.corpus),
        )
    watch.introduce(session)
    watch.train(session, part.name)
    return watch.finish(session)


def _compare(figures: dict[str, dict[str, Any]]) -> None:
    """Both English models side by side."""
    from rich.table import Table

    from nextword.cli.console import out as console

    table = Table("", *(part.title for part in PARTS[:2]), title="Moby Dick, same time for each", title_justify="left")
    rows: list[tuple[str, Any]] = [
        ("parameters", lambda f: f"{f['parameters']:,}"),
        ("tokens/s in training", lambda f: f"{f['tokens_per_s']:,.0f}"),
        ("tokens read", lambda f: f"{f['tokens']:,}"),
        ("epochs", lambda f: f"{f['epochs']:.1f}"),
        ("held-out nats/token", lambda f: f"{f['validation']['loss']:.3f}"),
        ("held-out perplexity", lambda f: f"{f['validation']['perplexity']:.1f}"),
        ("held-out bits/byte", lambda f: f"{f['validation']['bits_per_byte']:.3f}"),
    ]
    for label, show in rows:
        table.add_row(label, *(show(figures[part.name]) for part in PARTS[:2]))
    for column in table.columns[1:]:
        column.justify = "right"
    console.print()
    console.print(table)


def _continue(title: str, generator: TextGenerator, seed: int) -> None:
    """The start word, continued greedily and by sampling."""
    from rich.markup import escape

    from nextword.cli.console import out as console

    console.rule(f'{title} continues "{START}"', align="left")
    greedy = generator.generate(START, temperature=0, max_tokens=40).text
    sampled = generator.generate(START, temperature=0.8, seed=seed, max_tokens=80).text
    console.print(f"[bold]greedy[/bold]   {START}{escape(greedy)}")
    console.print(f"[bold]sampled[/bold]  {START}{escape(sampled)}")


def _score(part: Part, generator: TextGenerator) -> None:
    """The chain rule, one row a token."""
    from nextword.cli.console import out as console
    from nextword.cli.score import print_table

    console.rule(f"The chain rule: P of a sentence by the {part.title}", align="left")
    print_table(generator.score(SENTENCE))


def _poem(generator: TextGenerator, seed: int) -> None:
    from nextword.cli.console import out as console

    console.rule("A poem by the Transformer that read Tang poems", align="left")
    console.print(generator.generate("", temperature=0.8, seed=seed, max_tokens=80).text, markup=False)
