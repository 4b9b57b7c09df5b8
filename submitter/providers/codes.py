"""What a provider's error codes mean for what is done next (wire.md §5). Codes decide, not HTTP statuses alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from submitter.errors import Deferred, Refusal, Refused, SubmitterError, Unanswered, Unreadable
from submitter.providers.reading import Json, parse

TOO_FAST = timedelta(seconds=10)  # the pause after a 429 that does not say for how long
SUCCESS_CODES = frozenset({"0", "success", "succeed"})

_REFUSALS: Mapping[str, Refusal] = {
    "1000": Refusal.CREDENTIALS,
    "1001": Refusal.CREDENTIALS,
    "1002": Refusal.CREDENTIALS,
    "1003": Refusal.TOKEN_TIME,
    "1004": Refusal.TOKEN_TIME,
    "1100": Refusal.ACCOUNT,
    "1101": Refusal.ACCOUNT,
    "1102": Refusal.ACCOUNT,
    "1103": Refusal.CREDENTIALS,
    "1200": Refusal.PARAMETERS,
    "1201": Refusal.PARAMETERS,
    "1202": Refusal.OTHER,
    "1203": Refusal.OTHER,
    "1300": Refusal.POLICY,
    "1301": Refusal.POLICY,
    "1304": Refusal.CREDENTIALS,
    "task_not_exist": Refusal.NOT_FOUND,
    "invalid_request": Refusal.PARAMETERS,
}
_NOTHING_CREATED: Mapping[str, timedelta | None] = {"1302": TOO_FAST, "1303": None}
_MAYBE_CREATED = frozenset({"5000", "5001", "5002"})
# A gateway that could not read its upstream's answer puts that answer, as text, into its own message.
_UPSTREAM_IN_MESSAGE = frozenset({"fail_to_fetch_task"})


def error_in(http_status: int, value: Json) -> SubmitterError | None:
    """The error that this answer is, or None where it is a success. `value` is the parsed body."""
    if not isinstance(value, Mapping):
        return None if http_status < 300 else error_of_status(http_status, "")
    inside = value.get("error")
    if isinstance(inside, Mapping):
        return _error_of_code(http_status, _word(inside.get("code")), _word(inside.get("message")))
    code, message = _word(value.get("code")), _word(value.get("message"))
    if code.lower() in SUCCESS_CODES or (not code and http_status < 300):
        return None if http_status < 300 else error_of_status(http_status, message)
    return _error_of_code(http_status, code, message)


def error_of_status(http_status: int, message: str) -> SubmitterError:
    """What an HTTP status says where no code does."""
    said = message or f"HTTP {http_status}"
    if http_status == 429:
        return Deferred(said, after=TOO_FAST)
    if http_status == 408 or http_status >= 500 or http_status < 300:
        return Unanswered(said)
    kind = Refusal.CREDENTIALS if http_status in {401, 403} else Refusal.OTHER
    if 300 <= http_status < 400:
        said = f"HTTP {http_status}: a redirect, which is not followed; is base_url right?"
    return Refused(said, code="", http_status=http_status, kind=kind)


def _error_of_code(http_status: int, code: str, message: str) -> SubmitterError:
    if code in _UPSTREAM_IN_MESSAGE and (upstream := _upstream_error(http_status, message)) is not None:
        return upstream
    if code in _NOTHING_CREATED:
        return Deferred(f"{code}: {message}", code=code, after=_NOTHING_CREATED[code])
    if code in _MAYBE_CREATED:
        return Unanswered(f"{code}: {message}")
    if code in _REFUSALS:
        return Refused(message, code=code, http_status=http_status, kind=_kind(code, message))
    if http_status == 429:
        return Deferred(f"{code}: {message}", code=code, after=TOO_FAST)
    if http_status == 408 or http_status >= 500:
        return Unanswered(f"{code}: {message}" if code else message or f"HTTP {http_status}")
    kind = Refusal.CREDENTIALS if http_status in {401, 403} else Refusal.OTHER
    return Refused(message or f"HTTP {http_status}", code=code, http_status=http_status, kind=kind)


def _upstream_error(http_status: int, message: str) -> SubmitterError | None:
    try:
        value = parse(message.encode("utf-8", "surrogatepass"))
    except Unreadable:
        return None
    if not isinstance(value, Mapping) or _word(value.get("code")) in _UPSTREAM_IN_MESSAGE:
        return None
    if _word(value.get("code")).lower() in SUCCESS_CODES:  # the upstream took it: the task exists
        return Unanswered("the gateway could not read its upstream's success")
    return error_in(http_status, value)


def _kind(code: str, message: str) -> Refusal:
    """1201 means three things, told apart only by its text (wire.md §5, O)."""
    said = message.lower()
    if code == "1201" and "already exist" in said:
        return Refusal.ALREADY_EXISTS
    if code == "1201" and "not found" in said:
        return Refusal.NOT_FOUND
    return _REFUSALS[code]


def _word(value: Json) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return ""
    return str(value)[:4_000].replace("\x00", "\ufffd")
