"""A run as a GGUF file, and the proof: llama.cpp, if its Python library is there, is asked the same as our model.

Log-probabilities of the likeliest tokens after fixed prompts, along our greedy continuation of each, after prompts of
random ids, and after lines of text in many scripts, where other token ids would give other probabilities.
"""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nextword import checkpoint
from nextword.errors import RunError
from nextword.files import replacing
from nextword.interop import parity
from nextword.interop.convert import run_as_foreign
from nextword.interop.foreign import Foreign
from nextword.interop.gguf.llama_cpp import Answer, ask
from nextword.interop.gguf.writer import Quantization, write_gguf
from nextword.models import LanguageModel

TOLERANCE = {"F32": 1e-4, "F16": 0.1, "Q8_0": 1.0}
"""Largest difference of two log-probabilities that rounding explains, as a share of the largest logit, if that is over
1. llama.cpp rounds what it multiplies with halves to halves, and with 8 bits to 8 bits."""
HALF_GELU = 1e-2  # of F32, where an activation is GELU: llama.cpp looks it up in a table of halves
CLOSE = 1e-3  # a likelier token by less than this is no difference of greedy texts


@dataclass(frozen=True)
class Proof:
    """What a comparison found."""

    difference: float
    """The largest between two log-probabilities."""
    limit: float
    """What rounding explains."""
    positions: int
    greedy: int
    """Positions of `continued` where both find the same token likeliest."""
    continued: int
    lines: int
    """Lines of `compared` that both cut into the same tokens."""
    compared: int

    def __str__(self) -> str:
        return (
            f"largest difference of log-probabilities {self.difference:.1e} at {self.positions} positions, greedy "
            f"tokens equal at {self.greedy} of {self.continued}, token ids equal on {self.lines} of {self.compared} "
            "lines"
        )

    @property
    def holds(self) -> bool:
        """Whether only rounding lies between the two. Lines may be cut differently where the file cannot say how."""
        return self.difference <= self.limit


@dataclass(frozen=True)
class Export:
    """What came of an export."""

    path: Path
    quantization: Quantization
    parameters: int
    proof: Proof | None
    """None: not compared."""


def available() -> bool:
    """Whether llama.cpp can be asked."""
    return importlib.util.find_spec("xllamacpp") is not None


def export_gguf(
    run: Path, out: Path, quantization: Quantization = "F16", check: bool = True, keep: bool = False
) -> Export:
    """Write a run as a GGUF file and compare it with llama.cpp, if that is installed and `check` is set.

    Raises UsageError or RunError for what the format cannot say, and if llama.cpp finds other probabilities; then
    nothing is kept, unless `keep` is set.
    """
    foreign, _, _ = run_as_foreign(run)
    proof = None
    with replacing(out) as temporary:
        write_gguf(temporary, foreign, quantization)
        loaded = checkpoint.load_run(run)
        count = loaded.model.num_parameters()
        if check and available():
            proof = _compare(temporary, loaded.model, foreign, quantization)
            if not proof.holds and not keep:
                raise RunError(
                    f"it is not the same in llama.cpp: {proof}; expected at most {proof.limit:.1e}",
                    hint="Keep it all the same: --keep",
                )
    return Export(out, quantization, count, proof)


@dataclass(frozen=True)
class _Question:
    prompt: str | list[int]
    length: int
    """Tokens of the prompt."""
    expected: torch.Tensor
    """(V,) logits by our model."""


