"""What holds of every kind before anything is connected."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest
from packaging.requirements import Requirement

from receiver.boot import problems_at_boot
from receiver.config import Config
from receiver.configdestinations import SCHEMES, WITH_TOPIC, DestinationConfig
from receiver.configerrors import ConfigError
from receiver.outbox.brokers import REQUIRED, broker_for
from receiver.outbox.brokers.broker import Broker
from receiver.outbox.brokers.kafka import reached_by
from receiver.outbox.destination import Attempt, Delivered, TryAgain
from receiver.outbox.message import Message
from receiver.outbox.opening import open_destinations
from submitter.submit import system_clock
from tests.outbox.brokers.claims import message, reason_of
from tests.outbox.brokers.servers import installed

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
KINDS = sorted(REQUIRED)


def table(kind: str) -> dict[str, Any]:
    topic = {"topic": "events"} if kind in WITH_TOPIC else {}
    return {"name": "broker", "kind": kind, "url": f"{SCHEMES[kind][0]}://127.0.0.1:1/q", **topic}


@pytest.mark.parametrize("kind", KINDS)
def test_an_extra_that_is_not_installed_is_refused_with_the_command_that_installs_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, extra = REQUIRED[kind]
    config = Config.model_validate({"destinations": [table(kind)]})
    assert [] == problems_at_boot(config, {})
    monkeypatch.setitem(sys.modules, module, None)  # Python's own way to say that it is not there

    (problem,) = problems_at_boot(config, {})

    assert "destinations.broker" == problem.key
    assert f"pip install 'hookledger[{extra}]'" in problem.problem
    with pytest.raises(ConfigError) as refused:
        open_destinations(config, clock=system_clock)
    assert (problem,) == refused.value.problems


def test_a_webhook_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, _ in REQUIRED.values():
        monkeypatch.setitem(sys.modules, module, None)
    config = Config.model_validate({"destinations": [{"name": "app", "url": "https://app.example.com"}]})

    assert [] == problems_at_boot(config, {})


def test_no_client_is_imported_before_its_broker_is_asked_for() -> None:
    modules = [module for module, _ in REQUIRED.values()]
    script = f"import sys, receiver.outbox.brokers, receiver.app; print([m for m in {modules} if m in sys.modules])"

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "[]\n" == ran.stdout


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_never_connected_is_closed_at_once(kind: str) -> None:
    await broker_for(DestinationConfig.model_validate(table(kind))).aclose()


def test_a_webhook_is_no_broker() -> None:
    with pytest.raises(ValueError, match="'webhook' is no broker: there are nats, redis"):
        broker_for(DestinationConfig(name="app", url="https://app.example.com"))


def test_each_kind_has_its_extra_and_each_extra_a_kind() -> None:
    assert {extra for _, extra in REQUIRED.values()} == set(EXTRAS) - {"plot"}  # which draws reports


def test_developing_brings_every_extra_in_the_same_bounds() -> None:
    extras = {text for texts in EXTRAS.values() for text in texts}

    assert set() == extras - {str(each) for each in PROJECT["dependency-groups"]["dev"]}
    assert all(Requirement(text).specifier for text in extras)


def test_keys_in_the_url_of_a_queue_are_refused() -> None:
    with pytest.raises(ValueError, match="AWS' own variables") as refused:
        DestinationConfig(name="q", kind="sqs", url="https://key:s3cret@sqs.eu-west-1.amazonaws.com/1/q")

    assert "s3cret" not in str(refused.value).partition("[type=")[0]


@pytest.mark.parametrize("options", ["tls=maybe", "mechanism=GSSAPI", "tsl=yes", "tls="])
def test_an_option_of_a_kafka_url_that_is_none_is_refused(options: str) -> None:
    with pytest.raises(ValueError, match=r"there are tls=yes\|no, mechanism=PLAIN\|SCRAM"):
        DestinationConfig(name="k", kind="kafka", topic="events", url=f"kafka://kafka.example.com:9092?{options}")


@pytest.mark.parametrize(
    ("url", "protocol", "servers"),
    [
        ("kafka://one:1,two:2", "PLAINTEXT", ["one:1", "two:2"]),
        ("kafka://one:1?tls=yes", "SSL", ["one:1"]),
        ("kafka://us:s%40cret@one:1,two:2?mechanism=SCRAM-SHA-512", "SASL_SSL", ["one:1", "two:2"]),
        ("kafka://us:s%40cret@one:1?tls=no", "SASL_PLAINTEXT", ["one:1"]),
    ],
)
def test_a_password_goes_to_kafka_over_tls_unless_that_is_forbidden(
    url: str, protocol: str, servers: list[str]
) -> None:
    reached = reached_by(DestinationConfig(name="k", kind="kafka", topic="events", url=url).url)

    assert (protocol, servers) == (reached["security_protocol"], reached["bootstrap_servers"])
    assert ("s@cret" if "@" in url else None) == reached.get("sasl_plain_password")
    assert protocol.endswith("SSL") == (reached["ssl_context"] is not None)


class Talkative:
    """A session of a client that repeats in its errors what it was given, as written and as read."""

    trouble = (LookupError,)
    is_open = True

    @classmethod
    async def connect(cls, config: DestinationConfig) -> Talkative:
        raise LookupError(f"cannot reach {config.url}, or {unquote(config.url)}\nsecond line " + "x" * 1_000)

    async def publish(self, news: Message) -> Attempt:
        return Delivered()

    async def close(self) -> None:
        return None


@pytest.mark.parametrize("userinfo", ["me:s%40cret", ":s%40cret", "s%40cret"], ids=["password", "no-user", "token"])
async def test_what_a_client_repeats_of_a_password_or_token_is_masked(userinfo: str) -> None:
    config = DestinationConfig(name="n", kind="nats", topic="events", url=f"nats://{userinfo}@127.0.0.1:1")

    reason = reason_of(await Broker(config, Talkative).deliver(message()))

    assert reason.startswith("nats://********@127.0.0.1:1: LookupError: cannot reach nats://")
    assert "cret" not in reason
    assert 300 >= len(reason)


class Once(Talkative):
    """A session that breaks at its first message, unless it is the second that was opened."""

    opened: ClassVar[list[Once]] = []
    closed = 0

    @classmethod
    async def connect(cls, config: DestinationConfig) -> Once:
        cls.opened.append(cls())
        return cls.opened[-1]

    async def publish(self, news: Message) -> Attempt:
        if self is self.opened[0]:
            raise LookupError("broke")
        return Delivered()

    async def close(self) -> None:
        self.closed += 1


async def test_a_session_that_broke_is_closed_once_and_not_used_again() -> None:
    destination = Broker(DestinationConfig.model_validate(table("nats")), Once)

    attempts = [await destination.deliver(message()) for _ in range(3)]
    closed = [each.closed for each in Once.opened]
    await destination.aclose()

    assert [TryAgain, Delivered, Delivered] == [type(each) for each in attempts]
    assert [1, 0] == closed
    assert [1, 1] == [each.closed for each in Once.opened]


class Stumbling(Once):
    """A session that breaks once more while it is left, in a way that its client has no word for."""

    opened: ClassVar[list[Once]] = []

    async def close(self) -> None:
        raise KeyError("a request whose answer nobody awaits")


async def test_a_session_that_breaks_while_it_is_left_is_left_all_the_same() -> None:
    destination = Broker(DestinationConfig.model_validate(table("nats")), Stumbling)

    attempts = [await destination.deliver(message()) for _ in range(2)]
    await destination.aclose()

    assert [TryAgain, Delivered] == [type(each) for each in attempts]
    assert 2 == len(Stumbling.opened)


def test_a_binary_that_is_missing_skips_by_name_and_fails_where_brokers_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REQUIRE_BROKERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install -y no-such-package"):
        installed("no-such-broker", package="no-such-package")
    monkeypatch.setenv("REQUIRE_BROKERS", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install -y no-such-package"):
        installed("no-such-broker", package="no-such-package")
