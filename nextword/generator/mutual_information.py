"""Against "I don't know": of several replies, the one that says most about what it answers.

A dull reply is likely whatever was said. Maximum mutual information takes off how likely it is by itself: MMI-antiLM of
Li et al. 2016, "A Diversity-Promoting Objective Function for Neural Conversation Models", equation 9, by token here, as
their length would decide otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nextword.generator.job import Generation
from nextword.models.base import LanguageModel
from nextword.scoring import score_continuations


def by_mutual_information(
    model: LanguageModel, candidates: Sequence[Generation], nothing: Sequence[int], weight: float
) -> list[Generation]:
    """The candidates, best first, by (ln P(reply | what was said) - weight * ln P(reply | nothing)) / tokens.

    Each has a token. `nothing`: the ids of a prompt in which nothing was said. A weight of 0 gives the likeliest, 1 the
    mutual information. Raises UsageError for a model with an encoder.
    """
    alone = dict(score_continuations(model, [(nothing, candidate.token_ids) for candidate in candidates]))
    scored = [
        replace(candidate, score=(candidate.log_prob - weight * alone[i].log_prob) / len(candidate.token_ids))
        for i, candidate in enumerate(candidates)
    ]
    return sorted(scored, key=lambda candidate: candidate.score, reverse=True)
