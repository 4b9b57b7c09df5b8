"""Whatever arrives is a report or Unreadable, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from submitter.errors import SubmitterError, Unreadable
from submitter.moments import EARLIEST, LATEST
from submitter.providers.reading import (
    MAX_AMOUNTS,
    MAX_ID,
    MAX_IMAGES,
    MAX_MESSAGE,
    MAX_URL,
    MAX_WORD,
    STATUS_WORDS,
    parse,
    read_task,
    read_tasks,
)
from submitter.report import ReportedStatus, StatusReport
from tests.pure.builders import NOW, A, B, provider, received

KINDS = ["kling", "cometapi", "powertokens"]
NAMES = st.sampled_from(
    [
        "task_id",
        "id",
        "task_status",
        "status",
        "task_status_msg",
        "message",
        "fail_reason",
        "task_info",
        "external_task_id",
        "external_id",
        "task_result",
        "result_type",
        "images",
        "series_images",
        "outputs",
        "index",
        "url",
        "watermark_url",
        "type",
        "created_at",
        "updated_at",
        "create_time",
        "update_time",
        "final_unit_deduction",
        "final_balance_deduction",
        "quota",
        "billing",
        "amount",
        "code",
        "data",
        "error",
    ]
)
WORDS = st.sampled_from([*STATUS_WORDS, "series", "image", "0", "NaN", "inf", "-1e999", "9" * 70, "\x00", "1302"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(st.characters(exclude_categories=[]))
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=25
)


def _read(fields: dict[str, Any]) -> StatusReport:
    return read_task({"task_id": "1", "task_status": "succeed"} | fields, provider="cometapi")


def _callback(body: bytes) -> StatusReport:
    report, _ = provider().read_callback(received(body), now=NOW)
    return report


@settings(max_examples=300)
@given(value=JSON)
def test_any_json_is_a_report_or_unreadable(value: Any) -> None:
    try:
        report = read_task(value, provider="cometapi")
    except Unreadable:
        return

    _assert_normal(report)


@settings(max_examples=300)
@given(value=JSON, kind=st.sampled_from(KINDS), http_status=st.sampled_from([200, 201, 301, 400, 404, 429, 500, 503]))
def test_any_json_in_an_answer_is_reports_or_one_of_our_errors(value: Any, kind: str, http_status: int) -> None:
    body = json.dumps(value).encode()

    try:
        reports = provider(kind).read_answer(http_status, body)
    except SubmitterError:
        return

    for each in reports:
        _assert_normal(each)
    assert http_status < 300


@given(body=st.binary(max_size=60))
def test_any_bytes_are_a_report_or_unreadable(body: bytes) -> None:
    try:
        report = _callback(body)
    except Unreadable:
        return

    _assert_normal(report)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"data":' * 50_000,
        b'{"data":' * 150 + b"{}" + b"}" * 150,
        b'{"task_status":"succeed","task_id":NaN}',
        b'{"task_status":"succeed","task_id":Infinity}',
        b'{"task_status":"succeed","task_id":' + b"9" * 5_000 + b"}",
        b'{"task_status":"\\ud800"}',
        b'{"task_status":"succeed"} trailing',
        b"{'task_status':'succeed'}",
        b'"succeed"',
        b"null",
        b"7",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_hostile_bytes_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        _callback(body)


def test_of_duplicate_keys_the_last_one_counts() -> None:
    assert "2" == _callback(b'{"task_status":"succeed","task_id":"1","task_id":"2"}').provider_task_id


def test_an_error_quotes_no_more_than_a_line_of_the_body() -> None:
    with pytest.raises(Unreadable) as caught:
        parse(b"secret\n" * 100)

    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "field", ["task_id", "task_status", "task_status_msg", "final_unit_deduction", "external_task_id"]
)
def test_u_0000_becomes_u_fffd(field: str) -> None:
    """SQLite would cut the text there, Postgres refuse it."""
    report = _read({field: "a\x00b"})

    said = {report.provider_task_id, report.status, report.message, report.unit_deduction, report.external_task_id}
    assert "a\ufffdb" in said


def test_u_0000_in_an_image_s_url_becomes_u_fffd() -> None:
    report = _read({"task_result": {"images": [{"url": "https://h/\x00", "watermark_url": "https://w/\x00"}]}})

    assert [("https://h/\ufffd", "https://w/\ufffd")] == [(each.url, each.watermark_url) for each in report.images]


# --- words


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("submitted", "submitted"),
        ("processing", "processing"),
        ("succeed", "succeed"),
        ("succeeded", "succeed"),
        ("failed", "failed"),
        ("NOT_START", "submitted"),
        ("SUBMITTED", "submitted"),
        ("QUEUED", "submitted"),
        ("IN_PROGRESS", "processing"),
        ("SUCCESS", "succeed"),
        ("FAILURE", "failed"),
        (" succeed ", "succeed"),
    ],
)
def test_each_word_of_the_family_is_known(word: str, status: str) -> None:
    report = _read({"task_status": word})

    assert (ReportedStatus(status), ReportedStatus) == (report.status, type(report.status))


@pytest.mark.parametrize("word", ["under_review", "succeedx", "done", "成功"])
def test_an_unknown_word_is_kept_raw_and_never_final(word: str) -> None:
    report = _read({"task_status": word})

    assert (word, False) == (report.status, report.is_final)


@pytest.mark.parametrize("word", [None, "", "  ", True, [], {}])
def test_no_word_at_all_is_unreadable(word: Any) -> None:
    with pytest.raises(Unreadable):
        _read({"task_status": word})


# --- numbers and times


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        (1782450245512, 1782450245512),
        ("1782450245512", 1782450245512),
        (1782450245512.0, 1782450245512),
        ("1782450245512.9", 1782450245512),
        (EARLIEST, EARLIEST),
        (EARLIEST - 1, None),
        (LATEST - 1, LATEST - 1),
        (LATEST, None),
        (1782450245, None),
        (-1, None),
        (10**400, None),
        ("9" * 65, None),
        ("soon", None),
        ("NaN", None),
        ("inf", None),
        (float("inf"), None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_times_outside_2000_to_2100_become_null(said: Any, moment: int | None) -> None:
    assert moment == _read({"created_at": said}).created_at
    assert moment == _read({"updated_at": said}).updated_at


@pytest.mark.parametrize("said", [867283741759111202, "867283741759111202"])
def test_an_id_keeps_every_digit(said: Any) -> None:
    assert "867283741759111202" == _read({"task_id": said}).provider_task_id


def test_an_id_longer_than_any_of_this_family_is_unreadable() -> None:
    assert "i" * MAX_ID == _read({"task_id": "i" * MAX_ID}).provider_task_id
    with pytest.raises(Unreadable):
        _read({"task_id": "i" * (MAX_ID + 1)})


def test_the_old_names_are_read_before_the_newer() -> None:
    report = _read({"id": "2", "task_info": {"external_task_id": "t"}, "external_id": "x", "status": "failed"})

    assert ("1", "t", "succeed") == (report.provider_task_id, report.external_task_id, report.status)


def test_a_name_with_nothing_in_it_is_passed_over() -> None:
    report = _read(
        {"task_id": None, "id": "2", "task_status": "", "status": "failed", "created_at": 0, "create_time": NOW}
    )

    assert ("2", "failed", NOW) == (report.provider_task_id, report.status, report.created_at)


# --- images


@pytest.mark.parametrize(
    ("listed", "indexes"),
    [
        ([{"url": A}, {"url": B}], [0, 1]),
        ([{"index": 1, "url": A}, {"index": 0, "url": B}], [1, 0]),
        ([{"index": "1", "url": A}], [1]),
        ([{"index": None, "url": A}, {"index": True, "url": B}], [0, 1]),
        ([{"index": -1, "url": A}, {"index": 10**30, "url": B}], [0, 1]),
        ([{"index": 0, "url": A}, {"index": 0, "url": B}], [0]),
        ([{"index": 0}, {"url": ""}, {"url": B}, None, 7], [2]),
        ([{"url": "u" * MAX_URL}, {"url": "u" * (MAX_URL + 1)}], [0]),
        ([{"url": f"https://h/{each}"} for each in range(MAX_IMAGES + 9)], [*range(MAX_IMAGES)]),
    ],
)
def test_each_image_has_one_place(listed: list[Any], indexes: list[int]) -> None:
    assert indexes == [each.index for each in _read({"task_result": {"images": listed}}).images]


@pytest.mark.parametrize("result", [None, {}, [], "x", {"images": None}, {"images": {}}, {"images": []}])
def test_a_missing_result_has_no_images(result: Any) -> None:
    assert () == _read({"task_result": result}).images


@pytest.mark.parametrize(
    ("result", "is_series"),
    [
        ({"result_type": "series"}, True),
        ({"series_images": [{"url": A}]}, True),
        ({"result_type": "single", "images": [{"url": A}]}, False),
        ({"result_type": "single", "series_images": []}, False),
        ({}, False),
    ],
)
def test_a_series_is_told_from_single_images(result: dict[str, Any], is_series: bool) -> None:
    assert is_series == _read({"task_result": result}).is_series


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({"quota": "0.2", "list_price": "0.25"}, {"quota": "0.2", "list_price": "0.25"}),
        ({"quota": 0.2, "list_price": None, "in": {"usd": "1"}, "is_free": False}, {"quota": "0.2"}),
        ({"quota": "0\x002", "": "x"}, {"quota": "0\ufffd2", "": "x"}),
        ({f"amount_{number}": "1" * 100 for number in range(20)}, {f"amount_{each}": "1" * 64 for each in range(8)}),
        ({}, None),
        (None, None),
        ("0.2", None),
        ([{"quota": "0.2"}], None),
    ],
)
def test_what_a_task_took_off_the_balance_is_kept_in_the_providers_words(said: object, read: object) -> None:
    told = _read({"final_balance_deduction": said}).balance_deduction

    assert read == (None if told is None else json.loads(told))


def test_a_gateways_wrapper_keeps_the_balance_of_what_it_wraps() -> None:
    inner = {"task_id": "2", "task_status": "succeed", "final_balance_deduction": {"quota": "0.2"}}
    wrapped = {"task_id": "1", "status": "SUCCESS", "data": {"code": 0, "data": inner}}

    assert '{"quota":"0.2"}' == read_task(wrapped, provider="powertokens").balance_deduction


def test_a_page_of_tasks_is_read_whole_or_not_at_all() -> None:
    good = {"task_id": "1", "task_status": "succeed"}

    assert 2 == len(read_tasks([good, good], provider="kling"))
    with pytest.raises(Unreadable):
        read_tasks([good, {}], provider="kling")


def _assert_normal(report: StatusReport) -> None:
    """Inside every bound that a ledger relies on."""
    texts = [
        report.provider_task_id,
        report.external_task_id,
        str(report.status),
        report.message,
        report.unit_deduction,
    ]
    texts += [text for each in report.images for text in (each.url, each.watermark_url)]
    indexes = [each.index for each in report.images]
    assert not [text for text in texts if text and "\x00" in text]
    assert len(report.provider_task_id or "") <= MAX_ID
    assert len(report.external_task_id or "") <= MAX_ID
    assert 1 <= len(str(report.status)) <= MAX_WORD
    assert len(report.message) <= MAX_MESSAGE
    assert len(report.unit_deduction or "") <= MAX_WORD
    amounts = json.loads(report.balance_deduction or "{}")
    assert len(amounts) <= MAX_AMOUNTS
    assert all(len(text) <= MAX_WORD and "\x00" not in text for pair in amounts.items() for text in pair)
    assert len(set(indexes)) == len(indexes)
    assert all(0 <= index < MAX_IMAGES for index in indexes)
    assert all(1 <= len(each.url) <= MAX_URL for each in report.images)
    assert all(EARLIEST <= moment < LATEST for moment in (report.created_at, report.updated_at) if moment is not None)
