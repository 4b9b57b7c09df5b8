"""What every ledger engine must do: the checks, and the little that an engine's tests offer them.

A check is an async function of an `Engine`, named like the test it is. To bind an engine, parametrise one test
over `CHECKS` with a harness of your own (`tests/ledger/test_sqlite.py` is the whole of it for SQLite).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol, TypeAlias

from receiver.ledger.base import Ledger


class Engine(Protocol):
    """A ledger under test: fresh at first, closed by whoever made the harness."""

    queue_holds: int
    """How many writes may wait."""

    async def ledger(self) -> Ledger:
        """The ledger, opened when first asked for."""

    async def reopened(self) -> Ledger:
        """Closed in order, and opened anew over the same store."""

    async def survivor(self) -> Ledger:
        """A ledger over what is in the store at this very moment, as if the power had gone."""

    async def run(self, sql: str) -> Sequence[Sequence[Any]]:
        """A statement of plain SQL for what the protocol does not show, and its rows."""


Check: TypeAlias = Callable[[Engine], Awaitable[None]]


def checks_of(module: ModuleType) -> Mapping[str, Check]:
    """The checks of a module, by name."""
    return {name: check for name, check in vars(module).items() if name.startswith("test_")}


def _all() -> Mapping[str, Check]:
    from tests.ledger.claims import (
        asking,
        ending,
        hearing,
        keeping,
        opening,
        reading,
        sending,
        spending,
        telling,
        together,
    )

    modules = (opening, sending, spending, hearing, keeping, asking, together, ending, reading, telling)
    named = [each for module in modules for each in checks_of(module).items()]
    assert len(named) == len(dict(named)), "two checks have one name: one of them would not run"
    return dict(named)


CHECKS: Mapping[str, Check] = _all()
