"""What can go wrong on the way to a provider, split by what the caller may do next.

SubmitterError
├── InvalidRequest   mend the request: nothing was sent
├── Refused          stop: the provider said no, and no task exists
├── Deferred         send the very same request again, later: no task exists
├── Unanswered       ask, never send again blindly: a task may exist, and may have been paid for
├── Unreadable       keep the bytes, look at them: nobody knows what they say
├── BadSignature     do not believe it (submitter.signatures)
├── JournalError     the receiver did not write the submission down: nothing was sent
├── WatchError       the receiver cannot say how the task fares: the task goes on all the same
└── NotAtRest        the deadline passed first: the task goes on, wait for it again (a TimeoutError too)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

MOST_NAMED = 5  # tasks, in a message


class SubmitterError(Exception):
    """The base of every error this package raises on purpose."""


class Fault(StrEnum):
    """What is wrong with a field, as far as providers tell it apart (wire.md §5, 1200 and 1201)."""

    FORM = "form"  # it is missing, of another type, or not known
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with one field, in words that say what to write instead."""

    field: str
    problem: str
    fault: Fault = dataclasses.field(default=Fault.VALUE, compare=False)


class InvalidRequest(SubmitterError):
    """The request breaks a documented limit, or asks this provider for what it does not accept."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.problem}" for each in problems))
        self.problems = problems


class Refusal(StrEnum):
    """Why a provider says no (wire.md §5), as far as it changes what is done next."""

    CREDENTIALS = "credentials"  # the key is wrong or has no right: every call of this account will fail
    TOKEN_TIME = "token_time"  # noqa: S105 - the signed token is early or late: sign anew, once
    ACCOUNT = "account"  # arrears, pack used up: stop the account and tell a person
    PARAMETERS = "parameters"
    ALREADY_EXISTS = "already_exists"  # the external id was used before: look it up
    NOT_FOUND = "not_found"  # the answer to a query: no such task
    POLICY = "policy"
    OTHER = "other"


class Refused(SubmitterError):
    """The provider said no. `code` and `message` are its own words, `body` its whole answer where there was one.

    `retry_after` is the pause that the answer asked for.
    """

    def __init__(
        self, message: str, *, code: str, http_status: int, kind: Refusal = Refusal.OTHER, body: bytes = b""
    ) -> None:
        super().__init__(f"refused with code {code}: {message}" if code else f"refused: {message}")
        self.message = message
        self.code = code
        self.http_status = http_status
        self.kind = kind
        self.body = body
        self.retry_after: timedelta | None = None


class Deferred(SubmitterError):
    """Nothing was created, and the same request may be sent again, not before `after` where it is known."""

    def __init__(self, reason: str, *, code: str = "", after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.after = after


class Unanswered(SubmitterError):
    """The request left and no usable answer came: a task may exist."""

    def __init__(self, reason: str, *, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Unreadable(SubmitterError):
    """Bytes that are no report of this dialect."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class JournalError(SubmitterError):
    """The journal did not take an entry; `code` is the receiver's stable reason, or `unreachable`."""

    def __init__(self, reason: str, *, code: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class WatchError(SubmitterError):
    """Nobody can be asked about tasks or events; `code` is the receiver's stable reason, or `unreachable`."""

    def __init__(self, reason: str, *, code: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class NotAtRest(SubmitterError, TimeoutError):
    """The deadline passed. `states` names the tasks that were not at rest, each with its last known state, or None."""

    def __init__(self, states: Mapping[str, str | None], *, deadline: timedelta) -> None:
        named = [f"{name} ({state or 'state unknown'})" for name, state in states.items()]
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        super().__init__(f"not at rest after {deadline.total_seconds():g} s: {', '.join(named[:MOST_NAMED])}{more}")
        self.states = dict(states)
        self.deadline = deadline
