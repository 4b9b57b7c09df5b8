"""The Kling family's JSON, read tolerantly: envelopes, wrappers, task objects old and new (wire.md §3-4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from pydantic_core import from_json

from submitter.errors import Unreadable
from submitter.moments import EARLIEST, LATEST, Moment
from submitter.report import FINAL_STATUSES, ReportedStatus, ResultImage, StatusReport

Json: TypeAlias = Any
Fields: TypeAlias = Mapping[str, Any]

MAX_ID = 256  # published nowhere; Kling's have 18 digits, the gateways' about 40 characters
MAX_WORD = 64
MAX_MESSAGE = 4_000
MAX_URL = 8_192
MAX_WRAPPERS = 8  # two have been seen; each costs a look at all that it wraps
MAX_LISTED = 1_024  # entries of a list that are looked at
MAX_AMOUNTS = 8  # of a balance deduction; two are documented
MAX_IMAGES = 64  # nine are the most that can be asked for, of each of two kinds

_encode = json.JSONEncoder(separators=(",", ":")).encode

# The family's words, the newer generation's, and those of gateways that wrap Kling's answer (wire.md §3).
STATUS_WORDS: Mapping[str, ReportedStatus] = {
    "submitted": ReportedStatus.SUBMITTED,
    "not_start": ReportedStatus.SUBMITTED,
    "queued": ReportedStatus.SUBMITTED,
    "processing": ReportedStatus.PROCESSING,
    "in_progress": ReportedStatus.PROCESSING,
    "succeed": ReportedStatus.SUCCEED,
    "succeeded": ReportedStatus.SUCCEED,
    "success": ReportedStatus.SUCCEED,
    "failed": ReportedStatus.FAILED,
    "failure": ReportedStatus.FAILED,
}


def parse(body: bytes) -> Json:
    """The JSON value. Raises Unreadable on anything else, NaN and endless nesting included."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Unreadable(f"not JSON: {_first_line(error)}") from error


def read_tasks(value: Json, *, provider: str) -> list[StatusReport]:
    """Every task in an answer's `data`, or in a bare value. Raises Unreadable where one cannot be read."""
    if isinstance(value, list):
        return [read_task(each, provider=provider) for each in value]
    return [read_task(value, provider=provider)]


def read_task(value: Json, *, provider: str) -> StatusReport:
    """One task object: documented, newer, wrapped by a gateway, or in an envelope of its own. Raises Unreadable."""
    fields = _fields(value)
    if _wrappers(fields) > MAX_WRAPPERS:
        raise Unreadable(f"a task in more than {MAX_WRAPPERS} wrappers")
    return _read(fields, provider=provider)


def _wrappers(fields: Fields) -> int:
    """How many objects lie around the innermost one, as far as it matters."""
    count, inner = 0, fields.get("data")
    while isinstance(inner, dict) and count <= MAX_WRAPPERS:
        count, inner = count + 1, inner.get("data")
    return count


def _read(fields: Fields, *, provider: str) -> StatusReport:
    inner = fields.get("data")
    if isinstance(inner, dict):
        return _read_wrapped(fields, inner, provider=provider)
    return _read_fields(fields, provider=provider)


def _read_wrapped(outer: Fields, inner: Fields, *, provider: str) -> StatusReport:
    """A gateway's own record around Kling's answer: its id is the one it can be asked by (wire.md §3, C)."""
    report = _read(inner, provider=provider) if _names_status(inner) else _read_fields(outer, provider=provider)
    if not _has_status(outer):
        return report
    around = _read_fields(outer, provider=provider)
    status = around.status if around.status in FINAL_STATUSES else report.status
    return StatusReport(
        provider=provider,
        provider_task_id=around.provider_task_id or report.provider_task_id,
        external_task_id=report.external_task_id or around.external_task_id,
        status=status,
        message=report.message or around.message,
        images=report.images or around.images,
        is_series=report.is_series,
        unit_deduction=report.unit_deduction or around.unit_deduction,
        balance_deduction=report.balance_deduction or around.balance_deduction,
        created_at=report.created_at or around.created_at,
        updated_at=report.updated_at or around.updated_at,
    )


def _has_status(fields: Fields) -> bool:
    return "task_status" in fields or "status" in fields


def _names_status(fields: Fields) -> bool:
    """Here, or in what these fields are wrapped around."""
    inner = fields.get("data")
    return _has_status(fields) or (isinstance(inner, dict) and _names_status(inner))


