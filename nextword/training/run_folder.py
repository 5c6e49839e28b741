"""The folder of a new run: may it be written, and how a run that is ready takes the place of an older one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nextword.checkpoint import CONFIG, GENERATION, WEIGHTS, Run, read_config
from nextword.data.prepare import TOKENIZER_FILES
from nextword.errors import RunError
from nextword.files import TEMPORARY
from nextword.tokenizers.chat import CHAT_TEMPLATE
from nextword.training import resume
from nextword.training.adapting import ADAPTER
from nextword.training.logs import DOCTOR, FINDINGS, METRICS, SAMPLES

DATA, CARD = "data", "README.md"
OURS = (
    *(CONFIG, WEIGHTS, ADAPTER, GENERATION, *TOKENIZER_FILES, CHAT_TEMPLATE, CARD, DATA),
    *(METRICS, SAMPLES, FINDINGS, DOCTOR, resume.FOLDER, "tensorboard", "wandb", "loss.svg", "loss.png"),
)
"""What a run folder holds: all that overwriting a run removes."""
STAGING = ".new-"  # begins the name of the folder in which a run is made ready


def check_free(out: Path, overwrite: bool, remedy: str = "Replace it by --overwrite, or give another --out") -> None:
    """Make sure `out` may become a new run. Raises RunError, with `remedy` if it holds one."""
    if not out.exists():
        return
    if not out.is_dir():
        raise RunError(f"{out} is a file, expected a folder to write", hint="Give another --out")
    if not any(not path.name.startswith(STAGING) for path in out.iterdir()):
        return
    try:
        read_config(out)
    except RunError as error:
        raise RunError(f"{out} holds other things, and no run that can be read", hint="Give another --out") from error
    if not overwrite:
        raise RunError(f"{out} already holds a run", hint=remedy)


@contextmanager
def replacing_run(out: Path) -> Iterator[Path]:
    """A folder inside `out` to make a run ready in; when the block ends well, its contents replace the older run.

    Inside, because `out` itself may be a mount point, a link, or where the user stands. Files that are not part
    of a run stay.
    """
    created = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=out, prefix=STAGING, suffix=TEMPORARY))
    try:
        yield staging
        for path in [*(out / name for name in OURS), *out.glob(f"{STAGING}*"), *out.glob(f".*{TEMPORARY}")]:
            if path.is_dir() and path != staging:
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()
        for path in staging.iterdir():
            path.replace(out / path.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if created:
            with suppress(OSError):  # not empty: the run is there
                out.rmdir()


def inherit(folder: Path, source: Run) -> dict[str, Any]:
    """Give a run that keeps the tokenizer of `source` how that one generates and chats; returns what its config.json
    says of where it came from."""
    for name in (GENERATION, CHAT_TEMPLATE):
        if (source.folder / name).is_file():
            shutil.copyfile(source.folder / name, folder / name)
    return {name: source.config[name] for name in ("origin",) if name in source.config}
