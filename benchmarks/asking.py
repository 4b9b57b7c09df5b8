"""What asking costs by the learned timing, beside fixed loops, an oracle and the best plan that knows it all.

    python -m benchmarks.asking --tasks 5000

A simulation of the pure functions alone: tasks are sent a second apart, finish after a random time, and a share of
their callbacks is lost. 200 tasks teach before any is counted. Where all are lost, the path is known to be dark.
Prints the last table of measured values in `docs/polling.md` as Markdown.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

from receiver.questions import Worth
from receiver.timing import Finish, Timing

WARM_UP = 200
SEEDS = range(1, 6)
LOOP = 20.0
WORTH = Worth()
FIRST_AFTER, INTERVAL = 90.0, 25.0
LOSSES = (0.0, 0.01, 1.0)
STEP, HORIZON = 1.0, 400.0  # of the grid on which the best plan is sought, in seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Log-normal classes by their weight, mean in seconds and sigma."""

    name: str
    parts: Sequence[tuple[float, float, float]]

    def draw(self, dice: random.Random) -> float:
        """How long one task takes."""
        [(_, mean, sigma)] = dice.choices(self.parts, [weight for weight, _, _ in self.parts])
        return dice.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)

    def within(self, seconds: float) -> float:
        """The share of tasks that end within so many seconds."""
        if seconds <= 0:
            return 0.0
        return sum(weight * _normal((math.log(seconds / mean) + s**2 / 2) / s) for weight, mean, s in self.parts)


