"""Folders of Hugging Face models: read into a `Foreign`, and written so that `transformers` loads them.

Only data is read: config.json, safetensors, the tokenizer's files, a template's text. Pickled weights
(pytorch_model.bin) are refused, and whatever names code is not followed.

Layout: https://github.com/huggingface/transformers, src/transformers/utils/hub.py and tokenization_utils_base.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nextword.errors import MissingExtra, RunError, UsageError
from nextword.files import write_json, write_text
from nextword.interop import sentencepiece
from nextword.interop.foreign import Foreign
from nextword.interop.tensors import read_member, read_sharded
from nextword.interop.vocabulary import token_of, unfilled

CONFIG, GENERATION, TEMPLATE = "config.json", "generation_config.json", "chat_template.jinja"
TOKENIZER, TOKENIZER_CONFIG, SPECIAL = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
VOCAB, MERGES, ADDED = "vocab.json", "merges.txt", "added_tokens.json"
MARIAN = ("target.spm", "source.spm")
SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")
MOST_BYTES = 2**28
"""Of a file of text: the largest tokenizer.json known has 33 MB."""
FILES = ("*.json", "*.safetensors", *SENTENCEPIECE, *MARIAN, MERGES, "*.jinja", "README.md", "LICENSE*")
"""What is fetched from the hub: no code, no pickle."""


def read_folder(folder: Path, tokenizer: Path | None = None) -> Foreign:
    """A Hugging Face folder; `tokenizer` is a file or folder that takes the place of its own.

    Raises RunError naming the file that is missing, damaged or of a kind that is not read.
    """
    config = _object(folder / CONFIG)
    if "format_version" in config:
        raise UsageError(f"{folder} is a run of nextword already", hint="Use it as it is")
    if "model_type" not in config:
        raise RunError(f"{folder / CONFIG} names no model_type", hint="Is it the folder of a Hugging Face model?")
    if not any(folder.glob("*.safetensors*")) and (pickled := [*folder.glob("*.bin"), *folder.glob("*.pt*")]):
        raise RunError(
            f"{folder} has its weights in {pickled[0].name}, a pickle, which can run code and is never read",
            hint="Look for the model in safetensors",
        )
    generation = _object(folder / GENERATION, {})
    place = tokenizer or folder
    text, special, source = _tokenizer(place, str(config["model_type"]))
    special = special | _special_tokens(place if place.is_dir() else folder)
    for name in ("bos_token", "eos_token"):
        if name not in special:
            for values in (generation, config):
                if token := token_of(text, values.get(f"{name}_id")):
                    special[name] = token
                    break
    if config.get("is_encoder_decoder"):
        special["bos_token"] = _start(folder, text, config, generation)
    tensors, template, task = read_sharded(folder), _template(folder), _task(place, config)
    return Foreign(config, tensors, text, special, template, generation, source, task, _licence(folder))


def download(name: str, folder: Path) -> None:
    """Fetch a model of the hub into `folder`, without code and without pickles.

    Not from the library's cache: that has links, and a link that leads out of a folder is not followed here. Raises
    MissingExtra without huggingface_hub, RunError if it cannot be had.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtra("huggingface_hub", "hf", f"fetching {name} from the hub") from None
    try:
        snapshot_download(name, local_dir=folder, allow_patterns=list(FILES))
    except Exception as error:  # the library has dozens of kinds, and the network as many
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(f"{name} is no folder here, and cannot be fetched from the hub: {reason}") from None


