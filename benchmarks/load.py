"""A load of whole requests over kept connections, by wrk where it is installed, else by this process itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from pathlib import Path

from benchmarks import rawload

SCRIPT = Path(__file__).with_name("load.lua")
PATIENCE = "60s"  # for one answer: the slow must be measured, not given up


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a run came to: `taken` requests were begun, `answered` of them, and `failed` ones otherwise than by 2xx."""

    per_second: float
    p50_ms: float
    p99_ms: float
    answered: int
    failed: int
    taken: int


class Exhausted(RuntimeError):
    """The server answered all the requests before the time was up: the rate cannot be told."""


class Generator(StrEnum):
    """What sends the load."""

    WRK = "wrk"
    RAW = "raw"


def best_generator() -> Generator:
    """wrk costs the machine less: it is taken where it is installed."""
    return Generator.RAW if shutil.which("wrk") is None else Generator.WRK


def post(
    requests: Sequence[bytes], *, root: str, connections: int, seconds: float, by: Generator, is_again: bool = False
) -> Load:
    """Send these, in their order, for so many seconds (whole ones by wrk): each once, or over and over.

    Raises Exhausted.
    """
    if by is Generator.WRK:
        return _post_by_wrk(requests, root=root, connections=connections, seconds=ceil(seconds), is_again=is_again)
    seen = rawload.post(requests, root=root, connections=connections, seconds=seconds, is_again=is_again)
    if seen.is_exhausted:
        raise Exhausted(f"{len(requests)} requests were too few")
    return _load(seen.latencies, seconds=seen.seconds, failed=seen.failed, taken=seen.taken)


def quantile_ms(latencies: Mapping[int, int], share: float) -> float:
    """The latency in milliseconds below which this share of the answers was, of counts by microseconds."""
    wanted, seen = share * sum(latencies.values()), 0
    for microseconds in sorted(latencies):
        seen += latencies[microseconds]
        if seen >= wanted:
            return microseconds / 1000
    return 0.0


def as_measured(latencies: Mapping[int, int], *, expected: int) -> Counter[int]:
    """What wrk measured, of what it reports.

    wrk adds, for each answer that took more than twice the `expected` microseconds, answers to the requests that
    a client with a fixed rate would have sent meanwhile. Our clients wait for their answers, so nothing was
    missed. It adds at n - expected, n - 2·expected, … above `expected`, from small n to large: from large to
    small they come off again, exactly.
    """
    measured = Counter(latencies)
    for taken in sorted(latencies, reverse=True):
        count = measured[taken]
        if count <= 0 or taken < 2 * expected:
            continue
        added = taken - expected
        while added > expected:
            measured[added] -= count
            added -= expected
    return +measured


def _post_by_wrk(requests: Sequence[bytes], *, root: str, connections: int, seconds: int, is_again: bool) -> Load:
    with tempfile.TemporaryDirectory() as folder:
        listed, report = Path(folder) / "requests", Path(folder) / "report"
        with listed.open("wb") as file:
            file.writelines(b"%d\n%b" % (len(each), each) for each in requests)
        ran = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", PATIENCE, "-s", str(SCRIPT), root],
            env=os.environ
            | {"LOAD_REQUESTS": str(listed), "LOAD_REPORT": str(report)}
            | ({"LOAD_AGAIN": "yes"} if is_again else {}),
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0 or not report.exists():
            raise RuntimeError(f"wrk ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
        return _read_report(report.read_text(), connections=connections)


def _read_report(text: str, *, connections: int) -> Load:
    counts, exhausted, *rest = text.splitlines()
    duration, answered, refused, broken, taken = map(int, counts.split())
    if exhausted == "true":
        raise Exhausted(f"{taken} requests were too few")
    latencies = {int(microseconds): int(count) for microseconds, count in map(str.split, rest)}
    rounds = answered // connections
    measured = as_measured(latencies, expected=duration // rounds) if rounds else Counter(latencies)
    if measured.total() != answered:
        raise RuntimeError(f"wrk tells of {answered} answers and of {measured.total()} latencies")
    return _load(measured, seconds=duration / 1e6, failed=refused + broken, taken=taken)


def _load(latencies: Counter[int], *, seconds: float, failed: int, taken: int) -> Load:
    answered = latencies.total()
    return Load(
        per_second=(answered - failed) / seconds,
        p50_ms=quantile_ms(latencies, 0.5),
        p99_ms=quantile_ms(latencies, 0.99),
        answered=answered,
        failed=failed,
        taken=taken,
    )
