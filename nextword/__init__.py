"""nextword: train language models on your own text, score any text by the chain rule, generate.

>>> import nextword                                            # doctest: +SKIP
>>> generator = nextword.load("runs/poems")                    # doctest: +SKIP
>>> generator.generate("The moon", temperature=0.8).text       # doctest: +SKIP
>>> nextword.chat("runs/talk").say("How are you?").text         # doctest: +SKIP

Names load what they need when they are first used: `import nextword` alone loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from nextword.decoding.config import GenerationConfig
    from nextword.generator import TextGenerator
    from nextword.generator.chat import Chat

    __version__: str

__all__ = ["Chat", "GenerationConfig", "TextGenerator", "__version__", "chat", "load"]

_HOMES = {
    "Chat": "nextword.generator.chat",
    "GenerationConfig": "nextword.decoding.config",
    "TextGenerator": "nextword.generator",
}


def load(run: str | Path, device: str = "cpu", precision: str = "float32") -> TextGenerator:
    """The trained run in folder `run`, ready to score and generate. Raises RunError if it cannot be read."""
    from nextword.generator import TextGenerator

    return TextGenerator.load(run, device=device, precision=precision)


def chat(run: str | Path, system: str = "", *, device: str = "cpu", precision: str = "float32", **options: Any) -> Chat:
    """A conversation with the run in folder `run`, by its chat template; `options` are those of `Chat`.

    Raises RunError if it cannot be read, UsageError for an unknown setting.
    """
    from nextword.generator.chat import Chat

    return Chat.load(run, system, device=device, precision=precision, **options)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("nextword")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nextword' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
