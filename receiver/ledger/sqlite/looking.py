"""What a gateway's clients ask: one task by any of its ids, and pages, in few columns."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from receiver.ledger.errors import LedgerUnavailable
from receiver.ledger.reading import Seen, WireQuery
from receiver.ledger.sqlite.connection import is_store_trouble
from receiver.task import TaskState
from receiver.wiretask import STATUS_OF_STATE, WireTask
from submitter.report import ResultImage

_IS_THERE = "(state <> 'refused' or promised)"
_COLUMNS = f"""
    tenant, endpoint, {_IS_THERE}, external_task_id, client_task_id, state, message, created_at,
    coalesce(settled_at, submitted_at, created_at), images, is_series, unit_deduction,
    balance_deduction
"""
# In the order of their claim to the id: of the parts of a `union all` SQLite begins one when the last is read.
BY_ANY_ID = " union all ".join(
    f"select {_COLUMNS} from tasks where provider = :provider and {condition}"  # noqa: S608 - conditions from here
    for condition in (
        "external_task_id = :id",
        "tenant = :tenant and client_task_id = :id",
        "task_id = :id",
        "upstream_task_id = :id",
    )
)
_WORDS = {str(state): status for state, status in STATUS_OF_STATE.items()}
_MOST_ALIKE = 8  # tasks that bear one id: a provider's ids are its own, so that two are rare


class Looks:
    """A connection of its own, which reads on the loop: a hop to a thread costs ten times what the look-up does."""

    def __init__(self, path: Path) -> None:
        """Open a database that is there. Raises sqlite3.Error."""
        # No time-out: whoever waits here keeps everybody waiting. In WAL mode nobody locks readers out for long.
        self._raw = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None, timeout=0, check_same_thread=False
        )
        self._raw.execute("pragma query_only = on")

    def close(self) -> None:
        """Close the connection."""
        self._raw.close()

    def look(self, provider: str, identity: str, *, tenant: str) -> Sequence[Seen]:
        """As Ledger.look. Raises LedgerUnavailable."""
        try:
            found = self._raw.execute(BY_ANY_ID, {"provider": provider, "id": identity, "tenant": tenant})
            first = found.fetchone()
            if first is None:
                return ()
            if first[0] == tenant and first[3] == identity:  # its own, by our id: nobody else's claim goes before
                return (_seen(first),)
            return [_seen(row) for row in (first, *found.fetchmany(_MOST_ALIKE))]
        except sqlite3.DatabaseError as error:
            if not is_store_trouble(error):
                raise
            raise LedgerUnavailable(str(error)) from error


def page_of(raw: sqlite3.Connection, query: WireQuery) -> list[WireTask]:
    """As Ledger.wire_page."""
    # As its index has it: no tenant's page is looked for among the tasks of all others.
    whose = {None: "", "": "and tenant = ''"}.get(query.tenant, "and tenant = :tenant and tenant <> ''")
    rows = raw.execute(
        f"""
        select {_COLUMNS} from tasks
         where provider = :provider and endpoint = :endpoint and {_IS_THERE} {whose}
         order by key desc limit :size offset :skipped
        """,  # noqa: S608 - conditions from here
        {
            "provider": query.provider,
            "endpoint": query.endpoint,
            "tenant": query.tenant,
            "size": query.page_size,
            "skipped": (query.page - 1) * query.page_size,
        },
    )
    return [_seen(row).shown for row in rows]


def _seen(row: Sequence[Any]) -> Seen:
    (
        tenant,
        endpoint,
        is_there,
        external_task_id,
        client_task_id,
        state,
        message,
        created_at,
        updated_at,
        images,
        is_series,
        unit_deduction,
        balance_deduction,
    ) = row
    shown = WireTask(
        task_id=external_task_id,
        external_task_id=client_task_id,
        status=_WORDS[state],
        message=message,
        created_at=created_at,
        updated_at=updated_at,
        images=() if images == "[]" or state != TaskState.SUCCEEDED else _images_of(images),
        is_series=bool(is_series),
        unit_deduction=unit_deduction,
        balance_deduction=balance_deduction,
    )
    return Seen(tenant=tenant, endpoint=endpoint, is_there=bool(is_there), shown=shown)


def _images_of(text: str) -> list[ResultImage]:
    return [ResultImage(index=index, url=url, watermark_url=marked) for index, url, marked, _ in json.loads(text)]
