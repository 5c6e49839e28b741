"""Text <-> token ids. Every tokenizer is one `tokenizer.json` of the `tokenizers` library; see base.py."""

from nextword.tokenizers.base import IGNORE, Tokenizer
from nextword.tokenizers.stream import StreamDecoder
from nextword.tokenizers.training import TokenizerConfig, train_tokenizer

__all__ = ["IGNORE", "StreamDecoder", "Tokenizer", "TokenizerConfig", "train_tokenizer"]
