"""Recurrent runs as ONNX, for onnxruntime in any language: tokens and state go in, logits and the new state come out.

The graph is put together here of ONNX's own operators, so it is as small as the model and the same on every version of
torch. Shapes: B rows, T tokens, L layers, E embedding size, C hidden size, V vocabulary.

    tokens (B, T) int64, h (L, B, C) [, c (L, B, C)]  ->  logits (B, T, V), h_out (L, B, C) [, c_out (L, B, C)]
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextword import __version__
from nextword.checkpoint import CONFIG, load_run
from nextword.config import read_json
from nextword.errors import MissingExtra, RunError, UsageError
from nextword.files import replacing_folder, write_json, write_text
from nextword.models import LanguageModel
from nextword.scoring import boundary_id
from nextword.tokenizers import Tokenizer

FILE = "model.onnx"
FORMAT = "nextword-onnx"
OPSET, IR_VERSION = 17, 8  # of 2022: what runtimes in use read
TOLERANCE = 1e-4
"""Largest difference of two logits that float32 arithmetic explains; of larger logits than 1, as a share of them."""
MOST_BYTES = 2**31 - 2**20  # of one file in protobuf
GATES = {"rnn": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
"""Where each of ONNX's gates stands in PyTorch's order. GRU: z r h of r z n. LSTM: i o f c of i f g o."""


@dataclass(frozen=True)
class OnnxExport:
    """What was written."""

    folder: Path
    parameters: int
    difference: float | None
    """The largest between a logit of onnxruntime and ours; None: not compared, onnxruntime is not installed."""

    def __str__(self) -> str:
        if self.difference is None:
            return 'not compared with onnxruntime: it is not installed (pip install "nextword[onnx]")'
        return f"the same in onnxruntime: largest difference of logits {self.difference:.1e}"


def export_onnx(run: str | Path, out: str | Path) -> OnnxExport:
    """Write a recurrent run as a folder of model.onnx, tokenizer.json, config.json and a README that shows its use.

    What onnxruntime computes from it is compared with ours before it takes its place. Raises UsageError for a run of
    another kind, RunError if the two differ, MissingExtra without the library onnx.
    """
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtra("onnx", "onnx", "exporting as ONNX")
    loaded, out = load_run(run), Path(out)
    model, tokenizer = loaded.model, loaded.tokenizer
    kind = model.config.type
    if kind not in GATES:
        raise UsageError(
            f"{run} is a {kind}; recurrent models are exported as ONNX ({', '.join(GATES)})",
            hint=f"Export it for transformers or llama.cpp: nextword export {run} OUT --format hf, or gguf",
        )
    if 4 * model.num_parameters() > MOST_BYTES:
        raise UsageError(f"{run} has {model.num_parameters():,} parameters, more than one ONNX file holds")
    if out.exists() and not _replaceable(out):
        raise UsageError(f"{out} exists, and is no earlier export", hint="Choose another name for the folder")
    with replacing_folder(out) as folder:
        (folder / FILE).write_bytes(graph(model))
        tokenizer.save(folder)
        write_json(folder / CONFIG, _config(model, tokenizer))
        difference = _difference(folder / FILE, model) if importlib.util.find_spec("onnxruntime") else None
        result = OnnxExport(out, model.num_parameters(), difference)
        write_text(folder / "README.md", _readme(out.resolve().name, loaded.config, kind, result))
    return result


def _replaceable(out: Path) -> bool:
    if not out.is_dir():
        return False
    names = {path.name for path in out.iterdir()}
    return not names or (FILE in names and read_json(out / CONFIG).get("format") == FORMAT)


def graph(model: LanguageModel) -> bytes:
    """A recurrent model as the bytes of an ONNX file."""
    from onnx import TensorProto, checker, helper, numpy_helper

    config: Any = model.config
    L, C, V, kind = config.num_layers, config.hidden_size, config.vocab_size, config.type
    states = ["h", "c"] if kind == "lstm" else ["h"]
    weights = {name: p.detach().float().cpu().numpy() for name, p in model.named_parameters()}
    constants = {"embedding.weight": weights["embedding.weight"], "axis1": np.array([1])}
    nodes = [
        helper.make_node("Gather", ["embedding.weight", "tokens"], ["embedded"]),  # (B, T, E)
        helper.make_node("Transpose", ["embedded"], ["x0"], perm=[1, 0, 2]),  # (T, B, E)
    ]
    for name in states:  # each (L, B, C) -> L times (1, B, C)
        parts = [f"{name}{i}" for i in range(L)]
        nodes += [helper.make_node("Split", [name], parts, axis=0) if L > 1 else _same(name, parts[0])]
    for i in range(L):
        layer = {name.removeprefix(f"layers.{i}."): w for name, w in weights.items() if name.startswith(f"layers.{i}.")}
        constants |= {f"layer{i}.{name}": value for name, value in _layer(kind, layer).items()}
        nodes += [
            helper.make_node(
                kind.upper(),
                [f"x{i}", f"layer{i}.W", f"layer{i}.R", f"layer{i}.B", "", *(f"{name}{i}" for name in states)],
                [f"y{i}", *(f"{name}{i}_out" for name in states)],  # (T, 1, B, C), (1, B, C)
                hidden_size=C,
                **({"linear_before_reset": 1} if kind == "gru" else {}),
            ),
            helper.make_node("Squeeze", [f"y{i}", "axis1"], [f"x{i + 1}"]),  # (T, B, C)
        ]
    nodes += [
        *(helper.make_node("Concat", [f"{s}{i}_out" for i in range(L)], [f"{s}_out"], axis=0) for s in states),
        helper.make_node("Transpose", [f"x{L}"], ["features0"], perm=[1, 0, 2]),  # (B, T, C)
    ]
    features = "features0"
    for name in ("projection.weight", "output.weight"):
        source = "embedding.weight" if name == "output.weight" and config.tied else name
        if source not in weights:
            continue
        constants[source] = weights[source]
        after = f"{features}>{name}"
        nodes += [
            helper.make_node("Transpose", [source], [f"{name}.T"], perm=[1, 0]),
            helper.make_node("MatMul", [features, f"{name}.T"], [after]),
        ]
        features = after
    if "output.bias" in weights:
        constants["output.bias"] = weights["output.bias"]
        nodes += [helper.make_node("Add", [features, "output.bias"], ["logits"])]
    else:
        nodes += [_same(features, "logits")]

    def tensor(name: str, *shape: str | int, dtype: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, dtype, shape)

    made = helper.make_model(
        helper.make_graph(
            nodes,
            "nextword",
            [tensor("tokens", "B", "T", dtype=TensorProto.INT64), *(tensor(name, L, "B", C) for name in states)],
            [tensor("logits", "B", "T", V), *(tensor(f"{name}_out", L, "B", C) for name in states)],
            [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="nextword",
        producer_version=__version__,
    )
    checker.check_model(made, full_check=True)
    return made.SerializeToString()


def _same(given: str, name: str) -> Any:
    from onnx import helper

    return helper.make_node("Identity", [given], [name])


def _layer(kind: str, weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """PyTorch's weights of a layer as ONNX's W (1, G*C, E), R (1, G*C, C) and B (1, 2*G*C)."""

    def ordered(name: str) -> NDArray[Any]:
        gates = np.split(weights[name], len(GATES[kind]))
        return np.concatenate([gates[i] for i in GATES[kind]])

    biases = np.concatenate([ordered("bias_ih_l0"), ordered("bias_hh_l0")])
    return {"W": ordered("weight_ih_l0")[None], "R": ordered("weight_hh_l0")[None], "B": biases[None]}


def _config(model: LanguageModel, tokenizer: Tokenizer) -> dict[str, Any]:
    config: Any = model.config
    state = ["h", "c"] if config.type == "lstm" else ["h"]
    return {
        "format": FORMAT,
        "model_type": config.type,
        "vocab_size": config.vocab_size,
        "num_layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "inputs": ["tokens", *state],
        "outputs": ["logits", *(f"{name}_out" for name in state)],
        "boundary_token_id": boundary_id(tokenizer),
        "eos_token_id": tokenizer.eos_id,
    }


@torch.inference_mode()
def _difference(file: Path, model: LanguageModel) -> float:
    """The largest between logits, read in two pieces with the state between. Raises RunError if it is too large."""
    from onnxruntime import InferenceSession

    session = InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    tokens = torch.randint(model.output.out_features, (2, 40), generator=torch.Generator().manual_seed(0))
    ours = model(tokens)[0].numpy()
    _, first, *_ = (given.shape for given in session.get_inputs())
    state = [np.zeros((first[0], 2, first[2]), np.float32) for _ in session.get_inputs()[1:]]
    names, pieces = [given.name for given in session.get_inputs()], []
    for piece in tokens.split(25, dim=1):
        logits, *state = session.run(None, dict(zip(names, [piece.numpy(), *state], strict=True)))
        pieces.append(logits)
    difference = float(np.abs(np.concatenate(pieces, axis=1) - ours).max())
    if not difference < TOLERANCE * max(1.0, float(np.abs(ours).max())):
        raise RunError(f"onnxruntime computes other logits: the largest difference is {difference:.1e}")
    return difference


def _readme(name: str, config: Mapping[str, Any], kind: str, result: OnnxExport) -> str:
    sources = ", ".join(Path(source).name for source in config.get("corpus", {}).get("sources", []))
    state = "h, c" if kind == "lstm" else "h"
    return f"""---
