"""One line for each unit of work, on standard error: JSON for machines, colours for people."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import logging
import os
import sys
import time
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from submitter.moments import iso

Format = Literal["json", "console"]

GATHERED_SECONDS = 0.05  # how long a line may wait for others to be written with it


class Gathered:
    """A stream whose lines are written together: a write for each would be a good part of what a callback costs.

    Outside a running loop each line is written at once. What waits is written at exit; a process that is
    killed loses the lines of its last moment, which the ledger tells better.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._due_on: asyncio.AbstractEventLoop | None = None
        atexit.register(self.write_out)

    def write(self, text: str) -> None:
        """Put it with the others."""
        self._lines.append(text)

    def flush(self) -> None:
        """See to it that what waits is written soon."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write_out()
            return
        if self._due_on is not loop:  # one that has ended took its timer along
            self._due_on = loop
            loop.call_later(GATHERED_SECONDS, self.write_out)

    def write_out(self) -> None:
        """Write what waits."""
        self._due_on = None
        lines, self._lines = self._lines, []
        # Whoever read the log may be gone, or a test's stream closed: nothing is left to tell it to.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write("".join(lines))
            self._stream.flush()


class _Named(structlog.WriteLogger):
    """A logger that knows its name."""

    def __init__(self, name: str, stream: Gathered) -> None:
        super().__init__(stream)  # type: ignore[arg-type]  # it writes and flushes, and nothing else
        self.name = name


def configure_logs(*, format: Format, level: str, stream: TextIO | None = None) -> None:  # noqa: A002 - the key's name
    """Set up structlog, and through it what uvicorn and other libraries log: on standard error, or a stream."""
    stream = sys.stderr if stream is None else stream
    gathered = Gathered(stream)
    shared: list[Processor] = [_signed]
    renderers = _renderers(format, is_coloured=stream.isatty() and not os.environ.get("NO_COLOR"))
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=lambda *name: _Named(name[0] if name else "", gathered),
    )
    handler = logging.StreamHandler(gathered)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Some of these print whole URLs, and a callback URL is a secret; uvicorn's start and end we tell ourselves.
    for name in ("httpx", "httpcore", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _signed(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Who says it, how loud and when: structlog's three processors for it in one, at a third of their cost."""
    record = event.get("_record")  # of a library that logs in the standard way
    event["logger"] = logger.name if record is None else record.name
    event["level"] = method
    event["timestamp"] = iso(time.time_ns() // 1_000_000)
    return event


def _renderers(format: Format, *, is_coloured: bool) -> list[Processor]:  # noqa: A002 - the key's name
    # Plain tracebacks: the pretty ones print local variables, and with them keys and callback URLs.
    if format == "json":
        encode = json.JSONEncoder(default=repr).encode
        return [structlog.processors.format_exc_info, lambda _logger, _method, event: encode(event)]
    return [structlog.dev.ConsoleRenderer(colors=is_coloured, exception_formatter=structlog.dev.plain_traceback)]
