"""Which documents are for training, validation and test: decided by each document's content alone.

So the split is the same on every machine, stays as it is when data is added or reordered, and copies of a
document (equal up to case, white space and Unicode compatibility) never lie on two sides.
"""

from __future__ import annotations

from typing import Literal

from nextword.errors import UsageError
from nextword.text.duplicates import text_key


def split_of(text: str, valid: float = 0.05, test: float = 0.0) -> Literal["train", "valid", "test"]:
    """The side of a document, where `valid` and `test` are the shares of documents held out.

    The test share is cut from one end of the hash range and the validation share from the other, so changing
    one leaves the other alone. Raises UsageError unless both are at least 0 and their sum is below 1.
    """
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise UsageError(
            f"a split of valid = {valid:g} and test = {test:g} leaves nothing to train on"
            if valid >= 0 and test >= 0
            else f"the shares of a split cannot be negative: valid = {valid:g}, test = {test:g}"
        )
    position = text_key(text) / 2**64  # uniform in [0, 1]
    if position < test:
        return "test"
    return "valid" if position > 1 - valid else "train"
