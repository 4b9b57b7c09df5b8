"""Turns between tenants: equal shares of the slots, whatever anybody's backlog, and none saved up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.fairness import Served, Waiting, after_turn, given_back, next_turn, virtual_time

TENANTS = ("ada", "bob", "eve", "joe")
LARGEST = 9

arrivals = st.tuples(st.sampled_from(TENANTS), st.integers(1, LARGEST))
steps = st.lists(st.one_of(st.none(), arrivals), max_size=40)  # None: a turn is taken


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn: who waited, who had fallen behind nobody by then, and who took how much."""

    waiting: frozenset[str]
    level: frozenset[str]
    tenant: str
    slots: int


@dataclass(slots=True)
class Queue:
    """An account's queue, which forgets what the rule lets it forget, unless it is told to remember."""

    tasks: list[Waiting] = field(default_factory=list)
    served: dict[str, Served] = field(default_factory=dict)
    came: int = 0

    def arrive(self, tenant: str, slots: int) -> None:
        self.came += 1
        self.tasks.append(Waiting(tenant=tenant, place=(self.came, 0), slots=slots))

    def take(self) -> Turn | None:
        heads: dict[str, Waiting] = {}
        for task in self.tasks:
            heads.setdefault(task.tenant, task)
        next_ = next_turn(heads.values(), self.served)
        if next_ is None:
            return None
        virtual = virtual_time(self.served)
        level = frozenset(name for name in heads if name not in self.served or self.served[name].finish <= virtual)
        self.tasks.remove(next_)
        self.served = after_turn(self.served, next_.tenant, next_.slots)
        return Turn(frozenset(heads), level, next_.tenant, next_.slots)


def turns_of(told: Sequence[tuple[str, int] | None]) -> list[Turn]:
    queue, turns = Queue(), []
    for step in told:
        if step is not None:
            queue.arrive(*step)
        elif (turn := queue.take()) is not None:
            turns.append(turn)
    while (turn := queue.take()) is not None:
        turns.append(turn)
    return turns


def stretches(turns: Sequence[Turn], *tenants: str) -> Iterator[Sequence[Turn]]:
    """Every stretch of turns through which all of these wait."""
    for start in range(len(turns)):
        for end in range(start + 1, len(turns) + 1):
            if not turns[end - 1].waiting.issuperset(tenants):
                break
            yield turns[start:end]


def taken(turns: Sequence[Turn]) -> Counter[str]:
    slots: Counter[str] = Counter()
    for turn in turns:
        slots[turn.tenant] += turn.slots
    return slots


def largest(turns: Sequence[Turn], *tenants: str) -> int:
    return max((turn.slots for turn in turns if turn.tenant in tenants), default=0)


@given(steps)
def test_who_waits_gets_its_equal_share_but_for_one_task_whatever_the_others_have_waiting(
    told: list[tuple[str, int] | None],
) -> None:
    turns = turns_of(told)

    for tenant in TENANTS:
        for stretch in stretches(turns, tenant):
            slots = taken(stretch)
            if tenant in stretch[0].level:
                assert slots[tenant] >= slots.total() / len({*slots, tenant}) - largest(stretch, *TENANTS)


@given(steps)
def test_two_who_wait_are_never_further_apart_than_a_task_of_each(told: list[tuple[str, int] | None]) -> None:
    """Whatever either has had before: nothing is saved up while idle, and nothing owed for ever."""
    turns = turns_of(told)

    for one, other in (("ada", "bob"), ("ada", "eve"), ("eve", "joe")):
        bound = largest(turns, one) + largest(turns, other)
        for stretch in stretches(turns, one, other):
            slots = taken(stretch)
            assert abs(slots[one] - slots[other]) <= bound


@given(steps)
def test_somebody_has_the_turn_as_long_as_anybody_waits(told: list[tuple[str, int] | None]) -> None:
    turns = turns_of(told)

    assert len([step for step in told if step is not None]) == len(turns)
    assert all(turn.tenant in turn.waiting for turn in turns)


@given(steps)
def test_one_tenants_tasks_leave_in_the_order_they_came(told: list[tuple[str, int] | None]) -> None:
    turns = turns_of(told)

    for tenant in TENANTS:
        came = [step[1] for step in told if step is not None and step[0] == tenant]
        assert came == [turn.slots for turn in turns if turn.tenant == tenant]


@given(steps)
def test_who_is_forgotten_would_have_had_no_other_turn_if_remembered(told: list[tuple[str, int] | None]) -> None:
    queue = Queue()
    remembered: dict[str, Served] = {}
    for step in (*told, *[None] * len(told)):
        if step is not None:
            queue.arrive(*step)
            continue
        heads = {task.tenant: task for task in reversed(queue.tasks)}
        expected = next_turn(heads.values(), remembered)
        turn = queue.take()

        assert (expected is None) == (turn is None)
        if expected is not None and turn is not None:
            assert expected.tenant == turn.tenant
            remembered[turn.tenant] = queue.served[turn.tenant]
            assert virtual_time(remembered) == virtual_time(queue.served)


@given(steps, st.sampled_from(TENANTS), st.integers(1, LARGEST))
def test_a_turn_that_is_given_back_was_none(told: list[tuple[str, int] | None], tenant: str, slots: int) -> None:
    queue = Queue()
    for step in told:
        if step is None:
            queue.take()
        else:
            queue.arrive(*step)
    before = after_turn(queue.served, tenant, 1)

    again = given_back(after_turn(before, tenant, slots), tenant, slots)

    assert after_turn(before, tenant, 1)[tenant] == after_turn(again, tenant, 1)[tenant]


def test_three_tenants_with_unequal_backlogs_take_turns() -> None:
    queue = Queue()
    for tenant, count in (("ada", 6), ("bob", 3), ("eve", 1)):
        for _ in range(count):
            queue.arrive(tenant, 1)

    order = [turn.tenant for turn in iter(queue.take, None)]

    assert ["ada", "bob", "eve", "ada", "bob", "ada", "bob", "ada", "ada", "ada"] == order


def test_who_asks_for_large_tasks_gets_as_many_slots_and_fewer_tasks() -> None:
    queue = Queue()
    for _ in range(12):
        queue.arrive("ada", 4)
        queue.arrive("bob", 1)

    first = taken([turn for turn in (queue.take() for _ in range(10)) if turn is not None])

    assert {"ada": 8, "bob": 8} == first


@pytest.mark.parametrize("idle_for", [1, 50])
def test_an_idle_tenant_saves_nothing_up(idle_for: int) -> None:
    queue = Queue()
    queue.arrive("bob", 1)
    queue.take()
    for _ in range(idle_for):
        queue.arrive("ada", 1)
        queue.take()
    for _ in range(4):
        queue.arrive("ada", 1)
        queue.arrive("bob", 1)

    order = [queue.take() for _ in range(4)]

    assert {"ada": 2, "bob": 2} == taken([turn for turn in order if turn is not None])


def test_nobody_is_remembered_who_lags_behind_nobody() -> None:
    served: dict[str, Served] = {}
    for number in range(1_000):
        served = after_turn(served, f"tenant-{number}", 1)
        served = after_turn(served, "busy", 1)

    assert len(served) <= 3
