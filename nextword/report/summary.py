"""What a run folder tells of its run, for reports and lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nextword.checkpoint import read_config
from nextword.config import read_json
from nextword.errors import UsageError
from nextword.report.runs import RunSummary
from nextword.training.doctor.after import examine_log
from nextword.training.doctor.findings import finding_of, worst_first
from nextword.training.logs import DOCTOR, FINDINGS, METRICS, SAMPLES, read_findings, read_metrics, read_samples


def read_summary(folder: Path, name: str, text: str = "") -> RunSummary:
    """Everything logged in a run folder; `text` names its data, left out: by the files it came from.

    A run that is still training has no figures yet but those of its metrics. Raises RunError if `folder` is no run.
    """
    config = read_config(folder)
    figures = config.get("figures", {})
    valid = figures.get("validation", {})
    sources = config.get("corpus", {}).get("sources", [])
    metrics = read_metrics(folder / METRICS) if (folder / METRICS).exists() else []
    return RunSummary(
        name,
        folder,
        metrics,
        read_samples(folder / SAMPLES) if (folder / SAMPLES).exists() else [],
        {
            "parameters": figures.get("parameters"),
            "valid_loss": valid.get("loss"),
            "bits_per_byte": valid.get("bits_per_byte"),
            "tokens_per_s": figures.get("tokens_per_s"),
            "steps": figures.get("steps"),
            "seconds": figures.get("seconds"),
        },
        {section: config[section] for section in ("model", "tokenizer", "train") if section in config},
        text or ", ".join(Path(source).name for source in sources),
        _findings(folder, metrics),
        _corpus(folder),
        config.get("environment", {}),
    )


def _findings(folder: Path, metrics: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """What was found while the run trained, and what its log says; None if the doctor was not there."""
    if not (folder / FINDINGS).exists():
        return None
    found = [finding_of(line) for line in read_findings(folder / FINDINGS)]
    return [finding.to_dict() for finding in worst_first(found + examine_log(metrics))]


def _corpus(folder: Path) -> dict[str, Any]:
    """The numbers of the data that the doctor wrote down; nothing if it did not."""
    try:
        corpus = read_json(folder / DOCTOR).get("corpus")
    except UsageError:
        return {}
    return corpus if isinstance(corpus, dict) else {}
