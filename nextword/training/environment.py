"""Where a run was trained: what its figures depend on beyond its settings. No names of people, paths or hosts."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from nextword import __version__


def environment(place: torch.device) -> dict[str, Any]:
    """Versions, machine and threads, as plain values for config.json."""
    accelerator = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    return {
        "nextword": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.release()}".strip(),
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": accelerator,
    }


def _processor() -> str:
    """The name of the CPU, where the system tells; else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
