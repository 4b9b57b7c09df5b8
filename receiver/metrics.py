"""GET /metrics: the counters and the writer's queue, in Prometheus' text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from receiver.access import operator_of
from receiver.counters import Counters
from receiver.keys import Scope
from receiver.ledger.base import WriterState
from receiver.ledger.deliveries import DestinationState
from receiver.ledger.reading import AccountState
from receiver.origins import CLIENTS, label_of
from receiver.pathhealth import PathHealth, PathState
from receiver.runtime import Runtime
from submitter.moments import Moment

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: docs/metrics.md is made from these."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    labels: tuple[str, ...] = ()


CALLBACKS = Family(
    "hookledger_callbacks_total", "counter", "Callbacks answered 200, by what they changed.", ("provider", "verdict")
)
REFUSALS = Family(
    "hookledger_refusals_total",
    "counter",
    "Requests answered with a problem document. The code is one of docs/errors.md, the route a pattern, or empty "
    "where the request did not get as far as a route; the provider is named where the route has one that exists.",
    ("route", "code", "provider"),
)
QUESTIONS = Family(
    "hookledger_questions_total",
    "counter",
    "Requests that asked a provider about tasks, by account; one may be about hundreds.",
    ("provider",),
)
PAUSED = Family(
    "hookledger_provider_paused",
    "gauge",
    "1 while a provider is left in peace, else 0. The reason is stopped (trouble of the account, which a person "
    "mends), asked (it said for how long, or that we are too fast), or unknown (it does not know most of the "
    "account's tasks: only questions rest).",
    ("provider", "reason"),
)
ATTEMPTS = Family(
    "hookledger_attempts_total",
    "counter",
    "Attempts to tell a destination, by what they came to. "
    f"All callback_urls of a gateway's clients together are `{CLIENTS}`.",
    ("destination", "result"),
)
GATEWAY = Family(
    "hookledger_gateway_requests_total",
    "counter",
    "Requests to the gateway, by what they were about (create, query, list, passed) and what came of them: served, "
    "refused (4xx) or failed (5xx).",
    ("provider", "kind", "outcome"),
)
TURNS = Family(
    "hookledger_path_turns_total",
    "counter",
    "How often the path that an account's callbacks take became alive, limping or dark.",
    ("provider", "state"),
)
PATH = Family(
    "hookledger_path_state",
    "gauge",
    "1 at the state of the path that an account's callbacks take, 0 at the others.",
    ("provider", "state"),
)
OPEN = Family("hookledger_deliveries_open", "gauge", "Events that a destination is still to be told.", ("destination",))
DEAD = Family("hookledger_deliveries_dead", "gauge", "Events that were given up: dead letters.", ("destination",))
DISABLED = Family(
    "hookledger_destination_disabled",
    "gauge",
    "1 while a destination is told nothing any more, else 0.",
    ("destination",),
)
WAITING = Family("hookledger_writer_waiting_entries", "gauge", "Writes that wait for the next commit.")
WAITING_BYTES = Family("hookledger_writer_waiting_bytes", "gauge", "Their size, where it counts.")
BATCHES = Family("hookledger_writer_batches_total", "counter", "Commits.")
ENTRIES = Family("hookledger_writer_entries_total", "counter", "Writes that were committed.")
TROUBLE = Family("hookledger_writer_trouble", "gauge", "1 while the store takes no writes, else 0.")
FAMILIES = (
    CALLBACKS,
    REFUSALS,
    QUESTIONS,
    PAUSED,
    ATTEMPTS,
    GATEWAY,
    TURNS,
    PATH,
    OPEN,
    DEAD,
    DISABLED,
    WAITING,
    WAITING_BYTES,
    BATCHES,
    ENTRIES,
    TROUBLE,
)


async def show_metrics(request: Request) -> Response:
    """For holders of an operator's key, or for everybody if the configuration says so."""
    runtime: Runtime = request.app.state.runtime
    if not runtime.config.metrics.public:
        operator_of(request, runtime, Scope.READ)
    destinations = await runtime.ledger.destinations()
    known = await runtime.ledger.paths()
    paths = {name: known.get(name, PathHealth()) for name in sorted(runtime.providers)}
    configured = [each for each in await runtime.ledger.accounts() if each.provider in runtime.providers]
    pauses = _pauses(configured, now=runtime.clock())
    page = render(runtime.counters, runtime.ledger.writer_state, destinations, paths, pauses)
    return Response(page, headers={"Content-Type": CONTENT_TYPE})


def _pauses(accounts: Sequence[AccountState], *, now: Moment) -> Iterator[tuple[tuple[str, ...], int]]:
    for account in accounts:
        is_paused = account.paused_until > now
        yield (account.provider, "asked"), int(is_paused and not account.is_stopped)
        yield (account.provider, "stopped"), int(is_paused and account.is_stopped)
        yield (account.provider, "unknown"), int(account.unknown_until > now)


def render(
    counters: Counters,
    writer: WriterState,
    destinations: Sequence[DestinationState],
    paths: Mapping[str, PathHealth],
    pauses: Iterable[tuple[tuple[str, ...], int]] = (),
) -> str:
    """The page. A family without samples still says that it is there."""
    samples: Mapping[Family, Iterable[tuple[tuple[str, ...], int]]] = {
        CALLBACKS: sorted(counters.callbacks.items()),
        REFUSALS: sorted(counters.refusals.items()),
        QUESTIONS: [((provider,), count) for provider, count in sorted(counters.questions.items())],
        PAUSED: pauses,
        ATTEMPTS: sorted(counters.attempts.items()),
        GATEWAY: sorted(counters.gateway.items()),
        TURNS: sorted(counters.turns.items()),
        PATH: [
            ((provider, str(state)), int(path.state is state))
            for provider, path in paths.items()
            for state in PathState
        ],
        OPEN: _by_label((each.name, each.open) for each in destinations),
        DEAD: _by_label((each.name, each.dead) for each in destinations),
        DISABLED: [
            ((each.name,), int(each.health.disabled_at is not None)) for each in destinations if each.is_configured
        ],
        WAITING: [((), writer.waiting)],
        WAITING_BYTES: [((), writer.waiting_bytes)],
        BATCHES: [((), writer.batches)],
        ENTRIES: [((), writer.entries)],
        TROUBLE: [((), int(writer.trouble is not None))],
    }
    return "".join(line for family in FAMILIES for line in _lines(family, samples[family]))


def _by_label(counts: Iterable[tuple[str, int]]) -> Iterable[tuple[tuple[str], int]]:
    """Clients name what they like: however many origins that are, they are one label."""
    summed: Counter[str] = Counter()
    for name, count in counts:
        summed[label_of(name)] += count
    return [((label,), count) for label, count in summed.items()]


def _lines(family: Family, samples: Iterable[tuple[tuple[str, ...], int]]) -> Iterator[str]:
    yield f"# HELP {family.name} {family.meaning}\n"
    yield f"# TYPE {family.name} {family.kind}\n"
    for values, count in samples:
        labels = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(family.labels, values, strict=True))
        yield f"{family.name}{{{labels}}} {count}\n" if labels else f"{family.name} {count}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
