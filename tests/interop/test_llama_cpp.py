"""llama.cpp itself on the files that we write: the same tokens, greedy and in their probabilities.

pip install "nextword[llamacpp]"
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow
xllamacpp = pytest.importorskip("xllamacpp")
transformers = pytest.importorskip("transformers")
