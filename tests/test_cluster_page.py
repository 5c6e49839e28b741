"""docs/cluster.md: its tables are what the script computes, and the script counts what torch keeps."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nextword.models import build_model
from nextword.models.transformer import Transformer
from nextword.models.transformer_config import TransformerConfig

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
sys.path.insert(0, str(ROOT / "scripts"))

import cluster_table  # noqa: E402

SMALL = {"vocab_size": 16, "hidden_size": 64, "num_heads": 4, "mlp_size": 96, "max_seq_len": 32}


def test_the_page_holds_the_tables():
    shown = PAGE.split("<!-- tables -->\n")[1].split("\n<!-- end of tables -->")[0]
    assert shown == cluster_table.tables(), "run python scripts/cluster_table.py"


def kept(config: TransformerConfig, dtype: torch.dtype) -> int:
    """Bytes that torch keeps for the gradients of one pass, weights apart; storages that are shared count once."""
    torch.manual_seed(0)
    model = build_model(config).to(dtype).eval()  # no dropout; attention by torch's fused kernel
    assert isinstance(model, Transformer)
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    storages: dict[int, tuple[int, torch.Tensor]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    tokens = torch.randint(16, (2, config.max_seq_len))
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32, cache_enabled=False)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
        features, _ = model.features(tokens)
    assert features.requires_grad
    return sum(size for size, _ in storages.values())


@pytest.mark.parametrize(("dtype", "residual"), [(torch.bfloat16, 2), (torch.float32, 4)])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_a_block_keeps_what_the_formula_says(dtype, residual, kv_heads):
    configs = [TransformerConfig(num_layers=n, num_kv_heads=kv_heads, **SMALL) for n in (2, 3)]
    few, more = (kept(config, dtype) for config in configs)
    weights = 0 if residual == 2 else 2 * cluster_table.count(configs[0]).block  # autocast's copies, counted elsewhere
    norms = 4 * 2 * 64  # 1 / length, a number for each token and norm: too little for the formula
    assert more - few == pytest.approx(
        64 * cluster_table.block_activations(configs[0], residual) + weights, abs=2 * norms
    )


@pytest.mark.parametrize(("name", "billions"), [("125M", 0.125), ("1.3B", 1.3), ("7B", 7)])
def test_the_names_are_about_right(name, billions):
    counts = cluster_table.count(cluster_table.SHAPES[name])
    assert counts.all == pytest.approx(billions * 1e9, rel=0.05)
    assert counts.rest + cluster_table.SHAPES[name].num_layers * counts.block == counts.all


def test_traffic_of_two_is_half_of_everything_each_way():
    assert cluster_table.ddp_traffic(100, 2) == 400  # half of 100 float32 to the other, and the sums of its half
    assert cluster_table.fsdp_traffic(100, 2) == 400  # half in bfloat16 twice, half of the gradients in float32
    assert cluster_table.fsdp_traffic(100, 2, accumulate=3) == 800


def test_a_share_of_the_states_is_what_more_gpus_save():
    config = cluster_table.SHAPES["7B"]
    fewer, more = (cluster_table.fsdp_memory(config, gpus, True) for gpus in (8, 64))
    assert fewer - more == pytest.approx(16 * cluster_table.count(config).all * (1 / 8 - 1 / 64))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_slurm_script_can_be_read():
    script = re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    assert script
    subprocess.run(["bash", "-n"], input=script[1], text=True, check=True)
    assert "#SBATCH --requeue" in script[1]


def test_every_setting_of_the_page_exists():
    from nextword.training.config import TrainConfig

    for name in re.findall(r"train\.(\w+)", PAGE):
        assert name in TrainConfig.model_fields