library_name: onnx
pipeline_tag: text-generation
tags: [nextword, language-model, {kind}]
---

# {name}

A recurrent language model ({kind}, {result.parameters:,} parameters, float32), exported by nextword {__version__}.

| | |
|---|---|
| data | {sources or "not recorded"} |
| tokenizer | {config["tokenizer"]["type"]}, {config["tokenizer"]["vocab_size"]:,} tokens |
| {FILE} | tokens (B, T) int64 and the state ({state}) in, logits (B, T, V) and the new state out |
| compared | {result} |

## Use

```python
import json
import numpy as np, onnxruntime, tokenizers

config = json.load(open("config.json"))
tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
session, rng = onnxruntime.InferenceSession("{FILE}"), np.random.default_rng(1)
shape = config["num_layers"], 1, config["hidden_size"]
state = [np.zeros(shape, np.float32) for _ in config["inputs"][1:]]
prompt, written = "", []
tokens = [config["boundary_token_id"], *tokenizer.encode(prompt, add_special_tokens=False).ids]
while len(written) < 200:
    inputs = [np.array([tokens]), *state]
    logits, *state = session.run(None, dict(zip(config["inputs"], inputs)))
    gumbel = rng.gumbel(size=config["vocab_size"])  # the largest of logits / temperature + gumbel is a draw
    tokens = [int(np.argmax(logits[0, -1] / 0.8 + gumbel))]
    if tokens == [config["eos_token_id"]]:
        break
    written += tokens
print(prompt + tokenizer.decode(written))
```

## Licence

Not stated. The weights follow from the data: its licence bounds theirs.
"""
