"""The reference of a crossing: the models and tokenizers of `transformers`, loaded so that nothing in a file chooses
code."""

from __future__ import annotations

import copy
import importlib.util
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nextword.interop import families
from nextword.interop.families import Family
from nextword.interop.foreign import Foreign
from nextword.interop.huggingface import (
    ADDED,
    CONFIG,
    MARIAN,
    MERGES,
    SENTENCEPIECE,
    SPECIAL,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCAB,
)
from nextword.tokenizers import Tokenizer


@dataclass(frozen=True)
class Encode:
    """Text -> ids by another library."""

    function: Callable[[str], list[int]]
    note: str = ""
    target: Callable[[str], list[int]] | None = None
    """Of what is written, where `function` is of sources alone."""

    def agrees(self, tokenizer: Tokenizer, text: str) -> bool:
        """Whether ours gives the same ids."""
        if self.target is not None and tokenizer.encode(text) != self.target(text):
            return False
        return tokenizer.source.encode(text) == self.function(text)


def model_of(foreign: Foreign) -> Any:
    """The model of `transformers` with these weights in float32.

    It is made from the keys of the config that say what it computes, and from no other: nothing in a file chooses code.
    """
    from transformers import AutoConfig

    family, settings = families.read_config(foreign.config, foreign.tensors)[1:3]
    values = {key: copy.deepcopy(value) for key, value in foreign.config.items() if key in family.known}
    ids: dict[str, Any] = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    config = AutoConfig.for_model(foreign.config["model_type"], **values, **ids)
    model = _auto_model(family).from_config(config, dtype=torch.float32).eval()
    if not settings.tied:  # T5's config may tie it all the same
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(torch.empty_like(head.weight))
    places = model.state_dict()  # the very memory of its weights
    with torch.no_grad():
        for name, tensor in foreign.tensors.items():
            place = places.get(name, places.get(family.prefix + name))  # the latter: a file without the head
            if place is not None:
                place.copy_(tensor)
    return model


def _auto_model(family: Family) -> Any:
    """The class of `transformers` that loads models of a family."""
    import transformers

    return transformers.AutoModelForSeq2SeqLM if family.encodes else transformers.AutoModelForCausalLM


def tokenizers_of(folder: Path) -> list[Callable[[], Encode]]:
    """The ways to read the tokenizer of a folder from elsewhere, the best first.

    A bare SentencePiece model: its own library, because AutoTokenizer may forget the space it puts before a text. Else
    AutoTokenizer, and if that has rules of its own for a family (Qwen 2), the tokenizer.json as it is.
    """
    if (folder / TOKENIZER).is_file():
        text = (folder / TOKENIZER).read_text(encoding="utf-8")
        as_it_is = ", by tokenizer.json as it is: AutoTokenizer has other rules for this family"
        return [lambda: _auto_tokenizer(folder), lambda: replace(tokenizer_from(text), note=as_it_is)]
    models = [folder / name for name in SENTENCEPIECE if (folder / name).is_file()]
    if models and importlib.util.find_spec("sentencepiece"):
        return [lambda: _sentencepiece(models[0])]
    return [lambda: _auto_tokenizer(folder)]


def tokenizer_from(text: str) -> Encode:
    """The tokenizer of `transformers` from the text of a tokenizer.json."""
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    return _encode(PreTrainedTokenizerFast(tokenizer_object=Backend.from_str(text)))


def _auto_tokenizer(folder: Path) -> Encode:
    """AutoTokenizer on a copy of a folder's tokenizer files without what names code or other files."""
    from transformers import AutoTokenizer

    unsafe = ("auto_map", "chat_template", "tokenizer_file", "vocab_file", "merges_file", "name_or_path")
    with tempfile.TemporaryDirectory(prefix="nextword-") as name:
        copy = Path(name)
        for file in (TOKENIZER, *SENTENCEPIECE, *MARIAN, VOCAB, MERGES, SPECIAL, ADDED):
            if (folder / file).is_file():
                (copy / file).write_bytes((folder / file).read_bytes())
        if (folder / TOKENIZER_CONFIG).is_file():
            settings = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
            settings = {key: value for key, value in settings.items() if key not in unsafe}
            (copy / TOKENIZER_CONFIG).write_text(json.dumps(settings), encoding="utf-8")
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
        (copy / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
        return _encode(AutoTokenizer.from_pretrained(copy, local_files_only=True))


def _sentencepiece(model: Path) -> Encode:
    from sentencepiece import SentencePieceProcessor

    return Encode(SentencePieceProcessor(model_file=str(model)).encode, ", by sentencepiece")


def _encode(tokenizer: Any) -> Encode:
    def target(text: str) -> list[int]:
        return list(tokenizer(text_target=text, add_special_tokens=False)["input_ids"])

    return Encode(lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"]), target=target)


def load_folder(folder: Path) -> tuple[Callable[[], Any], list[Callable[[], Encode]]]:
    """How `transformers` loads the model and the tokenizer of a folder that we wrote."""
    from transformers import AutoTokenizer

    family = families.read_config(json.loads((folder / CONFIG).read_text(encoding="utf-8"))).family
    return (
        lambda: _auto_model(family).from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval(),
        [lambda: _encode(AutoTokenizer.from_pretrained(folder, local_files_only=True))],
    )
