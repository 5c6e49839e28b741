"""What the doctor found, for a page and for a terminal: the data in words, the findings, the machine.

Draws nothing; takes plain values as they stand in a run folder, any of which may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nextword.errors import counted
from nextword.report.runs import RunSummary, table
from nextword.report.svg import duration, escape


def corpus_facts(corpus: Mapping[str, Any]) -> dict[str, str]:
    """Name -> value of what `training.doctor.corpus.Corpus` holds, for people."""
    facts: dict[str, str] = {}

    def add(name: str, form: str, *keys: str) -> None:
        values = [corpus.get(key) for key in keys]
        if all(value is not None for value in values):
            facts[name] = form.format(*values)

    add("Training text", "{:,} documents, {:,} tokens, {:,} bytes", "documents", "tokens", "bytes")
    add("Validation text", "{:,} documents, {:,} tokens", "valid_documents", "valid_tokens")
    add("Tokenizer", "{}, {:,} tokens; {:.2f} for a character", "tokenizer", "vocab_size", "tokens_per_character")
    add("Seldom seen", "{:.0%} of the vocabulary", "rare")
    add("Unknown", "{:.2%} of the training tokens, {:.2%} of the validation tokens", "unknown", "valid_unknown")
    add("Documents repeated", "{:.1%}", "repeated")
    add("Documents much alike", "{:.1%}", "near_repeated")
    add("Documents in both splits", "{:.1%} of those of validation", "in_both")
    if shared := corpus.get("shared"):
        facts["Held-out text also in training"] = (
            f"{shared.get('share', 0):.1%} in spans of {shared.get('least')} tokens or more, the longest "
            f"{shared.get('longest')} tokens"
        )
    return facts


def plan_facts(plan: Mapping[str, Any]) -> dict[str, str]:
    """The same of `training.doctor.plan.Plan`."""
    per_parameter = plan["tokens"] / max(plan["parameters"], 1)
    facts = {
        "Model": f"{plan['parameters']:,} parameters, {per_parameter:,.2f} training tokens for each",
        "Could learn by heart": f"{plan['capacity']:,.2f} times the text",
        "Memory to train": f"about {plan['memory'] / 2**30:,.2f} GiB",
    }
    if plan.get("steps"):
        facts["Length"] = f"about {counted(plan['steps'], 'step')}, {plan['epochs']:,.1f} epochs"
    if plan.get("seconds"):
        facts["Time it takes"] = duration(plan["seconds"])
    return facts


def findings(runs: Sequence[RunSummary]) -> str:
    """What the doctor found in each run, worst first; of a run that was attended and is well, that."""
    parts: list[str] = []
    for run in runs:
        if run.findings is None:
            continue
        if len(runs) > 1:
            parts.append(f"<details{'' if parts else ' open'}><summary>{escape(run.name)}</summary>")
        if not run.findings:
            parts.append('<p class="caption">Nothing to object to.</p>')
        kinds: dict[Any, list[Mapping[str, Any]]] = {}
        for found in run.findings:
            kinds.setdefault((found.get("kind"), found.get("severity")), []).append(found)
        parts += [_finding(group) for group in kinds.values()]
        if len(runs) > 1:
            parts.append("</details>")
    return f'<section id="findings"><h2>What the doctor found</h2>{"".join(parts)}</section>' if parts else ""


def _finding(group: Sequence[Mapping[str, Any]]) -> str:
    """What was found again and again is told once, as it was the last time."""
    found = group[-1]
    severity = "note" if found.get("severity") == "note" else "warning"
    first, last = int(group[0].get("step") or 0), int(found.get("step") or 0)
    when = f"steps {first:,} to {last:,}" if first < last else f"step {last:,}" if last else "at the start"
    what, why, remedy = (escape(str(found.get(key, ""))) for key in ("what", "why", "remedy"))
    return (
        f'<div class="finding {severity}"><div class="step">{severity}<br>{when}</div>'
        f"<div><p>{what[:1].upper()}{what[1:]}.</p><p>{why[:1].upper()}{why[1:]}.</p><p>{remedy}.</p></div></div>"
    )


def data(runs: Sequence[RunSummary]) -> str:
    """What each run was trained on."""
    columns = [{"Text": run.text} | corpus_facts(run.corpus) if run.text else corpus_facts(run.corpus) for run in runs]
    return _section("Data", runs, columns)


def environment(runs: Sequence[RunSummary]) -> str:
    """Where each run was trained."""
    columns = [{key: str(value) for key, value in run.environment.items()} for run in runs]
    return _section("Environment", runs, columns)


def _section(title: str, runs: Sequence[RunSummary], columns: Sequence[dict[str, str]]) -> str:
    keys = list(dict.fromkeys(key for column in columns for key in column))
    names = [run.name for run in runs] if len(runs) > 1 else []
    return f"<section><h2>{title}</h2>{table(names, columns, keys)}</section>" if keys else ""
