"""A load of POSTs over kept connections: raw sockets, so that the generator costs as little as it can."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Load:
    """What a run came to."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


async def post_all(callbacks: Sequence[tuple[str, bytes]], *, connections: int) -> Load:
    """POST each body to its URL once, over so many connections."""
    waiting = iter(callbacks)
    latencies: list[float] = []
    failed = 0

    async def worker() -> None:
        nonlocal failed
        parts = urlsplit(callbacks[0][0])
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for url, body in waiting:
            began = time.perf_counter()
            head = (
                f"POST {urlsplit(url).path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            failed += not await _answered_200(reader)
            latencies.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(connections)))
    seconds = time.perf_counter() - began
    ordered = sorted(latencies)
    return Load(
        per_second=len(ordered) / seconds,
        p50_ms=ordered[len(ordered) // 2] * 1000,
        p99_ms=ordered[len(ordered) * 99 // 100] * 1000,
        failed=failed,
    )


async def _answered_200(reader: asyncio.StreamReader) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    await reader.readexactly(length)
    return head.startswith(b"HTTP/1.1 200")
