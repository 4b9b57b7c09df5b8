"""`python -m benchmarks`, which is `make bench`: measure everything in one run, or `--profile` the server."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks import ingest, profiling, serving
from benchmarks.cache import kept_ledger
from benchmarks.load import best_generator, post
from benchmarks.plan import JUDGED_AT, Plan, glance
from submitter.submit import system_clock

CACHE = serving.ROOT / ".bench"


def main() -> None:
    """Measure, then print a table or JSON; or profile."""
    chosen = _arguments()
    generator = best_generator()
    plan = glance(generator, chosen.cache) if chosen.quick else Plan(generator=generator, cache=chosen.cache)
    console = Console(stderr=True)
    if chosen.profile is not None:
        sys.stdout.write(_profile(plan, chosen.profile))
        return
    few = kept_ledger(plan.cache, plan.few_old, now=system_clock(), at_least_running=0, say=console.print)
    with tempfile.TemporaryDirectory(dir=plan.cache) as folder:
        prepared = ingest.prepare(plan, few, Path(folder))
        for row in ingest.compare(plan, prepared, Path(folder), console.print):
            console.print({name: value for name, value in row.items() if name != "runs"})


def _profile(plan: Plan, seconds: int) -> str:
    """Where the CPU of the server goes at 64 connections; the stacks stay in the cache folder."""
    few = kept_ledger(plan.cache, plan.few_old, now=system_clock(), at_least_running=0, say=lambda _: None)
    stacks = plan.cache / "profile.stacks"
    with tempfile.TemporaryDirectory(dir=plan.cache) as folder:
        prepared = ingest.prepare(plan, few, Path(folder), seconds=seconds + 2)
        path = ingest.fresh_copy(prepared.ledger, Path(folder) / "run.db")
        with serving.durable(path) as server, profiling.recording(server.process.pid, seconds=seconds, stacks=stacks):
            load = post(
                prepared.callbacks, root=server.root, connections=JUDGED_AT, seconds=seconds + 1, by=plan.generator
            )
    text = f"{load.per_second:.0f} callbacks a second while it was watched\n\n"
    text += profiling.read(stacks.read_text()).text()
    (plan.cache / "profile.txt").write_text(text)
    return text


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 20 s: whether it runs, not how fast it is")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where large ledgers and results are kept")
    parser.add_argument(
        "--profile", type=int, nargs="?", const=10, metavar="SECONDS", help="where the CPU of the server goes, instead"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
