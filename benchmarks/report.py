"""The figures as people read them: tables on a terminal, and the results in docs/performance.md. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table

from benchmarks.aims import judged
from benchmarks.backlog import BESIDE
from benchmarks.bare import CONSTANT, FORWARD, IDLE, LOOP
from benchmarks.competitors import EACH, NOOP, SHARED
from benchmarks.creates import STRAIGHT, THROUGH
from benchmarks.ingest import DURABLE

END = "<!-- end of results -->"
PLACES: Mapping[str, tuple[str, ...]] = {
    "callbacks": ("starts", "servers", "duplicates", "memory", "sizes"),
    "telling": ("telling", "backlog", "waking", "listeners"),
    "the gateway": ("queries", "creates", "burst"),
}
"""What stands together on the page, and is written anew where all of it was measured."""
_RATES = ("per second", "range", "p50 ms", "p99 ms", "failed")
_SPOKEN = {
    NOOP: "no-op",
    DURABLE: "**durable ingest**",
    EACH: "a connection per request",
    SHARED: "one shared connection",
    FORWARD: "signed and posted on, nothing kept",
    IDLE: "Starlette's own, with nothing to say",
}
_ASKED = {CONSTANT: "a constant body", DURABLE: "**the gateway, from the ledger**"}
_SENT = {STRAIGHT: "straight to the provider", THROUGH: "**through the gateway**"}
_MEANWHILE = ("before", "meanwhile")
_DRAINED = {LOOP: "a bare httpx loop", DURABLE: "**the backlog**", BESIDE: "the backlog, beside callbacks"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: its title, its columns, and its cells as text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(
            *self.columns, title_style="bold", title=self.title, title_justify="left", box=None, pad_edge=False
        )
        for row in self.rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        return table

    def markdown(self) -> str:
        """For a page."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


def tables(results: Mapping[str, Any]) -> Group:
    """Everything, for a terminal."""
    sheets = (part for sheet in _sheets(results) for part in (sheet.rich(), ""))
    return Group(*sheets, _machine(results["machine"]), f"{results['minutes']} minutes")


def begin(place: str) -> str:
    """Where the results of this place begin on the page."""
    return f"<!-- results of {place}: written by `make bench` -->"


def page_with_results(page: str, results: Mapping[str, Any]) -> str:
    """The page with these results in place of those it had. Raises ValueError where it has no place for them."""
    for place, sections in PLACES.items():
        if all(section in results for section in sections):
            own = {section: results[section] for section in sections}
            page = page_with(
                page, begin(place), [_machine(results["machine"]), *_markdown({"aims": judged(own)} | own)]
            )
    return page


def page_with(page: str, start: str, made: Sequence[str]) -> str:
    """The page with this made between its start and the end that follows. Raises ValueError where it has neither."""
    before, has_start, rest = page.partition(start)
    _, has_end, after = rest.partition(END)
    if not (has_start and has_end):
        raise ValueError(f"the page has no {start} … {END}")
    text = "\n\n".join(made)
    return f"{before}{start}\n\n{text}\n\n{END}{after}"


def _markdown(results: Mapping[str, Any]) -> list[str]:
    return [sheet.markdown() for sheet in _sheets(results)]


