"""simulate: what would happen, and would everything hold?"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from receiver.cli.options import JsonOption
from receiver.cli.output import MISUSED, CommandError, out, print_json
from receiver.logs import configure_logs
from receiver.pathhealth import PathState
from receiver.simulation import DarkSpell, Knobs, PathStory, SimulationReport, simulate_world
from submitter.settings import parse_duration

MEMORY = Path("/dev/shm")  # noqa: S108 - a disk that nobody waits for, where there is one
GARBAGE_AT = 50_000  # objects: what a simulation allocates is needed to its end, and looked through in vain
SHOWN = 20  # broken invariants
LOOPS = ("20s", "25s", "30s")
MEANS = ("32s",)


def _share(meaning: str) -> Any:
    return typer.Option(help=f"The share of {meaning}, 0 to 1.", min=0, max=1)


def _length(meaning: str) -> Any:
    return typer.Option(help=meaning, metavar="DURATION")


def simulate(
    tasks: Annotated[int, typer.Option(help="How many tasks.", min=1)] = 1_000,
    seed: Annotated[int, typer.Option(help="The same seed and options give the same world.")] = 1,
    in_flight: Annotated[int, typer.Option(help="About how many are in work at a time.", min=1)] = 500,
    mean: Annotated[
        list[str] | None, _length("How long a task takes in the mean (32s); repeated, each as often as the others.")
    ] = None,
    told_apart: Annotated[bool, typer.Option(help="Each mean is a model's of its own, and not a secret.")] = False,
    sigma: Annotated[float, typer.Option(help="How far the logarithms of the durations spread.", min=0, max=3)] = 0.3,
    failed: Annotated[float, _share("tasks that fail")] = 0.02,
    lost: Annotated[float, _share("callbacks that are lost")] = 0.0,
    duplicate: Annotated[float, _share("callbacks that come twice")] = 0.0,
    reorder: Annotated[float, _share("callbacks that come late, and are overtaken")] = 0.0,
    early: Annotated[float, _share("tasks whose first callback comes before the create is answered")] = 0.0,
    final_only: Annotated[
        float, _share("tasks whose final callback is the only one; with 0 every status change brings one")
    ] = 1.0,
    unanswered: Annotated[float, _share("creates without an answer; half of them are lost")] = 0.0,
    create_errors: Annotated[float, _share("creates that are answered 500; half of them were taken")] = 0.0,
    query_errors: Annotated[float, _share("questions that are answered 504")] = 0.0,
    throttle: Annotated[float, _share("requests that are answered 429, with 5 to 60 s to wait")] = 0.0,
    unordered: Annotated[float, _share("list answers that are in no order")] = 0.0,
    forged: Annotated[float, _share("tasks about which somebody lies without their token")] = 0.0,
    leaked: Annotated[float, _share("tasks about which somebody lies with it")] = 0.0,
    dark: Annotated[str, _length("For how long, once in the middle, no callback arrives.")] = "0s",
    maintenance: Annotated[str, _length("For how long, once in the middle, everything is answered 503.")] = "0s",
    arrears: Annotated[str, _length("For how long, once in the middle, the account is refused with 1102.")] = "0s",
    lag: Annotated[str, _length("For up to how long a new task is not found (2m at most).")] = "0s",
    stall: Annotated[str, _length("For how long, once in the middle, the provider gets nothing done.")] = "0s",
    crash: Annotated[int, typer.Option(help="How often the receiver is killed.", min=0)] = 0,
    clock_step: Annotated[int, typer.Option(help="How often its clock is set, by minutes.", min=0)] = 0,
    warm_up: Annotated[int, typer.Option(help="The first so many tasks teach, and are not measured.", min=0)] = 0,
    slots: Annotated[int, typer.Option(help="Images in flight at once; 0 is no limit.", min=0)] = 0,
    list_query: Annotated[bool, typer.Option(help="As providers.NAME.flags.list_query.")] = True,
    batch_query: Annotated[bool, typer.Option(help="As providers.NAME.flags.batch_query.")] = False,
    learn: Annotated[bool, typer.Option(help="As polling.learn.")] = True,
    first_after: Annotated[str, _length("As polling.first_after.")] = "90s",
    interval: Annotated[str, _length("As polling.interval.")] = "25s",
    budget: Annotated[int, typer.Option(help="As polling.budget_per_minute.", min=1)] = 6_000,
    loop: Annotated[
        list[str] | None, _length("A fixed interval to compare with; may be repeated (20s, 25s and 30s).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The real receiver against a simulated provider, in virtual time: what is asked, what is late, and what breaks."""
    try:
        knobs = Knobs(
            tasks=tasks,
            seed=seed,
            in_flight=in_flight,
            means=tuple(_duration("--mean", each) for each in mean or MEANS),
            told_apart=told_apart,
            sigma=sigma,
            failed=failed,
            lost=lost,
            duplicate=duplicate,
            reorder=reorder,
            early=early,
            final_only=final_only,
            unanswered=unanswered,
            create_errors=create_errors,
            query_errors=query_errors,
            throttle=throttle,
            unordered=unordered,
            forged=forged,
            leaked=leaked,
            dark=_duration("--dark", dark),
            maintenance=_duration("--maintenance", maintenance),
            arrears=_duration("--arrears", arrears),
            lag=_duration("--lag", lag),
            stall=_duration("--stall", stall),
            crashes=crash,
            clock_steps=clock_step,
            warm_up=warm_up,
        )
    except ValueError as error:
        raise CommandError(str(error), code=MISUSED) from None
    account = {"slots": slots or None, "flags": {"list_query": list_query, "batch_query": batch_query}}
    polling = {
        "learn": learn,
        "first_after": _duration("--first-after", first_after),
        "interval": _duration("--interval", interval),
        "budget_per_minute": budget,
    }
    loops = [_duration("--loop", each).total_seconds() for each in loop or LOOPS]
    began = time.perf_counter()
    report = _simulated(knobs, polling=polling, account=account, loops=loops)
    if as_json:
        print_json(report.as_json())
    else:
        _print(report, seconds=time.perf_counter() - began)
    require_whole(report)


