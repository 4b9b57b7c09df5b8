"""What a commit has changed, as the outcomes of its entries tell it."""

from __future__ import annotations

from collections.abc import Sequence

from receiver.ledger.base import Change
from receiver.ledger.deliveries import Settled
from receiver.pathhealth import PathHealth
from receiver.task import Decision, Task


def change_in(outcomes: Sequence[object]) -> Change:
    """The tasks that outcomes speak of, and whether events may have been written with them."""
    tasks: list[str] = []
    has_events = has_callbacks = False
    for outcome in outcomes:
        if isinstance(outcome, Decision):
            tasks.append(outcome.task.external_task_id)
            has_events |= bool(outcome.events) or outcome.path is not None
            has_callbacks |= bool(outcome.events) and outcome.task.client_callback_url is not None
        elif isinstance(outcome, Task):
            tasks.append(outcome.external_task_id)
            has_events = True
            has_callbacks |= outcome.client_callback_url is not None
        elif isinstance(outcome, PathHealth):
            has_events = True
        elif isinstance(outcome, Settled):
            has_events |= bool(outcome.disabled)
        elif isinstance(outcome, list):
            within = change_in(outcome)
            tasks.extend(within.tasks)
            has_events |= within.has_events
            has_callbacks |= within.has_callbacks
    return Change(tasks=tasks, has_events=has_events, has_callbacks=has_callbacks)
