"""What a task will call back: each step with its moment and its mischief, settled when the task is created."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sandbox.faults import Choice
from sandbox.world import Status, Task

# The first callback leaves a little after the create answer; `early` is the fault that turns this round.
FIRST_AFTER = 0.02
DELAY_SECONDS = (5.0, 20.0)
OPPOSITE_AFTER_SECONDS = 1.0

PLAIN_SHAPE = "documented"


class Claim(StrEnum):
    """What a callback asserts: the truth, the other outcome, or the same outcome with other images."""

    TRUTH = "truth"
    OPPOSITE = "opposite"
    OTHER_IMAGES = "other_images"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One callback that is to be sent, or lost."""

    at: float
    status: Status
    claim: Claim = Claim.TRUTH
    shape: str = PLAIN_SHAPE
    faults: tuple[str, ...] = ()
    copies: int = 1
    together: bool = False
    lost_by: str = ""  # the fault that swallows it
    early: bool = False
    forged: bool = False  # by somebody who holds no secret and knows no ids
    url_altered: bool = False


def callback_script(task: Task, *, pace: float) -> tuple[Step, ...]:
    """The callbacks of a task, in the order they leave."""
    if task.order.callback_url is None:
        return ()
    choice = task.choice
    steps = _losses(_truth(task), choice)
    steps = _delayed(steps, choice, pace=pace)
    if "early" in choice:
        steps = [
            replace(step, early=True, faults=(*step.faults, "early")) if step.status is Status.SUBMITTED else step
            for step in steps
        ]
    if "reorder" in choice:
        steps = _reordered(steps)
    steps = [_mischief(step, choice) for step in steps]
    return (*_with_contradictions(steps, task, pace=pace),)


def _truth(task: Task) -> list[Step]:
    first = task.created_at + FIRST_AFTER * (task.finished_at - task.created_at)
    return [
        Step(at=first, status=Status.SUBMITTED),
        Step(at=task.processing_at, status=Status.PROCESSING),
        Step(at=task.finished_at, status=task.outcome),
    ]


def _losses(steps: Sequence[Step], choice: Choice) -> list[Step]:
    lost = dict.fromkeys(Status, "drop_all") if "drop_all" in choice else {}
    if "final_only" in choice:
        lost = {Status.SUBMITTED: "final_only", Status.PROCESSING: "final_only"} | lost
    if "drop" in choice:
        dropped = choice.option("drop")
        lost = {step.status: "drop" for step in steps if dropped in {step.status.value, _final_or_not(step)}} | lost
    return [replace(step, lost_by=lost.get(step.status, "")) for step in steps]


def _final_or_not(step: Step) -> str:
    return "final" if step.status in {Status.SUCCEED, Status.FAILED} else ""


def _delayed(steps: Sequence[Step], choice: Choice, *, pace: float) -> list[Step]:
    if "delay" not in choice:
        return list(steps)
    least, most = DELAY_SECONDS
    seconds = (least + (most - least) * choice.chance("delay.seconds")) * pace
    return [replace(step, at=step.at + seconds, faults=(*step.faults, "delay")) for step in steps]


def _reordered(steps: Sequence[Step]) -> list[Step]:
    last = max(step.at for step in steps)
    first = [step for step in steps if step.early]
    held = [replace(step, at=last, faults=(*step.faults, "reorder")) for step in steps if not step.early]
    return [*first, *reversed(held)]


def _mischief(step: Step, choice: Choice) -> Step:
    if "odd_shape" in choice:
        step = replace(step, shape=choice.option("odd_shape"), faults=(*step.faults, "odd_shape"))
    if "duplicate" in choice:
        copies, manner = choice.option("duplicate").split()
        faults = (*step.faults, "duplicate")
        step = replace(step, copies=int(copies), together=manner == "together", faults=faults)
    return step


def _with_contradictions(steps: Sequence[Step], task: Task, *, pace: float) -> list[Step]:
    """Forgeries go before the first true final, so that they are believed if anything is; an opposite one after it."""
    told: list[Step] = []
    for step in steps:
        if _final_or_not(step):
            told += _forgeries(task, at=min(step.at, task.processing_at))
        told.append(step)
        if _final_or_not(step) and "opposite" in task.choice:
            later = step.at + OPPOSITE_AFTER_SECONDS * pace
            told.append(Step(at=later, status=task.outcome, claim=Claim.OPPOSITE, faults=("opposite",)))
    return told


def _forgeries(task: Task, *, at: float) -> list[Step]:
    forgeries = []
    if "forged" in task.choice:
        claim = Claim(task.choice.option("forged"))
        forgeries.append(Step(at=at, status=task.outcome, claim=claim, forged=True, faults=("forged",)))
    if "forged_url" in task.choice:
        faults = ("forged_url",)
        forgeries.append(
            Step(at=at, status=task.outcome, claim=Claim.OPPOSITE, forged=True, url_altered=True, faults=faults)
        )
    return forgeries
