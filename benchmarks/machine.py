"""The machine that was measured on: what makes figures of two runs comparable, or not."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from submitter.moments import iso

_PACKAGES = ("starlette", "uvicorn", "uvloop", "httptools", "aiosqlite")
_SYNCED = 200
_PAGE = 4_096


def facts(folder: Path, *, generator: str) -> dict[str, Any]:
    """Processor, system, versions, and what it costs to put a page on the disk that this folder is on."""
    median, slowest = _fsync_ms(folder)
    return {
        "date": iso(int(time.time() * 1000)),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "filesystem": _filesystem(folder),
        "fsync_ms": {"median": median, "p99": slowest},
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: version(name) for name in _PACKAGES},
        "commit": _commit(),
        "generator": generator,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(folder: Path) -> str:
    """The type of the mount with the longest path above the folder."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1] if above else "unknown"


def _fsync_ms(folder: Path) -> tuple[float, float]:
    """Milliseconds for a page that is appended and synced: the median, and one in a hundred."""
    probe = folder / "fsync.probe"
    taken = []
    try:
        with probe.open("wb", buffering=0) as file:
            for _ in range(_SYNCED):
                file.write(bytes(_PAGE))
                began = time.perf_counter()
                os.fsync(file.fileno())
                taken.append((time.perf_counter() - began) * 1000)
    finally:
        probe.unlink(missing_ok=True)
    return round(statistics.median(taken), 3), round(sorted(taken)[_SYNCED * 99 // 100], 3)


def _commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"
