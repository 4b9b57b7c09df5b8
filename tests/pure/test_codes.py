"""What each code of wire.md §5 means for what is done next."""

from __future__ import annotations

import json
from typing import Any

import pytest

from submitter.errors import Deferred, Refusal, Refused, SubmitterError, Unanswered, Unreadable
from tests.pure.builders import provider

KINDS = ["kling", "cometapi", "powertokens"]

# wire.md §5, row by row: HTTP, code, error class, kind.
TABLE: list[tuple[int, int, type[SubmitterError], Refusal | None]] = [
    (401, 1000, Refused, Refusal.CREDENTIALS),
    (401, 1001, Refused, Refusal.CREDENTIALS),
    (401, 1002, Refused, Refusal.CREDENTIALS),
    (401, 1003, Refused, Refusal.TOKEN_TIME),
    (401, 1004, Refused, Refusal.TOKEN_TIME),
    (429, 1100, Refused, Refusal.ACCOUNT),
    (429, 1101, Refused, Refusal.ACCOUNT),
    (429, 1102, Refused, Refusal.ACCOUNT),
    (403, 1103, Refused, Refusal.CREDENTIALS),
    (400, 1200, Refused, Refusal.PARAMETERS),
    (400, 1201, Refused, Refusal.PARAMETERS),
    (404, 1202, Refused, Refusal.OTHER),
    (404, 1203, Refused, Refusal.OTHER),
    (400, 1300, Refused, Refusal.POLICY),
    (400, 1301, Refused, Refusal.POLICY),
    (429, 1302, Deferred, None),
    (429, 1303, Deferred, None),
    (429, 1304, Refused, Refusal.CREDENTIALS),
    (500, 5000, Unanswered, None),
    (503, 5001, Unanswered, None),
    (504, 5002, Unanswered, None),
]


def _error(http_status: int, body: Any, kind: str = "cometapi") -> SubmitterError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(SubmitterError) as caught:
        provider(kind).read_answer(http_status, raw)
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spell", [int, str], ids=["integer", "text"])
@pytest.mark.parametrize("with_200", [False, True], ids=["own status", "HTTP 200"])
@pytest.mark.parametrize(("http_status", "code", "error", "refusal"), TABLE, ids=lambda each: str(each)[:24])
def test_the_code_decides_whatever_http_status_it_comes_with(
    http_status: int, code: int, error: type, refusal: Refusal | None, *, with_200: bool, spell: type, kind: str
) -> None:
    body = {"code": spell(code), "message": "no", "request_id": "r", "data": None}

    raised = _error(200 if with_200 else http_status, body, kind)

    assert (error, refusal) == (type(raised), getattr(raised, "kind", None))
    assert str(code) in str(raised)


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("External task ID already exists", Refusal.ALREADY_EXISTS),
        ("external_task_id already exist", Refusal.ALREADY_EXISTS),
        ("Task not found by id/external id", Refusal.NOT_FOUND),
        ("model is not supported", Refusal.PARAMETERS),
        ("", Refusal.PARAMETERS),
    ],
)
def test_1201_means_three_things_told_apart_by_its_text(message: str, refusal: Refusal) -> None:
    raised = _error(400, {"code": 1201, "message": message})

    assert (Refused, refusal) == (type(raised), raised.kind)


@pytest.mark.parametrize("code", [1200, 1203])
def test_another_code_with_the_text_of_a_used_id_is_no_used_id(code: int) -> None:
    assert Refusal.ALREADY_EXISTS != _error(400, {"code": code, "message": "already exists"}).kind


@pytest.mark.parametrize(
    ("http_status", "error"),
    [
        *[(each, Refused) for each in (301, 302, 400, 401, 403, 404)],
        (429, Deferred),
        *[(each, Unanswered) for each in (408, 500, 502, 503, 504, 599)],
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'"x"'])
def test_without_a_code_the_http_status_decides(http_status: int, error: type, body: bytes) -> None:
    assert error is type(_error(http_status, body))


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'"x"', b'{"code":0}', b'{"code":0,"data":null}'])
def test_a_200_that_says_nothing_is_unreadable(body: bytes) -> None:
    """Unreadable and not Refused: a task may exist."""
    assert Unreadable is type(_error(200, body))


@pytest.mark.parametrize("code", [0, "0", "success", "SUCCEED", "Success"])
def test_success_has_several_spellings(code: Any) -> None:
    body = {"code": code, "message": "", "data": {"task_id": "1", "task_status": "submitted"}}

    [report] = provider().read_answer(200, json.dumps(body).encode())

    assert "1" == report.provider_task_id


@pytest.mark.parametrize(("http_status", "error"), [(500, Unanswered), (400, Refused), (429, Deferred)])
def test_a_success_code_with_a_bad_status_is_no_success(http_status: int, error: type) -> None:
    body = {"code": 0, "message": "", "data": {"task_id": "1", "task_status": "submitted"}}

    assert error is type(_error(http_status, body))


@pytest.mark.parametrize(("code", "error"), [(1302, Deferred), (1101, Refused), (5000, Unanswered), (1301, Refused)])
@pytest.mark.parametrize("http_status", [200, 400, 500])
def test_the_upstream_s_answer_is_read_out_of_the_gateway_s_message(http_status: int, code: int, error: type) -> None:
    upstream = json.dumps({"code": code, "message": "no", "data": None})

    raised = _error(http_status, {"code": "fail_to_fetch_task", "message": upstream, "data": None})

    assert error is type(raised)
    assert str(code) in str(raised)


@pytest.mark.parametrize(
    "message", ["", "<html>", "null", "[]", '{"code":"fail_to_fetch_task","message":"{}"}', "\ud800"]
)
def test_an_upstream_s_answer_that_cannot_be_read_leaves_the_status_to_decide(message: str) -> None:
    assert Unanswered is type(_error(502, {"code": "fail_to_fetch_task", "message": message}))


def test_an_upstream_s_success_that_the_gateway_failed_to_fetch_is_not_a_refusal() -> None:
    """The upstream took the task: it exists, and sending anew would pay twice."""
    upstream = json.dumps({"code": 0, "message": "SUCCEED", "data": {"task_id": "1", "task_status": "submitted"}})

    raised = _error(400, {"code": "fail_to_fetch_task", "message": upstream})

    assert not isinstance(raised, Refused | Deferred)


@pytest.mark.parametrize("http_status", [400, 500])
def test_comet_s_invalid_request_is_a_refusal_even_with_500(http_status: int) -> None:
    raised = _error(http_status, {"error": {"message": "m", "type": "comet_api_error", "code": "invalid_request"}})

    assert (Refused, Refusal.PARAMETERS, "m") == (type(raised), raised.kind, raised.message)


def test_task_not_exist_is_not_found() -> None:
    raised = _error(400, {"code": "task_not_exist", "message": "task_not_exist", "data": None})

    assert (Refused, Refusal.NOT_FOUND) == (type(raised), raised.kind)


@pytest.mark.parametrize("code", [10**400, True, None, {}, 1.5, "\x00", "1302 "])
@pytest.mark.parametrize("http_status", [200, 400, 500])
def test_a_code_that_is_none_raises_nothing_but_our_errors(http_status: int, code: Any) -> None:
    body = json.dumps({"code": code, "message": code, "data": code}).encode()

    with pytest.raises(SubmitterError):
        provider().read_answer(http_status, body)


def test_a_refusal_carries_the_provider_s_own_words() -> None:
    raised = _error(400, {"code": 1301, "message": "content safety"})

    assert ("1301", "content safety", 400) == (raised.code, raised.message, raised.http_status)