SHAPES = (
    Mixture(name="sigma = 0.3", parts=[(1, 32, 0.3)]),
    Mixture(name="sigma = 0.5", parts=[(1, 32, 0.5)]),
    Mixture(name="sigma = 0.8", parts=[(1, 32, 0.8)]),
    Mixture(name="16 s and 48 s, sigma = 0.3", parts=[(0.5, 16, 0.3), (0.5, 48, 0.3)]),
    Mixture(name="12 s and 52 s, sigma = 0.2", parts=[(0.5, 12, 0.2), (0.5, 52, 0.2)]),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Questions for each task, and the delay that 19 of 20 lost tasks stay within."""

    queries: float
    p95: float
    delays: Sequence[float] = ()


@dataclass(order=True, slots=True)
class _Task:
    at: float  # when something happens to it next
    number: int
    sent: float
    took: float
    is_lost: bool
    is_called: bool = False
    running: float = 0.0


def learned(shape: Mixture, lost: float, *, seed: int, tasks: int) -> Asked:
    """By the rule of `receiver.timing`, learning as it goes; what a question finds, it knows by bounds alone."""
    dice, timing, queries, is_dark = random.Random(seed), Timing(), 0, lost == 1
    delays: list[float] = []
    due = list(_sent(shape, lost, dice, tasks + WARM_UP))
    heapq.heapify(due)
    while due:
        task = heapq.heappop(due)
        age, is_counted = task.at - task.sent, task.number >= WARM_UP
        if task.is_called:
            timing = timing.with_finishes([_finish(age, age, is_called=True)], now=round(task.at * 1_000))
            continue
        if age > 0:
            if not task.is_lost and task.took <= age:
                continue
            queries += is_counted
            if task.took <= age:
                finish = _finish(task.running, age, is_called=False)
                timing = timing.with_finishes([finish], now=round(task.at * 1_000))
                continue
            task.running = age
        elif is_counted:
            delays.append(_delay_if_lost(timing, task.took, is_dark=is_dark))
        task.at = task.sent + _next(timing, age, is_dark=is_dark)
        heapq.heappush(due, task)
    return Asked(queries=queries / tasks, p95=_p95(delays), delays=delays)


def loop(shape: Mixture, every: float) -> Asked:
    """A fixed loop over every task."""
    return evaluate(shape, [every * (turn + 1) for turn in range(int(HORIZON / every))], 1.0)


def evaluate(shape: Mixture, ages: Sequence[float], lost: float) -> Asked:
    """What a plan costs where the distribution is the shape's own."""
    spans = list(zip([0.0, *ages], ages, strict=False))
    within = shape.within
    queries = sum(lost * (1 - within(start)) + (1 - lost) * (1 - within(end)) for start, end in spans)

    def late(delay: float) -> float:
        return sum(max(0.0, within(end - delay) - within(start)) for start, end in spans) + 1 - within(ages[-1])

    low, high = 0.0, HORIZON
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if late(middle) > 0.05 else (low, middle)
    return Asked(queries=queries, p95=high)


def best(shape: Mixture, lost: float, p95: float) -> Asked:
    """The fewest questions at no worse a p95 for who knows the distribution: Lagrange's price of being late, sought."""
    within = [shape.within(STEP * place) for place in range(int(HORIZON / STEP) + 1)]
    low, high = 0.001, 1_000.0
    found: list[float] = []
    for _ in range(18):
        price = math.sqrt(low * high)
        ages = _cheapest(within, lost, price, int(p95 / STEP))
        is_enough = evaluate(shape, ages, lost).p95 <= p95
        low, high = (low, price) if is_enough else (price, high)
        found = ages if is_enough else found
    return evaluate(shape, found, lost)


def _cheapest(within: Sequence[float], lost: float, late_price: float, patience: int) -> list[float]:
    """By dynamic programming from the end: a question costs one, a lost task known too late costs `late_price`."""
    last = len(within) - 1
    rest, following = [0.0] * (last + 1), [last] * (last + 1)
    for start in range(last - 1, -1, -1):
        least = math.inf
        for end in range(start + 1, last + 1):
            late = late_price * max(0.0, within[max(start, end - patience)] - within[start])
            if late > least:
                break
            asked = lost * (1 - within[start]) + (1 - lost) * (1 - within[end])
            if asked + late + rest[end] < least - 1e-15:
                least, following[start] = asked + late + rest[end], end
        rest[start] = least
    ages, place = [], 0
    while place < last:
        place = following[place]
        ages.append(place * STEP)
    return ages


def _sent(shape: Mixture, lost: float, dice: random.Random, count: int) -> Iterator[_Task]:
    lost_ones = set(dice.sample(range(count), round(count * lost)))  # this very share: seeds then differ in less
    for number in range(count):
        task = _Task(float(number), number, float(number), shape.draw(dice), number in lost_ones)
        yield task
        if not task.is_lost:
            yield _Task(task.sent + task.took, number, task.sent, task.took, is_lost=False, is_called=True)


def _delay_if_lost(timing: Timing, took: float, *, is_dark: bool) -> float:
    """By what is known when it is sent. Of every task: the few that are lost would say little of the p95."""
    age = 0.0
    while age < took:
        age = _next(timing, age, is_dark=is_dark)
    return age - took


def _next(timing: Timing, running: float, *, is_dark: bool) -> float:
    if not timing.is_learned:
        return running + (INTERVAL if running else FIRST_AFTER)
    age = timing.next_question(running=running, now=running, lost=1.0 if is_dark else timing.lost, worth=WORTH)
    return running + INTERVAL if age is None else age


def _finish(at_least: float, at_most: float, *, is_called: bool) -> Finish:
    return Finish(at_least=at_least, at_most=at_most, is_called=is_called)


def _p95(delays: Sequence[float]) -> float:
    return quantiles(delays, n=20, method="inclusive")[-1] if len(delays) > 1 else 0.0


def _normal(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2


def report(tasks: int) -> Iterator[str]:
    """The table, a line for each shape and loss."""
    yield "| times | lost | queries per task, by seed | p95, s | best plan | to best | 20 s loop | to loop |"
    yield "|---|---|---|---|---|---|---|---|"
    for shape in SHAPES:
        plain = loop(shape, LOOP)
        for lost in LOSSES:
            runs = [learned(shape, lost, seed=seed, tasks=tasks) for seed in SEEDS]
            queries = ", ".join(f"{run.queries:.4f}" if lost < 1 else f"{run.queries:.2f}" for run in runs)
            delays = ", ".join(f"{run.p95:.1f}" for run in runs) if lost else "—"
            mean = fmean(run.queries for run in runs)
            limit = plain.p95 if lost == 1 else _p95([delay for run in runs for delay in run.delays])
            known = best(shape, lost, limit) if lost else None
            fixed = f"{plain.queries:.2f} at {plain.p95:.1f} s | {mean / plain.queries:.2f}"
            ratio = f"{known.queries:.4f} at {known.p95:.1f} s | {mean / known.queries:.2f}" if known else "— | —"
            yield (f"| {shape.name} | {lost:.0%} | {queries} | {delays} | {ratio} | {fixed} |")


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=5_000, help="tasks for each seed, after the warm-up")
    arguments = parser.parse_args()
    for line in report(arguments.tasks):
        print(line, flush=True)


if __name__ == "__main__":
    main()
