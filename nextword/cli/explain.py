"""How a text came about, drawn in the terminal: `--explain`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich import box
from rich.columns import Columns
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from nextword.errors import counted
from nextword.report.heatmap import DARKEST, TICKS, figure, probability, visible

if TYPE_CHECKING:
    from nextword.decoding.trace import Stage, Trace, TracedStep
    from nextword.generator import Generation
    from nextword.tokenizers import Tokenizer

ALTERNATIVES = 5
LEAST_SHOWN = 0.0005  # probability that a setting must remove or move to be named
PALE, STRONG = (255, 244, 200), (236, 96, 48)  # black is readable on both, so the terminal's own colours do not matter


def explain(generations: Sequence[Generation], tokenizer: Tokenizer, console: Console) -> None:
    """Draw how each text came about; of a beam search, the tree of them all."""
    first = generations[0].trace
    if first is not None and first.beams:
        console.print(Text.assemble((generations[0].prompt, "bold"), readable(generations[0].text)))
        console.print(_tree(first, generations, tokenizer))
        console.print(_best(generations))
        _conclude(generations[0], console)
        return
    for number, generation in enumerate(generations):
        if number:
            console.rule()
        steps = generation.trace.steps if generation.trace is not None else []
        console.print(_coloured(generation.prompt, steps, tokenizer, console))
        console.print(_steps(steps, tokenizer))
        _conclude(generation, console)


def _conclude(generation: Generation, console: Console) -> None:
    count = len(generation.token_ids)
    try:
        perplexity = figure(math.exp(-generation.log_prob / count))
    except OverflowError:
        perplexity = "inf"
    console.print(f"P(text | prompt) {probability(generation.log_prob)}  = exp({generation.log_prob:.4f})")
    console.print(f"perplexity       {perplexity} per token, {counted(count, 'token')}")
    if generation.acceptance_rate is not None:
        console.print(f"guessed ahead    {generation.acceptance_rate:.0%} of the guesses kept")
    console.print(Text(f"ended by {generation.finish_reason}; seed {generation.seed}", style="dim"))


def heat(log_prob: float) -> str:
    """The style of a token of this probability, by its logarithm as in the heat map; none for the likeliest."""
    share = min(1.0, log_prob / math.log(DARKEST))
    if share < 0.05:
        return ""
    red, green, blue = (round(p + share * (s - p)) for p, s in zip(PALE, STRONG, strict=True))
    return f"#000000 on rgb({red},{green},{blue})"


def _coloured(prompt: str, steps: Sequence[TracedStep], tokenizer: Tokenizer, console: Console) -> Text:
    """The text, each token in the colour of its probability; without colours, with figures.

    Tokens that end inside a character are coloured together, by their product.
    """
    colours = console.color_system is not None and not console.no_color
    line = Text.assemble((prompt, "bold"))
    stream = tokenizer.stream()
    for id in tokenizer.encode(prompt):
        stream.step(id)
    log_prob, names = 0.0, ""
    for number, step in enumerate(steps, start=1):
        piece = "" if step.token == tokenizer.eos_id else stream.step(step.token)
        if number == len(steps):
            piece += stream.flush()
        log_prob += step.log_prob
        names += tokenizer.token_text(step.token)
        if not piece and number < len(steps):
            continue
        shown = readable(piece or names)
        if colours:
            line.append(shown, heat(log_prob))
        else:
            body = shown.removesuffix("\n")
            line.append(f"{body}[{percent(math.exp(log_prob))}]{shown[len(body) :]}")
        log_prob, names = 0.0, ""
    if colours:
        line.append("\n\nP ", "dim")
        for tick, power in zip(TICKS, range(len(TICKS)), strict=True):
            line.append(f" {tick} ", heat(-power * math.log(10)))
    return line


def readable(text: str) -> str:
    """Line breaks to be seen and kept, other control characters to be seen; spaces stay."""
    return "".join("↵\n" if c == "\n" else c if c == " " else visible(c) for c in text)


def percent(prob: float) -> str:
    """
    >>> percent(0.314), percent(0.0314), percent(0.000314), percent(0.00000314)
    ('31 %', '3.1 %', '0.03 %', '<0.01 %')
    """
    share = 100 * prob
    if share < 0.01:
        return "<0.01 %"
    return f"{share:.{0 if share >= 9.95 else 1 if share >= 0.95 else 2}f} %"


def _steps(steps: Sequence[TracedStep], tokenizer: Tokenizer) -> Table:
    """One row a token: the alternatives are the model's own; below them stands what the settings then did."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("token", overflow="fold")
    for heading in ("P", "rank", "entropy"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("likeliest others" + "; the settings" * any(len(step.stages) > 1 for step in steps))
    for step in steps:
        others = [(token, prob) for token, prob in step.stages[0].top if token != step.token][:ALTERNATIVES]
        names = [Text(f"{visible(tokenizer.token_text(token))} {percent(prob)}") for token, prob in others]
        # Columns, because a line may break between two of them, but not between a token and its figure.
        beside = [Columns(names, padding=(0, 2))]
        if deeds := [Text(deed, "dim") for deed in _deeds(step.stages)]:
            beside.append(Columns(deeds, padding=(0, 2)))
        token = Text(visible(tokenizer.token_text(step.token)), heat(step.log_prob))
        table.add_row(token, probability(step.log_prob), f"{step.rank:,}", f"{step.entropy:.2f}", Group(*beside))
    return table


def _deeds(stages: Sequence[Stage]) -> Iterator[str]:
    """What each setting did to the distribution."""
    for stage in stages[1:]:
        if stage.removed >= LEAST_SHOWN:
            yield f"{stage.name} −{percent(stage.removed)}"
        elif stage.moved >= LEAST_SHOWN:
            yield f"{stage.name} moved {percent(stage.moved)}"


# -- the tree of a beam search ---------------------------------------------------------------------------------------


@dataclass(eq=False)
class Node:
    """A beam: a token, and the one it followed."""

    token: int
    total: float
    """Sum of log-probabilities up to here, after all settings."""
    step: int
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)
    reach: int = 0
    """The last step that a beam from here took part in."""
    finished: list[int] = field(default_factory=list)
    """Places, 0 = best, of the texts that ended with one more token."""
    wins: bool = False
    """On the way to the best text."""


