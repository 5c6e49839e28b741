"""Generated texts as JSON values: with their figures for `--json`, and with how they came about for `--trace`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nextword.decoding.config import GenerationConfig
    from nextword.decoding.trace import Stage, TracedStep
    from nextword.generator import Generation
    from nextword.tokenizers import Tokenizer


def trace_document(
    tokenizer: Tokenizer, prompt: str, config: GenerationConfig, generations: Sequence[Generation]
) -> dict[str, Any]:
    """Everything that happened, as JSON values; log-probabilities and entropies are in nats.

    {"prompt", "settings": all fields of GenerationConfig,
     "texts": best first where the search ranks them, each
        {"text", "finish_reason", "token_ids", "log_prob", "score", "seed",
         "steps": one a token, none where a search compares whole texts, each
            {"token", "text", "log_prob", "rank", "entropy": by the model alone,
             "stages": the distribution of the model, then after each setting that acted, each
                {"name", "kept": tokens left, "removed": probability taken out, "moved": probability that changed its
                 token, "top": the likeliest, at most 20, each {"token", "text", "prob"}}}},
     "beams": of a beam search its tree, one entry a step and group of beams, each
        {"step", "group", "beams": each {"from": which beam of the step before, counted over all groups still at work,
         "token", "text", "total": sum of log-probabilities, after all settings}}}
    """

    def named(token: int) -> dict[str, Any]:
        return {"token": token, "text": tokenizer.token_text(token)}

    def stage(stage: Stage) -> dict[str, Any]:
        top = [named(token) | {"prob": prob} for token, prob in stage.top]
        return {"name": stage.name, "kept": stage.kept, "removed": stage.removed, "moved": stage.moved, "top": top}

    def step(step: TracedStep) -> dict[str, Any]:
        figures = {"log_prob": step.log_prob, "rank": step.rank, "entropy": step.entropy}
        return named(step.token) | figures | {"stages": [stage(s) for s in step.stages]}

    traces = [generation.trace for generation in generations if generation.trace is not None]
    return {
        "prompt": prompt,
        "settings": config.model_dump(mode="json"),
        "texts": [
            as_dict(generation) | {"steps": [step(s) for s in generation.trace.steps] if generation.trace else []}
            for generation in generations
        ],
        "beams": [
            entry | {"beams": [{"from": row} | named(token) | {"total": total} for row, token, total in entry["beams"]]}
            for entry in (traces[0].beams if traces else [])
        ],
    }


def as_dict(generation: Generation) -> dict[str, Any]:
    """A text and its figures, as JSON values, without prompt and trace."""
    names = ["text", "finish_reason", "token_ids", "log_prob", "score", "seed"]
    names += ["acceptance_rate"] if generation.acceptance_rate is not None else []
    return {name: getattr(generation, name) for name in names}
