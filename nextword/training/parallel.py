"""One model over the processes of a run: a replica on each (DDP), or a part of every weight on each (FSDP2).

Both see only what goes through the `forward` of the module that they wrap. That module is `Loss`, because training
takes features and loss from the model, not its logits. With one process nothing is wrapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nextword.errors import UsageError
from nextword.loss import PLAIN, LossTerms, next_token_loss
from nextword.models import build_model
from nextword.models.base import LanguageModel, State
from nextword.training.adapting import is_adapted, merged, trained
from nextword.training.distributed import World


class Loss(nn.Module):
    """`next_token_loss` as a module: its parameters are the model's."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor,
        state: State | None = None,
        terms: LossTerms = PLAIN,
        starts: Tensor | None = None,
        sources: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, State | None]:
        """Sum of the token losses in nats, and the state after the last token."""
        return next_token_loss(self.model, inputs, targets, state, terms, starts, sources)


class Spread:
    """A model spread over the processes of a run, and its loss on the rows that are this process's.

    Made before the optimizer, because FSDP puts other parameters in the place of the model's own.
    """

    def __init__(
        self,
        model: LanguageModel,
        world: World,
        parallel: Literal["auto", "ddp", "fsdp"] = "auto",
        precision: Literal["bfloat16", "float32"] = "float32",
    ) -> None:
        if parallel == "fsdp" and is_adapted(model):
            raise UsageError("train.parallel: fsdp spreads no adapters", hint="Leave it out: they are small, for ddp")
        self.model, self.world = model, world
        self._sharded = world.size > 1 and parallel == "fsdp"
        self.loss: Any = Loss(model)
        """Called as `next_token_loss`, without the model."""
        if self._sharded:
            _shard(self.loss, world, precision)
        else:
            model.to(world.device)
            if world.size > 1:
                devices = [world.device] if world.device.type == "cuda" else None
                self.loss = nn.parallel.DistributedDataParallel(self.loss, devices, gradient_as_bucket_view=True)
                self.loss.broadcast_buffers = False  # tables of angles, which never change

    def exchange(self, wanted: bool) -> None:
        """Whether the next forward and backward pass exchanges gradients: once a step is enough."""
        if self._sharded:
            self.loss.set_requires_gradient_sync(wanted)
        elif self.world.size > 1:
            self.loss.require_backward_grad_sync = wanted

    def gradient_norm(self) -> Tensor:
        """The length of all gradients together, the same on every process."""
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        return norm.full_tensor() if is_sharded(norm) else norm  # type: ignore[attr-defined]

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors whose parts are spread, put together in the memory of the first process; {} on the others."""
        complete = {}
        for name, tensor in tensors.items():
            together = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
            if self.world.leads:
                complete[name] = together.detach().cpu() if is_sharded(tensor) else together.detach()
        return complete

    def weights(self) -> dict[str, Tensor]:
        """The model's weights, as `whole` gives them; of adapters, as merged into it."""
        return self.whole(merged(self.model))

    def trained(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of them: the adapters' alone, if there are any."""
        return self.whole(trained(self.model))

    @torch.no_grad()
    def fill(self, complete: Mapping[str, Tensor]) -> None:
        """Give the model what `trained` gave; each process takes its parts."""
        for name, parameter in trained(self.model).items():
            local(parameter).copy_(local(like(complete[name], parameter)))

    def whole_model(self) -> LanguageModel | None:
        """A model with all of its weights, to generate with, on the first process; None on the others."""
        if not self._sharded:
            return self.model if self.world.leads else None
        complete = self.weights()
        if not self.world.leads:
            return None
        with torch.random.fork_rng([]):  # initial values are overwritten at once
            model = build_model(self.model.config)
        model.load_state_dict(complete, strict=False)  # strict would ask for tied names twice
        return model.train(self.model.training).to(self.world.device)


def _shard(loss: Loss, world: World, precision: Literal["bfloat16", "float32"]) -> None:
    """FSDP2, a block at a time: weights, gradients and optimizer state in float32 parts, bfloat16 on the wire.

    Gradients are summed in float32. Inputs are not cast: angles of positions stay float32.
    """
    from torch.distributed.device_mesh import init_device_mesh  # a second, so only where it is needed
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    param_dtype = torch.bfloat16 if precision == "bfloat16" else None
    policy = MixedPrecisionPolicy(param_dtype=param_dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    mesh = init_device_mesh(world.device.type, (world.size,))
    for module in (*loss.model.blocks, loss):  # the last takes what no block has
        fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def is_sharded(tensor: Tensor) -> bool:
    """Whether this is a DTensor. Its class is not imported for that: it takes a second."""
    return hasattr(tensor, "full_tensor")


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds, sharing its memory: all of it, unless it is sharded."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def like(complete: Tensor, parameter: Tensor) -> Tensor:
    """A copy of `complete` where `parameter` is, and, if of its shape, in parts as it is: no process sends anything."""
    if not is_sharded(parameter) or complete.shape != parameter.shape:
        return complete.to(parameter.device, copy=True)
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
    return distribute_tensor(complete, mesh, placements, src_data_rank=None).clone()
