"""The data of a run on several corpora: prepared one by one, with one tokenizer for all.

A corpus is text, prepared into a folder of its name inside the run, or a prepared folder, used where it is. The
tokenizer is that of the prepared folders; without any, it is trained on the text of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nextword.config import parse
from nextword.data.mixture import CorpusConfig, MixConfig, Mixture
from nextword.data.prepare import is_prepared, open_prepared, prepare
from nextword.data.splits import Corpus, Progress
from nextword.data.token_files import TokenFiles
from nextword.errors import RunError, UsageError
from nextword.text.examples import sample_text
from nextword.text.records import ReadConfig
from nextword.text.sources import source_bytes
from nextword.tokenizers import Tokenizer, TokenizerConfig, train_tokenizer
from nextword.training.recipe import Recipe

MOST_REPEATS = 10
"""How often the tokenizer is shown the text of a corpus whose share is greater than its size, at most."""


def mixes(values: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a recipe names a mixture."""
    return bool(values.get("mix", {}).get("corpora"))


def read_config(data: Mapping[str, Any], corpus: CorpusConfig) -> ReadConfig:
    """How a corpus is read: as section [data] says, but for its own settings."""
    return parse(ReadConfig, dict(data) | corpus.read, "mix.corpora.read")


def prepared_folder(corpus: CorpusConfig) -> Path | None:
    """The prepared folder that a corpus is; None for text."""
    folder = Path(corpus.data[0]) if len(corpus.data) == 1 else None
    return folder if folder is not None and is_prepared(folder) else None


def sample_mix(values: Mapping[str, Mapping[str, Any]], characters: int) -> tuple[str, int]:
    """Some text of each corpus, as much of one as of the other; and how many characters all have together, roughly:
    those that are no files count as none."""
    mix = parse(MixConfig, values.get("mix", {}), "mix")
    room, parts, size = characters // len(mix.corpora), [], 0  # in bytes
    for corpus in mix.corpora.values():
        if folder := prepared_folder(corpus):
            files, tokenizer = open_prepared(folder)["train"], Tokenizer.load(folder)
            parts.append(tokenizer.decode(files.window(0, min(files.len_tokens, room)).tolist()))
            size += files.counts.target_bytes
        else:
            parts.append(sample_text(corpus.data, read_config(values.get("data", {}), corpus), room))
            size += source_bytes(corpus.data) or 0
    sample = "\n".join(parts)
    return sample, round(size * len(sample) / max(len(sample.encode()), 1))


def prepare_mix(
    recipe: Recipe, folder: Path, taught: Tokenizer | None = None, progress: Progress | None = None
) -> dict[str, Path]:
    """The prepared folder of each corpus, those of text below `folder`.

    `taught` is used in place of a new tokenizer, where no folder has one. Raises UsageError, DataError, and RunError
    for prepared folders that do not go together.
    """
    corpora, given = recipe.mix.corpora, recipe.data.model_dump()
    tokenizer: Tokenizer | None = None
    ready = {name: path for name, corpus in corpora.items() if (path := prepared_folder(corpus)) is not None}
    for name, path in ready.items():
        if corpora[name].valid:
            raise UsageError(f"mix.corpora.{name}: {path} is prepared already: valid comes too late")
        found = Tokenizer.load(path)
        if tokenizer is not None and tokenizer.fingerprint() != found.fingerprint():
            raise RunError(
                f"{path} was prepared with another tokenizer than the rest of the mixture",
                hint="Prepare it with the same one: nextword data prepare DATA --out FOLDER --tokenizer OTHER_FOLDER",
            )
        tokenizer = found
    text = {name: corpus for name, corpus in corpora.items() if name not in ready}
    reads = {name: read_config(given, corpus) for name, corpus in text.items()}
    tokenizer = tokenizer or taught
    if tokenizer is None:
        texts = {name: Corpus([text[name].data, (), ()], reads[name], recipe.split) for name in text}
        for read in texts.values():
            read.survey(progress)
        tokenizer = _tokenizer(recipe.tokenizer, recipe.mix, texts, progress)
    for name, corpus in text.items():
        prepare(
            corpus.data,
            folder / name,
            tokenizer,
            valid_sources=corpus.valid,
            read=reads[name],
            split=recipe.split,
            progress=progress,
        )
    return {name: ready.get(name, folder / name) for name in corpora}


def _tokenizer(
    config: TokenizerConfig, mix: MixConfig, texts: Mapping[str, Corpus], progress: Progress | None
) -> Tokenizer:
    """Trained on all texts; one whose share is greater than its size is read more often."""
    sizes = {name: max(1, corpus.characters) for name, corpus in texts.items()}
    wanted = {name: share / sizes[name] for name, share in mix.shares(sizes).items()}
    least = min(wanted.values())

    def everything() -> Iterator[str]:
        for name, corpus in texts.items():
            for _ in range(min(MOST_REPEATS, round(wanted[name] / least))):
                yield from corpus.training_texts(progress)

    return train_tokenizer(config, everything())


def open_mix(folders: Mapping[str, Path], mix: MixConfig, tokenizer: Tokenizer) -> dict[str, TokenFiles | Mixture]:
    """The splits of all corpora together, by name; the training split has all corpora."""
    opened = {name: open_prepared(folder, tokenizer) for name, folder in folders.items()}
    shares = mix.shares({name: splits["train"].counts.loss_tokens for name, splits in opened.items()})
    mixed: dict[str, TokenFiles | Mixture] = {}
    for split in ("train", "valid", "test"):
        files = {name: splits[split] for name, splits in opened.items() if split in splits}
        files = {name: each for name, each in files.items() if split == "train" or each.len_tokens > 1}
        total = sum(shares[name] for name in files)
        if files:
            mixed[split] = Mixture(files, {name: shares[name] / total for name in files})
    return mixed
