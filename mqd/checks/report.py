"""What a check found: findings in sentences, and whether any of them forbids trust."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Final, Literal

Kind = Literal[
    "lookahead", "impurity", "non-determinism", "engine difference", "anchor dependence",
    "warm-up", "breakeven cost", "plain Python", "bar-time ambiguity", "rounding",
    "not checked",
]  # fmt: skip
Severity = Literal["finding", "note"]
FINDINGS: Final[frozenset[str]] = frozenset(
    {"lookahead", "impurity", "non-determinism", "engine difference"}
)
"""Only these make a report not ok; every other kind is a note."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. ``symbol`` and ``bar`` (ISO close, UTC) are empty where none applies.

    ``value`` is the number that the sentence is about (bars, basis points, a count), None
    without one.
    """

    kind: Kind
    sentence: str
    symbol: str = ""
    bar: str = ""
    value: float | None = None

    @property
    def severity(self) -> Severity:
        """Return "finding" for what makes a report not ok, else "note"."""
        return "finding" if self.kind in FINDINGS else "note"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as a JSON-ready dict."""
        return {"kind": self.kind, "severity": self.severity, **asdict(self)}


@dataclass(frozen=True, slots=True, repr=False)
class CheckReport:
    """Everything that a check found, findings first. ``title`` is the strategy as it prints."""

    title: str
    subtitle: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """False for lookahead, impurity, non-determinism or an engine difference."""
        return all(one.severity == "note" for one in self.findings)

    def of(self, kind: Kind) -> tuple[Finding, ...]:
        """Return the findings of one kind."""
        return tuple(one for one in self.findings if one.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{ok, findings}``, JSON-ready."""
        return {"ok": self.ok, "findings": [one.to_dict() for one in self.findings]}

    def __repr__(self) -> str:
        head = f"{self.title} on {self.subtitle}: {'ok' if self.ok else 'NOT ok'}"
        lines = [f"  {mark} {one.kind}: {one.sentence}" for mark, one in self._marked()]
        return "\n".join([head, *lines])

    def _marked(self) -> Iterator[tuple[str, Finding]]:
        for one in self.findings:
            yield ("!" if one.severity == "finding" else "-"), one

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{one.severity}</td><td>{escape(one.kind)}</td>"
            f'<td style="text-align:left">{escape(one.sentence)}</td></tr>'
            for one in self.findings
        )
        verdict = "ok" if self.ok else "not ok"
        return (
            f"<div><b>{escape(self.title)}</b> on {escape(self.subtitle)}: <b>{verdict}</b>"
            f"<table><tbody>{rows}</tbody></table></div>"
        )


def in_order(found: list[Finding]) -> tuple[Finding, ...]:
    """Return the findings before the notes, each in the order of discovery."""
    return tuple(sorted(found, key=lambda one: one.severity == "note"))
