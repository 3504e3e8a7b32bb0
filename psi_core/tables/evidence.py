"""The evidence table: what speaks for a run's numbers or against them."""

from psi_core.evidence import checks_of
from psi_core.runs.run import Run
from psi_core.tables.columns import Column, Row, as_cell

EVIDENCE_COLUMNS: tuple[Column, ...] = (
    Column("check", "check", "text", "What was looked at.", True),
    Column("status", "status", "text", "green, amber, red, or none where the run does not allow the check.", True),
    Column("value", "value", "number", "The number behind the status."),
    Column("unit", "unit", "text", "Unit of that number."),
    Column("sentence", "what was found", "sentence", "What was found, or how to have it checked.", True),
)


def evidence_rows(run: Run) -> list[Row]:
    """One row per check of `psi_core.evidence`, in its order."""
    return [
        {
            "check": check.name,
            "status": check.status,
            "value": None if check.value is None else as_cell(check.value),
            "unit": check.unit or None,
            "sentence": check.sentence,
        }
        for check in checks_of(run)
    ]
