"""Pictures that requests hold themselves: put aside until the create is answered."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from receiver.inlinepictures import put_back


def keep_inline(raw: sqlite3.Connection, external_task_id: str, inline: Mapping[str, str]) -> None:
    """Put a request's own pictures aside, before anyone's batch: they are large."""
    raw.executemany(
        "insert or ignore into inline_images (external_task_id, sha256, content) values (?, ?, ?)",
        [(external_task_id, sha256, content) for sha256, content in inline.items()],
    )


def sweep_pictures(raw: sqlite3.Connection) -> None:
    """Throw away what a crash left behind between putting pictures aside and writing their submission down."""
    raw.execute(
        """
        delete from inline_images
         where external_task_id not in (select external_task_id from tasks where state = 'pending')
        """
    )


def with_pictures(raw: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    """The request of a task's row, with its pictures where they were."""
    request: dict[str, Any] = json.loads(row["request"])
    if '"sha256"' not in row["request"]:
        return request
    kept = raw.execute(
        "select sha256, content from inline_images where external_task_id = ?", (row["external_task_id"],)
    )
    contents = {each["sha256"]: each["content"] for each in kept}
    return put_back(request, contents)


def move_pictures(raw: sqlite3.Connection, minted: str, to: str) -> None:
    """What was put aside under an id that is not needed, for its client's or key named a task already."""
    raw.execute("update or ignore inline_images set external_task_id = ? where external_task_id = ?", (to, minted))
    forget_unneeded(raw, minted)


def forget_unneeded(raw: sqlite3.Connection, external_task_id: str) -> None:
    """They were put aside before anyone knew what would become of the opening: keep what a task waits with."""
    raw.execute(
        """
        delete from inline_images
         where external_task_id = :id
           and not exists (select 1 from tasks
                            where external_task_id = :id and state = 'pending' and instr(request, sha256) > 0)
        """,
        {"id": external_task_id},
    )
