"""What the figures are held against. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.bare import CONSTANT, LOOP
from benchmarks.competitors import EACH, NOOP, SHARED
from benchmarks.ingest import DURABLE, NEWEST_OF_FEW, NEWEST_OF_MANY
from benchmarks.plan import JUDGED_AT

NO_GROWTH_MIB = 4.0  # what the allocator may do between a tenth and the whole of a long run


@dataclass(frozen=True, slots=True)
class Aim:
    """One aim, the figure, and whether it is met."""

    aim: str
    figure: str
    is_met: bool


def judged(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The aims that these results speak of, each with its figure."""
    judges: dict[str, Callable[[Any], list[Aim]]] = {
        "servers": _of_servers,
        "sizes": _of_sizes,
        "starts": _of_starts,
        "memory": _of_memory,
        "telling": _of_telling,
        "backlog": _of_backlog,
        "waking": _of_waking,
        "listeners": _of_listeners,
        "queries": _of_queries,
        "creates": _of_creates,
        "burst": _of_burst,
    }
    return [asdict(aim) for section, judge in judges.items() if section in results for aim in judge(results[section])]


def _of_servers(rows: Sequence[Mapping[str, Any]]) -> list[Aim]:
    at = {row["server"]: row for row in rows if row["connections"] == JUDGED_AT}
    if not at:
        return []
    durable, noop = at[DURABLE], at[NOOP]

    def rate(other: str) -> float:
        return float(durable["per_second"] / at[other]["per_second"])

    p99 = durable["p99_ms"] / noop["p99_ms"]
    failed = sum(row["failed"] for row in rows if row["server"] == DURABLE)
    return [
        Aim(
            f"durable ingest at least 0.5 of the no-op, {JUDGED_AT} connections", f"{rate(NOOP):.2f}", rate(NOOP) >= 0.5
        ),
        Aim("at least 4 x one shared connection", f"{rate(SHARED):.1f} x", rate(SHARED) >= 4),
        Aim("at least 12 x a connection per request", f"{rate(EACH):.1f} x", rate(EACH) >= 12),
        Aim("p99 within 5 x the no-op's", f"{p99:.1f} x", p99 <= 5),
        Aim("no callback fails", str(failed), failed == 0),
    ]


def _of_sizes(rows: Sequence[Mapping[str, Any]]) -> list[Aim]:
    at = {row["case"]: row for row in rows}
    few, many = at[NEWEST_OF_FEW], at[NEWEST_OF_MANY]
    cost = few["per_second"] / many["per_second"]
    return [Aim(f"{many['old']:,} old tasks cost at most 1.2 x of {few['old']:,}", f"{cost:.2f} x", cost <= 1.2)]


def _of_starts(starts: Mapping[str, Any]) -> list[Aim]:
    ratio = starts["ready_ms"]["median"] / starts["import_ms"]["median"]
    return [Aim("ready within 1.6 x the bare imports", f"{ratio:.2f} x", ratio <= 1.6)]


def _of_memory(memory: Mapping[str, Any]) -> list[Aim]:
    idle, grown, heard = memory["idle"]["rss"], memory["grown_mib"]["rss"], memory["loaded"]["callbacks"]
    return [
        Aim("idle memory under 64 MiB", f"{idle:.0f} MiB", idle < 64),
        Aim(f"no growth over {heard:,} callbacks", f"{grown:+.1f} MiB", grown < NO_GROWTH_MIB),
    ]


def _of_telling(rows: Sequence[Mapping[str, Any]]) -> list[Aim]:
    [durable] = [row for row in rows if row["endpoint"] == DURABLE]
    p50, p99 = durable["p50_ms"], durable["p99_ms"]
    rate = f"{durable['per_second']} callbacks a second"
    return [
        Aim(f"an app told within 10 ms, p50, {rate}", f"{p50:.1f} ms", p50 < 10),
        Aim(f"within 50 ms, p99, {rate}", f"{p99:.1f} ms", p99 < 50),
    ]


def _of_backlog(backlog: Mapping[str, Any]) -> list[Aim]:
    rates, p50 = backlog["per_second"], backlog["meanwhile"]["p50_ms"]
    ratio = rates[DURABLE] / rates[LOOP]
    return [
        Aim(f"{backlog['events']:,} missed events told at 0.6 of a bare httpx loop", f"{ratio:.2f}", ratio >= 0.6),
        Aim("another app told within 10 ms meanwhile, p50", f"{p50:.1f} ms", p50 < 10),
    ]


def _of_waking(waking: Mapping[str, Any]) -> list[Aim]:
    median = waking["after_answer"]["p50_ms"]
    return [Aim("a waiter woken within 5 ms, median", f"{median:.1f} ms", median < 5)]


def _of_listeners(rows: Sequence[Mapping[str, Any]]) -> list[Aim]:
    [durable] = [row for row in rows if row["endpoint"] == DURABLE]
    cost = durable["cost_mib"]["rss"]
    return [Aim(f"{durable['listeners']:,} idle listeners under 100 MiB", f"{cost:.1f} MiB", cost < 100)]


def _of_queries(queries: Mapping[str, Any]) -> list[Aim]:
    closed = {row["endpoint"]: row for row in queries["closed"]}
    [p50] = [row["p50_ms"] for row in queries["open"] if row["endpoint"] == DURABLE]
    rate = closed[DURABLE]["per_second"] / closed[CONSTANT]["per_second"]
    p99 = closed[DURABLE]["p99_ms"] / closed[CONSTANT]["p99_ms"]
    failed = closed[DURABLE]["failed"]
    return [
        Aim(f"queries at least 0.5 of a constant body, {queries['connections']} clients", f"{rate:.2f}", rate >= 0.5),
        Aim("p99 within 5 x the constant's", f"{p99:.1f} x", p99 <= 5),
        Aim(f"p50 under 3 ms, {queries['per_second']} queries a second", f"{p50:.2f} ms", p50 < 3),
        Aim("no query fails", str(failed), failed == 0),
    ]


def _of_creates(creates: Mapping[str, Any]) -> list[Aim]:
    added = creates["added_p50_ms"]
    return [Aim("the gateway adds less than 10 ms to a create, p50", f"{added:.1f} ms", added < 10)]


def _of_burst(burst: Mapping[str, Any]) -> list[Aim]:
    said = f"{burst['submits']:,} submits at once, {burst['slots']} slots"
    wrong = {"refused": burst["refused"], "sent twice": burst["sent_twice"], "left unsent": burst["never_sent"]}
    ahead = burst["furthest_ahead"]
    return [
        *(Aim(f"{said}: none {what}", str(count), count == 0) for what, count in wrong.items()),
        Aim("no tenant more than a task ahead of another that waits", str(ahead), ahead <= 1),
    ]
