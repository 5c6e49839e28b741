"""Adapters as `peft` keeps them: read and merged into the model they go with, and written so that `peft` loads them.

    adapter_config.json         what rank, and what the product is multiplied by
    adapter_model.safetensors   base_model.model.LAYER.lora_A.weight (R, K) and .lora_B.weight (N, R) of each layer, and
                                .lora_magnitude_vector (N,) of DoRA

Only LoRA and DoRA on linear layers are read, and nothing that changes other weights beside them.

Format: https://github.com/huggingface/peft, src/peft/utils/save_and_load.py and src/peft/tuners/lora
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from nextword.errors import RunError
from nextword.interop import reference
from nextword.interop.foreign import Foreign
from nextword.interop.rules import integer, number
from nextword.interop.tensors import member, read_member, read_safetensors
from nextword.tensor_files import LazyTensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TENSOR = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<kind>A|B|magnitude_vector)(\.weight)?")
REFUSED = (
    *("modules_to_save", "trainable_token_indices", "lora_bias", "layer_replication", "target_parameters"),
    *("use_qalora", "alora_invocation_tokens", "megatron_config", "arrow_config"),
)
"""Settings that change more than a product beside a linear layer does."""
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Of init_lora_weights: the others (PiSSA, OLoRA, LoftQ) change the weights that the adapter goes with."""


@dataclass(frozen=True)
class LowRank:
    """What is trained beside one linear layer."""

    down: Tensor
    """A (R, K)."""
    up: Tensor
    """B (N, R)."""
    scale: float
    magnitude: Tensor | None
    """(N,) of DoRA."""

    def merged(self, weight: Tensor) -> Tensor:
        """(N, K) -> (N, K), in float32."""
        weight = weight.float().addmm(self.up.float(), self.down.float(), alpha=self.scale)
        if self.magnitude is None:
            return weight
        return weight * (self.magnitude.float() / weight.norm(dim=1))[:, None]


@dataclass(frozen=True)
class Adapter:
    """A folder of `peft`."""

    folder: Path
    config: Mapping[str, Any]
    """As in adapter_config.json."""
    layers: Mapping[str, LowRank]
    """By the name of the layer in the model of `transformers`."""

    def merged_into(self, base: Foreign) -> Foreign:
        """The model with the adapter merged into its weights. Raises RunError if it is for another model."""
        transposed = bool(self.config.get("fan_in_fan_out"))
        for name, layer in self.layers.items():
            if f"{name}.weight" not in base.tensors:
                raise RunError(f"{self.folder} adapts {name}, which the model does not have", hint="Is it for another?")
            expected = list(base.tensors[f"{name}.weight"].shape)[:: -1 if transposed else 1]
            found = [layer.up.size(0), layer.down.size(1)]
            if found != expected:
                raise RunError(f"{self.folder} adapts a {name} of shape {found}, but the model has {expected}")
        return replace(base, tensors=_Merged(base.tensors, self.layers, transposed))

    def on(self, model: Any) -> Any:
        """A model of `transformers` with this adapter, by `peft`. Only numbers are handed on: nothing in a file chooses
        code."""
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

        names = ("r", "lora_alpha", "alpha_pattern", "use_rslora", "use_dora", "fan_in_fan_out")
        values = {key: self.config[key] for key in names if self.config.get(key) is not None}
        ranks = {name: layer.down.size(0) for name, layer in self.layers.items()}
        config = LoraConfig(task_type="CAUSAL_LM", target_modules=list(self.layers), rank_pattern=ranks, **values)
        adapted = get_peft_model(model, config)
        tensors = read_safetensors(member(self.folder, WEIGHTS))
        set_peft_model_state_dict(adapted, dict(tensors))
        return adapted.eval()


def with_adapter(base: Foreign, folder: Path) -> tuple[Foreign, Callable[[], Any]]:
    """A model with the adapter of a folder, and what it is to be compared with: by `peft` if that is installed."""
    adapter = read_peft(folder)
    merged = adapter.merged_into(base)
    if available():
        return merged, lambda: adapter.on(reference.model_of(base))
    return merged, lambda: reference.model_of(merged)


