"""`nextword average`: the mean of the weights of several checkpoints, or of several runs, as a run of its own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nextword.cli.options import Device, Json
from nextword.errors import counted

if TYPE_CHECKING:
    from nextword.data.mixture import Mixture
    from nextword.data.token_files import TokenFiles
    from nextword.training.soup import Soup


def average(
    run: Annotated[list[Path], typer.Argument(help="One run, to average its checkpoints, or several.")],
    out: Annotated[Path, typer.Option(help="Folder of the averaged run.")],
    last: Annotated[int | None, typer.Option(min=2, help="Of one run: its newest checkpoints; left out: all.")] = None,
    best: Annotated[
        int | None, typer.Option(min=2, help="Of one run: its checkpoints of lowest validation loss.")
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Begin with the best, and take in only what does not raise the loss.")
    ] = False,
    valid: Annotated[
        list[str] | None, typer.Option(help="Text to validate on; left out: what the first run was validated on.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Average the weights of checkpoints of a run, or of runs that began with the same weights.

    Example: nextword average runs/book --best 5 --out runs/book-averaged
    """
    from nextword.checkpoint import read_config
    from nextword.cli.console import counting
    from nextword.errors import UsageError
    from nextword.tasks.registry import task_of
    from nextword.training import soup

    if last and best:
        raise UsageError("--last and --best: give one of them, not both")
    if len(run) > 1 and (last or best):
        option = "--last" if last else "--best"
        raise UsageError(f"{option} is about the checkpoints of one run, and there are {len(run)}", hint="Leave it out")
    if len(run) > 1:
        ingredients, how = soup.of_runs(run), f"{len(run)} runs"
    elif best:
        ingredients, how = soup.best(run[0], best), f"its best {counted(best, 'checkpoint')}"
    else:
        ingredients = soup.last(run[0], last or 0)
        how = f"its last {counted(len(ingredients), 'checkpoint')}"
    evaluations = (2 * len(ingredients) - 1 if greedy else 1) + (0 if greedy and len(run) > 1 else len(run))
    with _validation(run[0], valid or ()) as files, counting("validating", evaluations if files else 0) as advance:
        made = soup.average_runs(
            ingredients,
            run,
            out,
            how=how + ", chosen greedily" * greedy,
            greedy=greedy,
            valid=files,
            device=device,
            overwrite=overwrite,
            progress=advance,
        )
    if as_json:
        print(json.dumps(_as_dict(made, out), ensure_ascii=False, indent=2))
    else:
        task = task_of(read_config(run[0]))
        _tell(made, out, task.command if task else "generate")


@contextmanager
def _validation(run: Path, given: Sequence[str]) -> Iterator[TokenFiles | Mixture | None]:
    """The text to validate on, as ids of the run's tokenizer."""
    import tempfile

    from nextword.checkpoint import read_config
    from nextword.cli.console import progress_bars
    from nextword.config import parse
    from nextword.data.prepare import prepare
    from nextword.data.splits import SplitConfig
    from nextword.text.records import ReadConfig
    from nextword.tokenizers import Tokenizer
    from nextword.training.soup import validation_of

    config = read_config(run)
    tokenizer = Tokenizer.load(run)
    if not given:
        yield validation_of(run, tokenizer)
        return
    read = parse(ReadConfig, config.get("data", {}), "data")
    with tempfile.TemporaryDirectory(prefix="nextword-") as folder:
        with progress_bars() as progress:
            everything = SplitConfig(valid=0.0)
            splits = prepare(given, Path(folder) / "data", tokenizer, read=read, split=everything, progress=progress)
        yield splits["train"]


def _as_dict(made: Soup, out: Path) -> dict[str, Any]:
    names = {"used": made.used, "left_out": made.left_out}
    losses = {"before": made.before, "after": made.after}
    return (
        {"run": str(out)}
        | {key: [ingredient.name for ingredient in ingredients] for key, ingredients in names.items()}
        | {key: result.to_dict() if result else None for key, result in losses.items()}
    )


def _tell(made: Soup, out: Path, command: str) -> None:
    from nextword.cli.console import out as console

    def say(text: str) -> None:
        console.print(text, markup=False)

    say(f"averaged {len(made.used)}: {', '.join(ingredient.name for ingredient in made.used)}")
    if made.left_out:
        say(f"left out, for they raise the loss: {', '.join(ingredient.name for ingredient in made.left_out)}")
    if made.before and made.after:
        gain = made.before.loss - made.after.loss
        say(
            f"validation loss {made.before.loss:.4f} before, {made.after.loss:.4f} after "
            f"({abs(gain):.4f} nats per token {'better' if gain > 0 else 'worse'}); perplexity "
            f"{made.before.perplexity:.2f} and {made.after.perplexity:.2f}"
        )
        if gain < 0:
            say(
                "Averaging helps late checkpoints of a run, and runs that began with the same weights (--init-from); "
                "--greedy takes in only what helps"
            )
    else:
        say("not validated: there is no validation text. Give some by --valid")
    say(f"try it:      nextword {command} {shlex.quote(str(out))}")
