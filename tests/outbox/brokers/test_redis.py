"""Redis Streams, against a real redis-server."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from receiver.outbox.brokers import broker_for
from tests.outbox.brokers.claims import BrokerClaims, Place, Stored, assert_unsaid, message, reason_of
from tests.outbox.brokers.servers import Server, installed, listens
from tests.patience import free_port

_names = itertools.count(1)


class RedisServer(Place):
    """One server that writes each entry to disk, a stream for each test."""

    nobodys_url = "redis://someone:s%40cret@127.0.0.1:1/1"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://:s%40cret@127.0.0.1:{self.port}/0"
        conf = folder / "redis.conf"
        conf.write_text(
            f'bind 127.0.0.1\nport {self.port}\ndir "{folder}"\nsave ""\nappendonly yes\nappendfsync always\n'
            "requirepass s@cret\n"
        )
        command = [installed("redis-server", package="redis-server"), str(conf)]
        self.server = Server(command, folder=folder, is_ready=lambda: listens(self.port))

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.kill()

    def freeze(self) -> None:
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()

    def client(self) -> Redis:
        return Redis(port=self.port, password="s@cret")

    async def stored(self) -> list[Stored]:
        async with self.client() as client:
            entries = await client.xrange(self.topic)
        return [
            Stored(id=fields[b"id"].decode(), type=fields[b"type"].decode(), body=fields[b"body"])
            for _, fields in entries
        ]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    place = RedisServer(tmp_path_factory.mktemp("redis"))
    place.start()
    yield place
    place.server.kill()


@pytest.fixture
def place(server: RedisServer) -> RedisServer:
    server.topic = f"events{next(_names)}"
    return server


class TestRedis(BrokerClaims):
    """The claims of all brokers, and those of this one."""

    async def test_a_wrong_password_is_said_without_it(
        self, place: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        destination = broker_for(place.config(url=place.url.replace("s%40cret", "wr%40ng")))

        reason = reason_of(await destination.deliver(message()))
        await destination.aclose()

        assert "invalid username-password pair" in reason
        assert_unsaid("wr@ng", reason + caplog.text)
        assert_unsaid("wr%40ng", reason + caplog.text)

    async def test_a_key_that_is_no_stream_is_named(self, place: RedisServer) -> None:
        async with place.client() as client:
            await client.set(place.topic, "text")
        destination = broker_for(place.config())

        reason = reason_of(await destination.deliver(message()))
        await destination.aclose()

        assert f"the stream '{place.topic}' does not take it: WRONGTYPE" in reason