def grow(trace: Trace, generations: Sequence[Generation]) -> Node:
    """The tree of all beams, from the end of the prompt, and where the finished texts left it."""
    root = Node(-1, 0.0, -1)
    nodes, rows, step = [root], [root], 0
    arrived: list[Node] = []
    for entry in trace.beams:
        if entry["step"] != step:
            rows, arrived, step = arrived, [], entry["step"]
        for row, token, total in entry["beams"]:
            node = Node(token, total, step, rows[row], reach=step)
            rows[row].children.append(node)
            arrived.append(node)
            nodes.append(node)
    for node in reversed(nodes):
        if node.parent is not None:
            node.parent.reach = max(node.parent.reach, node.reach)
    for place, generation in enumerate(generations):
        ends = [root]
        for token in generation.token_ids[:-1]:
            ends = [child for node in ends for child in node.children if child.token == token]
        end: Node | None = ends[0]
        ends[0].finished.append(place)
        while place == 0 and end is not None:
            end.wins, end = True, end.parent
    return root


def _tree(trace: Trace, generations: Sequence[Generation], tokenizer: Tokenizer) -> Table:
    """A row for each run of tokens between two forks. What leaves the main line stands below the fork, indented."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("beams", overflow="fold")
    table.add_column("log-prob", justify="right", no_wrap=True)
    table.add_column("", style="dim")
    last = max((entry["step"] for entry in trace.beams), default=0)
    for depth, run in _runs(grow(trace, generations), 0):
        end = run[-1]
        names = "".join(visible(tokenizer.token_text(node.token)) for node in run if node.token >= 0)
        fate = f"left at step {end.step + 2}" if not end.children and not end.finished and end.step < last else ""
        style = "bold" if end.wins else ""
        table.add_row(
            "▸" if end.wins else "", Text("  " * depth + (names or "(prompt)"), style), f"{end.total:.4f}", fate
        )
        for place in end.finished:
            text = generations[place]
            name = visible(tokenizer.token_text(text.token_ids[-1]))
            style = "bold" if place == 0 else ""
            table.add_row(
                "▸" if place == 0 else "",
                Text("  " * (depth + 1) + name, style),
                f"{text.log_prob:.4f}",
                f"no. {place + 1}, score {text.score:.4f}",
            )
    return table


def _runs(node: Node, depth: int) -> Iterator[tuple[int, list[Node]]]:
    while True:
        run = [node]
        while len(node.children) == 1 and not node.finished and node.token >= 0 and node.wins == node.children[0].wins:
            node = node.children[0]
            run.append(node)
        yield depth, run
        if not node.children:
            return
        heir = max(node.children, key=lambda child: (child.wins, child.reach, child.total))
        for child in node.children:
            if child is not heir:
                yield from _runs(child, depth + 1)
        node = heir


def _best(generations: Sequence[Generation]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("no.", "score", "log-prob", "tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("ended by")
    table.add_column("text", overflow="fold")
    for place, text in enumerate(generations, start=1):
        figures = (str(place), f"{text.score:.4f}", f"{text.log_prob:.4f}", f"{len(text.token_ids):,}")
        table.add_row(*figures, text.finish_reason, Text(visible(text.text)))
    return table
