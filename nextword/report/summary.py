"""What a run folder tells of its run, for reports and lists."""

from __future__ import annotations

from pathlib import Path

from nextword.checkpoint import read_config
from nextword.report.runs import RunSummary
from nextword.training.logs import METRICS, SAMPLES, read_metrics, read_samples


def read_summary(folder: Path, name: str, text: str = "") -> RunSummary:
    """Everything logged in a run folder; `text` names its data, left out: by the files it came from.

    A run that is still training has no figures yet but those of its metrics. Raises RunError if `folder` is no run.
    """
    config = read_config(folder)
    figures = config.get("figures", {})
    valid = figures.get("validation", {})
    sources = config.get("corpus", {}).get("sources", [])
    return RunSummary(
        name,
        folder,
        read_metrics(folder / METRICS) if (folder / METRICS).exists() else [],
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
    )
