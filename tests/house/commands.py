"""The real command in processes of its own: run to its end, or started and ended by a signal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.patience import PATIENCE

T = TypeVar("T")

COMMAND = (sys.executable, "-W", "error", "-m", "receiver")
GLANCE = 0.01
NOWHERE = 9  # the discard port: nobody listens there
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Running:
    """A command that goes on until it is ended. `address` is where it answers."""

    process: subprocess.Popen[bytes]
    folder: Path
    address: str
    log: Path

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it, and wait: its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    @property
    def said(self) -> str:
        return self.log.read_text()


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a command is to see: this machine's own, nothing of ours, and `more`."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | dict(more or {})


def run(
    folder: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
    patience: float = PATIENCE,
) -> Ran:
    """Run a command in a folder to its end. Nobody may be shown a traceback, whatever was asked."""
    ran = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
    assert "Traceback" not in ran.stdout + ran.stderr, ran.stderr
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def run_all(folder: Path, commands: Sequence[Sequence[str]], *, env: Mapping[str, str] | None = None) -> list[Ran]:
    """Several that do not see each other, at once."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda arguments: run(folder, *arguments, env=env), commands))


def configured(folder: Path, text: str = "") -> Path:
    """A folder with a config.toml and no ledger yet, whose callbacks would go nowhere."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(f"{text}\n[server]\nport = {NOWHERE}\n")
    return folder


def accounts(sandbox: str) -> str:
    """Three accounts at the sandbox, as TOML."""
    return "\n".join(
        f'[providers.{name}]\nbase_url = "{sandbox}/{name}"\napi_key = "any"\n'
        for name in ("kling", "cometapi", "powertokens")
    )


@contextlib.contextmanager
def serving(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """`serve` on a free port, once it listens."""
    with started(folder, "serve", "--port", "0", *arguments, env=env, address=_listening_at) as running:
        yield running


@contextlib.contextmanager
def playing(folder: Path, *arguments: str) -> Iterator[Running]:
    """`sandbox` on a free port, once it listens."""
    with started(folder, "sandbox", "--port", "0", *arguments, address=_answering_at) as running:
        yield running


@contextlib.contextmanager
def started(
    folder: Path, *arguments: str, address: Callable[[str], str | None], env: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A command, once `address` finds in its output where it answers. It is killed if it outlives the block."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=folder, env=environment(env), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        found = eventually(lambda: process.poll() is not None or address(log.read_text()))
        assert isinstance(found, str), f"it ended with {process.returncode}: {log.read_text()}"
        yield Running(process, folder, found, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def eventually(look: Callable[[], T]) -> T:
    """The first true thing seen, within PATIENCE."""
    until = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(GLANCE)
    return seen


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def _listening_at(log: str) -> str | None:
    for line in log.splitlines():
        if '"receiver.listening"' in line:
            return f"http://{json.loads(line)['address']}"
    return None


def _answering_at(output: str) -> str | None:
    found = re.search(r"answers at (http://[\w.:]+)", output)
    return found[1] if found and "Ctrl-C" in output else None
