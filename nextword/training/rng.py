"""The generators of random numbers of all processes of a run: a row a process in a checkpoint.

Dropout must not be the same in every process. The first keeps the generator that it has, so that a run of one process
goes on to the last bit; another has its row, or, where the checkpoint has none for it, begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nextword.training.distributed import World

CPU, CUDA = "rng", "rng.cuda"  # names in a checkpoint


def begin(world: World, seed: int, step: int = 0) -> None:
    """A generator of its own for each process but the first."""
    if world.rank:
        torch.manual_seed((seed + 1_000_003 * world.rank + step) % 2**63)


def states(world: World) -> dict[str, Tensor]:
    """The states of all processes, each (processes, bytes)."""
    own = {CPU: torch.get_rng_state()}
    if world.device.type == "cuda":
        own[CUDA] = torch.cuda.get_rng_state(world.device)
    return {name: world.gathered(state.unsqueeze(0), world.size) for name, state in own.items()}


def restore(world: World, tensors: Mapping[str, Tensor], seed: int, step: int) -> None:
    """Go on from what `states` gave, with as many processes as then, or more, or fewer."""
    begin(world, seed, step)
    saved = {name: torch.atleast_2d(tensors[name]) for name in (CPU, CUDA) if name in tensors}
    own = {name: rows[world.rank].clone() for name, rows in saved.items() if world.rank < len(rows)}
    if CPU in own:
        torch.set_rng_state(own[CPU])
    if CUDA in own and world.device.type == "cuda":
        torch.cuda.set_rng_state(own[CUDA], world.device)
