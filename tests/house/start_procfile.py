"""Starts the Procfile's line as a platform does, waits until it lives, stops it: `… start_procfile PYTHON`."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("submitter", "receiver", "sandbox")
DEADLINE = 60.0  # seconds until it must answer
DRAIN = 60.0  # seconds that it has to end
GLANCE = 0.05
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")  # whatever else is set here, a platform does not have


def main(arguments: list[str]) -> int:
    """0 if it lived and ended in order; else 1, with what it said."""
    if len(arguments) != 1:
        print("usage: python -m tests.house.start_procfile PYTHON", file=sys.stderr)  # noqa: T201
        return 2
    with tempfile.TemporaryDirectory() as folder:
        problem, said = start_and_stop(arguments[0], Path(folder))
    if problem:
        print(f"{procfile_line()}: {problem}\n{said}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"{procfile_line()}: lived, and ended with 0 on SIGTERM")  # noqa: T201
    return 0


def procfile_line() -> str:
    """The command of the `web` process."""
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith("web:"))


def start_and_stop(python: str, folder: Path) -> tuple[str | None, str]:
    """What was wrong, if anything, and the process's output."""
    for package in PACKAGES:  # nothing else of the checkout is there, nor is it installed
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    port, log = free_port(), folder / "output.log"
    program, *words = shlex.split(procfile_line())
    if program != "python":
        return f"starts {program!r}, not python", ""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [os.path.abspath(python), *words],  # noqa: PTH100 - a venv's python is a link, which resolving would follow
            cwd=folder,
            env={name: os.environ[name] for name in KEPT if name in os.environ} | {"PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        problem = problem_with(process, port)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return problem, log.read_text(encoding="utf-8", errors="replace")


def problem_with(process: subprocess.Popen[bytes], port: int) -> str | None:
    """Wait until it lives, stop it, and look how it ended."""
    until = time.monotonic() + DEADLINE
    while not lives(port):
        if process.poll() is not None:
            return f"ended with {process.returncode} before it answered"
        if time.monotonic() > until:
            return f"did not answer /livez within {DEADLINE:.0f} s"
        time.sleep(GLANCE)
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(DRAIN)
    except subprocess.TimeoutExpired:
        return f"did not end within {DRAIN:.0f} s of SIGTERM"
    return None if code == 0 else f"ended with {code} on SIGTERM"


def lives(port: int) -> bool:
    """Whether /livez answers 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/livez", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
