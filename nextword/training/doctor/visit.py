"""The doctor asked: all that can be said of some text before a model is trained on it, or of a run at any time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.checkpoint import outline, read_config
from nextword.config import read_json
from nextword.data.mixture import Mixture
from nextword.data.prepare import is_prepared, open_prepared, prepare
from nextword.data.splits import Progress
from nextword.data.token_files import TokenFiles
from nextword.errors import RunError, UsageError
from nextword.models import model_config
from nextword.text.records import Source
from nextword.text.rereading import rereadable
from nextword.tokenizers import Tokenizer
from nextword.training.doctor.after import examine_log, relive
from nextword.training.doctor.attend import plan_of
from nextword.training.doctor.corpus import Corpus, examine_corpus, examine_splits, look_at
from nextword.training.doctor.findings import Finding, finding_of, worst_first
from nextword.training.doctor.plan import Plan, examine_plan
from nextword.training.logs import DOCTOR, FINDINGS, METRICS, read_findings, read_metrics
from nextword.training.session import data_of
from nextword.training.settling import settle, settle_prepared


@dataclass(frozen=True)
class Diagnosis:
    """What there is, and what is wrong with it, the worst first."""

    corpus: Corpus | None
    """None: the data of the run is gone, or a mixture."""
    plan: Plan | None
    """None: the run was not attended."""
    findings: list[Finding]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "corpus": self.corpus and self.corpus.to_dict(),
            "plan": self.plan and self.plan.to_dict(),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def examine_data(
    values: Mapping[str, Mapping[str, Any]],
    sources: Sequence[Source],
    size: str = "",
    progress: Progress | None = None,
) -> Diagnosis:
    """Text, or a prepared folder, and the model that `nextword train` would choose for it with the same settings.

    Raw text is prepared in a temporary folder. Raises UsageError and DataError, as a run would.
    """
    with rereadable([sources]) as (sources,), tempfile.TemporaryDirectory(prefix="nextword-") as temporary:
        if len(sources) == 1 and isinstance(sources[0], str | Path) and is_prepared(sources[0]):
            recipe, data = settle_prepared(values, Path(sources[0]), size=size), Path(sources[0])
        else:
            recipe, data = settle(values, sources, size), Path(temporary) / "data"
            prepare(sources, data, recipe.tokenizer, read=recipe.data, split=recipe.split, progress=progress)
        tokenizer = Tokenizer.load(data)
        splits = open_prepared(data, tokenizer)
        settings = model_config(recipe.model | {"vocab_size": tokenizer.vocab_size})
        plan = plan_of(settings, outline(settings).num_parameters(), recipe.train, splits["train"])
        corpus = look_at(splits, tokenizer, thorough=True)
        del splits  # some systems remove no file while it is mapped
    return Diagnosis(corpus, plan, worst_first(examine_corpus(corpus) + examine_plan(plan)))


def examine_run(folder: Path) -> Diagnosis:
    """A run, finished or not: its data if that is still there, what was found while it trained, and what its log says.

    A run that nobody attended is looked at as if the doctor had been there. Raises RunError if `folder` is no run.
    """
    config = read_config(folder)
    metrics = read_metrics(folder / METRICS) if (folder / METRICS).exists() else []
    if (folder / FINDINGS).exists():
        recorded = [finding_of(line) for line in read_findings(folder / FINDINGS)]
    else:
        train = config.get("train", {})
        uniform = math.log(config["tokenizer"]["vocab_size"])
        recorded = relive(metrics, uniform, train.get("warmup_steps", 0), train.get("learning_rate", 0.0))
    corpus, plan = None, _recorded_plan(folder)
    findings = [finding for finding in recorded if not finding.step]
    if splits := splits_of(folder, config):
        corpus, findings = examine_splits(splits, Tokenizer.load(folder), thorough=True)
        findings += examine_plan(plan) if plan else []
    known = {finding.kind for finding in findings}
    # Of one kind, the latest: it says how far it has gone.
    later = {f.kind: f for f in [*recorded, *examine_log(metrics)] if f.step and f.kind not in known}
    return Diagnosis(corpus, plan, worst_first([*findings, *later.values()]))


def splits_of(folder: Path, config: Mapping[str, Any]) -> dict[str, TokenFiles | Mixture]:
    """The token files that a run was trained on; none if they are gone or damaged."""
    try:
        return data_of(folder, config, Tokenizer.load(folder))
    except RunError:
        return {}


def _recorded_plan(folder: Path) -> Plan | None:
    try:
        plan = read_json(folder / DOCTOR)["plan"]
        return Plan(**{key: value for key, value in plan.items() if key in Plan.__dataclass_fields__})
    except (UsageError, KeyError, TypeError, AttributeError):  # not there, or of another version
        return None
