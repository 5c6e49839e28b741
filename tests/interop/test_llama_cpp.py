"""llama.cpp itself on the files that we write: the same tokens, greedy and in their probabilities.

pip install "nextword[llamacpp]"
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from test_gguf import LINES, TEXT, file_of, foreign_of, model_of, sentencepiece, tokenizers_of

from nextword.interop.gguf import read_gguf, write_gguf
from nextword.interop.gguf.spelling import begin_with
from nextword.tokenizers.base import TokenizerConfig, train_tokenizer

pytestmark = pytest.mark.slow
xllamacpp = pytest.importorskip("xllamacpp")
transformers = pytest.importorskip("transformers")
