"""The fuzzer of scripts/fuzz.py for a quarter of a minute a target: no more than that it runs and finds nothing new."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["gguf", "llama2c", "safetensors", "folder", "json", "tokenizer", "run"])
def test_nothing_but_our_own_error_comes_out(target, tmp_path):
    pytest.importorskip("atheris")
    command = [sys.executable, ROOT / "scripts" / "fuzz.py", target, "-max_total_time=15", "-max_len=8192"]
    done = subprocess.run(
        [*command, "-rss_limit_mb=4000"],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
