"""report: what was asked, what plain loops would have cost, how late news came, and what was spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from receiver.cli.options import ConfigOption, JsonOption, load
from receiver.cli.output import MISUSED, CommandError, note, out, print_json
from receiver.cli.reading import read
from receiver.ledger.reading import AccountState
from receiver.ledger.sqlite import SqliteReader
from receiver.pathhealth import PathHealth, PathState
from receiver.savings import AccountTally, Delays, Requests, Savings, made_by_shape
from submitter.moments import EARLIEST, LATEST, Moment, iso, iso_or_none, millis
from submitter.settings import parse_duration, show_duration
from submitter.submit import system_clock

AT_ONCE = 5_000  # rows: whoever writes the ledger is not held up, and memory stays what it is
DRAWN = (".png", ".svg", ".pdf")
QUANTILES = {"p50": 0.5, "p95": 0.95}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Findings:
    """What the ledger says."""

    savings: Savings
    requests: list[Requests]
    accounts: list[AccountState]
    paths: Mapping[str, PathHealth]


def report(
    context: typer.Context,
    config: ConfigOption = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only tasks submitted since: 7d, 24h, or a moment such as 2026-11-20 or 2026-11-20T10:00."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw it too, as PNG, SVG or PDF by the name's ending.", metavar="FILE")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was asked, and what plain polling would have cost for the same tasks."""
    settings = load(context, config)
    now = system_clock()
    begins = None if since is None else _moment_of(since, now=now)
    if plot is not None:
        _require_plotting(plot)

    async def look(reader: SqliteReader) -> _Findings:
        return await _findings(reader, EARLIEST if begins is None else begins)

    shown = _shown(read(settings, look), since=begins, now=now)
    if plot is not None:
        _draw(shown, plot)
    if as_json:
        print_json(shown)
        return
    _print(shown)
    if plot is not None:
        note(f"drawn: {plot}")


async def _findings(reader: SqliteReader, since: Moment) -> _Findings:
    savings = Savings()
    position: int | None = 0
    while position is not None:
        lives, position = await reader.settled_lives(position, created_since=since, limit=AT_ONCE)
        for life in lives:
            savings.add(life)
    return _Findings(
        savings=savings,
        requests=await reader.requests_since(since),
        accounts=await reader.accounts(),
        paths=await reader.paths(),
    )


def _shown(found: _Findings, *, since: Moment | None, now: Moment) -> dict[str, Any]:
    savings, made = found.savings, made_by_shape(found.requests)
    total = sum(made.values())
    return {
        "since": iso_or_none(since),
        "tasks": {"settled": savings.settled, "compared": savings.compared},
        "requests": {
            "made": total,
            "per_task": _per_task(total, savings.settled),
            **{shape: made.get(shape, 0) for shape in ("single", "batch", "page")},
        },
        "loops": [
            {
                "every": show_duration(loop.every),
                "requests": loop.requests,
                "per_task": _per_task(loop.requests, savings.compared),
                "delay_ms": _quantiles(loop.delays),
            }
            for loop in savings.loops
        ],
        "delay_ms": {road: {"count": each.count, **_quantiles(each)} for road, each in savings.delays.items()},
        "providers": _providers(found, now=now),
    }


def _providers(found: _Findings, *, now: Moment) -> dict[str, Any]:
    tallies, states = found.savings.accounts, {each.provider: each for each in found.accounts}
    names = sorted({*tallies, *states, *(each.provider for each in found.requests)})
    return {
        name: _provider(
            tallies.get(name, AccountTally()),
            sum(each.requests for each in found.requests if each.provider == name),
            states.get(name),
            found.paths.get(name, PathHealth()),
            now=now,
        )
        for name in names
    }


def _provider(
    tally: AccountTally, requests: int, state: AccountState | None, path: PathHealth, *, now: Moment
) -> dict[str, Any]:
    pauses: dict[str, Any] = {"paused_until": None, "paused_because": None}
    if state is not None and state.paused_until > now:
        pauses = {"paused_until": iso(state.paused_until), "paused_because": state.pause_reason}
    elif state is not None and state.unknown_until > now:
        pauses = {"paused_until": iso(state.unknown_until), "paused_because": state.unknown_reason}
    return {
        "settled": tally.settled,
        "requests": requests,
        "units": round(tally.units, 3),
        "settled_without_units": tally.without_units,
        **pauses,
        "path": {
            "state": str(path.state),
            "since": iso(path.since) if path.since else None,
            "loss": None if path.state is PathState.DARK else round(path.loss, 4),
            "times_dark": path.times_dark,
        },
    }