def _licence(folder: Path) -> str:
    """The licence that the model card of a folder names; "" if it names none."""
    card = folder / "README.md"
    if not card.is_file() or card.stat().st_size > MOST_BYTES:
        return ""
    front = re.match(r"---\s*\n(.*?)\n---\s*\n", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    found = re.search(r"^licen[sc]e:\s*['\"]?([\w.+-]+)", front[1], re.MULTILINE) if front else None
    return found[1] if found else ""


def write_tokenizer(folder: Path, tokenizer: str, special: Mapping[str, str], plain: bool, longest: int) -> None:
    """The files that AutoTokenizer reads. `plain`: no text spells a special token; `longest` is the context."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": longest,
        "split_special_tokens": plain,
    }
    write_text(folder / TOKENIZER, unfilled(tokenizer))
    write_json(folder / TOKENIZER_CONFIG, settings | dict(special))
    write_json(folder / SPECIAL, dict(special))


def begins_with(tokenizer: str, token: str) -> str:
    """The tokenizer.json with a rule that puts `token` before each text, if it has no such rule of its own."""
    return _bounded(tokenizer, token, first_token)


def ends_with(tokenizer: str, token: str) -> str:
    """The tokenizer.json with a rule that puts `token` behind each text, if it has no such rule of its own."""
    return _bounded(tokenizer, token, _last_token)


def _bounded(tokenizer: str, token: str, rule: Callable[[str, int], dict[str, Any]]) -> str:
    rules = json.loads(tokenizer)
    if rules.get("post_processor") is not None:
        return tokenizer
    id = next(t["id"] for t in rules["added_tokens"] if t["content"] == token)
    return json.dumps(rules | {"post_processor": rule(token, id)}, ensure_ascii=False)


def first_token(token: str, id: int) -> dict[str, Any]:
    """The post_processor of a tokenizer.json that puts a special token before every text."""
    first, a, b = _parts(token)
    return _processor(token, id, [first, a], [first, a, b])


def _last_token(token: str, id: int) -> dict[str, Any]:
    last, a, b = _parts(token)
    return _processor(token, id, [a, last], [a, last, b, last])


def _parts(token: str) -> list[dict[str, Any]]:
    """The token, the first text, the second."""
    texts = [{"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB")]
    return [{"SpecialToken": {"id": token, "type_id": 0}}, *texts]


def _processor(token: str, id: int, single: Sequence[Any], pair: Sequence[Any]) -> dict[str, Any]:
    special = {token: {"id": token, "ids": [id], "tokens": [token]}}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def _start(folder: Path, tokenizer: str, config: Mapping[str, Any], generation: Mapping[str, Any]) -> str:
    """The token that an answer to a source begins after."""
    named = (values.get("decoder_start_token_id") for values in (generation, config))
    id = next((id for id in named if id is not None), config.get("pad_token_id"))
    token = token_of(tokenizer, id)
    if token is None:
        raise RunError(f"{folder / CONFIG}: decoder_start_token_id {id!r} is no token of its tokenizer")
    return token


def _task(place: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Marian translates, and the settings of its tokenizer may name the languages."""
    if config["model_type"] != "marian":
        return {}
    settings = _object(place / TOKENIZER_CONFIG, {}) if place.is_dir() else {}
    languages = [settings.get("source_lang"), settings.get("target_lang")]
    known = all(isinstance(name, str) and name for name in languages)
    return {"name": "translation"} | ({"languages": languages} if known else {})


def _object(path: Path, otherwise: dict[str, Any] | None = None) -> dict[str, Any]:
    """A JSON object; `otherwise` if there is no such file."""
    if not path.is_file():
        if otherwise is not None:
            return otherwise
        raise RunError(f"{path.parent} has no {path.name}", hint="It is no folder of a Hugging Face model")
    found = read_member(path.parent, path.name)
    if not isinstance(found, dict):
        raise RunError(f"{path} is damaged: expected a JSON object, got {type(found).__name__}")
    return found


def _check_size(path: Path) -> None:
    if path.stat().st_size > MOST_BYTES:
        raise RunError(f"{path} has {path.stat().st_size:,} bytes, more than any such file")


def _text(path: Path) -> str:
    _check_size(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None


def _tokenizer(place: Path, model_type: str) -> tuple[str, dict[str, str], str]:
    """The text of a tokenizer.json, the special tokens that it names itself, and the text of one for sources."""
    folder = place if place.is_dir() else place.parent
    files = [place.name] if not place.is_dir() else [TOKENIZER, *SENTENCEPIECE, VOCAB]
    name = next((name for name in files if (folder / name).is_file()), None)
    if name is None:
        raise RunError(
            f"{folder} has no tokenizer: none of {', '.join(files)}",
            hint="Name the folder or file that has it: --tokenizer FILE",
        )
    path = folder / name
    try:
        if path.suffix == ".model":
            _check_size(path)
            model = sentencepiece.read_model(path.read_bytes())
            if model_type == "t5":
                model = sentencepiece.with_sentinels(model)
            return sentencepiece.tokenizer_json(model), sentencepiece.special_tokens(model), ""
    except RunError as error:
        raise RunError(f"{path}: {error.message}") from None
    if name == VOCAB:
        if model_type == "marian":
            return _marian_tokenizers(folder)
        if model_type != "gpt2":
            raise RunError(
                f"{folder} has only {VOCAB} and {MERGES}, whose rules are known for gpt2 alone, not for {model_type}",
                hint=f"Name a {TOKENIZER}: --tokenizer FILE",
            )
        return _gpt2_tokenizer(folder), {}, ""
    return _text(path), {}, ""


def _marian_tokenizers(folder: Path) -> tuple[str, dict[str, str], str]:
    """As `_tokenizer`, of two SentencePiece models, for target and source, over one vocabulary."""
    ids, texts = _object(folder / VOCAB), []
    whole = all(isinstance(id, int) for id in ids.values()) and sorted(ids.values()) == list(range(len(ids)))
    if not ids or not whole:
        raise RunError(f"{folder / VOCAB}: its {len(ids):,} tokens do not have the ids from 0 on, each once")
    for name in MARIAN:
        path = folder / name
        if not path.is_file():
            raise RunError(
                f"{folder} has no {name}", hint="A Marian tokenizer is source.spm, target.spm and vocab.json"
            )
        _check_size(path)
        try:
            model = sentencepiece.read_model(path.read_bytes())
            texts.append(sentencepiece.tokenizer_json(sentencepiece.with_ids(model, ids)))
        except RunError as error:
            raise RunError(f"{path}: {error.message}") from None
    target, source = texts
    return target, {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}, "" if source == target else source


def _gpt2_tokenizer(folder: Path) -> str:
    vocab = _object(folder / VOCAB)
    lines = [line for line in _text(folder / MERGES).split("\n") if line and not line.startswith("#version")]
    merges = [line.split(" ") for line in lines]
    added = _object(folder / ADDED, {})
    special = [token for token in ("<|endoftext|>", *added) if token in vocab or token in added]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    rules = {
        "version": "1.0",
        "added_tokens": [{"id": (vocab | added)[token], "content": token, **flags} for token in special],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    }
    return json.dumps(rules, ensure_ascii=False)


def _special_tokens(folder: Path) -> dict[str, str]:
    """By tokenizer_config.json, or else by special_tokens_map.json."""
    found: dict[str, str] = {}
    for values in (_object(folder / TOKENIZER_CONFIG, {}), _object(folder / SPECIAL, {})):
        for name in SPECIAL_NAMES:
            token = values.get(name)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and name not in found:
                found[name] = token
    return found


def _template(folder: Path) -> str:
    """The chat template: a file of its own, or a value of tokenizer_config.json (one, or several with names)."""
    if (folder / TEMPLATE).is_file():
        return _text(folder / TEMPLATE)
    template = _object(folder / TOKENIZER_CONFIG, {}).get("chat_template")
    if isinstance(template, list):
        named = [t for t in template if isinstance(t, dict)]
        template = next((t.get("template") for t in named if t.get("name") == "default"), None)
    return template if isinstance(template, str) else ""
