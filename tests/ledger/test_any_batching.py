"""Any interleaving of reports in any batches ends as it would one at a time: events once, versions only grow."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.ledger.judging import Heard
from receiver.ledger.reading import History, StoredEvent
from receiver.ledger.sqlite import SqliteLedger
from receiver.task import Decision, Record
from submitter.providers.base import Trust
from tests.ledger.builders import (
    FAILED,
    JUDGE,
    NOW,
    PROCESSING,
    SUBMITTED,
    SUCCEED,
    answer,
    callback,
    image,
    opening,
    queried,
)

TASKS = ("t_one", "t_two", "t_adopted")
IMAGES = (image(0, "a"), image(1, "b"))
STATUSES = (SUBMITTED, PROCESSING, SUCCEED, FAILED, "reticulating")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """All that can be told afterwards."""

    verdicts: list[str]
    records: list[Record | None]
    histories: list[History | None]
    events: list[StoredEvent]


@st.composite
def reports(draw: st.DrawFn) -> Heard:
    """Anything a provider, a gateway or a forger with one URL may say of three tasks, ids mixed up included."""
    road = draw(st.sampled_from((callback, callback, queried, answer)))
    status = draw(st.sampled_from(STATUSES))
    heard = road(
        status,
        *(draw(st.sampled_from(((), IMAGES[:1], IMAGES[1:], IMAGES))) if status == SUCCEED else ()),
        task=draw(st.sampled_from(TASKS)),
        now=NOW + draw(st.integers(0, 5)),
        provider_task_id=draw(st.sampled_from((None, "1", "2", "3"))),
        external_task_id=draw(st.sampled_from((None, None, None, *TASKS))),
    )
    return replace(heard, trust=Trust.SIGNED) if road is callback and draw(st.booleans()) else heard


async def lived(sequence: Sequence[Heard], sizes: Sequence[int]) -> Ending:
    """The sequence, cut into batches of these sizes over and over, in a ledger of its own."""
    with tempfile.TemporaryDirectory(prefix="hookledger-") as folder:
        ledger = await SqliteLedger.open(Path(folder) / "ledger.db", now=NOW)
        try:
            for name in TASKS[:2]:
                await ledger.open_task(opening(name, images_asked=2))
            verdicts: list[str] = []
            rest, turn = list(sequence), 0
            while rest:
                size = sizes[turn % len(sizes)]
                batch, rest, turn = rest[:size], rest[size:], turn + 1
                for outcome in await ledger.apply(batch, JUDGE):
                    verdicts.append(str(outcome.verdict) if isinstance(outcome, Decision) else type(outcome).__name__)
            return Ending(
                verdicts=verdicts,
                records=[await ledger.record(name) for name in TASKS],
                histories=[await ledger.history(name) for name in TASKS],
                events=await ledger.events_after(0, limit=500),
            )
        finally:
            await ledger.aclose()


explored = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
sequences = st.lists(reports(), min_size=1, max_size=12)


@explored
@given(sequence=sequences, sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_any_batching_ends_as_one_report_at_a_time(sequence: list[Heard], sizes: list[int]) -> None:
    alone = asyncio.run(lived(sequence, [1]))

    together = asyncio.run(lived(sequence, sizes))

    assert alone == together


@explored
@given(sequence=sequences)
def test_every_event_is_written_once_and_versions_only_grow(sequence: list[Heard]) -> None:
    ending = asyncio.run(lived(sequence, [3]))

    versions: dict[str, list[int]] = {}
    for event in ending.events:
        name, _, version = event.id.rpartition(".")
        versions.setdefault(name, []).append(int(version))

    assert list(range(1, len(ending.events) + 1)) == [event.position for event in ending.events]
    assert {name: sorted(set(each)) for name, each in versions.items()} == versions
    for record in filter(None, ending.records):
        assert record.task.version >= max(versions.get(record.task.external_task_id, [0]))


@explored
@given(sequence=sequences)
def test_every_report_is_counted_once(sequence: list[Heard]) -> None:
    ending = asyncio.run(lived(sequence, [4]))

    for record, history in zip(ending.records, ending.histories, strict=True):
        if record is None or history is None:
            continue
        counts = record.task.reports
        heard = sum(
            each.external_task_id == record.task.external_task_id and verdict != "ForeignTask"
            for each, verdict in zip(sequence, ending.verdicts, strict=True)
        )
        assert heard == counts.applied + counts.duplicate + counts.stale + counts.conflict
        assert heard == sum(each.count for each in history.reports)


@explored
@given(sequence=sequences)
def test_the_last_event_of_a_task_shows_the_state_that_it_is_in(sequence: list[Heard]) -> None:
    ending = asyncio.run(lived(sequence, [5]))

    last = {event.id.rpartition(".")[0]: json.loads(event.task or "{}")["state"] for event in ending.events}

    for record in filter(None, ending.records):
        assert record.task.state == last.get(record.task.external_task_id, "pending")
