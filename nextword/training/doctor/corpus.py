"""What a prepared corpus is, in the numbers that decide how well a model can learn from it, and what is wrong with it.

Reads token files; knows no torch and no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from xxhash import xxh3_64_intdigest

from nextword.data.copies import held_out_copied
from nextword.data.token_files import TokenFiles
from nextword.metrics.copying import Copied
from nextword.text.duplicates import NearDuplicates
from nextword.text.scripts import share_in
from nextword.training.doctor.findings import Finding

if TYPE_CHECKING:
    from nextword.data.mixture import Mixture
    from nextword.tokenizers import Tokenizer

QUICK_TOKENS = 20_000_000
"""A larger corpus is searched for copies only when thorough: at the start of a run it would take over a second."""
QUICK_DOCUMENTS = 100_000
NEAR_DOCUMENTS, NEAR_CHARACTERS = 20_000, 20_000
"""Near duplicates are looked for among this many documents, in this much of each: they take up to milliseconds each."""
SAMPLED_TOKENS = 2**16
"""Decoded to see how many characters a token stands for."""
LONG_DOCUMENT = 16
"""Tokens. Short lines, such as "Yes." in a dialogue, may well occur in two splits."""

RARE = 5
"""A token seen fewer times than this in training has an embedding that is mostly where it began."""
MOST_RARE = 0.5
"""Of the vocabulary. Characters of 12,000 Tang poems: 0.39; 4,096 pieces of Moby Dick: 0.09."""
MOST_UNKNOWN = 0.01
"""Of the tokens of a split. Subword and byte vocabularies have none."""
MOST_PER_CHARACTER, MOST_PER_LETTER = 1.25, 0.7
"""Tokens. A vocabulary that suits an ideograph has one token for it or fewer; a byte vocabulary takes 1 for a Latin
letter, 1.8 for Cyrillic and 3 for Chinese. For letters, pieces pay: 0.27 tokens with 4,096 pieces of English, 0.40
with 1,024."""
LEAST_PIECES = 1000  # a smaller vocabulary of pieces is meant to cut finely
LEAST_VALID = 2000
"""Tokens. Losses of single tokens scatter by about 2.5 nats, so that of 2,000 is known to 2.5 / sqrt(2000) = 0.06."""
MOST_SHARED = 0.25
"""Of held-out text that also stands in the training text. Clean splits: Shakespeare 0.00, WikiText-2 0.08, PTB 0.14."""
MOST_IN_BOTH = 0.01
"""Of the validation documents."""
MOST_REPEATED = 0.05
"""Of the training documents. Language models trained on text without duplicates copy ten times less of it
(Lee et al. 2022, "Deduplicating training data makes language models better")."""


@dataclass(frozen=True)
class Corpus:
    """The numbers of a prepared corpus."""

    tokenizer: str
    vocab_size: int
    documents: int
    tokens: int
    bytes: int
    valid_documents: int
    valid_tokens: int
    """0: nothing is held out."""
    unknown: float
    """Share of the training tokens that the tokenizer does not know."""
    valid_unknown: float
    tokens_per_character: float
    ideographs: float
    """Share of Han, kana and Hangul among the letters."""
    rare: float
    """Share of the vocabulary that is seen fewer than RARE times in training."""
    repeated: float
    """Share of the training documents that are equal to an earlier one."""
    near_repeated: float | None
    """Share of those that are much like an earlier one and not equal to it; None: not looked for."""
    in_both: float
    """Share of the longer validation documents that are training documents, too."""
    shared: Copied | None
    """What of the held-out text stands in the training text; None: not looked for."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"shared": None if self.shared is None else self.shared.to_dict()}


