"""A new run that begins with the weights of another one: the same network, and as much of its vocabulary as fits.

With the same tokenizer every weight is taken over. With another one, a token that both know by the same name keeps its
row of the embedding and of the output layer; a new token begins as the mean of those.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nextword.errors import UsageError
from nextword.models.base import LanguageModel
from nextword.tokenizers import Tokenizer


@dataclass(frozen=True)
class Transplant:
    """What was taken over."""

    parameters: int
    """Values copied."""
    known: int
    """Tokens of the new vocabulary that the old one has, too."""
    tokens: int
    """Tokens of the new vocabulary."""
    complete: bool = False
    """The vocabularies are one and the same."""

    @classmethod
    def whole(cls, source: LanguageModel) -> Transplant:
        """All of a model."""
        V = source.output.out_features
        return cls(source.num_parameters(), V, V, complete=True)

    def __str__(self) -> str:
        if self.known == self.tokens:
            return f"{self.parameters:,} weights, all {self.tokens:,} tokens"
        new = f"{self.tokens - self.known:,} new ones begin as the mean"
        return f"{self.parameters:,} weights, {self.known:,} of {self.tokens:,} tokens; {new}"


NOTHING = Transplant(0, 0, 0)
"""Of a run that begins anew."""


@torch.no_grad()
def transplant(
    model: LanguageModel, tokenizer: Tokenizer, source: LanguageModel, source_tokenizer: Tokenizer
) -> Transplant:
    """Copy the weights of `source` into `model`. Raises UsageError if they are different networks."""
    old, new = dict(source.named_parameters()), dict(model.named_parameters())
    rows = _common(tokenizer, source_tokenizer)
    V, old_V = model.output.out_features, source.output.out_features
    copied = 0
    for name, parameter in new.items():
        given = old.get(name)
        by_token = given is not None and given.size(0) == old_V and parameter.size(0) == V and _is_by_token(model, name)
        if given is None or given.shape[by_token:] != parameter.shape[by_token:]:
            shape = "nothing" if given is None else list(given.shape)
            raise UsageError(
                f"--init-from: {name} has shape {list(parameter.shape)} here, {shape} there",
                hint="Leave out the settings of the model, so that they come from there, too",
            )
        if by_token:
            mine, theirs = torch.tensor(list(rows)), torch.tensor(list(rows.values()))
            kept = given[theirs]
            parameter.copy_(kept.mean(0).expand_as(parameter))
            parameter[mine] = kept
            copied += kept.numel()
        else:
            parameter.copy_(given)
            copied += given.numel()
    return Transplant(copied, len(rows), V, tokenizer.fingerprint() == source_tokenizer.fingerprint())


def _is_by_token(model: LanguageModel, name: str) -> bool:
    """Whether a parameter has a row for each token."""
    parameter = model.get_parameter(name)
    tables = [model.output.weight, model.output.bias, *(m.weight for m in model.modules() if _is_embedding(m, model))]
    return any(parameter is table for table in tables)


def _is_embedding(module: torch.nn.Module, model: LanguageModel) -> bool:
    return isinstance(module, torch.nn.Embedding) and module.num_embeddings == model.output.out_features


def _common(tokenizer: Tokenizer, source: Tokenizer) -> dict[int, int]:
    """Id -> the other's id, of the tokens that both have by the same name. Raises UsageError if there is none."""
    theirs = source.backend.get_vocab()
    common = {id: theirs[token] for token, id in tokenizer.backend.get_vocab().items() if token in theirs}
    if not common:
        raise UsageError("--init-from: the two vocabularies have no token in common", hint="Leave out --tokenizer")
    return dict(sorted(common.items()))
