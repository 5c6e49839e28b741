"""A finding: something about a run that its owner should know, with the number, the reason and the remedy.

Knows no torch. What looks for findings: `before` a run, `vitals` during it, `after` it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["note", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing found. Each text is a sentence or a clause without its full stop."""

    kind: str
    """A name for programs, such as "over-fitting"."""
    severity: Severity
    """A warning costs quality or time unless something is done; a note is good to know."""
    what: str
    """What was found, with its number."""
    why: str
    """Why it matters."""
    remedy: str
    """What to do, in one line."""
    step: int = 0
    """Of the run when it was found; 0 = before the first."""

    @property
    def line(self) -> str:
        """What was found and the remedy, for a terminal that has other things to show."""
        return f"{self.what}. {self.remedy}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def finding_of(line: Mapping[str, Any]) -> Finding:
    """The inverse of `Finding.to_dict`; what is not there is empty, what is too much is left out."""
    texts = {key: str(line.get(key, "")) for key in ("kind", "what", "why", "remedy")}
    severity: Severity = "note" if line.get("severity") == "note" else "warning"
    return Finding(severity=severity, step=int(line.get("step", 0)), **texts)


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Warnings before notes, else as they were found."""
    return sorted(findings, key=lambda finding: finding.severity == "note")
