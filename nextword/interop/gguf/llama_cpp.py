"""Questions to llama.cpp, by way of the library xllamacpp: what follows a prompt, and how likely it is.

Meant for a process of its own: llama.cpp talks to stderr, and where it cannot read a file it may end the process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

MOST_TOLD = 100  # tokens of each answer


class Answer(NamedTuple):
    """What llama.cpp says to one prompt."""

    length: int
    """Tokens that it read."""
    likely: dict[int, float]
    """The likeliest next tokens, the first of them the likeliest, with the logarithms of their probabilities."""


def ask(path: str, prompts: Sequence[str | list[int]], vocab_size: int, letter: int, context: int) -> list[Answer]:
    """Prompts are texts or ids; `letter` is a token with a visible text, `context` the longest prompt.

    llama.cpp tells probabilities once it has a character to show. So it is made to choose `letter`, which changes
    nothing about what it tells.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel, params.warmup = context, 1, False
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED  # it works in halves
    server = xllamacpp.Server(params)
    wanted = {"n_predict": 1, "temperature": 0, "n_probs": min(vocab_size, MOST_TOLD), "logit_bias": [[letter, 1000]]}
    answers = []
    for prompt in prompts:
        found = server.handle_completions({"prompt": prompt, **wanted})
        likely = found["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        count = int(found["usage"]["prompt_tokens"])
        answers.append(Answer(count, {token["id"]: token["logprob"] for token in likely}))
    return answers
