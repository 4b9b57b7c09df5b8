"""Where the CPU of a server under load goes: py-spy from outside, so that the server is the one that is measured."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

RATE = 250  # samples a second: each stops the server for about a tenth of a millisecond
SHOWN = 40
_BASES = {"Runner.run", "Thread.run"}  # what lies below them is the same in every stack of a thread
# Threads that wait for work in C: py-spy cannot tell all of these waits from running.
_WAITING = {"_worker  concurrent/futures/thread.py", "_connection_worker_thread  aiosqlite/core.py"}
_FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(:\d+)?\)")


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples of the threads that ran: by thread, by the function that ran, and by every function above it."""

    samples: int
    by_thread: Counter[str]
    own: Counter[str]
    inclusive: Counter[str]

    def text(self) -> str:
        """The page to read: shares of all samples, in percent. Two threads can be sampled at once."""
        parts = [f"{self.samples} samples at {RATE} Hz"]
        for title, counts in (
            ("thread", self.by_thread),
            ("function, by itself (with the C it calls)", self.own),
            ("function, with all it calls", self.inclusive),
        ):
            rows = [f"{100 * count / self.samples:6.1f}  {name}" for name, count in counts.most_common(SHOWN)]
            parts.append("\n".join([f"     %  {title}", *rows]))
        return "\n\n".join(parts) + "\n"


@contextmanager
def recording(process_id: int, *, seconds: int, stacks: Path) -> Iterator[None]:
    """Record that process while the body runs, into a file of collapsed stacks. Raises RuntimeError."""
    command = [_program(), "record", "--pid", str(process_id), "--duration", str(seconds), "--rate", str(RATE)]
    recorder = subprocess.Popen(
        [*command, "--format", "raw", "--threads", "--function", "--full-filenames", "--output", str(stacks)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
    finally:
        _, said = recorder.communicate(timeout=seconds + 60)
    if recorder.returncode != 0:
        raise RuntimeError(f"py-spy ended with {recorder.returncode}: {said}")


def read(stacks: str) -> Profile:
    """The profile in collapsed stacks: a line is `thread;frame;frame … count`."""
    by_thread, own, inclusive = Counter[str](), Counter[str](), Counter[str]()
    samples = 0
    for line in stacks.splitlines():
        stack, _, counted = line.rpartition(" ")
        thread, *frames = stack.split(";")
        count = int(counted)
        names = [_name(frame) for frame in _above_base(frames)]
        if names and names[-1] in _WAITING:
            continue
        samples += count
        by_thread[re.sub(r"^.*?: ", "", thread)] += count
        own[names[-1] if names else thread] += count
        for name in set(names):
            inclusive[name] += count
    return Profile(samples, by_thread, own, inclusive)


def _above_base(frames: list[str]) -> list[str]:
    """The frames without those that every stack of the thread has; where there are no others, the last."""
    bases = [place for place, frame in enumerate(frames) if frame.partition(" (")[0] in _BASES]
    return frames[bases[-1] + 1 :] or frames[-1:] if bases else frames


def _name(frame: str) -> str:
    """`run receiver/ledger/sqlite/hearing.py`, wherever the code lies."""
    found = _FRAME.fullmatch(frame)
    if found is None:
        return frame
    file = re.sub(r"^.*/(site-packages|lib/python3\.\d+)/", "", found["file"])
    return f"{found['function']}  {re.sub(r'^.*/(?=(receiver|submitter|benchmarks)/)', '', file)}"


def _program() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        raise RuntimeError("py-spy is not installed: 'make setup' brings it")
    return program