class _Merged(LazyTensors):
    """The tensors of a model, each with its adapter merged into it when it is asked for."""

    def __init__(self, base: Mapping[str, Tensor], layers: Mapping[str, LowRank], transposed: bool) -> None:
        super().__init__({name: layers.get(name.removesuffix(".weight")) for name in base})
        self.base, self.transposed = base, transposed

    def __getitem__(self, name: str) -> Tensor:
        tensor, layer = self.base[name], self.index[name]
        if layer is None or not name.endswith(".weight"):
            return tensor
        return layer.merged(tensor.T).T.contiguous() if self.transposed else layer.merged(tensor)


def available() -> bool:
    """Whether `peft` is installed."""
    return importlib.util.find_spec("peft") is not None


def read_peft(folder: Path) -> Adapter:
    """The adapter in a folder that `peft` wrote. Raises RunError if it is damaged, or of a kind that is not read."""
    if not (folder / CONFIG).is_file():
        raise RunError(f"{folder} has no {CONFIG}", hint="Name a folder that peft wrote: --adapter DIR")
    config = read_member(folder, CONFIG)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else config
        raise RunError(f"{folder / CONFIG}: peft_type {kind!r} is not read, expected 'LORA'")
    for key in REFUSED:
        if config.get(key):
            raise RunError(f"{folder / CONFIG}: {key} is not supported: it changes other weights, too")
    integer(config, "r", 1)
    if config.get("bias", "none") != "none":
        raise RunError(f"{folder / CONFIG}: bias {config['bias']!r} is not supported, expected 'none'")
    if config.get("init_lora_weights") not in PLAIN_STARTS:
        raise RunError(
            f"{folder / CONFIG}: init_lora_weights {config['init_lora_weights']!r} changes the model as well",
            hint="Have peft convert it: save_pretrained(path_initial_model_for_weight_conversion=...)",
        )
    if not (folder / WEIGHTS).exists():
        raise RunError(
            f"{folder} has no {WEIGHTS}", hint="Have peft write it: save_pretrained(safe_serialization=True)"
        )
    return Adapter(folder, config, _layers(folder, config))


def _layers(folder: Path, config: Mapping[str, Any]) -> dict[str, LowRank]:
    parts: dict[str, dict[str, Tensor]] = {}
    tensors = read_safetensors(member(folder, WEIGHTS))
    for name in tensors:
        match = TENSOR.fullmatch(name)
        if not match:
            raise RunError(f"{folder / WEIGHTS}: tensor {name} is not that of a LoRA on a linear layer")
        parts.setdefault(match["layer"], {})[match["kind"]] = tensors[name]
    wanted = {"A", "B"} | ({"magnitude_vector"} if config.get("use_dora") else set())
    layers = {}
    for name, found in parts.items():
        if found.keys() != wanted:
            raise RunError(f"{folder / WEIGHTS}: {name} has {sorted(found)}, expected {sorted(wanted)}")
        down, up, magnitude = found["A"], found["B"], found.get("magnitude_vector")
        fits = down.dim() == up.dim() == 2 and down.size(0) == up.size(1)
        if not fits or (magnitude is not None and magnitude.shape != up.shape[:1]):
            shapes = ", ".join(f"{kind} {list(tensor.shape)}" for kind, tensor in sorted(found.items()))
            raise RunError(f"{folder / WEIGHTS}: the shapes of {name} do not go together: {shapes}")
        rank = down.size(0)
        scale = _alpha(config, name) / (math.sqrt(rank) if config.get("use_rslora") else rank)
        layers[name] = LowRank(down, up, scale, magnitude)
    if not layers:
        raise RunError(f"{folder / WEIGHTS} is empty")
    return layers


def _alpha(config: Mapping[str, Any], layer: str) -> float:
    """lora_alpha, or what alpha_pattern says of this layer: there, a key is the end of a name."""
    patterns = config.get("alpha_pattern") or {}
    for key in patterns:
        if not re.fullmatch(r"\^?[\w.]+", key):
            raise RunError(f"alpha_pattern: {key!r} is no name of layers, and other patterns are not read")
        if layer == key.removeprefix("^") or (not key.startswith("^") and layer.endswith(f".{key}")):
            return number(patterns, key)
    return number(config, "lora_alpha")
