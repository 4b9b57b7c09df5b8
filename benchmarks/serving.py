"""Servers to measure: each one process, started for a while, asked whether it is ready, ended by SIGTERM."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.callbacks import PROVIDER, SECRET

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0  # seconds for a start or an end
GLANCE = 0.001
NOWHERE = "http://127.0.0.1:9/kling"  # the discard port: a provider that nobody asks
SIGNED_WITH = "whsec_dGhlIGJlbmNobWFyaydzIG93biBzZWNyZXQ="
_ACCOUNT = f"HOOKLEDGER_PROVIDERS__{PROVIDER.upper()}__"
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers; `ready_after` is how long that took, in seconds from its spawning."""

    process: subprocess.Popen[bytes]
    port: int
    ready_after: float

    @property
    def root(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A destination on this machine."""

    name: str
    url: str
    events: Sequence[str]

    @property
    def table(self) -> str:
        """As the configuration has it: what JSON says of texts and lists, TOML understands."""
        named = {"name": self.name, "url": self.url, "secret": SIGNED_WITH, "events": list(self.events)}
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in named.items())
        return f"[[destinations]]\nprivate = true\n{lines}"


@contextlib.contextmanager
def durable(ledger: Path, *apps: App, provider: str = NOWHERE) -> Iterator[Served]:
    """`serve` with its default settings, telling these apps, logging at info to a file beside the ledger."""
    config = ledger.with_suffix(".toml")
    config.write_text("".join(app.table for app in apps))
    port, settings = free_port(), _settings(ledger, provider) | {"HOOKLEDGER_CONFIG": str(config)}
    command = ["-m", "receiver", "serve", "--port", str(port)]
    with served(command, port=port, folder=ledger.parent, settings=settings) as server:
        yield server


@contextlib.contextmanager
def bursting(ledger: Path, provider: str, slots: int) -> Iterator[Served]:
    """The same with a cap of slots, and the route of benchmarks.bursting."""
    port = free_port()
    settings = _settings(ledger, provider) | {
        "HOOKLEDGER_SERVER__PORT": str(port),
        f"{_ACCOUNT}SLOTS": str(slots),
    }
    command = ["-m", "benchmarks.bursting"]
    with served(command, port=port, folder=ledger.parent, settings=settings) as server:
        yield server


@contextlib.contextmanager
def bare(name: str, folder: Path, *numbers: int) -> Iterator[Served]:
    """One of the servers of benchmarks.bare."""
    port = free_port()
    command = ["-m", "benchmarks.bare", name, str(port), *map(str, numbers)]
    with served(command, port=port, folder=folder, settings={}) as server:
        yield server


@contextlib.contextmanager
def competitor(name: str, database: Path) -> Iterator[Served]:
    """One of benchmarks.competitors."""
    port = free_port()
    command = ["-m", "benchmarks.competitors", name, str(port), str(database)]
    with served(command, port=port, folder=database.parent, settings={}) as server:
        yield server


@contextlib.contextmanager
def sandbox(folder: Path, *options: str) -> Iterator[Served]:
    """The providers, pretended."""
    port, own = free_port(), folder / "sandbox"
    own.mkdir(exist_ok=True)
    command = ["-m", "receiver", "sandbox", "--port", str(port), *options]
    with served(command, port=port, folder=own, settings={}, asked="/") as server:
        yield server


@contextlib.contextmanager
def served(
    command: Sequence[str], *, port: int, folder: Path, settings: Mapping[str, str], asked: str = "/readyz"
) -> Iterator[Served]:
    """Start it in this folder, wait until `asked` is answered 200, and end it. Raises RuntimeError where that fails."""
    log = folder / "server.log"
    with log.open("wb") as written:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment() | dict(settings),
            stdout=written,
            stderr=written,
            stdin=subprocess.DEVNULL,
        )
        try:
            _wait_until_ready(process, port, log, asked)
            yield Served(process, port, time.perf_counter() - began)
        finally:
            process.terminate()
            code = process.wait(PATIENCE)
    if code not in {0, -15}:
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{_tail(log)}")


def environment() -> dict[str, str]:
    """Nothing of the caller's settings, and this checkout's code."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT)}


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _settings(ledger: Path, provider: str) -> dict[str, str]:
    return {
        "HOOKLEDGER_LEDGER__URL": f"sqlite:///{ledger}",
        "HOOKLEDGER_CALLBACKS__SECRETS": SECRET,
        f"{_ACCOUNT}BASE_URL": provider,
    }


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path, asked: str) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{_tail(log)}")
        if _answers(port, asked):
            return
        time.sleep(GLANCE)
    raise RuntimeError(f"the server was not ready after {PATIENCE:.0f} s:\n{_tail(log)}")


def _answers(port: int, asked: str) -> bool:
    with contextlib.suppress(OSError):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("GET", asked)
            return connection.getresponse().status == 200
        except http.client.HTTPException:
            return False
        finally:
            connection.close()
    return False


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
