"""Requests run to their end, for the tests of the engine and its searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nextword.decoding.config import GenerationConfig, TokenSettings
from nextword.decoding.engine import Engine
from nextword.decoding.requests import Continuation, Ended, Failed, Request
from nextword.models import LanguageModel, build_model, model_config

EOS = 0
V = 17


def request(prompt: Sequence[int] = (EOS, 3, 5), seed: int = 0, eos: int | None = EOS, **settings: Any) -> Request:
    """A request; what belongs to Request goes there, the rest into its GenerationConfig."""
    own = {name: settings.pop(name) for name in ("constraint", "negative", "ends", "trace", "keep") if name in settings}
    config = GenerationConfig(**({"max_tokens": 20} | settings))
    return Request(list(prompt), config, seed, TokenSettings(eos_id=eos), **own)


def run(
    model: LanguageModel | Engine, requests: Sequence[Request], steps: int = 10_000
) -> dict[tuple[int, int], Continuation]:
    """{(number of the request, sample): its continuation}. A failed request is raised."""
    engine = model if isinstance(model, Engine) else Engine(model)
    for one in requests:
        engine.submit(one)
    results = {}
    while not engine.idle and (steps := steps - 1):
        for event in engine.step():
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Ended):
                results[requests.index(event.request), event.sample] = event.result
    return results


def continue_one(model: LanguageModel | Engine, **settings: Any) -> Continuation:
    """The only continuation of a request of its own."""
    return run(model, [request(**settings)])[0, 0]


def tiny(kind: str, max_seq_len: int = 32) -> LanguageModel:
    """A random model with an opinion, of 17 tokens."""
    import torch

    torch.manual_seed(4)
    sizes: dict[str, Any] = {"type": kind, "vocab_size": V, "hidden_size": 16, "num_layers": 2}
    model = build_model(
        model_config(sizes | ({"num_heads": 2, "max_seq_len": max_seq_len} if kind == "transformer" else {}))
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3 if kind == "lstm" else 8 if parameter.dim() > 1 else 1)
    return model.eval()
