"""The recorder sees what a process does to the folder, and nothing of what it does elsewhere."""

import subprocess
import sys
from pathlib import Path

from tests.crash.disk import Disk, Opened, Renamed, Sent, SyncBegun, SyncDone, Truncated, Written
from tests.crash.recording import preloading, steps_in

PROGRAM = """
import os, socket, sys
folder, elsewhere = sys.argv[1:]
os.write(os.open(elsewhere, os.O_RDWR | os.O_CREAT), b"unseen")
file = os.open(f"{folder}/first", os.O_RDWR | os.O_CREAT)
os.write(file, b"abc")
os.write(file, b"def")
os.pwrite(file, b"X", 1)
os.fsync(file)
os.ftruncate(file, 5)
os.fdatasync(file)
os.rename(f"{folder}/first", f"{folder}/second")
os.fsync(os.open(folder, os.O_RDONLY))
os.close(os.open(f"{folder}/third", os.O_RDWR | os.O_CREAT))
os.unlink(f"{folder}/third")
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
    server.accept()[0].sendall(b"acknowledged")
    print(client.getsockname()[1])
"""


def test_every_call_is_recorded_in_its_order(tmp_path: Path, recorder: Path) -> None:
    folder, log = tmp_path / "watched", tmp_path / "log"
    folder.mkdir()
    port = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder, tmp_path / "elsewhere"],
        env=preloading(recorder, folder, log), check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    steps = list(steps_in(log.read_bytes()))
    disk = Disk({})
    for step in steps:
        disk.take(step)

    assert [
        Opened(1, "first", is_new=True),
        Written(1, 0, b"abc"),
        Written(1, 3, b"def"),
        Written(1, 1, b"X"),
        SyncBegun(1, 1),
        SyncDone(1),
        Truncated(1, 5),
        SyncBegun(1, 2),
        SyncDone(2),
        Renamed("first", "second"),
        Opened(2, "", is_new=False),
        SyncBegun(2, 3),
        SyncDone(3),
        Opened(3, "third", is_new=True),
        Renamed("third", None),
        Sent(int(port), b"acknowledged"),
    ] == steps
    assert {"second": b"aXcde"} == disk.seen() == {each.name: each.read_bytes() for each in folder.iterdir()}