def require_whole(report: SimulationReport) -> None:
    """Raises CommandError, with what repeats it, where an invariant broke."""
    if report.broken:
        seed = report.knobs["seed"]
        raise CommandError(f"{len(report.broken)} invariants broke: the same options and --seed {seed} repeat it")


def _duration(option: str, text: str) -> timedelta:
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise CommandError(f"{option}: {error}", code=MISUSED) from None
    if not isinstance(duration, timedelta) or duration < timedelta(0) or (option == "--loop" and not duration):
        raise CommandError(f"{option}: {text!r} is too short", code=MISUSED)
    return duration


def _simulated(
    knobs: Knobs, *, polling: dict[str, Any], account: dict[str, Any], loops: Sequence[float]
) -> SimulationReport:
    configure_logs(format="console", level="critical")  # what goes wrong is what is asked for
    gc.freeze()
    gc.set_threshold(GARBAGE_AT, 10, 10)
    with (
        tempfile.TemporaryDirectory(prefix="hookledger-", dir=MEMORY if MEMORY.is_dir() else None) as folder,
        asyncio.Runner(loop_factory=_loop_factory()) as runner,
    ):
        return runner.run(simulate_world(knobs, Path(folder), polling=polling, account=account, loops=loops))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """As uvicorn chooses: the faster loop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every platform
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _print(report: SimulationReport, *, seconds: float) -> None:
    states = ", ".join(f"{count} {state}" for state, count in sorted(report.states.items()))
    settlers = ", ".join(f"{count} by {by}" for by, count in sorted(report.settled_by.items()))
    taught = f" after {report.knobs['warm_up']} that taught" if report.knobs.get("warm_up") else ""
    out.print(f"{report.tasks} tasks{taught}: {states} ({settlers})")
    out.print(f"{report.virtual_seconds:.0f} simulated seconds in {seconds:.1f}; killed {report.times_killed} times\n")
    table = Table(box=None, pad_edge=False)
    for heading in ("who asks", "queries a task", "final known after s: p50", "p95", "p99"):
        table.add_column(heading, justify="left" if heading == "who asks" else "right")
    by_callback, by_query = report.delay_by_callback, report.delay_by_query
    table.add_row(
        f"hookledger: {by_query.count} by query",
        f"{report.queries_per_task:.4f}",
        *map(_shown, (by_query.p50, by_query.p95, by_query.p99)),
    )
    table.add_row(
        f"  and {by_callback.count} by callback", "", *map(_shown, (by_callback.p50, by_callback.p95, by_callback.p99))
    )
    for rival in report.rivals:
        table.add_row(rival.name, f"{rival.queries_per_task:.4f}", _shown(rival.delay_p50), _shown(rival.delay_p95), "")
    out.print(table)
    out.print("\n" + " ".join(_of_path(report.path)))
    for each in report.broken[:SHOWN]:
        out.print(f"broken: {each.invariant} {each.task} {each.detail}", style="red", markup=False)
    if not report.broken:
        out.print("\nEvery task is settled once, as it was in truth, and nothing was sent twice.")


def _of_path(path: PathStory) -> Iterator[str]:
    """What was believed of the path, as sentences."""
    spell = path.spell
    if spell is not None:
        yield f"From {spell.begins:.0f} s until {spell.ends:.0f} s no callback arrived. {_of_spell(spell)}"
    times = {0: "never called dark", 1: "called dark once"}.get(path.times_dark, f"called dark {path.times_dark} times")
    yield f"In all the path was {times}; at the end it is {path.state}{_loss(path)}."


def _of_spell(spell: DarkSpell) -> str:
    if spell.noticed_after is None:
        return "The path was not called dark for it."
    noticed = (
        f"The path was called dark after {spell.noticed_after:.0f} s, when {spell.finished_by_then} tasks had ended"
    )
    if spell.alive_after is None:
        return f"{noticed}."
    return f"{noticed}, and alive {spell.alive_after:.0f} s after callbacks came again."


def _loss(path: PathStory) -> str:
    return "" if path.state == PathState.DARK else f", and {path.loss:.1%} of the callbacks are taken to be lost"


def _shown(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"
