"""`nextword lm-eval`: a run in EleutherAI's evaluation harness."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Annotated

import typer

from nextword.errors import MissingExtra

CONTEXT = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": ["-h", "--help"]}


def lm_eval(
    run: Annotated[
        Path, typer.Argument(help="Folder written by nextword train or nextword import.", show_default=False)
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OPTIONS OF lm-eval run]...", help="--tasks, --num_fewshot, --limit, ..."),
    ] = None,
) -> None:
    """Evaluate a run on the tasks of lm-eval, which are downloaded, or on your own with --include_path.

    Further settings go into --model_args: device, precision, add_bos_token, batch_tokens.

    Example: nextword lm-eval runs/book --tasks lambada_openai,arc_easy --limit 100
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingExtra("lm-eval", "eval", "nextword lm-eval")
    from nextword.checkpoint import read_config
    from nextword.interop.lm_eval import main

    read_config(run)  # what is no run is said before all else is loaded
    main(["run", "--model", "nextword", "--model_args", json.dumps({"path": str(run)}), *(options or [])])
