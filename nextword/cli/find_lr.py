"""`nextword train ... --find-lr PICTURE`: which learning rate suits this model and this text. No run is made."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def try_and_tell(
    picture: Path, as_json: bool, values: Mapping[str, Mapping[str, Any]], data: Sequence[str], **options: Any
) -> None:
    """Try learning rates on the model and the text that `new_run` would train with, draw the loss, suggest one.

    What is made for it lies in a temporary folder and goes again. Raises UsageError for a picture that is no SVG.
    """
    from nextword.cli.console import counting, out, progress_bars
    from nextword.errors import UsageError
    from nextword.files import write_text
    from nextword.report.rates import rates_svg
    from nextword.training import range_test
    from nextword.training.new_run import new_run

    if picture.suffix != ".svg":
        raise UsageError(f"--find-lr {picture}: the picture is an SVG file", hint="Give it a name that ends in .svg")
    with tempfile.TemporaryDirectory(prefix="nextword-") as folder:
        with progress_bars() as progress:
            session = new_run(values, data, Path(folder) / "run", progress=progress, **options)
        with counting("trying learning rates", range_test.STEPS) as advance:
            losses = []
            for step in range_test.try_rates(session.trainer):
                losses.append(step.loss)
                advance(f"{step.lr:.1e}  loss {step.loss:.3f}")
    found = range_test.judge(losses)
    marks = [("falls fastest", found.steepest), ("suggested", found.suggestion), ("lowest", found.lowest)]
    write_text(picture, rates_svg(found.rates, found.losses, found.smooth, marks))
    if as_json:
        names = ("suggestion", "steepest", "lowest", "diverged", "rates", "losses")
        print(json.dumps({name: getattr(found, name) for name in names} | {"picture": str(picture)}, indent=2))
        return
    until = "where it diverged" if found.diverged else "without diverging"
    out.print(
        f"tried {found.rates[0]:.0e} to {found.rates[-1]:.2g} in {len(found.rates)} steps, {until}: the loss fell "
        f"fastest at {found.steepest:.2g} and was lowest at {found.lowest:.2g}"
    )
    out.print(
        f"suggested: --set train.learning_rate={found.suggestion:g} (half way between the two, on a logarithmic scale: "
        "what is good for a step at this point is too much for a whole run)"
    )
    out.print(f"picture: {picture}", markup=False)