def look_at(splits: Mapping[str, TokenFiles], tokenizer: Tokenizer, thorough: bool = False) -> Corpus:
    """Read a prepared corpus, in a second or two; `thorough` has no such limit, and looks for near duplicates."""
    train, valid = splits["train"], splits.get("valid")
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    for at in range(0, train.len_tokens, 2**20):
        part = train.window(at, min(2**20, train.len_tokens - at))
        counts += np.bincount(part, minlength=len(counts))
    sample = train.window(0, min(train.len_tokens, SAMPLED_TOKENS))
    text = tokenizer.decode(sample.tolist())
    limit = None if thorough else QUICK_DOCUMENTS
    training, repeated, seen = set[int](), 0, 0
    for key, _ in _documents(train, limit):
        repeated += key in training
        training.add(key)
        seen += 1
    held_out = [key for key, length in _documents(valid, limit) if length >= LONG_DOCUMENT] if valid else []
    search = valid and (thorough or train.len_tokens <= QUICK_TOKENS)
    return Corpus(
        tokenizer=tokenizer.kind,
        vocab_size=tokenizer.vocab_size,
        documents=train.counts.examples,
        tokens=train.len_tokens,
        bytes=train.counts.target_bytes,
        valid_documents=valid.counts.examples if valid else 0,
        valid_tokens=valid.len_tokens if valid else 0,
        unknown=_share(train.counts.unknown_tokens, train.len_tokens),
        valid_unknown=_share(valid.counts.unknown_tokens, valid.len_tokens) if valid else 0.0,
        tokens_per_character=_share(int((sample != train.eos_id).sum()), len(text)),
        ideographs=share_in(text, ["Han", "Hiragana", "Katakana", "Hangul"]),
        rare=_share(int((counts < RARE).sum()), len(counts)),
        repeated=_share(repeated, seen),
        near_repeated=_near_repeated(train, tokenizer) if thorough else None,
        in_both=_share(sum(key in training for key in held_out), len(held_out)),
        shared=held_out_copied(train, valid) if valid and search else None,
    )


def _documents(files: TokenFiles, limit: int | None) -> Iterator[tuple[int, int]]:
    """A key of each document's tokens, and their number."""
    for number, ids in enumerate(files.threads()):
        if number == limit:
            return
        yield xxh3_64_intdigest(ids.tobytes()), len(ids)


def _near_repeated(files: TokenFiles, tokenizer: Tokenizer) -> float:
    index, keys, near, seen = NearDuplicates(), set[int](), 0, 0
    for ids in files.threads():
        if seen == NEAR_DOCUMENTS:
            break
        seen += 1
        key = xxh3_64_intdigest(ids.tobytes())
        if key not in keys:
            keys.add(key)
            near += index.add(tokenizer.decode(ids[:NEAR_CHARACTERS].tolist())[:NEAR_CHARACTERS])
    return _share(near, seen)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def examine_splits(
    splits: Mapping[str, TokenFiles | Mixture], tokenizer: Tokenizer, thorough: bool = False
) -> tuple[Corpus | None, list[Finding]]:
    """Look at a corpus, or at each of a mixture, and say what a model will suffer from.

    The numbers of a mixture are none, and its findings begin with the names of its corpora.
    """
    train = splits["train"]
    if isinstance(train, TokenFiles):
        alone = {split: files for split, files in splits.items() if isinstance(files, TokenFiles)}
        corpus = look_at(alone, tokenizer, thorough)
        return corpus, examine_corpus(corpus)
    mixed = {split: files.files for split, files in splits.items() if not isinstance(files, TokenFiles)}
    findings: list[Finding] = []
    for name in train.files:
        parts = {split: files[name] for split, files in mixed.items() if name in files}
        found = examine_corpus(look_at(parts, tokenizer, thorough))
        # One tokenizer cuts all of them, so what one corpus seldom needs another may need often.
        findings += [replace(one, what=f"{name}: {one.what}") for one in found if one.kind != "vocabulary"]
    return None, findings


def examine_corpus(corpus: Corpus) -> list[Finding]:
    """What a model will suffer from."""
    return [*_tokenizer_findings(corpus), *_split_findings(corpus), *_duplicate_findings(corpus)]


