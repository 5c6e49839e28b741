"""An output layer that may copy from the source instead of writing from the vocabulary (pointer-generator).

    P(w) = g P_vocabulary(w) + (1 - g) sum of the attention to the places of w in the source,  g = sigmoid(u . x + b)

(See et al. 2017). A mixture is no linear function of the features, so a model that has it gives log-probabilities as
its features, and this layer leaves them as they are.

Shapes: B rows, T new tokens, S tokens of the source, C hidden size, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn

from nextword.models.layers import Linear, OverLinear
from nextword.models.source import Source

LEAST = 1e-30
"""The smallest probability, so that its logarithm is a number."""


class Pointer(OverLinear):
    """The mixture over a linear output layer."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.gate = Linear(linear.in_features, 1)

    def mix(self, x: Tensor, attention: Tensor, source: Source) -> Tensor:
        """(B, T, C) and the attention (B, T, S) to a source -> (B, T, V) log-probabilities, float32.

        Where the source is empty, all is written.
        """
        writes = self.gate(x).float().sigmoid()  # (B, T, 1)
        writes = writes.masked_fill((source.of_rows(source.lengths) == 0)[:, None, None], 1.0)
        probs = self.linear(x).float().softmax(-1) * writes
        copied = (1 - writes) * attention.float()  # (B, T, S)
        places = source.of_rows(source.tokens)[:, None].expand_as(copied)
        return probs.scatter_add(-1, places, copied).clamp(min=LEAST).log()

    def forward(self, x: Tensor) -> Tensor:
        """(..., V) log-probabilities, as they are: `mix` has made them."""
        return x