def _read_fields(fields: Fields, *, provider: str) -> StatusReport:
    result = _mapping(fields.get("task_result"))
    info = _mapping(fields.get("task_info"))
    images, is_series = _images(fields, result)
    return StatusReport(
        provider=provider,
        provider_task_id=_identifier(fields, "task_id", "id"),
        external_task_id=_identifier(info, "external_task_id")
        or _identifier(fields, "external_task_id", "external_id"),
        status=_status(fields),
        message=_text(fields, "task_status_msg", "message", "fail_reason")[:MAX_MESSAGE],
        images=images,
        is_series=is_series,
        unit_deduction=_unit_deduction(fields),
        balance_deduction=_balance_deduction(fields),
        created_at=_moment(fields, "created_at", "create_time"),
        updated_at=_moment(fields, "updated_at", "update_time"),
    )


def _status(fields: Fields) -> ReportedStatus | str:
    word = _text(fields, "task_status", "status").strip()
    if not word:
        raise Unreadable("no task_status")
    return STATUS_WORDS.get(word.lower(), word[:MAX_WORD])


def _images(fields: Fields, result: Fields) -> tuple[tuple[ResultImage, ...], bool]:
    """The images, and whether they are a series. A series lists its own in `series_images`."""
    is_series = result.get("result_type") == "series" or bool(result.get("series_images"))
    listed = _list(result.get("series_images")) or _list(result.get("images")) or _outputs(fields)
    return (tuple(_each_image(listed[:MAX_IMAGES])) if listed else ()), is_series


def _outputs(fields: Fields) -> list[Json]:
    """The newer generation's images, among whatever else it puts out."""
    listed = _list(fields.get("outputs"))[:MAX_LISTED]
    return [each for each in listed if _mapping(each).get("type", "image") == "image"]


def _each_image(listed: list[Json]) -> Iterator[ResultImage]:
    seen: set[int] = set()
    for position, value in enumerate(listed):
        fields = _mapping(value)
        url = _text(fields, "url")
        index = _integer(fields.get("index"))
        place = position if index is None or not 0 <= index < MAX_IMAGES else index
        if url and len(url) <= MAX_URL and place not in seen:
            seen.add(place)
            yield ResultImage(index=place, url=url, watermark_url=_text(fields, "watermark_url")[:MAX_URL] or None)


def _unit_deduction(fields: Fields) -> str | None:
    """What the task cost in the provider's units, as its own text."""
    amount = _text(fields, "final_unit_deduction")
    if amount or "billing" not in fields:
        return amount[:MAX_WORD] or None
    billed = (_text(_mapping(each), "amount") for each in _list(fields.get("billing"))[:MAX_LISTED])
    return next(filter(None, billed), "")[:MAX_WORD] or None


def _balance_deduction(fields: Fields) -> str | None:
    """What the task took off the balance, in the provider's own words for it: a JSON object of text."""
    said = _mapping(fields.get("final_balance_deduction"))
    if not said:
        return None
    amounts = {
        name[:MAX_WORD].replace("\x00", "\ufffd"): _text(said, name)[:MAX_WORD] for name in [*said][:MAX_AMOUNTS]
    }
    told = {name: amount for name, amount in amounts.items() if amount}
    return _encode(told) if told else None


def _identifier(fields: Fields, *names: str) -> str | None:
    identifier = _text(fields, *names)
    if len(identifier) > MAX_ID:
        raise Unreadable(f"{names[0]} has {len(identifier)} characters: no id of this family has more than {MAX_ID}")
    return identifier or None


def _moment(fields: Fields, *names: str) -> Moment | None:
    for name in names:
        moment = _integer(fields.get(name))
        if moment is not None and EARLIEST <= moment < LATEST:
            return moment
    return None


def _integer(value: Json) -> int | None:
    """A whole number, also where it was sent as text or with a point (both seen, wire.md §3)."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    if not isinstance(value, float | str) or len(str(value)) > MAX_WORD:
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        pass
    try:
        return int(float(value))
    except (ValueError, OverflowError):
        return None


def _text(fields: Fields, *names: str) -> str:
    """The first of these fields that has text or a number; U+0000, which a database may cut at, is replaced."""
    for name in names:
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, str):
            if value:
                return value.replace("\x00", "\ufffd")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            return _digits(value)
    return ""


def _digits(value: float) -> str:
    try:
        return str(value)
    except ValueError as error:  # CPython refuses to print integers of more than 4300 digits
        raise Unreadable("a number of thousands of digits") from error


def _fields(value: Json) -> Fields:
    if not isinstance(value, dict):
        raise Unreadable(f"a task is a JSON object, not {type(value).__name__}")
    return value


def _mapping(value: Json) -> Fields:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _first_line(error: ValueError) -> str:
    return str(error).splitlines()[0][:200]
