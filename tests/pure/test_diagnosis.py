"""Every way that a post to the public URL can end, told apart, each with its fix."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.diagnosis import FIXES, Answered, Attempt, Failure, Trouble, diagnose

TOKEN = "a-token-that-nobody-may-see"
URL = f"https://hooks.example.com/callbacks/kling/probe/{TOKEN}"
PROBED = b'{"verdict":"probe"}'
HTML = b"<html><title>Welcome to nginx!</title></html>"


def problem(status: int, code: str, detail: str = "no") -> bytes:
    return json.dumps({"type": "about:blank", "title": "T", "status": status, "code": code, "detail": detail}).encode()


def answered(status: int, body: bytes = HTML, location: str = "", *, took: float = 0.04) -> Attempt:
    said = Answered(status=status, body=body, location=location, took=timedelta(seconds=took))
    return Attempt(url=URL, addresses=("93.184.216.34",), answered=said)


def slow(took: float, again: float) -> Attempt:
    said = Answered(status=200, body=PROBED, took=timedelta(seconds=took), again=timedelta(seconds=again))
    return Attempt(url=URL, answered=said)


def test_an_answer_to_the_probe_is_all_that_is_wanted() -> None:
    finding = diagnose(answered(200, PROBED))

    assert (None, "") == (finding.trouble, finding.fix)
    assert "hooks.example.com is this receiver, and answered after 0.04 s" == finding.says


@pytest.mark.parametrize(
    ("failure", "trouble"),
    [
        (Failure.UNRESOLVED, Trouble.NAME),
        (Failure.REFUSED, Trouble.REFUSED),
        (Failure.UNREACHABLE, Trouble.UNREACHABLE),
        (Failure.NO_CONNECTION, Trouble.FIREWALL),
        (Failure.CERTIFICATE_EXPIRED, Trouble.EXPIRED),
        (Failure.CERTIFICATE_OF_ANOTHER, Trouble.OTHER_NAME),
        (Failure.CERTIFICATE_UNTRUSTED, Trouble.UNTRUSTED),
        (Failure.NO_TLS, Trouble.TLS),
        (Failure.NO_ANSWER, Trouble.HANGS),
        (Failure.NO_HTTP, Trouble.NO_HTTP),
    ],
)
def test_each_failure_is_a_trouble_of_its_own(failure: Failure, trouble: Trouble) -> None:
    finding = diagnose(Attempt(url=URL, failure=failure, detail="in the system's words"))

    assert (trouble, FIXES[trouble]) == (finding.trouble, finding.fix)
    assert finding.says.startswith("hooks.example.com ")
    assert finding.says.endswith(": in the system's words")


def test_no_failure_is_forgotten_and_no_trouble_has_no_fix() -> None:
    told = {diagnose(Attempt(url=URL, failure=each)).trouble for each in Failure}

    assert len(Failure) == len(told)
    assert set(Trouble) == set(FIXES)


@pytest.mark.parametrize(
    ("attempt", "trouble"),
    [
        (answered(404), Trouble.WRONG_HOST),
        (answered(405, b""), Trouble.WRONG_HOST),
        (answered(200), Trouble.WRONG_HOST),
        (answered(200, b'{"ok":true}'), Trouble.WRONG_HOST),
        (answered(204, b""), Trouble.WRONG_HOST),
        (answered(201, PROBED), Trouble.WRONG_HOST),
        (answered(400, b"\xff\xfe"), Trouble.WRONG_HOST),
        (answered(401), Trouble.LOGIN),
        (answered(407), Trouble.LOGIN),
        (answered(403), Trouble.FILTERED),
        (answered(429), Trouble.FILTERED),
        (answered(451), Trouble.FILTERED),
        (answered(500), Trouble.NOTHING_BEHIND),
        (answered(502), Trouble.NOTHING_BEHIND),
        (answered(503, b"no healthy upstream"), Trouble.NOTHING_BEHIND),
        (answered(522), Trouble.NOTHING_BEHIND),
        (answered(404, problem(404, "not_found", "no such callback URL")), Trouble.OTHER_RECEIVER),
        (answered(429, problem(429, "too_many_invalid")), Trouble.OTHER_RECEIVER),
        (answered(404, problem(404, "not_found", "nothing at this path")), Trouble.WRONG_PATH),
        (answered(503, problem(503, "shutting_down")), Trouble.OWN),
        (answered(503, problem(503, "ledger_unavailable", "disk full")), Trouble.OWN),
        (answered(500, problem(500, "internal")), Trouble.OWN),
        (answered(301, b"", URL.replace("https", "http")), Trouble.REDIRECT),
        (slow(9, 0.1), Trouble.COLD_START),
        (slow(9, 8), Trouble.SLOW),
    ],
)
def test_each_answer_is_told_apart(attempt: Attempt, trouble: Trouble) -> None:
    finding = diagnose(attempt)

    assert (trouble, FIXES[trouble]) == (finding.trouble, finding.fix)


@pytest.mark.parametrize(
    ("location", "why"),
    [
        (URL.replace("https", "http"), "from https to http"),
        (f"{URL}/", "for a slash at the end"),
        (f"/callbacks/kling/probe/{TOKEN}/", "for a slash at the end"),
        (URL.replace("hooks.", "www."), "to another host"),
        ("https://login.example.com/sso", "to https://login.example.com/sso"),
        ("", "in a circle"),
        ("http://[nowhere", "to what is no address"),
    ],
)
def test_a_redirect_says_what_it_changes(location: str, why: str) -> None:
    finding = diagnose(answered(308, b"", location))

    assert Trouble.REDIRECT is finding.trouble
    assert why in finding.says


def test_an_address_out_of_reach_is_said_before_anything_else() -> None:
    finding = diagnose(Attempt(url=URL, private=("10.0.0.7",), failure=Failure.REFUSED))

    assert Trouble.PRIVATE is finding.trouble
    assert "10.0.0.7" in finding.says


@given(status=st.integers(100, 599), body=st.binary(max_size=200), location=st.text(max_size=50))
def test_whatever_is_answered_is_something_and_shows_no_token(status: int, body: bytes, location: str) -> None:
    quoting = Answered(
        status=status,
        body=f"cannot POST /callbacks/kling/probe/{TOKEN} ".encode() + body,
        location=f"/callbacks/kling/probe/{TOKEN}" if status % 2 else location,
        took=timedelta(0),
    )

    finding = diagnose(Attempt(url=URL, answered=quoting))

    assert finding.trouble is not None
    assert TOKEN not in finding.says
    assert finding.says.isprintable()


def test_an_attempt_without_an_end_is_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="answered, or it failed"):
        diagnose(Attempt(url=URL))