def _tokenizer_findings(corpus: Corpus) -> Iterator[Finding]:
    pieces = corpus.tokenizer not in ("char", "byte") and corpus.vocab_size >= LEAST_PIECES
    most = MOST_PER_LETTER if pieces and corpus.ideographs < 0.5 else MOST_PER_CHARACTER
    if corpus.tokens_per_character > most:
        yield Finding(
            "tokenizer-script",
            "warning",
            f"the {corpus.tokenizer} tokenizer takes {corpus.tokens_per_character:.2f} tokens for a character of this "
            "text",
            "a context reaches less far, and every text takes more steps to learn and to write",
            f"Choose one that suits the script: --tokenizer {'char' if corpus.ideographs > 0.5 else 'bpe'}",
        )
    for split, share in (("training", corpus.unknown), ("validation", corpus.valid_unknown)):
        if share > MOST_UNKNOWN:
            larger = ", or give a larger --vocab-size" if corpus.tokenizer != "char" else ""
            yield Finding(
                "unknown-tokens",
                "warning",
                f"{share:.1%} of the {split} tokens are unknown to the {corpus.tokenizer} tokenizer",
                "the model learns to write <unk>, and a loss that counts it looks better than it is",
                f"A subword tokenizer knows every text: --tokenizer bpe{larger}",
            )
            break
    if corpus.rare > MOST_RARE and corpus.tokenizer != "byte":
        known = max(round(corpus.vocab_size * (1 - corpus.rare)), 1)
        smaller = max(known // 256 * 256, 512)
        if corpus.tokenizer in ("char", "word"):
            remedy = f"Make the vocabulary smaller: --set tokenizer.min_frequency={RARE}"
        elif smaller < corpus.vocab_size:
            remedy = f"Make the vocabulary smaller: --vocab-size {smaller}"
        else:  # little more than the bytes
            remedy = "Give more text, or take --tokenizer char"
        yield Finding(
            "vocabulary",
            "warning",
            f"{corpus.rare:.0%} of the {corpus.vocab_size:,} tokens in the vocabulary occur fewer than {RARE} times",
            "their embeddings hardly move from where they began, and still take memory and time",
            remedy,
        )


def _split_findings(corpus: Corpus) -> Iterator[Finding]:
    if not corpus.valid_tokens:
        yield Finding(
            "no-validation",
            "warning",
            "no text is held out for validation",
            "over-fitting cannot be seen, and the weights kept are the last ones, not the best",
            "Hold some out: --set split.valid=0.05, or --valid FILE",
        )
    elif corpus.valid_tokens < LEAST_VALID:
        error = 2.5 / corpus.valid_tokens**0.5
        yield Finding(
            "small-validation",
            "warning",
            f"tokens held out for validation: only {corpus.valid_tokens:,}",
            f"the validation loss is uncertain by about {error:.2f} nats: two models closer than that look different",
            "Hold out more: --set split.valid=0.2, or --valid FILE",
        )
    if corpus.in_both > MOST_IN_BOTH:
        yield Finding(
            "split-duplicates",
            "warning",
            f"{corpus.in_both:.0%} of the validation documents are training documents, too",
            "the validation loss rewards learning by heart, and hides over-fitting",
            "Remove duplicates before splitting: nextword data clean DATA --duplicates near --out CLEAN",
        )
    elif corpus.shared is not None and corpus.shared.share > MOST_SHARED:
        yield Finding(
            "split-overlap",
            "warning",
            f"{corpus.shared.share:.0%} of the held-out text also stands in the training text, in spans of "
            f"{corpus.shared.least} tokens and more",
            "the validation loss rewards learning by heart, and hides over-fitting",
            "Remove duplicates before splitting: nextword data clean DATA --duplicates near --out CLEAN",
        )


def _duplicate_findings(corpus: Corpus) -> Iterator[Finding]:
    repeated = corpus.repeated + (corpus.near_repeated or 0.0)
    if repeated > MOST_REPEATED:
        yield Finding(
            "duplicates",
            "warning",
            f"{repeated:.0%} of the training documents are equal to an earlier one"
            + (" or much like it" if corpus.near_repeated else ""),
            "what stands there often is learned by heart, at the expense of the rest",
            "Keep one of each: nextword data clean DATA --duplicates near --out CLEAN",
        )
