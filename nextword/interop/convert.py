"""A model from elsewhere becomes a run folder, and a run folder becomes one of Hugging Face's: both or nothing.

Weights pass one tensor at a time and keep their type (float32, float16, bfloat16), so both ways give every bit back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextword import checkpoint
from nextword.config import read_json
from nextword.errors import RunError, UsageError
from nextword.files import replacing_folder, write_json, write_text
from nextword.interop import families, generation, huggingface, parity, reference, weights
from nextword.interop.card import export_card, import_card
from nextword.interop.foreign import Foreign
from nextword.interop.parity import Parity, ParityError
from nextword.interop.reference import Encode
from nextword.interop.streaming import write_safetensors
from nextword.interop.tensors import read_safetensors
from nextword.interop.vocabulary import fitted, unfilled, write_tokenizer
from nextword.models import model_config
from nextword.models.transformer_config import TransformerConfig
from nextword.tokenizers import Tokenizer

Progress = Callable[[int, int], None]
"""Told of weights written now, and of how many there are in all."""


@dataclass(frozen=True)
class Crossing:
    """What came of an import or an export."""

    folder: Path
    family: str
    parameters: int
    dtype: str
    parity: Parity | None
    """None: not compared."""
    failure: ParityError | None = None
    """The two differ, and the result was kept all the same."""
    ignored: tuple[str, ...] = ()
    """Keys of config.json that nobody here knows."""


def import_model(
    foreign: Foreign,
    out: Path,
    *,
    source: str,
    their_tokenizers: Sequence[Callable[[], Encode]] = (),
    their_model: Callable[[], Any] | None = None,
    check: bool = True,
    keep: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Crossing:
    """Write a run folder and compare it with `transformers`, if that is installed and `check` is set.

    `source` is what errors and the model card call it; `their_model` makes what ours is compared with, if not the
    model of `transformers` with these weights.
    Raises RunError if the model is of no supported family, damaged, or not the same as there; then nothing is kept,
    unless `keep` is set and only the comparison failed.
    """
    check_free(out, overwrite)
    try:
        reading = families.read_config(foreign.config, foreign.tensors)
        settings = reading.settings
        tokenizer_text = fitted(foreign.tokenizer, settings.vocab_size)
        source_text = foreign.source_tokenizer and fitted(foreign.source_tokenizer, settings.vocab_size)
        outline = checkpoint.outline(settings)
        hollow = dict(sorted(checkpoint.weights(outline).items()))  # in this order they are hashed
        weights.check_all_used(reading.family, settings, hollow, foreign.tensors)
        with replacing_folder(out) as folder:
            tokenizer = write_tokenizer(folder, tokenizer_text, _boundaries(foreign), source_text)
            dtype = _write_weights(
                folder / checkpoint.WEIGHTS,
                {name: tensor.shape for name, tensor in hollow.items()},
                weights.our_tensors(reading.family, settings, hollow, foreign.tensors),
                {},
                checkpoint.SHA256,
                progress,
            )
            origin: dict[str, Any] = {"source": source, "family": reading.name, "dtype": dtype}
            origin |= {"licence": foreign.licence, "special_tokens": dict(foreign.special_tokens)}
            sections: dict[str, Any] = {"origin": origin, "figures": {"parameters": outline.num_parameters()}}
            sections |= {"task": dict(foreign.task)} if foreign.task else {}
            ends = generation.stop_tokens(foreign, tokenizer)
            write_json(folder / checkpoint.GENERATION, generation.ours(foreign.generation, ends, outline.encodes))
            if foreign.chat_template:
                write_text(folder / huggingface.TEMPLATE, foreign.chat_template)
            checkpoint.save_config(folder, outline, tokenizer, sections)
            found, failure = None, None
            if check and parity.available():
                text = foreign.tokenizer
                found, failure = compared(
                    lambda: _load(folder),
                    their_model or (lambda: reference.model_of(foreign)),
                    their_tokenizers or [lambda: reference.tokenizer_from(text)],
                    keep,
                )
            config, talks = read_json(folder / checkpoint.CONFIG), bool(foreign.chat_template)
            write_text(folder / "README.md", import_card(out.name, config, str(found), talks))
    except RunError as error:
        raise type(error)(f"{source}: {error.message}", error.hint) from None
    return Crossing(out, reading.name, outline.num_parameters(), dtype, found, failure, reading.ignored)


def export_huggingface(
    run: Path,
    out: Path,
    *,
    licence: str = "",
    check: bool = True,
    keep: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Crossing:
    """Write a folder that AutoModelForCausalLM (AutoModelForSeq2SeqLM for an encoder-decoder) and AutoTokenizer load
    without code of ours.

    Raises UsageError if no family is like this model (a recurrent network, say), RunError if the run is damaged, or if
    what `transformers` loads is not the same; then nothing is kept, unless `keep` is set.
    """
    check_free(out, overwrite)
    foreign, config, dtype = run_as_foreign(run, sources=True)
    settings = model_config(config["model"])
    assert isinstance(settings, TransformerConfig)
    family = families.FAMILIES[foreign.config["model_type"]].of(settings)
    outline = checkpoint.outline(settings)
    hollow = weights.TheirTensors(family, settings, checkpoint.weights(outline))
    shapes = {name: tensor.shape for name, tensor in hollow.items()}
    with replacing_folder(out) as folder:
        written = ((name, foreign.tensors[name]) for name in shapes)
        dtype = _write_weights(folder / checkpoint.WEIGHTS, shapes, written, {"format": "pt"}, "", progress)
        write_json(folder / huggingface.CONFIG, dict(foreign.config) | {"torch_dtype": dtype})
        write_json(folder / huggingface.GENERATION, dict(foreign.generation))
        # In a run of our own no text spells a special token, unless a chat template has to.
        plain = "origin" not in config and not foreign.chat_template
        huggingface.write_tokenizer(folder, foreign.tokenizer, foreign.special_tokens, plain, settings.max_seq_len)
        if foreign.chat_template:
            write_text(folder / huggingface.TEMPLATE, foreign.chat_template)
        found, failure = None, None
        if check and parity.available():
            found, failure = compared(lambda: _load(run), *reference.load_folder(folder), keep)
        write_text(folder / "README.md", export_card(out.name, config, family.architecture, licence, str(found)))
    return Crossing(out, foreign.config["model_type"], outline.num_parameters(), dtype, found, failure)


def run_as_foreign(run: Path, sources: bool = False) -> tuple[Foreign, dict[str, Any], str]:
    """A run in the terms of Hugging Face's folders, its config.json, and the type of its weights; `sources`: an
    encoder-decoder will do as well.

    Raises RunError if the run is damaged, UsageError if no family is like its model.
    """
    config = checkpoint.read_config(run)
    try:
        settings = model_config(config["model"])
    except UsageError as error:
        raise RunError(f"{run / checkpoint.CONFIG}: {error}") from None
    known = ("transformer", "encoder-decoder") if sources else ("transformer",)
    if isinstance(settings, TransformerConfig) and settings.type not in known:
        raise UsageError(
            f"{run} is a {settings.type}, which no family of decoders in Hugging Face's and GGUF's formats is like",
            hint="Export a run of a transformer",
        )
    if not isinstance(settings, TransformerConfig):
        raise UsageError(
            f"{run} is a recurrent network ({settings.type}), which Hugging Face's families and GGUF do not have",
            hint="Export it as ONNX: --format onnx",
        )
    tokenizer = Tokenizer.load(run)
    checkpoint.check_tokenizer(run, config, tokenizer)
    checkpoint.check_weights(run / checkpoint.WEIGHTS, settings)
    origin = config.get("origin", {})
    name, values = families.write_config(settings, str(origin.get("family", "")))
    if tokenizer.source is not tokenizer:
        raise UsageError(f"{run} cuts sources and targets into other pieces, and one tokenizer.json cannot do both")
    special, family = _special_tokens(tokenizer, origin), families.FAMILIES[name].of(settings)
    if family.encodes:  # which begin after what fills up rows
        special["pad_token"] = special.pop("bos_token")
    ids: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    ids |= {f"{key}_id": tokenizer.backend.token_to_id(special[key]) for key in special if f"{key}_id" in ids}
    ids |= {"decoder_start_token_id": tokenizer.bos_id} if family.encodes else {}
    settings_of_generation = _generation(run)
    if ends := [tokenizer.backend.token_to_id(name) for name in settings_of_generation.get("stop_tokens", [])]:
        ids["eos_token_id"] = [tokenizer.eos_id, *ends]
    text = tokenizer.backend.to_str(pretty=False)
    if family.encodes:
        text = huggingface.ends_with(text, special["eos_token"])
    elif not origin:  # ours are read from the boundary on
        text = huggingface.begins_with(text, special["bos_token"])
    template = run / huggingface.TEMPLATE
    ours = read_safetensors(run / checkpoint.WEIGHTS)
    foreign = Foreign(
        values | ids,
        weights.TheirTensors(family, settings, ours),
        unfilled(text),
        special,
        template.read_text(encoding="utf-8") if template.exists() else "",
        generation.theirs(settings_of_generation, ids),
    )
    return foreign, config, str(origin.get("dtype", "float32"))


def _load(folder: Path) -> tuple[Any, Tokenizer]:
    run = checkpoint.load_run(folder)
    return run.model, run.tokenizer


def compared(
    ours: Callable[[], Any], model: Callable[[], Any], tokenizers: Sequence[Callable[[], Encode]], keep: bool
) -> tuple[Parity | None, ParityError | None]:
    """The comparison, and why it failed if the result is kept all the same. Raises ParityError otherwise."""
    found = None
    try:
        found = parity.compare(ours, model, tokenizers)
        found.check()
    except ParityError as error:
        if not keep:
            raise
        return found, error
    return found, None


def _write_weights(
    path: Path,
    shapes: Mapping[str, torch.Size],
    tensors: Iterable[tuple[str, Tensor]],
    metadata: Mapping[str, str],
    sha256_key: str,
    progress: Progress,
) -> str:
    total = sum(shape.numel() for shape in shapes.values())
    return write_safetensors(path, shapes, tensors, metadata, sha256_key, lambda count: progress(count, total))


def _boundaries(foreign: Foreign) -> dict[str, str]:
    """What Tokenizer.load wants to know of special tokens."""
    return {key: token for key, token in foreign.special_tokens.items() if key in ("bos_token", "eos_token")}


def _special_tokens(tokenizer: Tokenizer, origin: Mapping[str, Any]) -> dict[str, str]:
    """bos_token and the like: those it came with, or those of a tokenizer of ours."""
    ids = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id, "unk_token": tokenizer.unk_id}
    found = {name: tokenizer.token_text(id) for name, id in ids.items() if id is not None}
    given = origin.get("special_tokens")
    return found | (given if isinstance(given, dict) else {})


def _generation(run: Path) -> dict[str, Any]:
    path = run / checkpoint.GENERATION
    return read_json(path) if path.exists() else {}


def check_free(out: Path, overwrite: bool, config: str = checkpoint.CONFIG) -> None:
    """Make sure that nothing is lost by writing `out`: the whole folder is replaced, so it may hold a model only, as
    its file `config` shows."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise UsageError(f"{out} exists already", hint="Choose another name, or replace it with --overwrite")
    if not out.is_dir():
        raise UsageError(f"{out} is a file, expected a folder to write", hint="Choose another name")
    lost = [path.name for path in out.iterdir() if path.is_dir() or not any(map(path.match, huggingface.FILES))]
    if lost or not (out / config).is_file():
        what = f" ({lost[0]})" if lost else ", and no model"
        raise UsageError(f"{out} holds other things{what}, which would be lost", hint="Choose another name")
