"""Ledgers to measure on: the rows of tasks that the product wrote, multiplied by set-based SQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from benchmarks.callbacks import PROVIDER, Created, callback
from receiver.ingest import LedgerJudge
from receiver.ledger.judging import Heard
from receiver.ledger.openings import Opening
from receiver.ledger.sqlite import SqliteLedger
from receiver.schedule import QueryPlan
from receiver.task import Decision, Rules, Source
from submitter.ids import new_external_task_id
from submitter.moments import Moment, millis
from submitter.providers import provider_for
from submitter.providers.base import Received, Trust
from submitter.report import StatusReport
from submitter.settings import ProviderSettings

RECIPE = 1  # one more where `mint` or `multiply` come to make other rows of the same template
TEMPLATE_AT: Moment = 1_735_689_600_000  # the moment of the tasks that are multiplied
FAR = timedelta(days=40 * 365)  # nothing is asked or expires while it is measured
NUMBERS = 867_283_740_000_000_000  # where the provider's own ids begin; a task's is this and its key
_ID, _NUMBER = "t_01JGFJJZ0000000000TEMPLATE", "867283741759999999"
_TABLES = ("tasks", "reports", "events")


@dataclass(frozen=True, slots=True)
class Template:
    """The rows of one task, by table, each a mapping from column to value."""

    rows: dict[str, list[dict[str, object]]]


def template(*, is_settled: bool) -> Template:
    """What the product writes of one task: submitted, and perhaps heard of until it succeeded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        asyncio.run(_live(path, ["processing", "succeed"] if is_settled else []))
        raw = sqlite3.connect(path)
        raw.row_factory = sqlite3.Row
        rows = {table: [dict(row) for row in raw.execute(f"select * from {table}")] for table in _TABLES}
        raw.close()
    return Template(rows)


def create(path: Path) -> None:
    """An empty ledger."""

    async def opened() -> None:
        await (await SqliteLedger.open(path, now=TEMPLATE_AT)).aclose()

    asyncio.run(opened())


def schema() -> str:
    """The tables as the migrations make them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        create(path)
        with contextlib.closing(sqlite3.connect(path)) as raw:
            return "\n".join(sql for (sql,) in raw.execute("select sql from sqlite_master where sql is not null"))


def mint(raw: sqlite3.Connection, moments: Sequence[Moment]) -> list[Created]:
    """An id for each moment, minted then, in the order of keys: what `multiply` makes tasks of."""
    raw.execute("create temp table if not exists minted (key integer primary key, id text, number text, at integer)")
    (last,) = raw.execute("select coalesce(max(key), 0) from tasks").fetchone()
    created = [
        Created(new_external_task_id(now=at), str(NUMBERS + key)) for key, at in enumerate(moments, start=last + 1)
    ]
    raw.execute("delete from minted")
    raw.executemany(
        "insert into minted values (?, ?, ?, ?)",
        (
            (key, each.external_task_id, each.provider_task_id, at)
            for key, (each, at) in enumerate(zip(created, moments, strict=True), start=last + 1)
        ),
    )
    return created


def multiply(raw: sqlite3.Connection, made_of: Template, *, where: str = "true") -> None:
    """The template's rows for each minted id, or for those that the condition on `key` chooses."""
    for table in _TABLES:
        for row in made_of.rows[table]:
            _multiply(raw, table, row, where=where)


def add_submitted(path: Path, made_of: Template, count: int, *, now: Moment) -> list[Created]:
    """The newest tasks: so many that were submitted just now, on disk."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("begin immediate")
        created = mint(raw, [now] * count)
        multiply(raw, made_of)
        raw.execute("commit")
        raw.execute("pragma wal_checkpoint(truncate)").fetchall()
    return created


def put_off_questions(path: Path) -> None:
    """Tasks that an earlier run left unsettled are not asked about in the next one."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        far = TEMPLATE_AT + millis(FAR)
        raw.execute("update tasks set query_at = ? where provider = ? and query_at < ?", (far, PROVIDER, far))
        raw.execute("pragma wal_checkpoint(truncate)").fetchall()


def _multiply(raw: sqlite3.Connection, table: str, row: dict[str, object], *, where: str) -> None:
    columns = [name for name in row if (table, name) != ("events", "position")]
    chosen = ", ".join(_expression(table, name, row[name]) for name in columns)
    raw.execute(
        f"insert into {table} ({', '.join(columns)}) select {chosen} from minted where {where} order by key", row
    )


def _expression(table: str, name: str, value: object) -> str:
    """What the column holds for another task: its key and ids, moments as much later, hashes of their own."""
    if (table, name) in {("tasks", "key"), ("reports", "task")}:
        return "key"
    if isinstance(value, bytes):
        return "randomblob(32)" if len(value) == 32 else f"cast({_renamed(f'cast(:{name} as text)')} as blob)"
    if isinstance(value, str) and (_ID in value or _NUMBER in value):
        return _renamed(f":{name}")
    if isinstance(value, int) and (name.endswith("_at") or name == "time"):
        return f":{name} + at - {TEMPLATE_AT}"
    return f":{name}"


def _renamed(text: str) -> str:
    return f"replace(replace({text}, '{_ID}', id), '{_NUMBER}', number)"


async def _live(path: Path, statuses: Sequence[str]) -> None:
    ledger = await SqliteLedger.open(path, now=TEMPLATE_AT)
    try:
        await ledger.open_task(_opening())
        judge = LedgerJudge(rules={PROVIDER: Rules()}, plan=QueryPlan(first_after=FAR, interval=FAR, give_up_after=FAR))
        for heard in _heard(statuses):
            [outcome] = await ledger.apply([heard], judge)
            assert isinstance(outcome, Decision), outcome
    finally:
        await ledger.aclose()


def _opening() -> Opening:
    return Opening(
        external_task_id=_ID,
        provider=PROVIDER,
        endpoint="omni-image",
        request=json.dumps({"model_name": "kling-image-o1", "prompt": "a cat on a red roof, at dusk", "n": 1}),
        request_digest=bytes(32),
        images_asked=1,
        slots=1,
        slot_limit=None,
        now=TEMPLATE_AT,
        deadline_at=TEMPLATE_AT + millis(FAR),
        first_query_at=TEMPLATE_AT + millis(FAR),
    )


def _heard(statuses: Sequence[str]) -> Iterator[Heard]:
    """The create's answer, then the callbacks, ten seconds apart."""
    provider = provider_for(PROVIDER, ProviderSettings(kind="kling"))
    task = Created(_ID, _NUMBER)
    answer = b'{"code":0,"message":"SUCCEED","data":%b}' % callback(task, "submitted")
    [report] = provider.read_answer(200, answer)
    yield _report(report, Source.ANSWER, Trust.QUERIED, answer, now=TEMPLATE_AT + 1_000)
    for number, status in enumerate(statuses, start=1):
        now = TEMPLATE_AT + number * 10_000
        received = Received(method="POST", url="", headers={}, body=callback(task, status))
        report, trust = provider.read_callback(received, now=now)
        yield _report(report, Source.CALLBACK, trust, received.body, now=now)


def _report(report: StatusReport, source: Source, trust: Trust, body: bytes, *, now: Moment) -> Heard:
    return Heard(provider=PROVIDER, external_task_id=_ID, report=report, source=source, trust=trust, now=now, body=body)
