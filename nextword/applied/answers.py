"""What a run answers to many prompts, side by side in one batch, however long a prompt is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nextword.errors import NextwordError
from nextword.generator import Generation, Job, TextGenerator
from nextword.metrics.overlap import chrf
from nextword.scoring import boundary_id

Prompt = str | Sequence[int]
"""A text; or ids, the boundary token before them or not."""


@dataclass(frozen=True)
class Answer:
    """To one prompt."""

    generations: list[Generation]
    """The best first."""
    cut: int
    """Tokens of the prompt that the model's context could not hold, and did not read."""

    @property
    def text(self) -> str:
        """The best one, without white space around it."""
        return self.generations[0].text.strip()


def answers(
    generator: TextGenerator,
    prompts: Sequence[Prompt],
    settings: Mapping[str, Any] | Callable[[int], Mapping[str, Any]],
    told: Callable[[Any], object] = lambda prompt: None,
) -> list[Answer]:
    """The answer to each prompt, in order; `settings` of GenerationConfig are those of all, or of the i-th.

    With a seed, prompt i is answered with seed + i. `told` is called after each. Raises UsageError for settings.
    """
    cuts = [fitted(generator, prompt) for prompt in prompts]
    jobs: dict[int, Job] = {}
    try:
        # Prompts of like length are read together, with little padding; long ones first, for they take longest.
        for i in sorted(range(len(cuts)), key=lambda i: len(cuts[i][0]), reverse=True):
            chosen = dict(settings(i) if callable(settings) else settings)
            if chosen.get("seed") is not None:
                chosen["seed"] += i
            jobs[i] = generator.submit_ids(cuts[i][0], **chosen)
        waiting = set(jobs)
        while waiting:
            generator.step()
            for i in [i for i in waiting if jobs[i].finished]:
                waiting.remove(i)
                told(prompts[i])
        return [Answer(jobs[i].results(chrf), cut) for i, (_, cut) in enumerate(cuts)]
    except (NextwordError, KeyboardInterrupt):
        for job in jobs.values():
            generator.cancel(job)
        raise


def fitted(generator: TextGenerator, prompt: Prompt) -> tuple[list[int], int]:
    """(ids of the prompt from the boundary on, how many tokens of it were cut off).

    As in training: of what does not fit a source loses its end, and a prompt all but the last half of a context, so
    that the other half is left to the answer.
    """
    tokenizer, model = generator.tokenizer, generator.model
    boundary = boundary_id(tokenizer)
    if isinstance(prompt, str):
        ids = tokenizer.source.encode(generator.as_prompt(prompt))
    else:
        ids = list(prompt[prompt[:1] == [boundary] :])
    limit = model.max_seq_len
    if limit is not None and model.encodes:
        kept = ids[: limit - 1]
    elif limit is not None and len(ids) >= limit:
        kept = ids[len(ids) - limit // 2 :]
    else:
        kept = ids
    return [boundary, *kept], len(ids) - len(kept)


def in_portions(prompts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """So many prompts at a time."""
    return (prompts[at : at + size] for at in range(0, len(prompts), size))
