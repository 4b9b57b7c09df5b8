"""tasks list | show | refresh | resend | abandon."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from receiver.api import history_json
from receiver.cli.desk import ask, desk
from receiver.cli.options import ConfigOption, JsonOption, load
from receiver.cli.output import MISUSED, CommandError, out, print_json
from receiver.cli.reading import read
from receiver.config import Config
from receiver.ledger.errors import UnknownTask
from receiver.ledger.reading import Query
from receiver.ledger.sqlite import SqliteReader
from receiver.task import SettledBy, Task, TaskState
from receiver.taskjson import record_json, task_json
from submitter.moments import iso

COLOURS = {"succeeded": "green", "failed": "red", "refused": "red", "expired": "yellow", "pending": "dim"}

app = typer.Typer(help="Look at tasks, and decide what only a person can.", no_args_is_help=True)
TaskId = Annotated[str, typer.Argument(metavar="EXTERNAL_TASK_ID")]


@app.command("list")
def list_tasks(
    context: typer.Context,
    config: ConfigOption = None,
    state: Annotated[TaskState | None, typer.Option(help="Only tasks in this state.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only tasks of this account.")] = None,
    settled_by: Annotated[SettledBy | None, typer.Option(help="Only tasks brought to rest by this.")] = None,
    after: Annotated[str | None, typer.Option(help="The 'next' of an earlier page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List tasks, newest first."""
    settings = load(context, config)
    query = Query(state=state, provider=provider, settled_by=settled_by, after=after, limit=limit)
    try:
        page = read(settings, lambda reader: reader.tasks(query))
    except ValueError as error:
        raise CommandError(str(error), code=MISUSED) from None
    tasks = [record.task for record in page.records]
    if as_json:
        print_json({"tasks": [task_json(task) for task in tasks], "next": page.next})
        return
    out.print(_table(tasks) if tasks else "no tasks")
    if page.next is not None:
        out.print(f"more: --after {page.next}", style="dim")


@app.command()
def show(
    context: typer.Context,
    external_task_id: TaskId,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one task and everything that was heard of it."""
    settings = load(context, config)

    async def look(reader: SqliteReader) -> dict[str, Any]:
        record, history = await reader.record(external_task_id), await reader.history(external_task_id)
        if record is None or history is None:
            raise UnknownTask(external_task_id)
        return {"task": record_json(record), "history": history_json(history)}

    shown = read(settings, look)
    if as_json:
        print_json(shown)
        return
    _print_task(shown["task"])
    out.print(_history_table(shown["history"]))


@app.command()
def refresh(
    context: typer.Context,
    external_task_id: TaskId,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the provider about a task now."""
    _decide(load(context, config), external_task_id, "refresh", as_json=as_json)


@app.command()
def resend(
    context: typer.Context,
    external_task_id: TaskId,
    config: ConfigOption = None,
    may_pay_twice: Annotated[
        bool, typer.Option("--may-pay-twice", help="Say that you know: the first create may have been accepted.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Send an unanswered create again, under the same id."""
    if not may_pay_twice:
        raise CommandError(
            "the create that was not answered may have been accepted, and would then be paid for twice: "
            "look at the provider's own list first, then add --may-pay-twice",
            code=MISUSED,
        )
    _decide(load(context, config), external_task_id, "resend", as_json=as_json, json={"may_pay_twice": True})


@app.command()
def abandon(
    context: typer.Context,
    external_task_id: TaskId,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a task up: it expires now. A late callback would still be heard."""
    _decide(load(context, config), external_task_id, "abandon", as_json=as_json)


def _decide(config: Config, external_task_id: str, what: str, *, as_json: bool, **options: Any) -> None:
    path = f"/v1/tasks/{quote(external_task_id, safe='')}"

    async def decided() -> dict[str, Any]:
        async with desk(config) as client:
            task = await ask(client, "POST", f"{path}/{what}", **options)
            if what == "resend":  # where no worker runs, this is the only one to send it
                await ask(client, "POST", "/v1/tick", params={"seconds": 0})
                task = await ask(client, "GET", path)
            return task

    task = asyncio.run(decided())
    if as_json:
        print_json(task)
    else:
        _print_task(task)


def _table(tasks: list[Task]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("task", "provider", "state", "by", "images", "queries", "created", "message"):
        table.add_column(column, overflow="fold", no_wrap=column in {"task", "state"})
    for task in tasks:
        table.add_row(
            task.external_task_id,
            task.provider,
            f"[{COLOURS.get(task.state, 'cyan')}]{task.state}[/]",
            task.settled_by or "",
            str(len(task.images)),
            str(task.queries),
            iso(task.created_at)[:19].replace("T", " "),
            task.message.replace("[", "\\["),
        )
    return table


def _print_task(task: dict[str, Any]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    urls = "\n".join(image["url"] for image in task["images"])
    for key, value in (task | {"images": urls}).items():
        if value not in (None, "", {}, []):
            table.add_row(f"[bold]{key}[/]", str(value).replace("[", "\\["))
    out.print(table)


def _history_table(history: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title="heard", title_justify="left")
    for column in ("time", "source", "trust", "status", "verdict", "count", "message"):
        table.add_column(column)
    for report in history["reports"]:
        table.add_row(
            report["time"],
            report["source"],
            report["trust"],
            report["status"].replace("[", "\\["),
            report["verdict"],
            str(report["count"]),
            report["message"].replace("[", "\\["),
        )
    return table
