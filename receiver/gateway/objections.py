"""Any error of ours, as an objection that a provider could have."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta

from receiver.callback_url import without_tokens
from receiver.gateway.dialect import (
    ALREADY_EXISTS,
    NO_SUCH_RESOURCE,
    STUMBLED,
    TIMED_OUT,
    UNREACHABLE,
    Answer,
    Objection,
    refused,
)
from receiver.ledger.errors import AccountStopped, LedgerUnavailable, Overloaded, QuotaReached, TaskExists
from receiver.problems import RETRY_AFTER_SECONDS, Problem
from submitter.errors import Deferred, Fault, FieldProblem, InvalidRequest, Refusal, Refused, Unanswered, Unreadable
from submitter.providers.reading import parse
from submitter.settings import Kind

QUOTA_RETRY_SECONDS = 5  # an image takes 8 to 45 s (wire.md §4): some of several end sooner
_OF_REFUSAL = re.compile(r"refused with code (\w{1,64}): (.*)", re.DOTALL)

# What a provider that answered without a code has most likely meant.
_CODE_OF_STATUS: Mapping[int, int] = {401: 1002, 403: 1103, 404: 1203, 429: 1302}


def objection_of(error: Exception, *, has_credentials: bool) -> Objection:
    """What a provider would say in our place. `has_credentials` tells no key from a wrong one."""
    match error:
        case Problem():
            return _of_problem(error, has_credentials=has_credentials)
        case InvalidRequest():
            return invalid(error.problems)
        case QuotaReached():
            return Objection(http_status=429, code=1303, message=str(error), retry_after=QUOTA_RETRY_SECONDS)
        case Refused():
            return _of_refusal(error)
    return next((objection for kind, objection in _OF_ERROR.items() if isinstance(error, kind)), STUMBLED)


def invalid(problems: Sequence[FieldProblem]) -> Objection:
    """1200 where the form is wrong, 1201 where a value is; all that is wrong in one message."""
    code = 1200 if any(each.fault is Fault.FORM for each in problems) else 1201
    message = "; ".join(f"{each.field}: {each.problem}" for each in problems)
    return Objection(http_status=400, code=code, message=message, is_own=True)


def refusal_as_it_came(kind: Kind, refusal: Refused, *, request_id: str) -> Answer:
    """The provider's own status, words and pause, without our callback URL's token, which it may quote."""
    try:
        parse(refusal.body)
    except Unreadable:
        return refused(kind, _of_refusal(refusal), request_id=request_id)
    body = without_tokens(refusal.body.decode(errors="replace")).encode()
    pause = _whole_seconds(refusal.retry_after)
    return Answer(http_status=refusal.http_status, body=body, retry_after=None if pause is None else str(pause))


def refusal_in(message: str) -> Refused:
    """The refusal that a task's message tells of: somebody else has sent it, and heard the answer."""
    found = _OF_REFUSAL.fullmatch(message)
    code, said = found.groups() if found else ("", message)
    return Refused(said, code=code, http_status=400)


def refusal_of(said: Refused | AccountStopped) -> Refused:
    """The refusal, or the one that has stopped the account when it was last said."""
    if isinstance(said, Refused):
        return said
    return Refused(said.message, code=said.code, http_status=said.http_status, kind=Refusal.ACCOUNT)


def _of_refusal(refusal: Refused) -> Objection:
    if refusal.http_status < 400 and not refusal.code:  # a redirect, or a page: the account's base_url is wrong
        return STUMBLED
    code = refusal.code or _CODE_OF_STATUS.get(refusal.http_status, 1200)
    return Objection(
        http_status=refusal.http_status,
        code=int(code) if str(code).isascii() and str(code).isdigit() else code,
        message=without_tokens(refusal.message),
        retry_after=_whole_seconds(refusal.retry_after),
    )


def _whole_seconds(pause: timedelta | None) -> int | None:
    """A pause as a header has it; the submitter has bounded it."""
    return None if pause is None else math.ceil(pause.total_seconds())


def _of_problem(problem: Problem, *, has_credentials: bool) -> Objection:
    match problem.status:
        case 401:
            # Without any, early or late where it is a signed token, or wrong.
            code = _CODE_OF_KEY.get(problem.code, 1002) if has_credentials else 1001
        case 404:
            return NO_SUCH_RESOURCE
        case 503:
            return _busy(problem.detail)
        case status if status in _CODE_OF_PROBLEM:
            code = _CODE_OF_PROBLEM[status]
        case _:
            return STUMBLED
    pause = RETRY_AFTER_SECONDS if problem.status == 429 else None
    return Objection(http_status=problem.status, code=code, message=problem.detail, is_own=True, retry_after=pause)


def _busy(message: str) -> Objection:
    return Objection(http_status=503, code=5001, message=message, retry_after=RETRY_AFTER_SECONDS)


_CODE_OF_PROBLEM: Mapping[int, int] = {403: 1103, 405: 1202, 413: 1201, 415: 1200, 429: 1302}
_CODE_OF_KEY: Mapping[str, int] = {"key_not_yet_valid": 1003, "key_expired": 1004}
_OF_ERROR: Mapping[type[Exception], Objection] = {
    TaskExists: ALREADY_EXISTS,
    Overloaded: _busy("too much waits to be written down: send it again"),
    LedgerUnavailable: _busy("the task ledger takes nothing at the moment: send it again"),
    Deferred: UNREACHABLE,
    Unanswered: TIMED_OUT,
}
