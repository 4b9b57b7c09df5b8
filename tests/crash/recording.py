"""Recordings: the real server with `recorder.c` preloaded, and what its log says in order."""

from __future__ import annotations

import asyncio
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash.disk import Disk, Opened, Renamed, Sent, Step, SyncBegun, SyncDone, Truncated, Written
from tests.crash.images import is_kept, read_files, write_files
from tests.crash.load import Load, length_of, status_of, verdict_of
from tests.crash.script import Post
from tests.crash.servers import started

_SOURCE = Path(__file__).with_name("recorder.c")
_HEAD = struct.Struct("=BqqI")
_WITHIN = 60.0


class CannotRecord(Exception):
    """This machine lacks what recording needs; the message names it, and the fix."""


class NotWhole(Exception):
    """The recording is not what happened, so that nothing can be concluded from it."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An answer that said that a post is kept, and the step at which its sending began."""

    step: int
    post: Post
    verdict: str


@dataclass(frozen=True, slots=True)
class Recording:
    """One life of a server: what was there before, each step it took, and what it acknowledged where."""

    files: Mapping[str, bytes]
    steps: Sequence[Step]
    acknowledged: Sequence[Acknowledged]


def compile_recorder(folder: Path) -> Path:
    """The shared object to preload, made anew in this folder. Raises CannotRecord."""
    if sys.platform != "linux":
        raise CannotRecord(f"power cuts are recorded by a preloaded library, on Linux only; this is {sys.platform}")
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotRecord("there is no C compiler 'cc' to make the recorder: apt-get install -y gcc libc6-dev")
    made = folder / "recorder.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(made), str(_SOURCE), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRecord(f"'cc' cannot make the recorder: apt-get install -y gcc libc6-dev\n{done.stderr[:2_000]}")
    return made


async def record_life(
    folder: Path, load: Load, *, recorder: Path, module: Sequence[str], files: Mapping[str, bytes]
) -> Recording:
    """A life on these files: loaded until it is enough, then stopped in order while the load goes on.

    `folder` is new and its path real. Raises NotWhole if the recording does not lead to the very files that are
    there in the end.
    """
    log = folder.with_name(f"{folder.name}.steps")
    await asyncio.to_thread(write_files, folder, files)
    before = load.book.acknowledged
    async with started(folder, module, environment=preloading(recorder, folder, log)) as server:
        posting = asyncio.create_task(load.run(await server.listens()))
        async with asyncio.timeout(_WITHIN):
            await load.enough.wait()
        await server.stop()
        await posting
    steps = list(steps_in(await asyncio.to_thread(log.read_bytes)))
    recording = Recording(files, steps, list(_acknowledged(steps, load.exchanges)))
    _require_whole(recording, folder, heard=load.book.acknowledged - before)
    return recording


def preloading(recorder: Path, folder: Path, log: Path) -> dict[str, str]:
    """The environment in which a process's doings in this folder are recorded. The log is appended to."""
    return {"LD_PRELOAD": str(recorder), "CRASH_RECORDER_LOG": str(log), "CRASH_RECORDER_FOLDER": str(folder)}


def steps_in(log: bytes) -> Iterator[Step]:
    """The log's records as steps, without those on files that do not matter."""
    taken = {number: count for kind, count, number, _ in _records(log) if kind == "M"}
    passed_over: set[int] = set()
    for kind, where, number, content in _records(log):
        if kind == "O" and not is_kept(content.decode()):
            passed_over.add(where)
        elif kind == "N":  # the kernel may have taken less of it, and the rest is sent again
            yield Sent(where, content[: taken.get(number, len(content))])
        elif kind in _STEPS and not (kind in _BY_HANDLE and where in passed_over):
            yield _STEPS[kind](where, number, content)


# As recorder.c writes them.
_BY_HANDLE = "WTSF"
_STEPS: Mapping[str, Callable[[int, int, bytes], Step]] = {
    "O": lambda where, number, content: Opened(where, content.decode(), is_new=bool(number)),
    "W": Written,
    "T": lambda where, number, _: Truncated(where, number),
    "S": lambda where, number, _: SyncBegun(where, number),
    "F": lambda _, number, __: SyncDone(number),
    "U": lambda _, __, content: Renamed(content.decode(), None),
    "R": lambda _, __, content: Renamed(*content.decode().split("/")),
}


def _records(log: bytes) -> Iterator[tuple[str, int, int, bytes]]:
    at = 0
    while at < len(log):
        kind, where, number, length = _HEAD.unpack_from(log, at)
        at += _HEAD.size + length
        if at > len(log):
            raise NotWhole("the recording ends amid a record")
        yield chr(kind), where, number, log[at - length : at]


def _acknowledged(steps: Sequence[Step], exchanges: Mapping[int, Sequence[Post]]) -> Iterator[Acknowledged]:
    """Answers leave a connection in the order in which it was asked: so each belongs to a post."""
    streams: dict[int, bytearray] = {port: bytearray() for port in exchanges}
    begins: dict[int, list[tuple[int, int]]] = {port: [] for port in exchanges}  # offset, step
    for index, step in enumerate(steps):
        if isinstance(step, Sent) and step.port in streams:
            begins[step.port].append((len(streams[step.port]), index))
            streams[step.port] += step.content
    for port, asked in exchanges.items():
        at, stream = 0, bytes(streams[port])
        for post in asked:
            end = stream.find(b"\r\n\r\n", at) + 4
            if end < 4:
                break
            head, length = stream[at:end], length_of(stream[at:end])
            verdict = verdict_of(post, status_of(head), stream[end : end + length])
            if verdict is not None:
                yield Acknowledged(max(step for offset, step in begins[port] if offset <= at), post, verdict)
            at = end + length


def _require_whole(recording: Recording, folder: Path, *, heard: int) -> None:
    if len(recording.acknowledged) < heard:
        raise NotWhole(f"{heard} acknowledgements were heard, and {len(recording.acknowledged)} recorded")
    disk = Disk(recording.files)
    for step in recording.steps:
        disk.take(step)
    seen, there = disk.seen(), read_files(folder)
    if seen != there:
        differing = sorted(name for name in there.keys() | seen.keys() if there.get(name) != seen.get(name))
        raise NotWhole(f"the recorded steps do not lead to what is there of {differing}: some write went unseen")
