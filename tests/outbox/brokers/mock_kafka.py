"""A Kafka cluster of one broker, pretended by librdkafka: prints its port, and lives until its input ends."""

from __future__ import annotations

import sys

from confluent_kafka import Producer


def main() -> None:
    """Say where it listens, then stay."""
    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored:1", "log_level": 0})
    (broker,) = cluster.list_topics(timeout=60).brokers.values()
    print(broker.port, flush=True)  # noqa: T201 - its parent reads it
    sys.stdin.read()


if __name__ == "__main__":
    main()
