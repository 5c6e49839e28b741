"""What a person names as the source of an import: told apart by what it is, not by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nextword.errors import RunError, UsageError
from nextword.interop import huggingface, reference
from nextword.interop.foreign import Foreign
from nextword.interop.reference import Encode

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
PICKLES = (b"PK", b"\x80")  # torch.save's, now and of old


@dataclass(frozen=True)
class Source:
    """A model that has been read, and what a comparison needs besides."""

    foreign: Foreign
    name: str
    """For people: a name of the hub, or that of the folder or file."""
    their_tokenizers: Sequence[Callable[[], Encode]] = ()
    """How other libraries read its tokenizer; empty: from the text of the tokenizer.json."""


def read_source(source: str, scratch: Path, tokenizer: Path | None = None) -> Source:
    """A Hugging Face folder, a GGUF file, a llama2.c file, or the name of a model of the hub.

    A model of the hub is fetched into the folder `scratch`, which must last as long as what is returned. `tokenizer`
    is a file or folder that takes the place of its own, or that a llama2.c file needs. Raises UsageError
    if there is nothing of that name, RunError for what is damaged or of no known kind.
    """
    path, name = Path(source), source
    if tokenizer is not None and not tokenizer.exists():
        raise UsageError(f"--tokenizer {tokenizer}: there is no such file or folder")
    if not path.exists():
        if path.is_absolute() or not HUB_NAME.fullmatch(source):
            raise UsageError(f"there is no file or folder {source}", hint="Name a Hugging Face folder or a GGUF file")
        path = scratch
        huggingface.download(source, path)
    else:
        name = path.resolve().name
    if path.is_dir():
        foreign = huggingface.read_folder(path, tokenizer)
        theirs = () if tokenizer else reference.tokenizers_of(path)
        return Source(foreign, name, theirs)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"GGUF":
        from nextword.interop.gguf import read_gguf

        return Source(read_gguf(path), name)
    if magic.startswith(PICKLES):
        raise RunError(f"{path} is a pickle, which can run code and is never read", hint="Look for it in safetensors")
    if path.suffix == ".bin":
        from nextword.interop.llama2c import read_llama2c

        return Source(read_llama2c(path, tokenizer), name)
    raise RunError(
        f"{path} is of no known kind", hint="Name a Hugging Face folder, a GGUF file or a llama2.c .bin file"
    )
