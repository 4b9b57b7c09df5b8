"""Amazon SQS, against moto's server: the real protocol, no real queue."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from aiobotocore.session import get_session
from moto.server import ThreadedMotoServer

from receiver.outbox.brokers import broker_for
from receiver.outbox.destination import Delivered, GiveUp
from tests.outbox.brokers.claims import BrokerClaims, Place, Stored, kept, message, reason_of
from tests.patience import free_port

_names = itertools.count(1)


class MotoSqs(Place):
    """One server in this process, whose queues outlive its stops; a queue for each test."""

    nobodys_url = "http://127.0.0.1:1/1/events"

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.server: ThreadedMotoServer | None = None

    def start(self) -> None:
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()

    def stop(self) -> None:
        assert self.server is not None
        self.server.stop()

    def client(self) -> Any:
        return get_session().create_client("sqs", region_name="us-east-1", endpoint_url=self.address)

    async def make_queue(self, name: str, **attributes: str) -> None:
        async with self.client() as client:
            self.url = (await client.create_queue(QueueName=name, Attributes=attributes))["QueueUrl"]

    async def received(self) -> list[Any]:
        found: list[Any] = []
        async with self.client() as client:
            while batch := (
                await client.receive_message(
                    QueueUrl=self.url,
                    MaxNumberOfMessages=10,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["All"],
                )
            ).get("Messages"):
                found += batch
                for each in batch:
                    await client.delete_message(QueueUrl=self.url, ReceiptHandle=each["ReceiptHandle"])
        return found

    async def stored(self) -> list[Stored]:
        return [
            Stored(
                id=each["MessageAttributes"]["id"]["StringValue"],
                type=each["MessageAttributes"]["type"]["StringValue"],
                body=each["Body"].encode(),
            )
            for each in await self.received()
        ]


@pytest.fixture(scope="session")
def server() -> Iterator[MotoSqs]:
    place = MotoSqs()
    place.start()
    yield place
    place.stop()


@pytest.fixture
async def place(server: MotoSqs, monkeypatch: pytest.MonkeyPatch) -> MotoSqs:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ours")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s@cret")
    await server.make_queue(f"events{next(_names)}")
    return server


class TestSqs(BrokerClaims):
    """The claims of all brokers, and those of this one."""

    async def test_a_fifo_queue_has_the_same_id_once_and_a_task_is_a_group(self, place: MotoSqs) -> None:
        await place.make_queue(f"events{next(_names)}.fifo", FifoQueue="true")
        destination, news = broker_for(place.config()), message(task="t_7")

        attempts = [await destination.deliver(news), await destination.deliver(news)]
        await destination.aclose()
        (found,) = await place.received()

        assert [Delivered(), Delivered()] == attempts
        assert ("t_7", news.id) == (
            found["Attributes"]["MessageGroupId"],
            found["Attributes"]["MessageDeduplicationId"],
        )

    async def test_a_queue_that_is_not_there_is_said(self, place: MotoSqs) -> None:
        destination = broker_for(place.config(url=f"{place.address}/123456789012/nowhere"))

        reason = reason_of(await destination.deliver(message()))
        await destination.aclose()

        assert "there is no such queue: create it, or correct the url" == reason

    async def test_without_credentials_it_is_said_which_variables_bring_them(
        self, place: MotoSqs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        destination = broker_for(place.config())

        reason = reason_of(await destination.deliver(message()))
        await destination.aclose()

        assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in reason

    async def test_the_largest_message_is_delivered_and_one_byte_more_is_given_up(self, place: MotoSqs) -> None:
        destination, empty = broker_for(place.config()), message()
        room = 262_144 - len(empty.body) - len(empty.id) - len(empty.type) - len("idStringtypeString")
        fits, too_large = message(size=room - 4), message(size=room + 4)

        attempts = [await destination.deliver(fits), await destination.deliver(too_large)]
        await destination.aclose()

        assert Delivered() == attempts[0]
        assert isinstance(attempts[1], GiveUp)
        assert kept(fits) == await place.stored()
