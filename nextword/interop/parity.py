"""The proof of a crossing: our model and `transformers`' of the same weights, asked the same.

Logits on fixed and on random prompts (a model that encodes reads each as a source, and as the answer to it), greedy
continuations, and token ids of lines in many scripts. The two are never in memory at once.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nextword.errors import RunError
from nextword.interop.reference import Encode
from nextword.models import LanguageModel
from nextword.tokenizers import Tokenizer

TOLERANCE = 1e-4
"""Largest difference of two logits that float32 arithmetic explains, as a share of the largest logit, if that is over
1. Rounding grows with the numbers: SmolLM2-135M's logits reach 37, and either library's are 3e-4 from float64's."""
ROUNDING = 3
"""A larger difference will do where rounding to float32 alone moves our logits by a third of it: a model may be that
sensitive at some prompt. SmolLM2-135M, tuned, moves by 1.4e-2 at the Chinese one, and by 1e-4 at all others."""
LONGEST = 48  # tokens of a prompt; more where a window of up to LONGEST_WINDOW would not be passed
LONGEST_WINDOW = 512
GREEDY = 16  # tokens to continue with
PROMPTS = (
    "The moon rose over the hills, and",
    "床前明月光，疑是地上霜。",
    "def area(radius):\n    return 3.14159 *",
    "Ceci n'est pas une pipe. ¿Qué hora es? Привет, мир!",
)
LINES = (
    *PROMPTS,
    "The quick brown fox jumps over the lazy dog.",
    "  two spaces before,  two between, and two after  ",
    "tabs\tand\nnew\r\nlines\n\n\nand an end\n",
    "It's they'll I'd WE'RE 'tis; 1,234.56 2026-01-31 $9.99 100% #1",
    "https://example.org/a?b=c&d=%20#e  user@example.org",
    "Größe, naïve, coöperate, señor, Ångström, İstanbul, ß",
    "日本語のテキスト、カタカナとひらがな。한국어 문장입니다.",
    "أهلا بالعالم  שלום עולם  हिन्दी में एक वाक्य  ภาษาไทย",
    "Ελληνικά, Українська, Tiếng Việt, 繁體中文，简体中文",
    "👩‍👩‍👧 🙂🏽 🇪🇺 ① ½ ﬁ Ａ ∑∫√ ∞ ≤ ≥ \u200b\u00a0\ufeff é e\u0301",
    "<html> [brackets] {braces} |pipes| \\back\\slash `code` ~tilde~ ^caret^",
    "aaaaaaaaaaaaaaaaaaaaaaaa ........................ ------------------------",
)
"""Lines that no special token occurs in."""


class ParityError(RunError):
    """The two differ."""


@dataclass(frozen=True)
class Parity:
    """What a comparison found."""

    difference: float
    """The largest between two logits."""
    largest: float
    """The largest logit, by magnitude."""
    prompts: int
    greedy: int
    """Continuations that are the same, of `continued`; where two tokens are equally likely, either will do."""
    continued: int
    lines: int
    """Lines with the same token ids, of `compared`."""
    compared: int
    rounding: float = 0.0
    """How far rounding to float32 moves our logits at the prompts of larger differences; 0: there are none, or that
    does not explain them."""
    note: str = ""
    """By what the ids were compared, if not by AutoTokenizer."""

    def __str__(self) -> str:
        rounding = f", where rounding alone makes {self.rounding:.1e}," if self.rounding else ""
        return (
            f"largest difference of logits {self.difference:.1e} (of up to {self.largest:.3g}){rounding} on "
            f"{self.prompts} prompts, greedy text equal on "
            f"{self.greedy} of {self.continued}, token ids equal on {self.lines} of {self.compared} lines{self.note}"
        )

    def check(self) -> None:
        """Raises ParityError unless logits, texts and ids agree."""
        close = self.difference < max(TOLERANCE * max(1, self.largest), ROUNDING * self.rounding)
        if not (close and self.greedy == self.continued and self.lines == self.compared):
            raise ParityError(
                f"it is not the same as in transformers: {self}; expected a difference under {TOLERANCE:.0e} of them"
            )


def available() -> bool:
    """Whether `transformers` is installed."""
    return importlib.util.find_spec("transformers") is not None


@dataclass(frozen=True)
class Answers:
    """What a model says to the prompts."""

    logits: list[Tensor]
    """(T, V) of each prompt."""
    greedy: list[list[int]]
    """Continuations of the first of them; of a model that encodes, answers to them."""
    first: list[Tensor]
    """(V,) logits of the first token of each continuation."""


