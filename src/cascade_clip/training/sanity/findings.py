"""What the sanity report holds, how it looks, and what stops a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from cascade_clip.errors import UserError
from cascade_clip.support.messages import Console, notice

Outcome = Literal["ok", "note", "skipped", "failed"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check; what is only a `note` doesn't stop a run."""

    check: str
    outcome: Outcome
    detail: str


def stop_at_failure(findings: Sequence[Finding]) -> None:
    """Raises `UserError` if a check failed."""
    failed = [finding for finding in findings if finding.outcome == "failed"]
    if failed:
        told = "; ".join(f"{finding.check}: {finding.detail}" for finding in failed)
        raise UserError(f"the sanity report stops the run: {told} (train.sanity=false goes on)")


def show_findings(findings: Sequence[Finding], quiet: bool) -> None:
    """All checks as a table on stderr; if `quiet`, what is noteworthy alone, one line each."""
    if not quiet:
        Console(stderr=True).print(_table(findings))
        return
    for finding in findings:
        if finding.outcome == "note":
            notice(f"note: {finding.check}: {finding.detail}")


def _table(findings: Sequence[Finding]) -> Table:
    """One row per check."""
    table = Table(title="sanity report", title_justify="left")
    for column in ("check", "", "detail"):
        table.add_column(column)
    styles = {"ok": "green", "note": "yellow", "skipped": "dim", "failed": "bold red"}
    for finding in findings:
        outcome = f"[{styles[finding.outcome]}]{finding.outcome}[/]"
        table.add_row(finding.check, outcome, escape(finding.detail))
    return table


def findings_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Plain values for `sanity.json`."""
    return [asdict(finding) for finding in findings]