def _quantiles(delays: Delays) -> dict[str, int | None]:
    return {name: delays.quantile(share) for name, share in QUANTILES.items()}


def _per_task(requests: int, tasks: int) -> float | None:
    return round(requests / tasks, 4) if tasks else None


def _moment_of(text: str, *, now: Moment) -> Moment:
    """The beginning that was asked for: so long ago, or a date or moment (UTC where it does not say)."""
    try:
        return now - millis(parse_duration(text))  # type: ignore[arg-type]  # text in, or a ValueError
    except (ValueError, OverflowError):
        pass
    try:
        named = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"--since {text!r} is no time: write such as 7d, 24h, 2026-11-20 or 2026-11-20T10:00", code=MISUSED
        ) from None
    aware = named if named.tzinfo is not None else named.replace(tzinfo=UTC)
    return min(max(int(aware.timestamp() * 1000), EARLIEST), LATEST)


def _print(shown: Mapping[str, Any]) -> None:
    made, tasks = shown["requests"], shown["tasks"]
    out.print(
        f"[bold]{made['made']}[/] requests about {tasks['settled']} settled tasks: "
        f"{made['single']} about one, {made['batch']} batches, {made['page']} pages"
    )
    out.print(_loops_table(shown))
    out.print(_delays_table(shown))
    out.print(_providers_table(shown))


def _loops_table(shown: Mapping[str, Any]) -> Table:
    table = _table("", "requests", "per task", "late p50", "late p95")
    made = shown["requests"]
    ways = [("[bold]hookledger[/]", made["made"], made["per_task"], shown["delay_ms"]["query"])]
    ways += [
        (f"a loop of {loop['every']}", loop["requests"], loop["per_task"], loop["delay_ms"]) for loop in shown["loops"]
    ]
    for name, requests, per_task, delay in ways:
        table.add_row(name, str(requests), _number(per_task), _seconds(delay["p50"]), _seconds(delay["p95"]))
    return table


def _delays_table(shown: Mapping[str, Any]) -> Table:
    table = _table("known by", "tasks", "late p50", "late p95")
    for road, delay in shown["delay_ms"].items():
        table.add_row(road, str(delay["count"]), _seconds(delay["p50"]), _seconds(delay["p95"]))
    return table


def _providers_table(shown: Mapping[str, Any]) -> Table:
    table = _table("provider", "settled", "requests", "units", "its callbacks", "left in peace until")
    for name, each in shown["providers"].items():
        counted = str(each["settled"]), str(each["requests"]), f"{each['units']:.15g}"
        table.add_row(name, *counted, _callbacks(each["path"]), _pause(each))
    return table


def _callbacks(path: Mapping[str, Any]) -> str:
    """How they fare, and how often none came at all."""
    since = f" since {path['since'][:19]}Z" if path["since"] else ""
    lost = f", about {path['loss']:.0%} lost" if path["state"] == PathState.LIMPING else ""
    times = {0: "", 1: "; once dark"}.get(path["times_dark"], f"; {path['times_dark']} times dark")
    return f"{path['state']}{since}{lost}{times}"


def _pause(provider: Mapping[str, Any]) -> str:
    if provider["paused_until"] is None:
        return ""
    return f"{provider['paused_until'][:19]}Z: {escape(provider['paused_because'])}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _seconds(milliseconds: int | None) -> str:
    return "" if milliseconds is None else f"{milliseconds / 1000:.2f} s"


def _require_plotting(path: Path) -> None:
    """Before a large ledger is read for nothing."""
    if path.suffix.lower() not in DRAWN:
        raise CommandError(f"--plot {path}: the name is to end in {', '.join(DRAWN)}", code=MISUSED)
    if not path.parent.is_dir():
        raise CommandError(f"--plot {path}: there is no folder {path.parent}", code=MISUSED)
    try:
        import_module("matplotlib")
    except ImportError:
        raise CommandError(
            "--plot needs matplotlib, which is not installed: pip install 'hookledger[plot]'", code=MISUSED
        ) from None


def _draw(shown: Mapping[str, Any], path: Path) -> None:
    from receiver.cli.plotting import draw  # noqa: PLC0415 - matplotlib takes a second to load

    try:
        draw(shown, path)
    except (OSError, ValueError, ImportError) as error:
        raise CommandError(f"cannot draw {path}: {error}") from error