def _compare(path: Path, model: LanguageModel, foreign: Foreign, quantization: Quantization) -> Proof:
    import tokenizers

    backend = tokenizers.Tokenizer.from_str(foreign.tokenizer)
    longest = model.max_seq_len or parity.LONGEST
    with torch.inference_mode():
        continued = [q for text in parity.PROMPTS for q in _along(model, backend.encode(text).ids, longest)]
        drawn = list(_drawn(model, longest))
        lines = [q for line in parity.LINES if (q := _line(model, line, backend.encode(line).ids, longest))]
    questions = [*continued, *drawn, *lines]
    size = model.output.out_features
    answers = _asked(path, [q.prompt for q in questions], size, _letter(backend), longest)
    differences = [_difference(q.expected.log_softmax(-1), a) for q, a in zip(questions, answers, strict=True)]
    agree = [_agree(q.expected.log_softmax(-1), a) for q, a in zip(continued, answers, strict=False)]
    tolerance = TOLERANCE[quantization]
    if "gelu" in getattr(model.config, "activation", ""):
        tolerance = max(tolerance, HALF_GELU)
    limit = tolerance * max(1.0, *(float(q.expected.abs().max()) for q in questions))
    asked = len(continued) + len(drawn)
    alike = [
        answer.length == question.length and difference <= limit
        for question, answer, difference in zip(lines, answers[asked:], differences[asked:], strict=True)
    ]
    return Proof(max(differences[:asked]), limit, asked, sum(agree), len(agree), sum(alike), len(alike))


def _along(model: LanguageModel, ids: list[int], longest: int) -> Iterator[_Question]:
    """A prompt, and it with more and more of our greedy continuation."""
    steps = max(1, min(parity.GREEDY, longest // 2))
    ids = ids[: max(1, min(parity.LONGEST, longest - steps))]
    state, tokens = model.init_state(1), torch.tensor([ids])
    for _ in range(steps):
        out, state = model(tokens, state)
        row = out[0, -1].float()
        yield _Question(list(ids), len(ids), row)
        ids = [*ids, int(row.argmax())]
        tokens = torch.tensor([ids[-1:]])


def _drawn(model: LanguageModel, longest: int) -> Iterator[_Question]:
    """Prompts of random ids."""
    rng = torch.Generator().manual_seed(0)
    for length in sorted({1, max(1, longest // 2), max(1, longest - 1)}):
        length = min(length, 4 * parity.LONGEST)
        ids = torch.randint(model.output.out_features, (length,), generator=rng).tolist()
        yield _Question(ids, length, model(torch.tensor([ids]))[0][0, -1].float())


def _line(model: LanguageModel, line: str, ids: list[int], longest: int) -> _Question | None:
    """A text, for llama.cpp to cut; None if it does not fit the context."""
    if not 0 < len(ids) < longest:
        return None
    return _Question(line, len(ids), model(torch.tensor([ids]))[0][0, -1].float())


def _letter(backend: Any) -> int:
    """A token that shows as text by itself."""
    for letter in "etaoinshrdlu .0,-的一\n":
        ids = backend.encode(letter, add_special_tokens=False).ids
        if len(ids) == 1 and backend.decode(ids).strip(" ") == letter.strip(" "):
            return int(ids[0])
    raise RunError("no letter is a token of its own, so llama.cpp cannot be asked", hint="Leave it: --no-check")


def _asked(path: Path, prompts: list[str | list[int]], size: int, letter: int, longest: int) -> list[Answer]:
    """The answers of llama.cpp, in a process of its own. Raises RunError if it cannot read the file."""
    context = min(longest, 4 * parity.LONGEST) + 1
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(ask, str(path), prompts, size, letter, context).result()
    except BrokenProcessPool:
        raise RunError("llama.cpp cannot read the file: it ended while loading it") from None
    except (RuntimeError, KeyError, TypeError, IndexError) as error:
        raise RunError(f"llama.cpp cannot read the file: {str(error) or repr(error)}".splitlines()[0]) from None


def _difference(expected: torch.Tensor, answer: Answer) -> float:
    """The largest between two log-probabilities, of the tokens that llama.cpp told of; infinite if one is no number."""
    found = torch.tensor(list(answer.likely.values()))
    difference = float((expected[list(answer.likely)] - found).abs().max())
    return difference if math.isfinite(difference) else math.inf


def _agree(expected: torch.Tensor, answer: Answer) -> bool:
    """Whether both find the same token likeliest, or ours finds theirs as good as equally likely."""
    theirs = max(answer.likely, key=answer.likely.__getitem__)
    return float(expected.max() - expected[theirs]) < CLOSE
