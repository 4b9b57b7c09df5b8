"""Kafka, against librdkafka's mock cluster: the real protocol over real sockets, no real broker."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from receiver.outbox.brokers import broker_for
from receiver.outbox.destination import Delivered, GiveUp
from tests.outbox.brokers.claims import BrokerClaims, Place, Stored, message
from tests.patience import PATIENCE, watching

_names = itertools.count(1)


class MockKafka(Place):
    """A cluster that can be frozen, not started again: it would listen elsewhere and have forgotten all."""

    nobodys_url = "kafka://someone:s%40cret@127.0.0.1:1"

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.outbox.brokers.mock_kafka"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = f"kafka://127.0.0.1:{int(self.process.stdout.readline())}"

    def start(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)  # a signal is not obeyed at once

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    async def records(self) -> list[Any]:
        """All of every partition; the mock's topics have four."""
        consumer = AIOKafkaConsumer(
            self.topic, bootstrap_servers=self.url.removeprefix("kafka://"), auto_offset_reset="earliest"
        )
        await consumer.start()
        found: list[Any] = []
        async with asyncio.timeout(PATIENCE):
            ends = await consumer.end_offsets(consumer.assignment())
            while sum(ends.values()) > len(found):
                by_partition = await consumer.getmany(timeout_ms=200)
                found += [record for records in by_partition.values() for record in records]
        await consumer.stop()
        return found

    async def stored(self) -> list[Stored]:
        return [
            Stored(id=headers["id"].decode(), type=headers["ce_type"].decode(), body=record.value)
            for record in await self.records()
            for headers in [dict(record.headers)]
        ]


@pytest.fixture(scope="session")
def server() -> Iterator[MockKafka]:
    place = MockKafka()
    yield place
    place.end()


@pytest.fixture
def place(server: MockKafka) -> MockKafka:
    server.start()  # one that failed may have left it frozen
    server.topic = f"events{next(_names)}"
    return server


class TestKafka(BrokerClaims):
    """The claims of all brokers, and those of this one."""

    async def test_a_tasks_events_lie_in_one_partition_in_their_order(self, place: MockKafka) -> None:
        destination, news = broker_for(place.config()), [message(task=f"t_{n % 5}") for n in range(20)]

        for each in news:
            assert Delivered() == await destination.deliver(each)
        await destination.aclose()
        records = await place.records()

        for task in {each.external_task_id for each in news}:
            of_task = [record for record in records if task == record.key.decode()]
            assert 1 == len({record.partition for record in of_task})
            in_order = sorted(of_task, key=lambda record: record.offset)
            assert [each.body for each in news if each.external_task_id == task] == [each.value for each in in_order]

    async def test_what_no_topic_takes_is_given_up(self, place: MockKafka) -> None:
        destination = broker_for(place.config())

        attempt = await destination.deliver(message(size=2_000_000))
        await destination.aclose()

        assert isinstance(attempt, GiveUp)

    async def test_letting_go_of_a_cluster_that_was_killed_is_quick(self) -> None:
        place = MockKafka()
        place.topic = "events"
        destination = broker_for(place.config())
        assert Delivered() == await destination.deliver(message())
        place.end()

        async with watching() as watch:
            await destination.aclose()

        assert 1.0 > watch.seconds
