"""NATS JetStream, against a real nats-server."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from receiver.outbox.brokers import broker_for
from receiver.outbox.destination import Delivered, GiveUp
from tests.outbox.brokers.claims import BrokerClaims, Place, Stored, assert_unsaid, kept, message, reason_of
from tests.outbox.brokers.servers import Server, installed, listens
from tests.patience import free_port

_names = itertools.count(1)


class Nats(Place):
    """One server, a stream for each test."""

    nobodys_url = "nats://someone:s%40cret@127.0.0.1:1/1"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"nats://ours:s%40cret@127.0.0.1:{self.port}"
        conf = folder / "nats.conf"
        conf.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{folder}" }}\nmax_payload: 100KB\n'
            'authorization { user: ours, password: "s@cret" }\n'
        )
        command = [installed("nats-server", package="nats-server"), "--config", str(conf)]
        self.server = Server(command, folder=folder, is_ready=lambda: listens(self.port))

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.kill()

    def freeze(self) -> None:
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()

    async def connected(self) -> nats.NATS:
        return await nats.connect(f"nats://127.0.0.1:{self.port}", user="ours", password="s@cret")

    async def stored(self) -> list[Stored]:
        client = await self.connected()
        stream = client.jetstream()
        last = (await stream.stream_info(self.topic)).state.messages
        found = [await stream.get_msg(self.topic, number) for number in range(1, last + 1)]
        await client.close()
        return [
            Stored(id=each.headers["Nats-Msg-Id"], type=each.headers["ce-type"], body=each.data or b"")
            for each in found
            if each.headers
        ]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    place = Nats(tmp_path_factory.mktemp("nats"))
    place.start()
    yield place
    place.server.kill()


@pytest.fixture
async def place(server: Nats) -> Nats:
    server.topic = f"events{next(_names)}"
    client = await server.connected()
    await client.jetstream().add_stream(name=server.topic, subjects=[server.topic])
    await client.close()
    return server


class TestNats(BrokerClaims):
    """The claims of all brokers, and those of this one."""

    async def test_the_same_id_twice_is_stored_once(self, place: Nats) -> None:
        destination, news = broker_for(place.config()), message()

        attempts = [await destination.deliver(news), await destination.deliver(news)]
        await destination.aclose()

        assert [Delivered(), Delivered()] == attempts
        assert kept(news) == await place.stored()

    async def test_a_subject_without_a_stream_names_the_command_that_makes_one(self, place: Nats) -> None:
        destination = broker_for(place.config(topic="nowhere.to.be.found"))

        reason = reason_of(await destination.deliver(message()))
        await destination.aclose()

        assert "nats stream add EVENTS --subjects 'nowhere.to.be.found'" in reason

    async def test_a_wrong_password_is_said_without_it(self, place: Nats, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        destination = broker_for(place.config(url=place.url.replace("s%40cret", "wr%40ng")))

        reason = reason_of(await destination.deliver(message()))
        await destination.aclose()

        assert "Authorization Violation" in reason
        assert_unsaid("wr@ng", reason + caplog.text)
        assert_unsaid("wr%40ng", reason + caplog.text)

    async def test_what_the_server_never_takes_is_given_up(self, place: Nats) -> None:
        destination = broker_for(place.config())

        attempt = await destination.deliver(message(size=110_000))
        await destination.aclose()

        assert isinstance(attempt, GiveUp)
        assert "max_payload" in attempt.reason
