"""Text that Python can hold and UTF-8 cannot: what an argument in another encoding becomes on the command line."""

import pytest

from nextword.errors import DataError
from nextword.tokenizers import TokenizerConfig, train_tokenizer


@pytest.mark.parametrize("type", ["char", "byte"])
def test_half_a_character_is_told(type):
    tokenizer = train_tokenizer(TokenizerConfig(type=type), ["abc"])
    with pytest.raises(DataError, match=r"U\+DCFF"):
        tokenizer.encode("ab\udcff")
    with pytest.raises(DataError, match=r"U\+DCFF"):
        tokenizer.encode_batch(["ab", "c\udcff"])
    with pytest.raises(TypeError):
        tokenizer.encode(None)
