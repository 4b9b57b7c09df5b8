"""What durable ingest is compared with, under the very same server: `python -m benchmarks.competitors NAME …`.

`noop` reads the body, answers, and keeps nothing. The other two are what a competent developer writes in an
afternoon with aiosqlite: the token is checked, the JSON is read, and one transaction (WAL, `synchronous=FULL`)
looks the task up, drops a duplicate, moves the task on and writes the event. `each` opens a connection for every
request (with a lock around it it was slower); `shared` has one connection, a lock around it and a commit for every
callback. They have none of the product's verdicts, doubts, chain, snapshots or indexes: where they are slower, it
is not for doing more.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.callbacks import SECRET, Created
from receiver.callback_url import token_matches
from receiver.serving import Server, bind

NOOP, EACH, SHARED = "noop", "each", "shared"
LOCK_SECONDS = 60  # how long `each` waits for the file: it must not fail where it is merely slow
RANKS = {"submitted": 0, "processing": 1, "succeed": 2, "failed": 2}

_TABLES = """
create table tasks (
    external_task_id text primary key, status text not null, images text, updated_at integer not null
) strict, without rowid;
create table reports (
    external_task_id text not null, fingerprint blob not null, body blob not null, heard_at integer not null,
    primary key (external_task_id, fingerprint)
) strict, without rowid;
create table events (
    position integer primary key, external_task_id text not null, type text not null, time integer not null,
    payload text not null
) strict;
"""


def prepare(path: Path, tasks: Sequence[Created]) -> None:
    """A database with these tasks submitted."""
    raw = sqlite3.connect(path)
    raw.execute("pragma journal_mode = wal")
    raw.executescript(_TABLES)
    raw.executemany("insert into tasks values (?, 'submitted', null, 0)", [(each.external_task_id,) for each in tasks])
    raw.commit()
    raw.close()


async def answer_noop(request: Request) -> Response:
    """200 and a verdict of no worth."""
    await request.body()
    return _answer("applied")


class EachItsOwn:
    """A connection for every request."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def hear(self, external_task_id: str, body: bytes) -> str:
        """The verdict, once it is on disk."""
        async with aiosqlite.connect(self._path, timeout=LOCK_SECONDS, isolation_level=None) as connection:
            await connection.execute("pragma synchronous = full")
            return await _transact(connection, external_task_id, body)


class OneForAll:
    """One connection, and a lock so that no two transactions mix."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()

    async def hear(self, external_task_id: str, body: bytes) -> str:
        """The verdict, once it is on disk."""
        async with self._lock:
            return await _transact(self._connection, external_task_id, body)


async def _transact(connection: aiosqlite.Connection, external_task_id: str, body: bytes) -> str:
    await connection.execute("begin immediate")
    try:
        verdict = await _keep(connection, external_task_id, body)
        await connection.commit()
    except BaseException:
        await connection.rollback()
        raise
    return verdict


async def _keep(connection: aiosqlite.Connection, external_task_id: str, body: bytes) -> str:
    report = json.loads(body)
    status, now = report["task_status"], int(time.time() * 1000)
    found = await connection.execute("select status from tasks where external_task_id = ?", (external_task_id,))
    row = await found.fetchone()
    if row is None:
        return "unknown"
    inserted = await connection.execute(
        "insert or ignore into reports (external_task_id, fingerprint, body, heard_at) values (?, ?, ?, ?)",
        (external_task_id, hashlib.sha256(body).digest(), body, now),
    )
    if inserted.rowcount == 0:
        return "duplicate"
    if RANKS.get(status, -1) <= RANKS[row[0]]:
        return "stale"
    images = json.dumps(report.get("task_result", {}).get("images"))
    await connection.execute(
        "update tasks set status = ?, images = ?, updated_at = ? where external_task_id = ?",
        (status, images, now, external_task_id),
    )
    await connection.execute(
        "insert into events (external_task_id, type, time, payload) values (?, ?, ?, ?)",
        (external_task_id, f"task.{status}", now, json.dumps({"id": external_task_id, "status": status})),
    )
    return "applied"


def _receiving(hear: Callable[[str, bytes], Awaitable[str]]) -> Callable[[Request], Awaitable[Response]]:
    async def receive(request: Request) -> Response:
        provider, external_task_id, token = (
            request.path_params[name] for name in ("provider", "external_task_id", "token")
        )
        if not token_matches(token, provider=provider, external_task_id=external_task_id, secrets=[SECRET]):
            return Response(status_code=404)
        return _answer(await hear(external_task_id, await request.body()))

    return receive


def _answer(verdict: str) -> Response:
    return Response(json.dumps({"verdict": verdict}).encode(), media_type="application/json")


@asynccontextmanager
async def _endpoint(name: str, database: Path) -> AsyncIterator[Callable[[Request], Awaitable[Response]]]:
    if name == NOOP:
        yield answer_noop
    elif name == EACH:
        yield _receiving(EachItsOwn(database).hear)
    else:
        async with aiosqlite.connect(database, isolation_level=None) as connection:
            await connection.execute("pragma synchronous = full")
            yield _receiving(OneForAll(connection).hear)


async def _ready(_: Request) -> Response:
    return Response(b"")


async def _serve(name: str, port: int, database: Path) -> None:
    async with _endpoint(name, database) as receive:
        app = Starlette(
            routes=[
                Route("/callbacks/{provider}/{external_task_id}/{token}", receive, methods=["POST"]),
                Route("/readyz", _ready, methods=["GET"]),
            ]
        )
        with bind("127.0.0.1", port) as listener:
            await Server(app, begin_stopping=lambda: None).serve(sockets=[listener])


def main() -> None:
    """Serve one of them until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=(NOOP, EACH, SHARED))
    parser.add_argument("port", type=int)
    parser.add_argument("database", type=Path)
    chosen = parser.parse_args()
    uvloop.run(_serve(chosen.name, chosen.port, chosen.database))


if __name__ == "__main__":
    main()
