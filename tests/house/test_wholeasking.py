"""The measurement of asking on the whole receiver: its shape and its arithmetic, never its figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.wholeasking import BEGIN, ROOT, cases, knobs_of
from benchmarks.wholetables import AIMS, LOSSES, PLOTTED, PLOTTED_SHAPES, Case, Measured, beside_best

SMALL = ("--tasks", "12", "--warm-up", "4", "--seeds", "1", "--processes", "1")
PLAIN = PLOTTED_SHAPES[0]
CACHED = "asking-*.jsonl"


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.wholeasking", *SMALL, "--cache", str(folder), "--plot", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)


def test_one_command_writes_page_and_pictures_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    page = tmp_path / "polling.md"
    page.write_text(f"above\n{BEGIN}\nold\n<!-- end of results -->\nbelow\n")
    first = run(tmp_path)
    written = page.read_text()
    [kept] = tmp_path.glob(CACHED)
    measured = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(measured[:-1]))
    again = run(tmp_path)

    assert len(list(cases())) == len(measured) == len(first.stderr.splitlines())
    assert ["1/1"] == [line.split()[0] for line in again.stderr.splitlines()]
    assert written == page.read_text()
    assert written.startswith(f"above\n{BEGIN}\n")
    assert written.endswith("<!-- end of results -->\nbelow\n")
    assert "\nold\n" not in written
    assert "Counted are 12 tasks for each of 1 seeds, after 4 that teach" in written
    assert {"polling-delay.svg", "polling-queries.svg"} == {path.name for path in tmp_path.glob("*.svg")}


def test_the_page_of_the_docs_has_a_place_for_what_was_measured() -> None:
    page = (ROOT / "docs" / "polling.md").read_text()

    assert 0 < page.index(BEGIN) < page.index("<!-- end of results -->")


def test_every_distribution_meets_every_loss_and_the_plain_one_the_list() -> None:
    found = list(cases())

    assert 5 * len(LOSSES) == sum(each.lost in LOSSES and not each.has_list for each in found)
    assert [Case(shape=PLAIN, lost=1.0, has_list=True)] == [each for each in found if each.has_list]
    assert {Case(shape=name, lost=lost) for name in PLOTTED_SHAPES for lost in PLOTTED} <= set(found)
    assert len(set(found)) == len(found)


def test_the_world_of_a_mixture_has_the_mixture_and_tells_nobody() -> None:
    knobs = knobs_of(Case(shape="12 s and 52 s, sigma = 0.2", lost=0.01), 3, 100, 20)

    assert (12.0, 52.0) == tuple(mean.total_seconds() for mean in knobs.means)
    assert (0.2, 0.01, False, 120, 20) == (knobs.sigma, knobs.lost, knobs.told_apart, knobs.tasks, knobs.warm_up)


def world(*, queries: float, p95: float = 18.0, oracle: float = 1.0) -> Measured:
    return Measured(queries=queries, delays=(p95,), oracle=oracle, loop_queries=2.12, loop_p95=19.0)


@pytest.mark.parametrize(
    ("worlds", "is_met"),
    [
        ([world(queries=1.4), world(queries=1.44)], True),
        ([world(queries=1.4), world(queries=1.7)], False),
        ([world(queries=1.4, p95=19.5)], False),
    ],
    ids=["within it", "too many", "too late"],
)
def test_what_misses_its_aim_beside_the_best_plan_is_bold(worlds: list[Measured], is_met: bool) -> None:
    assert is_met == ("**" not in beside_best(PLAIN, worlds))


def test_an_aim_is_met_by_each_seed_or_not() -> None:
    aim = next(each for each in AIMS if each.case == Case(shape=PLAIN, lost=1.0))

    assert aim.is_met(world(queries=1.5))
    assert not aim.is_met(world(queries=1.7))
    assert not aim.is_met(world(queries=1.5, p95=19.5))


def test_there_is_no_best_plan_where_nothing_is_lost() -> None:
    assert "— | —" == beside_best(PLAIN, [world(queries=0.01, oracle=0.0)])
