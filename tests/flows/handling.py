"""Handlers of a host app: what they were told, and how often they stumble first."""

from __future__ import annotations

from typing import Any

heard: list[dict[str, Any]] = []
stumbles = 0


async def on_event(event: dict[str, Any]) -> None:
    global stumbles  # noqa: PLW0603 - a handler is named by its module
    heard.append(event)
    if stumbles:
        stumbles -= 1
        raise LookupError("not yet")


def not_async(event: dict[str, Any]) -> None:
    heard.append(event)
