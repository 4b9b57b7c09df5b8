"""`python -m benchmarks`, which is `make bench`: measure everything in one run, or `--profile` the server."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import ingest, profiling, serving
from benchmarks.cache import kept_ledger
from benchmarks.load import Generator, best_generator, post
from benchmarks.measure import measure
from benchmarks.plan import JUDGED_AT, SECTIONS, Plan, glance
from benchmarks.report import page_with_results, tables
from submitter.submit import system_clock

CACHE = serving.ROOT / ".bench"
WIDTH = 120  # of the tables where nobody says how wide a line is
PAGE = serving.ROOT / "docs" / "performance.md"


def main() -> None:
    """Measure, then print tables or JSON; or profile."""
    chosen = _arguments()
    plan = _plan(chosen)
    plan.cache.mkdir(parents=True, exist_ok=True)
    with Console(stderr=True).status("…") as status:
        if chosen.profile is not None:
            sys.stdout.write(_profile(plan, chosen.profile, say=status.update))
            return
        results = measure(plan, say=status.update)
    _tell(results, chosen)


def _tell(results: Mapping[str, Any], chosen: argparse.Namespace) -> None:
    text = json.dumps(results, indent=2) + "\n"
    (chosen.cache / "results.json").write_text(text)
    if chosen.json:
        sys.stdout.write(text)
    else:
        Console(width=None if sys.stdout.isatty() else WIDTH).print(tables(results))
    if chosen.write_docs:
        PAGE.write_text(page_with_results(PAGE.read_text(), results))


def _profile(plan: Plan, seconds: int, *, say: Callable[[str], None]) -> str:
    """Where the CPU of the server goes; the stacks stay in the cache folder, for other tools."""
    few = kept_ledger(plan.cache, plan.few_old, now=system_clock(), at_least_running=0, say=say)
    stacks = plan.cache / "profile.stacks"
    with tempfile.TemporaryDirectory(dir=plan.cache) as folder:
        prepared = ingest.prepare(plan, few, Path(folder), seconds=seconds + 2)
        with serving.durable(prepared.ledger) as server:
            say(f"watching for {seconds} s at {JUDGED_AT} connections")
            with profiling.recording(server.process.pid, seconds=seconds, stacks=stacks):
                load = post(
                    prepared.callbacks, root=server.root, connections=JUDGED_AT, seconds=seconds + 1, by=plan.generator
                )
    text = f"{load.per_second:.0f} callbacks a second while it was watched\n\n"
    text += profiling.read(stacks.read_text()).text()
    (plan.cache / "profile.txt").write_text(text)
    return text


def _plan(chosen: argparse.Namespace) -> Plan:
    plan = (
        glance(chosen.generator, chosen.cache) if chosen.quick else Plan(generator=chosen.generator, cache=chosen.cache)
    )
    if not set(chosen.only) <= set(SECTIONS):
        raise SystemExit(f"--only: choose from {', '.join(SECTIONS)}")
    plan = replace(plan, sections=tuple(section for section in SECTIONS if section in chosen.only))
    named = ("repetitions", "seconds", "connections", "many_old", "memory_callbacks")
    return replace(plan, **{name: getattr(chosen, name) for name in named if getattr(chosen, name) is not None})


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run: whether it works, not how fast it is")
    parser.add_argument("--json", action="store_true", help="print JSON, not tables (it is in the cache folder anyway)")
    parser.add_argument("--write-docs", action="store_true", help="put the results into docs/performance.md")
    parser.add_argument(
        "--profile", type=int, nargs="?", const=10, metavar="SECONDS", help="where the CPU of the server goes, instead"
    )
    parser.add_argument("--only", type=_words, default=SECTIONS, help=f"some of {','.join(SECTIONS)}", metavar="…")
    parser.add_argument("--connections", type=_numbers, help="in place of 1,32,64,256; the aims are judged at 64")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where large ledgers and results are kept")
    parser.add_argument("--generator", type=Generator, default=best_generator(), help="wrk, or raw")
    parser.add_argument("--repetitions", type=int, help="runs of each kind")
    parser.add_argument("--seconds", type=int, help="of load in each run")
    parser.add_argument("--many-old", type=int, help="old tasks in the large ledger")
    parser.add_argument("--memory-callbacks", type=int, help="callbacks while the memory is watched, such as 1000000")
    return parser.parse_args()


if __name__ == "__main__":
    main()
