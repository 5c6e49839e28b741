"""GGUF, the format of llama.cpp."""

from nextword.interop.gguf.reader import read_gguf
from nextword.interop.gguf.writer import write_gguf

__all__ = ["read_gguf", "write_gguf"]
