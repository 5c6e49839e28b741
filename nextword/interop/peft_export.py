"""The adapters of a run as a folder that `peft` loads beside the model they were trained on.

A layer of ours that joins several of theirs has an adapter for each, which go to each. Where theirs joins them as well
(GPT-2's c_attn), they become one of a higher rank: A one below the other, B along the diagonal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextword import checkpoint
from nextword.config import parse
from nextword.errors import UsageError
from nextword.files import replacing_folder, write_json
from nextword.interop import families, parity, peft, reference
from nextword.interop.convert import Crossing, check_free, compared, run_as_foreign
from nextword.interop.families import Family
from nextword.interop.peft import LowRank
from nextword.interop.weights import their_names
from nextword.models import LanguageModel, model_config
from nextword.models.adapters import Adapted
from nextword.training.adapting import ADAPTER, adapt, trained
from nextword.training.beginning import adapted_source
from nextword.training.config import AdapterConfig


def export_peft(run: Path, out: Path, *, check: bool = True, keep: bool = False, overwrite: bool = False) -> Crossing:
    """Write adapter_config.json and adapter_model.safetensors.

    With `check`, and if `peft` is installed, the source with our adapters is compared with `transformers`' with those
    that were written. Raises UsageError if the run has no adapters, RunError if it is damaged or if the two differ.
    """
    check_free(out, overwrite, peft.CONFIG)
    if not (run / ADAPTER).is_file():
        checkpoint.read_config(run)
        raise UsageError(
            f"{run} has no adapters", hint="Train some: nextword train DATA --init-from RUN --adapter lora"
        )
    foreign, config, _ = run_as_foreign(run)
    settings = parse(AdapterConfig, config["train"]["adapter"], "train.adapter")
    model = checkpoint.outline(model_config(config["model"]))
    adapt(model, settings)
    fill = checkpoint.read_weights(run / ADAPTER, trained(model))
    name = foreign.config["model_type"]
    family = families.FAMILIES[name]
    layers = dict(_their_layers(model, fill, family))
    with replacing_folder(out) as folder:
        tensors = {}
        for layer, low in layers.items():
            for kind, tensor in (("A.weight", low.down), ("B.weight", low.up), ("magnitude_vector", low.magnitude)):
                if tensor is not None:
                    tensors[f"base_model.model.{layer}.lora_{kind}"] = tensor
        checkpoint.save_tensors(folder / peft.WEIGHTS, tensors, {"format": "pt"})
        base = str(config.get("origin", {}).get("source") or config["init"]["from"])
        write_json(folder / peft.CONFIG, _config(layers, model, family, settings) | {"base_model_name_or_path": base})
        found, failure = None, None
        if check and peft.available() and parity.available():
            source = _source(run, config)
            theirs, _, _ = run_as_foreign(source)
            found, failure = compared(
                lambda: _with_adapters(source, settings, fill),
                lambda: _by_peft(reference.model_of(theirs), folder),
                [lambda: reference.tokenizer_from(foreign.tokenizer)],
                keep,
            )
    count = sum(tensor.numel() for tensor in tensors.values())
    return Crossing(out, name, count, "float32", found, failure)


def _their_layers(model: LanguageModel, fill: Mapping[str, Tensor], family: Family) -> Iterator[tuple[str, LowRank]]:
    """Each adapted layer of theirs."""
    for ours, layer in model.named_modules():
        if not isinstance(layer, Adapted):
            continue
        names = [name.removesuffix(".weight") for name in their_names(family, f"{ours}.weight")]
        downs, ups = fill[f"{ours}.down"].chunk(len(layer.parts)), fill[f"{ours}.up"].split(layer.parts)
        magnitude = None if layer.magnitude is None else fill[f"{ours}.magnitude"]
        if len(names) == len(layer.parts):
            magnitudes = [None] * len(names) if magnitude is None else magnitude.split(layer.parts)
            for name, down, up, length in zip(names, downs, ups, magnitudes, strict=True):
                yield name, LowRank(down, up, layer.scale, length)
        else:
            (name,) = names
            yield name, LowRank(torch.cat(downs), torch.block_diag(*ups), layer.scale, magnitude)


def _config(
    layers: Mapping[str, LowRank], model: LanguageModel, family: Family, settings: AdapterConfig
) -> dict[str, Any]:
    """An adapter_config.json. Layers go by the end of their names where that means all that are so called."""
    linear = [name for name, p in model.named_parameters() if p.dim() == 2 and name.startswith("blocks.")]
    every = {
        full.removesuffix(".weight")
        for name in linear
        if name.endswith(".weight")
        for full in their_names(family, name)
    }
    last = {name.rsplit(".", 1)[-1] for name in layers}
    short = {name for name in every if name.rsplit(".", 1)[-1] in last} == layers.keys()
    joined = {name: low.down.size(0) for name, low in layers.items() if low.down.size(0) != settings.rank}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "target_modules": sorted(last if short else layers),
        "rank_pattern": joined,
        "alpha_pattern": {name: settings.alpha * rank / settings.rank for name, rank in joined.items()},
        "use_dora": settings.kind == "dora",
        "use_rslora": False,
        "fan_in_fan_out": bool(family.transposed),
        "bias": "none",
        "init_lora_weights": True,
        "modules_to_save": None,
    }


def _source(run: Path, config: Mapping[str, Any]) -> Path:
    """The run that the adapters go with. Raises RunError if it is gone, UsageError if its tokenizer is another one."""
    source = adapted_source(run, config)
    if source.tokenizer.fingerprint() != config["tokenizer"]["fingerprint"]:
        raise UsageError(
            f"{run} has another tokenizer than {source.folder}, and adapters have no embeddings to tell it",
            hint="Export the whole model: --format hf",
        )
    return source.folder


def _with_adapters(folder: Path, settings: AdapterConfig, fill: Mapping[str, Tensor]) -> Any:
    """The source in float32, with the adapters of the run beside its weights."""
    source = checkpoint.load_run(folder)
    adapt(source.model, settings.model_copy(update={"base": "float32"}))
    with torch.no_grad():
        for name, parameter in trained(source.model).items():
            parameter.copy_(fill[name])
    return source.model.eval(), source.tokenizer


def _by_peft(model: Any, folder: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder).eval()
