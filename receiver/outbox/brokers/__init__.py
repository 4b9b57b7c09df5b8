"""Brokers that keep events for apps; each is an extra, and its client is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from receiver.boot import missing_extra
from receiver.configdestinations import REQUIRED, DestinationConfig
from receiver.outbox.brokers.broker import Broker
from receiver.outbox.destination import Destination

__all__ = ["REQUIRED", "broker_for"]


def broker_for(config: DestinationConfig) -> Destination:
    """The destination behind a broker's table. Nothing is connected yet.

    Raises ValueError for a kind that is none, or whose extra is not installed.
    """
    if config.kind not in REQUIRED:
        raise ValueError(f"{config.kind!r} is no broker: there are {', '.join(REQUIRED)}")
    missing = missing_extra(config.kind)
    if missing is not None:
        raise ValueError(missing)
    return Broker(config, import_module(f"{__name__}.{config.kind}").Session)
