"""`nextword lm-eval`: a run in EleutherAI's evaluation harness."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Annotated

import typer

from nextword.errors import MissingExtra, UsageError

CONTEXT = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def lm_eval(
    run: Annotated[Path, typer.Argument(help="Folder written by nextword train.", show_default=False)],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="OPTIONS", help="Of lm-eval run: --tasks, --num_fewshot, --limit, ..."),
    ] = None,
) -> None:
    """Evaluate a run on the tasks of lm-eval, which it downloads, or on your own with --include_path.

    Further settings go into --model_args: precision, add_bos_token, batch_tokens.

    Example: nextword lm-eval runs/book --tasks lambada_openai,arc_easy --limit 100
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingExtra("lm-eval", "eval", "nextword lm-eval")
    from nextword.checkpoint import read_config

    read_config(run)  # what is no run is said before all else is loaded
    if not {"--tasks", "-t", "--config", "-C"} & {option.partition("=")[0] for option in options or []}:
        raise UsageError(
            "no task is named", hint="Name some: --tasks lambada_openai,arc_easy; lm-eval ls tasks has all"
        )
    from nextword.interop.lm_eval import main

    try:
        main(["run", "--model", "nextword", "--model_args", json.dumps({"path": str(run)}), *(options or [])])
    except ValueError as error:  # what lm-eval says of a wrong option
        raise UsageError(f"lm-eval: {' '.join(str(error).split())[:400]}") from error
