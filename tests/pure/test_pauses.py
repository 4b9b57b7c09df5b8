"""What an answer says of the account that it was given to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from receiver.pauses import is_service
from submitter.errors import Deferred, SubmitterError, Unanswered, Unreadable
from submitter.providers import provider_for
from submitter.report import StatusReport
from submitter.settings import ProviderSettings

KLING = provider_for("kling", ProviderSettings.model_validate({"kind": "kling", "api_key": "any"}))


def said(http_status: int, body: bytes) -> Sequence[StatusReport] | SubmitterError:
    """The answer, as its dialect reads it."""
    try:
        return KLING.read_answer(http_status, body)
    except SubmitterError as error:
        return error


@pytest.mark.parametrize("code", [1101, 1102, 1001, 1002])
def test_trouble_of_the_account_or_its_key_is_no_service(code: int) -> None:
    assert not is_service(said(429, b'{"code":%d,"message":"no"}' % code))


@pytest.mark.parametrize(
    ("http_status", "body"),
    [
        (200, b'{"code":0,"data":{"task_id":"86","task_status":"submitted"}}'),
        (400, b'{"code":1201,"message":"no such model"}'),
        (429, b'{"code":1302,"message":"too fast"}'),
        (429, b'{"code":1303,"message":"full"}'),
    ],
)
def test_any_other_word_of_the_providers_own_is_service(http_status: int, body: bytes) -> None:
    assert is_service(said(http_status, body))


@pytest.mark.parametrize(
    "nothing",
    [
        said(429, b"<html>too many</html>"),
        said(503, b'{"code":5001,"message":"busy"}'),
        Unanswered("time-out"),
        Deferred("cannot connect"),
        Unreadable("no JSON"),
    ],
    ids=["a proxy's 429", "5xx", "silence", "no connection", "no report"],
)
def test_what_is_no_word_of_the_provider_says_nothing(nothing: SubmitterError) -> None:
    assert not is_service(nothing)
