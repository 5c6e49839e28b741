"""Optimizers by name, all of them torch's own, behind two or three calls.

Biases and norm gains never decay. Muon takes the hidden matrices; embeddings, output layer, biases and norms go to
AdamW, as its authors advise. With `layer_decay` each layer has a learning rate of its own, a fixed share of the common
one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nextword.models.base import LanguageModel
from nextword.training.config import TrainConfig
from nextword.training.parallel import like

FORGETTING = 2.3
"""Readings of the text in which decoupled decay makes a weight e times smaller: much the same number is best for any
size of text and model (Wang & Aitchison 2024, "How to set AdamW's weight decay as you scale model and dataset
size")."""
MOST_DECAY = 1.0


def usual_decay(optimizer: str, learning_rate: float, steps: float) -> float:
    """Weight decay for a text that is read once in so many `steps`."""
    if optimizer not in ("adamw", "muon"):
        return 0.0
    return min(MOST_DECAY, float(f"{1 / max(learning_rate * FORGETTING * steps, 1e-9):.2g}"))


class Optimizers:
    """One or two torch optimizers that step together; a parameter group has its `share` of one learning rate."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts

    def set_learning_rate(self, learning_rate: float) -> None:
        """Takes effect at the next step, in every parameter group."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate * group["share"]

    def step(self) -> None:
        """Update the weights from their gradients, and forget the gradients."""
        for part in self.parts:
            part.step()
            part.zero_grad(set_to_none=True)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a resumed run needs: tensors by name, and plain values by name."""
        tensors: dict[str, Tensor] = {}
        values: dict[str, Any] = {}
        for name, parameter, key, value in self._entries():
            del parameter
            (tensors if isinstance(value, Tensor) else values)[f"{name}.{key}"] = value
        return tensors, values

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Put back what `state` gave, copied, for the same model and settings; where a parameter is spread over
        processes, each takes its part."""
        for i, part in enumerate(self.parts):
            for j, parameter in enumerate(_parameters(part)):
                prefix = f"{i}.{j}."
                found = {k.removeprefix(prefix): v for k, v in (tensors | values).items() if k.startswith(prefix)}
                if found:
                    part.state[parameter] = {
                        k: like(v, parameter) if isinstance(v, Tensor) else v for k, v in found.items()
                    }

    def _entries(self) -> Iterator[tuple[str, Tensor, str, Any]]:
        for i, part in enumerate(self.parts):
            for j, parameter in enumerate(_parameters(part)):
                for key, value in part.state.get(parameter, {}).items():
                    yield f"{i}.{j}", parameter, key, value


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def build_optimizers(model: LanguageModel, config: TrainConfig) -> Optimizers:
    """The optimizer that `config` names, over all trainable parameters of `model`."""
    parameters = [p for p in model.parameters() if p.requires_grad]  # tied weights come once
    lr, decay = config.learning_rate, config.weight_decay or 0.0
    shares = lr_shares(model, config.layer_decay)
    parts: list[torch.optim.Optimizer] = []
    if config.optimizer == "muon":
        lookups = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)} | {id(model.output.weight)}
        hidden = [p for p in parameters if p.dim() == 2 and id(p) not in lookups]
        chosen = {id(p) for p in hidden}
        parameters = [p for p in parameters if id(p) not in chosen]
        # match_rms_adamw scales Muon's update to AdamW's usual size, so that one learning rate serves both.
        if hidden:
            groups = _groups(hidden, shares, decay)
            parts.append(torch.optim.Muon(groups, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    matrices, vectors = [p for p in parameters if p.dim() >= 2], [p for p in parameters if p.dim() < 2]
    groups = _groups(matrices, shares, decay) + _groups(vectors, shares, 0.0)
    if not groups:
        return Optimizers(parts)
    if config.optimizer == "sgd":
        parts.append(torch.optim.SGD(groups, lr=lr, momentum=config.momentum))
    elif config.optimizer == "adam":
        parts.append(torch.optim.Adam(groups, lr=lr, betas=config.betas, fused=True))
    else:
        parts.append(torch.optim.AdamW(groups, lr=lr, betas=config.betas, fused=True))
    return Optimizers(parts)


def lr_shares(model: LanguageModel, layer_decay: float) -> dict[int, float]:
    """id of each parameter -> its share of the learning rate: 1 at the top, `layer_decay` times less a layer down.

    Discriminative fine-tuning (Howard & Ruder 2018), as ELECTRA has it (Clark et al. 2020): the lower a layer, the more
    general what it knows, and the less it is to move.
    """
    depths = model.depths()
    top = max(depths.values())
    return {id(p): layer_decay ** (top - depths[name]) for name, p in model.named_parameters()}


def _groups(parameters: list[nn.Parameter], shares: dict[int, float], decay: float) -> list[dict[str, Any]]:
    """Parameter groups, one a share of the learning rate, the lowest first."""
    return [
        {"params": [p for p in parameters if shares[id(p)] == share], "share": share, "weight_decay": decay}
        for share in sorted({shares[id(p)] for p in parameters})
    ]
