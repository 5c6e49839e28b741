"""The run folder: all that generating and scoring need, and nothing that can execute.

config.json                what the model is, how it was trained, and what it reached
model.safetensors          the weights; written last, so a folder that has them is whole
tokenizer.json             the tokenizer (tokenizer_config.json beside it is for transformers)
generation_config.json     default settings of `generate`
README.md                  the model card
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from torch.overrides import TorchFunctionMode

from nextword.config import read_json
from nextword.errors import RunError, UsageError
from nextword.files import replacing, write_json
from nextword.models import LanguageModel, ModelConfig, build_model, model_config
from nextword.tensor_files import SafetensorsFile, read_safetensors
from nextword.tokenizers import Tokenizer

FORMAT_VERSION = 1
CONFIG, WEIGHTS, GENERATION = "config.json", "model.safetensors", "generation_config.json"
GENERATION_DEFAULTS = {"temperature": 0.8, "top_p": 0.95, "max_tokens": 200}
"""What `generate` does unless told otherwise; the file is the user's to change."""
SHA256 = "sha256"  # of the tensors, in the header of the weights: one file, so the two never disagree
MOST_HASHED = 2**28  # bytes: a fifth of a second at 1.4 GB/s. Larger weights are not hashed each time they are loaded
AGAIN = "Restore the file or train again"
MOST_TABLES = 2**32  # bytes of what a model computes from its settings alone, such as rotary angles


@dataclass(frozen=True)
class Run:
    """A run folder in memory; the model is in evaluation mode."""

    folder: Path
    config: dict[str, Any]
    model: LanguageModel
    tokenizer: Tokenizer
    generation: dict[str, Any]
    """Contents of generation_config.json: defaults for `GenerationConfig`."""