def _machine(facts: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return (
        f"{facts['date'][:10]}, commit {facts['commit']}: {facts['processor']}, {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB; Linux {facts['kernel']}, {facts['filesystem']}, a synced page takes "
        f"{facts['fsync_ms']['median']} ms (p99 {facts['fsync_ms']['p99']}); Python {facts['python']}, "
        f"SQLite {facts['sqlite']}, {packages}; load by {facts['generator']}, load average before "
        f"{facts['load_average']}."
    )


def _sheets(results: Mapping[str, Any]) -> Iterator[Sheet]:
    """The aims, then each section that was measured."""
    made: dict[str, Callable[[Any], Sheet]] = {
        "aims": _aims,
        "servers": _servers,
        "sizes": _sizes,
        "duplicates": _duplicates,
        "starts": _starts,
        "memory": _memory,
        "telling": _telling,
        "backlog": _backlog,
        "waking": _waking,
        "listeners": _listeners,
        "queries": _queries,
        "creates": _creates,
        "burst": _burst,
    }
    return (make(results[section]) for section, make in made.items() if section in results)


def _aims(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    verdicts = {True: "met", False: "**missed**"}
    return Sheet(
        "aims", ["aim", "figure", "is"], [[row["aim"], row["figure"], verdicts[row["is_met"]]] for row in rows]
    )


def _rates(row: Mapping[str, Any]) -> list[str]:
    return [
        f"{row['per_second']:,.0f}",
        f"{row['slowest']:,.0f} to {row['fastest']:,.0f}",
        f"{row['p50_ms']:.2f}",
        f"{row['p99_ms']:.2f}",
        str(row["failed"]),
    ]


def _servers(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    noop = {row["connections"]: row for row in rows if row["server"] == NOOP}
    return Sheet(
        "callbacks kept",
        ["connections", "endpoint", *_RATES, "of the no-op"],
        [
            [
                str(row["connections"]),
                _SPOKEN[row["server"]],
                *_rates(row),
                f"{row['per_second'] / noop[row['connections']]['per_second']:.3f}",
            ]
            for row in rows
        ],
    )


def _starts(starts: Mapping[str, Any]) -> Sheet:
    named = {"spawned to ready": starts["ready_ms"], f"`{starts['imports']}`": starts["import_ms"]}
    return Sheet(
        "start, ms",
        ["what", "median", "range"],
        [[what, str(each["median"]), f"{each['fastest']} to {each['slowest']}"] for what, each in named.items()],
    )


def _sizes(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    return Sheet(
        "old tasks in the ledger",
        ["callbacks for", "old tasks", *_RATES],
        [[row["case"], f"{row['old']:,}", *_rates(row)] for row in rows],
    )


def _duplicates(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    return Sheet("duplicates", ["verdict", *_RATES], [[row["verdict"], *_rates(row)] for row in rows])


def _memory(memory: Mapping[str, Any]) -> Sheet:
    return Sheet(
        "memory, MiB",
        ["callbacks heard", "resident", "proportional"],
        [[f"{each['callbacks']:,}", str(each["rss"]), str(each["pss"])] for each in memory["samples"]],
    )


def _telling(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    spans = ("p50_ms", "p99_ms", "slowest_ms", "answered_p50_ms", "answered_p99_ms", "late_p99_ms")
    return Sheet(
        f"an app told, ms, at {rows[0]['per_second']} callbacks a second",
        ["endpoint", "p50", "p99", "slowest", "callback answered p50", "p99", "load late p99", "told", "of them twice"],
        [
            [
                _SPOKEN[row["endpoint"]],
                *(f"{row[span]:.2f}" for span in spans),
                str(row["told"]),
                str(row["told_twice"]),
            ]
            for row in rows
        ],
    )


def _backlog(backlog: Mapping[str, Any]) -> Sheet:
    rates = backlog["per_second"]
    waits = {DURABLE: "", LOOP: ""} | {
        BESIDE: " and ".join(f"{backlog[when]['p50_ms']:.1f}, {backlog[when]['p99_ms']:.1f}" for when in _MEANWHILE)
    }
    return Sheet(
        f"{backlog['events']:,} events missed, of {backlog['body_bytes']} bytes",
        ["told by", "per second", "range", "of the loop", "another app's p50, p99, ms: before and meanwhile"],
        [
            [
                spoken,
                f"{rates[name]:,.0f}",
                f"{min(backlog['runs'][name]):,.0f} to {max(backlog['runs'][name]):,.0f}",
                f"{rates[name] / rates[LOOP]:.2f}",
                waits[name],
            ]
            for name, spoken in _DRAINED.items()
        ],
    )


def _waking(waking: Mapping[str, Any]) -> Sheet:
    named = {
        "woken, after the callback's answer": waking["after_answer"],
        "woken, after the callback was sent": waking["after_callback"],
        "a plain GET of the task": waking["plain"],
    }
    return Sheet(
        f"{waking['waiters']} waiters, ms",
        ["what", "p50", "p99", "slowest"],
        [[what, *(f"{each[span]:.2f}" for span in ("p50_ms", "p99_ms", "slowest_ms"))] for what, each in named.items()],
    )


def _listeners(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    return Sheet(
        f"{rows[0]['listeners']:,} who listen and hear nothing",
        ["stream", "resident alone, MiB", "cost, MiB", "cost in pages of its own", "CPU, %", "then all told, ms"],
        [
            [
                _SPOKEN[row["endpoint"]],
                str(row["alone"]["rss"]),
                str(row["cost_mib"]["rss"]),
                str(row["cost_mib"]["uss"]),
                str(row["idle_cpu_percent"]),
                "" if row["all_told_ms"] is None else str(row["all_told_ms"]),
            ]
            for row in rows
        ],
    )


def _queries(queries: Mapping[str, Any]) -> Sheet:
    closed, steady = ({row["endpoint"]: row for row in queries[load]} for load in ("closed", "open"))
    rate = queries["per_second"]
    return Sheet(
        f"queries at {queries['connections']} clients, and at {rate} a second; {queries['body_bytes']} bytes",
        ["answered by", *_RATES, "of the constant", f"p50 ms at {rate}/s", "p99 ms", "slowest ms"],
        [
            [
                spoken,
                *_rates(closed[name]),
                f"{closed[name]['per_second'] / closed[CONSTANT]['per_second']:.2f}",
                *(f"{steady[name][span]:.2f}" for span in ("p50_ms", "p99_ms", "slowest_ms")),
            ]
            for name, spoken in _ASKED.items()
        ],
    )


def _creates(creates: Mapping[str, Any]) -> Sheet:
    spans = ("p50_ms", "p99_ms", "slowest_ms")
    return Sheet(
        f"creates, {creates['per_second']} a second, ms",
        ["sent", "p50", "p99", "slowest"],
        [[_SENT[row["endpoint"]], *(f"{row[span]:.2f}" for span in spans)] for row in creates["rows"]],
    )


def _burst(burst: Mapping[str, Any]) -> Sheet:
    facts = {
        "tenants": ", ".join(f"{name} {count}" for name, count in burst["tenants"].items()),
        "all submits answered, s": burst["submitted_seconds"],
        "all done, s": burst["seconds"],
        "the provider's own time, s": burst["at_least_seconds"],
        "creates refused": burst["refused"],
        "sent twice": burst["sent_twice"],
        "never sent": burst["never_sent"],
        "furthest one tenant was ahead of another, tasks": burst["furthest_ahead"],
        "Jain's index of what each got while all waited": burst["jain"],
    }
    return Sheet(
        f"{burst['submits']:,} submits at once before {burst['slots']} slots",
        ["what", "figure"],
        [[what, str(figure)] for what, figure in facts.items()],
    )
