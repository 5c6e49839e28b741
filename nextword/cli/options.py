"""Options that several commands have, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

DRAWING, CONTENT, SEARCHING, ENDING = "How a token is drawn", "What is said", "How a text is searched for", "The end"


class Grouped(TyperCommand):
    """A command whose help shows its options under the headings that they name."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            heading = "Arguments" if param.param_type_name == "argument" else "Options"
            if record := param.get_help_record(ctx):
                sections.setdefault(getattr(param, "rich_help_panel", None) or heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def option(panel: str, help: str, *names: str) -> Any:
    """An option that the help shows under a heading."""
    return typer.Option(*names, help=help, rich_help_panel=panel)


Temperature = Annotated[float | None, option(DRAWING, "Below 1 safer, above 1 wilder, 0 = greedy.")]
TopK = Annotated[int | None, option(DRAWING, "From the k likeliest tokens; 0 = off.")]
TopP = Annotated[float | None, option(DRAWING, "From the likeliest that make up this probability.")]
MinP = Annotated[float | None, option(DRAWING, "From tokens this fraction as likely as the best.")]
RepetitionPenalty = Annotated[float | None, option(DRAWING, "Above 1: what was said becomes less likely.")]
Stop = Annotated[list[str] | None, option(ENDING, r"Before this text; \n is a newline. Repeatable.")]
DocumentsAsTrained = Annotated[str, typer.Option(help="block, line or file; left out: as in training.")]
TextFieldAsTrained = Annotated[str, typer.Option(help="Column that holds the text; left out: as in training.")]
PromptFieldAsTrained = Annotated[str, typer.Option(help="Column of the prompt; left out: as in training.")]
TargetFieldAsTrained = Annotated[str, typer.Option(help="Column of the target; left out: as in training.")]
Columns = Annotated[str, typer.Option(help="Columns of a table whose first line is a row: source,target.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting of generation, such as typical_p=0.9. Repeatable.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, mps.")]
With = Annotated[
    list[Path] | None, typer.Option("--with", help="Another run of the same tokenizer: an ensemble. Repeatable.")
]
Precision = Annotated[
    str, typer.Option(help="Of the weights: float32; bfloat16, int8: faster for large models, less exact.")
]
