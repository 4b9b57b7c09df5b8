"""Whether a provider knows an account's tasks: where most are unknown to it, something else is wrong. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TypeAlias

Recent: TypeAlias = Sequence[tuple[int, bool]]
"""The latest answer about each of the latest tasks, oldest first: its key, and whether there was no such task."""

KEPT = 20  # tasks
LEAST = 10  # of which this many must have been answered about before anything is said of the account
QUESTIONS_REST = timedelta(minutes=10)
REASON = (
    "most of this account's tasks are unknown to the provider (task_not_exist): "
    "is this the key of another account, or base_url another gateway's?"
)


def remember(recent: Recent, key: int, *, is_unknown: bool) -> Recent:
    """With one more answer. A task counts once: one that was forgotten, and is asked about often, says nothing else."""
    others = [each for each in recent if each[0] != key]
    return [*others, (key, is_unknown)][-KEPT:]


def is_stranger(recent: Recent) -> bool:
    """Whether the provider knows less than half of the tasks it was asked about."""
    unknown = sum(is_unknown for _, is_unknown in recent)
    return len(recent) >= LEAST and 2 * unknown > len(recent)
