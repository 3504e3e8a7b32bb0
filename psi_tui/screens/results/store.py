"""Rows of tables as they arrive from the engine's child: asked for in a thread, kept until newer ones are there."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from psi_core.errors import PsiError
from psi_core.tables.columns import Row
from psi_core.tables.registry import View, table_named
from psi_tui.engine.client import Client

Key: TypeAlias = tuple[str, str, str]
"""Table, subset and measure."""

RETRY_SECONDS = 4.0
"""After which statistics that could not be had are asked for again."""

_PATIENCE = 4.0
"""Waited, in multiples of what a growing run's statistics took: they have a fifth of the child's time at most."""


@dataclass(slots=True)
class _Held:
    """Rows of one table.

    Attributes:
        rows: newest that arrived, or None.
        stamp: of the results they were made from.
        not_before: when they may be asked for again.
        problem: what the child said when it could not; empty otherwise.
    """

    rows: list[Row] | None = None
    stamp: tuple[Any, ...] | None = None
    not_before: float = 0.0
    problem: str = ""


@dataclass(slots=True)
class TableStore:
    """The tables of one run.

    Attributes:
        directory: of the run.
        client: whose child computes them.
    """

    directory: Path
    client: Client
    _held: dict[Key, _Held] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        """Why some table is not there; empty where none was refused."""
        return next((held.problem for held in [*self._held.values()] if held.problem), "")

    def rows(self, table: str, subset: str, measure: str) -> list[Row] | None:
        """The newest rows that are there."""
        return self._held.get(_key(table, subset, measure), _Held()).rows

    def is_due(self, table: str, subset: str, measure: str, stamp: tuple[Any, ...]) -> bool:
        """Whether the rows are older than the results, and may be asked for."""
        held = self._held.setdefault(_key(table, subset, measure), _Held())
        return bool(stamp) and held.stamp != stamp and time.monotonic() >= held.not_before

    def fetch(
        self,
        table: str,
        subset: str,
        measure: str,
        stamp: tuple[Any, ...],
        is_live: bool,
        is_wanted: Callable[[], bool],
    ) -> bool:
        """Asks for rows and waits for them; called in a thread. Gives whether anything new is there.

        Args:
            table: by name.
            subset: of the images.
            measure: of the layers.
            stamp: of the results that the rows will be made from.
            is_live: whether the open chunks count too.
            is_wanted: whether anybody still waits when it is our turn.
        """
        key = _key(table, subset, measure)
        if not is_wanted():
            return False
        began = time.monotonic()
        try:
            rows = self.client.ask(
                "rows", run=str(self.directory), table=table, subset=key[1], measure=key[2], preview=is_live
            )
        except (PsiError, OSError) as error:
            self._held[key].problem = str(error)
            self._held[key].not_before = time.monotonic() + RETRY_SECONDS
            return True
        spent = time.monotonic() - began
        self._held[key] = _Held(rows, stamp, time.monotonic() + (_PATIENCE * spent if is_live else 0.0))
        return True


def _key(table: str, subset: str, measure: str) -> Key:
    view = table_named(table).narrowed(View(subset, measure=measure))
    return table, view.subset, view.measure
