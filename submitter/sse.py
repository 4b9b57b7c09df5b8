"""Server-sent events, read: lines in, blocks out (WHATWG HTML, "Server-sent events"). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from submitter.errors import Unreadable

MOST_UNREAD = 16 * 1024 * 1024  # bytes without the end of a block; a task with nine images has some ten thousand


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What stood between two empty lines. Without `data` it is no event, though its `id` says where the stream is."""

    id: str | None
    data: str | None


class BlockReader:
    """Takes bytes as they come, gives back the blocks that are whole."""

    def __init__(self) -> None:
        self._unread = b""

    def read(self, chunk: bytes) -> Iterator[Block]:
        """The blocks that these bytes complete. Raises Unreadable where one does not end."""
        *texts, self._unread = (self._unread + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        yield from map(_block, texts)
        if len(self._unread) > MOST_UNREAD:
            raise Unreadable(f"an event of more than {MOST_UNREAD} bytes")


def _block(text: bytes) -> Block:
    last_id: str | None = None
    data: list[str] = []
    for line in text.decode("utf-8", "replace").split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            last_id = value
        elif name == "data":
            data.append(value)
    return Block(id=last_id, data="\n".join(data) if data else None)
