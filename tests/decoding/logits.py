"""Random logits and histories, for the laws of the processors and their comparison with `transformers`."""

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

shapes = st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(0, 10_000))
few = settings(deadline=None, max_examples=40)  # the first example imports transformers


def random_logits(shape: tuple[int, int, int]) -> Tensor:
    rows, V, seed = shape
    return torch.randn(rows, V, generator=torch.Generator().manual_seed(seed)) * 3


def random_history(shape: tuple[int, int, int], length: int = 12) -> Tensor:
    """(rows, S) of few different ids, so that passages repeat."""
    rows, V, seed = shape
    return torch.randint(min(V, 3), (rows, length), generator=torch.Generator().manual_seed(seed))
