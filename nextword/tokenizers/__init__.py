"""Text <-> token ids. Every tokenizer is one `tokenizer.json` of the `tokenizers` library; see base.py."""

from nextword.tokenizers.base import IGNORE, Tokenizer, TokenizerConfig, train_tokenizer
from nextword.tokenizers.stream import StreamDecoder

__all__ = ["IGNORE", "StreamDecoder", "Tokenizer", "TokenizerConfig", "train_tokenizer"]
