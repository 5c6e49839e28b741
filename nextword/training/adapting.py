"""Adapters in a model: which layers get one, what is trained then, and the weights that come of it.

The model is changed in place. Its own weights keep their names; those of an adapter go by the layer they are in, as
`blocks.0.attention.qkv.down`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import Tensor, nn

from nextword.checkpoint import weights
from nextword.errors import UsageError
from nextword.models.adapters import Adapted, FrozenLinear
from nextword.models.base import LanguageModel
from nextword.training.config import AdapterConfig

ADAPTER = "adapter.safetensors"
"""In a run folder: the adapters by themselves; model.safetensors has them merged."""


def adapt(model: LanguageModel, config: AdapterConfig | None) -> None:
    """Freeze all weights and put adapters beside those of the layers that `config` names; None: change nothing.

    Raises UsageError for a target that matches no layer, and for a model without linear layers.
    """
    if config is None:
        return
    inner = {id(layer) for part in model.stack for layer in part.modules()}
    linear = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear) and id(m) in inner}
    chosen = _chosen(list(linear), config.targets)
    model.requires_grad_(False)
    for name, layer in linear.items():
        if name in chosen:
            new: FrozenLinear = Adapted(
                layer,
                config.rank,
                config.alpha,
                dropout=config.dropout,
                magnitude=config.kind == "dora",
                base=config.base,
            )
        else:
            new = FrozenLinear(layer, config.base)
        model.set_submodule(name, new.train(layer.training))


def is_adapted(model: LanguageModel) -> bool:
    """Whether it has adapters."""
    return any(isinstance(module, Adapted) for module in model.modules())


def trained(model: LanguageModel) -> dict[str, Tensor]:
    """The weights that belong to adapters; all, in a model that has none."""
    if not is_adapted(model):
        return weights(model)
    return {
        f"{layer}.{name}": parameter
        for layer, module in model.named_modules()
        if isinstance(module, Adapted)
        for name, parameter in module.named_parameters(recurse=False)
        if name not in ("weight", "bias")
    }


def merged(model: LanguageModel) -> dict[str, Tensor]:
    """All weights of the model without adapters that does the same, in float32. For any other, its `weights`."""
    if not is_adapted(model):
        return weights(model)
    frozen = {f"{name}.weight": m for name, m in model.named_modules() if isinstance(m, FrozenLinear)}
    adapters = trained(model)
    return {
        name: frozen[name].merged() if name in frozen else parameter.detach().float()
        for name, parameter in weights(model).items()
        if name not in adapters
    }


def _chosen(names: list[str], patterns: tuple[str, ...]) -> set[str]:
    """The layers that match a pattern: their name, the end of it, or the name of a part of the model above."""
    if not names:
        raise UsageError("train.adapter: this model has no linear layers to adapt", hint="Adapt a transformer")
    if not patterns:
        return set(names)
    chosen: set[str] = set()
    for pattern in patterns:
        forms = [start + pattern + end for start in ("", "*.") for end in ("", ".*")]
        found = {name for name in names if any(fnmatchcase(name, form) for form in forms)}
        if not found:
            kinds = dict.fromkeys(".".join(name.split(".")[-2:]) for name in names)
            raise UsageError(
                f"train.adapter.targets: {pattern!r} matches no linear layer", hint=f"There are {', '.join(kinds)}"
            )
        chosen |= found
    return chosen