def compare(
    load: Callable[[], tuple[LanguageModel, Tokenizer]],
    their_model: Callable[[], Any],
    their_tokenizers: Sequence[Callable[[], Encode]],
) -> Parity:
    """Ask ours, let go of it, and ask theirs. Of several ways to read the tokenizer, the first that agrees counts.

    Raises ParityError if `transformers` refuses what it is given.
    """
    model, tokenizer = load()
    prompts = list(_prompts(tokenizer, model))
    steps = min(GREEDY, (model.max_seq_len or GREEDY) // 2)
    ours = _our_answers(model, prompts, tokenizer.eos_id, steps)
    del model
    with _quiet_transformers():
        theirs = _their_answers(their_model(), prompts, tokenizer.eos_id, steps)
        equal, note = 0, ""
        for load_tokenizer in their_tokenizers:
            encode = load_tokenizer()
            found = sum(encode.agrees(tokenizer, line) for line in LINES)
            if found > equal:
                equal, note = found, encode.note
            if equal == len(LINES):
                break
    pairs = list(zip(ours.logits, theirs.logits, strict=True))
    differences = [float((a - b).abs().max()) for a, b in pairs]
    largest = max(float(b.abs().max()) for _, b in pairs)
    doubtful = [i for i, found in enumerate(differences) if not found < TOLERANCE * max(1, largest)]  # nan, too
    moved = _rounding(load, [(prompts[i], ours.logits[i]) for i in doubtful]) if doubtful else []
    explained = all(differences[i] < ROUNDING * by for i, by in zip(doubtful, moved, strict=True))
    same = [_same(a, b, first) for a, b, first in zip(ours.greedy, theirs.greedy, ours.first, strict=True)]
    rounding = max(moved, default=0.0) if explained else 0.0
    counts = (len(prompts), sum(same), len(same), equal, len(LINES))
    return Parity(_largest(differences), largest, *counts, rounding, note)


def _prompts(tokenizer: Tokenizer, model: LanguageModel) -> Iterator[list[int]]:
    """Fixed ones, then two of random ids that reach beyond the window, if it is not too large."""
    limit = model.max_seq_len or LONGEST
    room = max(1, min(LONGEST, limit - min(GREEDY, limit // 2)))
    for text in PROMPTS:
        yield [tokenizer.bos_id, *tokenizer.encode(text)][:room]
    window = getattr(model.config, "window", 0)
    length = min(limit, LONGEST + (window if window <= LONGEST_WINDOW else 0))
    rng = torch.Generator().manual_seed(0)
    yield from torch.randint(model.output.out_features, (2, length), generator=rng).tolist()


def _source(prompt: Sequence[int], eos: int) -> Tensor:
    """(1, S) ids of a prompt as a model that encodes reads it."""
    return torch.tensor([[*prompt[1:], eos]])


def _our_logits(model: LanguageModel, prompt: Sequence[int], eos: int) -> Tensor:
    """(T, V)"""
    state = model.encode(_source(prompt, eos), torch.tensor([len(prompt)])) if model.encodes else None
    return model(torch.tensor([prompt]), state)[0][0].float()


@torch.inference_mode()
def _our_answers(model: LanguageModel, prompts: Sequence[list[int]], eos: int, steps: int) -> Answers:
    continuations, firsts = [], []
    for prompt in prompts[: len(PROMPTS)]:
        if model.encodes:
            tokens, state = torch.tensor([prompt[:1]]), model.encode(_source(prompt, eos), torch.tensor([len(prompt)]))
        else:
            tokens, state = torch.tensor([prompt]), model.init_state(1)
        found: list[Tensor] = []
        for _ in range(steps):
            logits, after = model(tokens, state)
            assert after is not None  # a state was handed in
            found.append(logits[0, -1])
            tokens, state = logits[:, -1:].argmax(-1), after
        firsts.append(found[0])
        continuations.append([int(logits.argmax()) for logits in found])
    return Answers([_our_logits(model, prompt, eos) for prompt in prompts], continuations, firsts)


@torch.inference_mode()
def _their_answers(model: Any, prompts: Sequence[list[int]], eos: int, steps: int) -> Answers:
    def ask(prompt: list[int], tokens: Tensor, **more: Any) -> Any:
        if encodes:
            return model(input_ids=_source(prompt, eos), decoder_input_ids=tokens, **more)
        return model(tokens, **more)

    encodes = model.config.is_encoder_decoder
    continuations, firsts = [], []
    for prompt in prompts[: len(PROMPTS)]:
        past, tokens = None, torch.tensor([prompt[:1] if encodes else prompt])
        found: list[Tensor] = []
        for _ in range(steps):
            out = ask(prompt, tokens, past_key_values=past, use_cache=True)
            found.append(out.logits[0, -1])
            past, tokens = out.past_key_values, out.logits[:, -1:].argmax(-1)
        firsts.append(found[0])
        continuations.append([int(logits.argmax()) for logits in found])
    logits = [ask(prompt, torch.tensor([prompt])).logits[0].float() for prompt in prompts]
    return Answers(logits, continuations, firsts)


def _rounding(
    load: Callable[[], tuple[LanguageModel, Tokenizer]], answers: Sequence[tuple[list[int], Tensor]]
) -> list[float]:
    """How far our logits at each prompt are from those in double precision."""
    model, tokenizer = load()
    model = model.double()
    with torch.inference_mode():
        exact = [_our_logits(model, prompt, tokenizer.eos_id) for prompt, _ in answers]
    return [float((a - b).abs().max()) for a, (_, b) in zip(exact, answers, strict=True)]


def _largest(values: Sequence[float]) -> float:
    """Of some numbers; nan if one of them is."""
    return float(torch.tensor(values).max())


def _same(ours: list[int], theirs: list[int], first: Tensor) -> bool:
    """Whether two continuations agree; the first token may differ where the two best logits are as good as equal."""
    if ours == theirs:
        return True
    best, second = first.topk(2).values.tolist()
    return ours[:1] != theirs[:1] and best - second < 2 * TOLERANCE


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """What it says of itself is not for our users; what it raises becomes one line."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (RunError, KeyboardInterrupt):
        raise
    except Exception as error:  # any bug or refusal of the library
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ParityError(f"transformers cannot load it: {reason}") from None
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()