def save_config(folder: Path, model: LanguageModel, tokenizer: Tokenizer, sections: Mapping[str, Any]) -> None:
    """Write config.json and the tokenizer; `sections` ("train", "data", "figures", ...) go in beside the model."""
    values = {"format_version": FORMAT_VERSION, "model": model.config.model_dump(mode="json")}
    tokens = {
        "type": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "fingerprint": tokenizer.fingerprint(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder)
    if not (folder / GENERATION).exists():
        write_json(folder / GENERATION, GENERATION_DEFAULTS)
    write_json(folder / CONFIG, values | {"tokenizer": tokens} | dict(sections))


def save_weights(path: Path, model: LanguageModel) -> None:
    """Write the weights of a model as `write_weights` does. Tied weights are stored once."""
    write_weights(path, weights(model))


def write_weights(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write weights and their SHA-256 as `save_tensors` does."""
    save_tensors(path, tensors, {SHA256: tensors_sha256(tensors)})


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write named tensors to a safetensors file, atomically; it is read back and compared before it takes its place.

    Raises OSError if the disk takes no more, or gives back something else.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, dict(header or {}) or None)
            found = read_safetensors(temporary)
        except (SafetensorError, RunError) as error:
            raise OSError(errno.EIO, str(error), str(path)) from None
        if not all(torch.equal(_bytes(found[name]), _bytes(tensor)) for name, tensor in tensors.items()):
            raise OSError(errno.EIO, "what was read back is not what was written", str(path))


def tensors_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """The SHA-256 of the tensors' bytes, in the order of their names, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(_bytes(tensors[name]).numpy().data)
    return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8)


def weights(model: LanguageModel) -> dict[str, torch.Tensor]:
    """The parameters by name, each tensor once: the first name of a tied one counts."""
    return dict(model.named_parameters())


def load_weights(path: Path, model: LanguageModel) -> None:
    """Fill the model from a safetensors file. Raises RunError if it is damaged or made for another model."""
    tensors = read_weights(path, weights(model))
    with torch.no_grad():
        for name, parameter in weights(model).items():  # one at a time: the file need not fit beside the model
            parameter.copy_(tensors[name])


def read_weights(path: Path, like: Mapping[str, torch.Tensor]) -> SafetensorsFile:
    """The tensors of a safetensors file, on the CPU, each read when it is asked for.

    Raises RunError if it is damaged, or if they are not of the names and shapes of `like`.
    """
    tensors = _open(path)
    _compare(path, like, _shapes(tensors))
    recorded = tensors.metadata.get(SHA256)
    if recorded and path.stat().st_size <= MOST_HASHED and tensors_sha256(tensors) != recorded:
        raise RunError(f"{path} is damaged: its SHA-256 differs from the recorded one", hint=AGAIN)
    return tensors


def outline(config: ModelConfig) -> LanguageModel:
    """The model with its names and shapes, but without memory."""
    with torch.device("meta"), _Unfilled():
        return build_model(config)


class _Unfilled(TorchFunctionMode):
    """Leaves out the first values of weights, to draw which torch would import its compiler: a second for nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def check_weights(path: Path, config: ModelConfig) -> None:
    """Compare a safetensors file with a model that takes no memory: a damaged size must not ask for terabytes.

    Raises RunError if the file is damaged or made for another model.
    """
    model = outline(config)
    _compare(path, weights(model), _shapes(_open(path)))
    tables = sum(buffer.nbytes for buffer in model.buffers())
    if tables > MOST_TABLES:
        raise RunError(f"{path.with_name(CONFIG)}: the model would need {tables / 2**30:,.0f} GiB of position tables")


def _open(path: Path) -> SafetensorsFile:
    if not path.exists():
        raise RunError(f"{path} is missing", hint="Training writes it at its first evaluation")
    try:
        return read_safetensors(path)
    except RunError as error:
        raise RunError(error.message, hint=AGAIN) from None


def _shapes(tensors: SafetensorsFile) -> dict[str, list[int]]:
    return {name: list(entry.shape) for name, entry in tensors.entries.items()}


def _compare(path: Path, like: Mapping[str, torch.Tensor], found: dict[str, list[int]]) -> None:
    expected = {name: list(tensor.shape) for name, tensor in like.items()}
    if found != expected:
        raise RunError(f"{path} does not fit its {CONFIG}: {_first_difference(expected, found)}")


def _first_difference(expected: dict[str, list[int]], found: dict[str, list[int]]) -> str:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"tensor {name} is missing"
        if name not in expected:
            return f"tensor {name} is not part of this model"
        if expected[name] != found[name]:
            return f"tensor {name} has shape {found[name]}, expected {expected[name]}"
    return "no difference"


def read_config(folder: Path) -> dict[str, Any]:
    """The checked config.json of a run folder. Raises RunError if `folder` is none, or from a newer nextword."""
    path = folder / CONFIG
    if not path.is_file():
        raise RunError(
            f"{folder} is not a run folder: {'it has no config.json' if folder.is_dir() else 'no such folder'}",
            hint=f"Train one: nextword train DATA --out {folder}",
        )
    try:
        config = read_json(path)
    except UsageError as error:
        raise RunError(f"{error.message}", hint="The run folder is damaged: restore the file or train again") from None
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise RunError(f"{path}: format_version {version!r}, this nextword reads {FORMAT_VERSION}")
    for section in ("model", "tokenizer"):
        if not isinstance(config.get(section), dict):
            raise RunError(f"{path} has no section {section!r}", hint="The run folder is damaged: restore it")
    return config


def load_run(folder: str | Path, device: str = "cpu") -> Run:
    """Read a run folder. Raises RunError naming the file that is missing, damaged or from another run."""
    folder = Path(folder)
    config = read_config(folder)
    place = check_device(device)
    try:
        settings = model_config(config["model"])
    except UsageError as error:
        raise RunError(f"{folder / CONFIG}: {error}") from None
    tokenizer = Tokenizer.load(folder)
    check_tokenizer(folder, config, tokenizer)
    check_weights(folder / WEIGHTS, settings)
    with torch.random.fork_rng(devices=[]):  # initial values are overwritten at once; leave the user's rng alone
        model = build_model(settings)
    load_weights(folder / WEIGHTS, model)
    generation = read_generation(folder / GENERATION)
    return Run(folder, config, model.eval().to(place), tokenizer, generation)


def read_generation(path: Path) -> dict[str, Any]:
    """What a generation_config.json says, nothing if it is not there. Raises RunError if it is damaged."""
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except UsageError as error:
        raise RunError(f"{path} is damaged: {error.message}", hint="Delete it to use the defaults") from None


def check_device(name: str) -> torch.device:
    """The device of that name. Raises UsageError if torch knows none, or if it is not there."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"--device {name!r} cannot be used: {reason}", hint="Use cpu, cuda, cuda:1 or mps") from None


def check_tokenizer(folder: Path, config: Mapping[str, Any], tokenizer: Tokenizer) -> None:
    """Raises RunError if the tokenizer in `folder` is not the one the model was trained with."""
    wanted = config["tokenizer"]
    if tokenizer.vocab_size != config["model"].get("vocab_size"):
        raise RunError(
            f"the tokenizer in {folder} has {tokenizer.vocab_size} tokens, but the model was trained with "
            f"{config['model'].get('vocab_size')}",
            hint="Put back the tokenizer.json that was saved with the model",
        )
    if tokenizer.fingerprint() != wanted.get("fingerprint"):
        raise RunError(
            f"the tokenizer in {folder} is not the one the model was trained with",
            hint="Put back the tokenizer.json that was saved with the model",
        )
