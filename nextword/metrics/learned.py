"""Metrics that are models themselves, trained to see that texts mean the same: BERTScore (Zhang et al. 2020) and COMET
(Rei et al. 2020), by their authors' libraries.

No extras of ours: unbabel-comet wants older libraries than we do. Either loads its model as it pleases, COMET from a
pickle, which may run any code: only from whom you trust.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from nextword.errors import NextwordError
from nextword.metrics.score import Score, mean_score

Metric = Callable[[Sequence[str], Sequence[Sequence[str]], Sequence[str]], Score]
"""(outputs, the references of each, their sources) -> a figure. Of several references the best one counts."""


def bertscore(model: str, device: str = "cpu") -> Metric:
    """F1 of BERTScore, 0 to 100, not rescaled. `model` is one of Hugging Face's, or a folder of that name; the layer of
    another one is named behind it, "folder:9".

    An empty output has 0. Raises NextwordError if the library is missing, or the model.
    """
    library = _library("bert_score", "bert-score", "BERTScore")
    path, _, layer = model.rpartition(":")
    numbered = path and layer.isdecimal()
    try:
        scorer = library.BERTScorer(
            model_type=path if numbered else model, num_layers=int(layer) if numbered else None, device=device
        )
    except KeyError:
        hint = "Say at which layer to compare: --bertscore MODEL:LAYER"
        raise NextwordError(f"BERTScore knows no layer that suits {model!r}", hint) from None
    except Exception as error:
        raise _not_loaded("BERTScore", model, error) from None

    def score(outputs: Sequence[str], references: Sequence[Sequence[str]], sources: Sequence[str]) -> Score:
        said = [i for i, output in enumerate(outputs) if output.strip()]
        found = [0.0] * len(outputs)
        if said:
            _, _, f1 = scorer.score([outputs[i] for i in said], [list(references[i]) for i in said])
            for i, value in zip(said, f1.tolist(), strict=True):
                found[i] = 100 * value
        return mean_score("BERTScore", found, f"{scorer.hash}|refs:best")

    return score


def comet(model: str, device: str = "cpu") -> Metric:
    """COMET of translations, times 100. `model` is one of Hugging Face's, such as Unbabel/wmt22-comet-da, or the .ckpt
    file of one.

    Raises NextwordError if the library is missing, or the model.
    """
    library = _library("comet", "unbabel-comet", "COMET")
    try:
        judge = library.load_from_checkpoint(model if Path(model).is_file() else library.download_model(model))
    except Exception as error:
        raise _not_loaded("COMET", model, error) from None

    def score(outputs: Sequence[str], references: Sequence[Sequence[str]], sources: Sequence[str]) -> Score:
        rows = [
            {"src": source, "mt": output, "ref": reference}
            for output, some, source in zip(outputs, references, sources, strict=True)
            for reference in some
        ]
        values = iter(judge.predict(rows, batch_size=16, gpus=int(device != "cpu"), progress_bar=False).scores)
        found = [100 * max(next(values) for _ in some) for some in references]
        return mean_score("COMET", found, f"{Path(model).name}|refs:best")

    return score


def _library(module: str, package: str, metric: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        if error.name != module:  # it is there, and something that it wants is not
            raise NextwordError(f"{metric}: the library {package} cannot be loaded: {error}") from None
        raise NextwordError(
            f"{metric} needs the library {package}, which is not installed", hint=f"Install it: pip install {package}"
        ) from None


def _not_loaded(metric: str, model: str, error: Exception) -> NextwordError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return NextwordError(f"{metric}: the model {model!r} cannot be loaded: {reason}")
