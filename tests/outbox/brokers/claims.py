"""What every broker's destination promises: one suite, a small harness for each."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass

import pytest

from receiver.configdestinations import DestinationConfig
from receiver.outbox.brokers import broker_for
from receiver.outbox.destination import Attempt, Delivered, Destination, TryAgain
from receiver.outbox.message import Message
from tests.patience import PATIENCE, watching

TIMEOUT = 2.0  # of those who meet a broker that does not answer; whoever meets a healthy one has patience
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A message as the broker keeps it."""

    id: str
    type: str
    body: bytes


class Place(ABC):
    """A broker of one kind, with a topic (or queue) of the test's own."""

    url: str
    topic: str = ""
    nobodys_url: str

    def config(self, *, url: str = "", topic: str = "", timeout: float = PATIENCE) -> DestinationConfig:
        """The table that a person would write for it."""
        kind = type(self).__module__.rpartition("test_")[2]
        return DestinationConfig.model_validate(
            {
                "name": "broker",
                "kind": kind,
                "url": url or self.url,
                "topic": topic or self.topic,
                "timeout": f"{timeout:g}s",
                "private": True,
            }
        )

    @abstractmethod
    async def stored(self) -> list[Stored]:
        """All that the broker keeps there, in no order."""

    @abstractmethod
    def stop(self) -> None:
        """From here on nobody answers."""

    @abstractmethod
    def start(self) -> None:
        """It is back, with what it had acknowledged."""

    def freeze(self) -> None:
        """From here on nobody answers, and connections stay open: where a process can be frozen."""
        self.stop()

    def thaw(self) -> None:
        """It answers again."""
        self.start()


def message(*, task: str | None = "t_1", size: int = 0) -> Message:
    """An event of its own id; the body has what JSON may hold."""
    identity = f"t_{next(_numbers)}.3"
    body = {"id": identity, "text": 'ü\u2028\\"☃', "padding": "x" * size}
    return Message(
        id=identity,
        type="task.succeeded",
        position=1,
        time=1_795_168_800_123,
        external_task_id=task,
        body=json.dumps(body, ensure_ascii=False).encode(),
    )


def kept(*messages: Message) -> list[Stored]:
    """What the broker is to keep of these."""
    return [Stored(id=each.id, type=each.type, body=each.body) for each in messages]


def reason_of(attempt: Attempt) -> str:
    """Why it is to be tried again."""
    assert isinstance(attempt, TryAgain)
    return attempt.reason


async def until_delivered(destination: Destination, news: Message) -> None:
    """As the relay would: again, until it is there."""
    async with asyncio.timeout(PATIENCE):
        while await destination.deliver(news) != Delivered():  # noqa: ASYNC110 - a broker sends no event when it is back
            await asyncio.sleep(0.05)


class BrokerClaims:
    """To be inherited, with a fixture `place`."""

    async def test_a_delivered_message_is_there_with_id_type_and_the_very_bytes(self, place: Place) -> None:
        destination, news = broker_for(place.config()), [message(), message(task=None)]

        attempts = [await destination.deliver(each) for each in news]
        await destination.aclose()

        assert [Delivered(), Delivered()] == attempts
        assert {*kept(*news)} == {*await place.stored()}

    async def test_many_at_once_over_one_destination_are_all_there(self, place: Place) -> None:
        destination, news = broker_for(place.config()), [message(size=2_000) for _ in range(30)]

        attempts = await asyncio.gather(*map(destination.deliver, news))
        await destination.aclose()

        assert [Delivered()] * 30 == attempts
        assert {each.id for each in news} == {each.id for each in await place.stored()}

    async def test_a_broker_that_stops_is_tried_again_in_time_and_delivered_to_when_it_is_back(
        self, place: Place
    ) -> None:
        destination, before, amid = broker_for(place.config(timeout=TIMEOUT)), message(), message()
        await until_delivered(destination, before)
        place.stop()

        async with watching() as watch:
            attempt = await destination.deliver(amid)
        place.start()
        await until_delivered(destination, amid)
        await destination.aclose()

        assert place.url.rpartition("@")[2] in reason_of(attempt)
        assert TIMEOUT + 0.3 > watch.seconds
        assert {before.id, amid.id} == {each.id for each in await place.stored()}

    async def test_a_broker_that_falls_silent_is_not_waited_for(self, place: Place) -> None:
        destination = broker_for(place.config(timeout=TIMEOUT))
        await until_delivered(destination, message())
        place.freeze()

        async with watching() as watch:
            attempts = await asyncio.gather(*(destination.deliver(message()) for _ in range(10)))
        place.thaw()
        await destination.aclose()
        await until_nothing_is_left_running()

        assert [True] * 10 == [isinstance(attempt, TryAgain) for attempt in attempts]
        assert TIMEOUT + 0.3 > watch.seconds

    async def test_letting_go_of_a_broker_that_does_not_answer_is_quick(self, place: Place) -> None:
        destination = broker_for(place.config())
        assert Delivered() == await destination.deliver(message())
        place.freeze()

        async with watching() as watch:
            await destination.aclose()
        await until_nothing_is_left_running()
        place.thaw()

        assert 1.0 > watch.seconds

    async def test_an_attempt_that_is_cancelled_leaves_a_destination_that_delivers(self, place: Place) -> None:
        destination, news = broker_for(place.config(timeout=TIMEOUT)), message()
        await until_delivered(destination, message())
        place.freeze()

        attempt = asyncio.create_task(destination.deliver(message()))
        await asyncio.wait([attempt], timeout=0.05)
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        place.thaw()
        await until_delivered(destination, news)
        await destination.aclose()
        await until_nothing_is_left_running()

        assert news.id in {each.id for each in await place.stored()}

    async def test_nobody_there_is_a_reason_and_the_password_is_in_no_word_of_it(
        self, place: Place, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        destination = broker_for(place.config(url=place.nobodys_url))

        reason = reason_of(await destination.deliver(message()))
        await destination.aclose()

        assert reason.startswith(f"{place.nobodys_url.replace('someone:s%40cret', '********')}: ")
        assert "onnect" in reason
        assert_unsaid("s%40cret", reason + caplog.text)
        assert_unsaid("s@cret", reason + caplog.text)


async def until_nothing_is_left_running() -> None:
    """A client may take its time to hang up after it was told to, but not for ever."""
    async with asyncio.timeout(PATIENCE):
        while asyncio.all_tasks() != {asyncio.current_task()}:  # noqa: ASYNC110 - there is nobody to say it
            await asyncio.sleep(0.01)


def assert_unsaid(secret: str, text: str) -> None:
    """The secret is in none of it."""
    assert [] == [line for line in text.splitlines() if secret in line]
