"""Any bytes over a connection: the bounded protocol and the whole application, on a real socket, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from receiver.app import create_app
from receiver.boundedhttp import Limits
from receiver.runtime import Runtime
from tests.flows.builders import configuration, listening, path_of, served
from tests.patience import free_port

PATIENCE = 60.0  # seconds after which a connection that neither answers nor ends is a finding
KEY = "hl_a-key-to-fuzz-with"
LIMITS = Limits(head_seconds=0.2, linger_seconds=0.05, target_bytes=256, head_bytes=512, headers=12, pipelined=4)
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Wire:
    """Sends bytes to a receiver, hangs up half, and looks at what comes back."""

    def __init__(self, runner: asyncio.Runner, runtime: Runtime, port: int) -> None:
        self.statuses: set[int] = set()
        self.runtime = runtime
        self._runner = runner
        self._port = port
        self._errors = _Errors()
        logging.getLogger().addHandler(self._errors)
        self.callback = path_of(runtime.journal.callback_url("cometapi", "t_fuzz")).encode()

    def send(self, data: bytes, *, piece: int) -> None:
        """In pieces of so many bytes. Raises AssertionError where the promise is broken."""
        answer = self._runner.run(
            self._exchange(data.replace(b"CALLBACK", self.callback).replace(b"KEY", KEY.encode()), piece)
        )
        statuses = {int(status) for status in _STATUS.findall(answer)}
        self.statuses |= statuses
        assert not {status for status in statuses if not (status == 100 or 200 <= status < 500)}, statuses
        assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:40]
        assert [] == self._errors.heard
        assert not any(code == "internal" for _, code, _ in self.runtime.counters.refusals)

    def is_alive(self) -> bool:
        """Whether the receiver still answers others."""
        return b" 200 OK" in self._runner.run(self._exchange(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", 1_000))

    def forget_errors(self) -> None:
        """Stop listening to the log."""
        logging.getLogger().removeHandler(self._errors)

    async def _exchange(self, data: bytes, piece: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                with contextlib.suppress(OSError):  # reset, or no longer connected
                    for start in range(0, len(data), piece):
                        writer.write(data[start : start + piece])
                        await asyncio.sleep(0)
                    writer.write_eof()
                    return await reader.read()
                return b""
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()


class _Errors(logging.Handler):
    """What was logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@contextlib.contextmanager
def wire(directory: Path) -> Iterator[Wire]:
    """A receiver in this directory, in this process, at a port of its own. Nobody can be asked or sent to."""
    with asyncio.Runner() as runner, listening() as listener:
        stack = contextlib.AsyncExitStack()
        runtime = runner.run(_open(stack, directory, listener))
        line = Wire(runner, runtime, listener.getsockname()[1])
        try:
            yield line
        finally:
            line.forget_errors()
            runner.run(stack.aclose())


async def _open(stack: contextlib.AsyncExitStack, directory: Path, listener: socket.socket) -> Runtime:
    nobody = {"kind": "cometapi", "base_url": f"http://127.0.0.1:{free_port()}"}
    config = configuration(directory, listener.getsockname()[1], {"cometapi": nobody}, api={"keys": [KEY]})
    runtime = await Runtime.open(config)
    await stack.enter_async_context(served(create_app(runtime, with_worker=False), listener, limits=LIMITS))
    return runtime
