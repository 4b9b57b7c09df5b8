"""One account's settings: durations, URLs, credentials."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from submitter.settings import ProviderSettings, is_loopback, parse_duration, show_duration

SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("25m", timedelta(minutes=25)),
        ("24h", timedelta(hours=24)),
        ("90d", timedelta(days=90)),
        ("500ms", timedelta(milliseconds=500)),
        ("1.5h", timedelta(minutes=90)),
        ("0s", timedelta(0)),
        (" 5s ", timedelta(seconds=5)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration: timedelta) -> None:
    assert duration == parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "90", "s", "90 s", "90S", "90sec", "-5s", "1e3s", "1..2s", ".s", "s90", "5mh", "9" * 400 + "d", "٣s"]
)
def test_anything_else_is_none_and_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="90s"):
        parse_duration(text)


@given(whole=st.integers(0, 10**13))
def test_a_shown_duration_reads_back_as_it_was(whole: int) -> None:
    duration = timedelta(milliseconds=whole)

    assert duration == parse_duration(show_duration(duration))


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(milliseconds=1), "1ms"),
        (timedelta(seconds=90), "90s"),
        (timedelta(seconds=120), "2m"),
        (timedelta(minutes=90), "90m"),
        (timedelta(hours=24), "24h"),
        (timedelta(days=2), "2d"),
        (timedelta(days=90), "90d"),
    ],
)
def test_a_duration_is_shown_in_its_largest_whole_unit(duration: timedelta, text: str) -> None:
    assert text == show_duration(duration)


@given(text=st.text(st.characters(exclude_categories=[])))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError:
        return

    assert isinstance(duration, timedelta)
    assert duration >= timedelta(0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("example.com", False),
        ("", False),
        (None, False),
    ],
)
def test_loopback_is_judged_as_text(host: str | None, expected: bool) -> None:
    assert expected == is_loopback(host)


@pytest.mark.parametrize(
    ("kind", "origin"),
    [
        ("cometapi", "https://api.cometapi.com"),
        ("kling", "https://api-singapore.klingai.com"),
        ("powertokens", "https://api.powertokens.ai"),
    ],
)
def test_each_kind_has_its_own_address(kind: str, origin: str) -> None:
    assert origin == ProviderSettings(kind=kind, api_key="k").origin


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_url": "api.cometapi.com"}, "is no URL"),
        ({"base_url": "ftp://h"}, "is no URL"),
        ({"base_url": "https://"}, "is no URL"),
        ({"base_url": "http://api.cometapi.com"}, "write https://"),
        ({"access_key": "a", "secret_key": "s"}, "Kling's"),
        ({"kind": "kling", "access_key": "a"}, "go together"),
        ({"kind": "kling", "secret_key": "s"}, "go together"),
        ({"require_signature": True}, "webhook_secrets"),
        ({"webhook_secrets": ["nonsense!"]}, "whsec_"),
        ({"timeout": "-1s"}, "duration"),
        ({"timeout": -1}, "greater than or equal"),
        ({"slots": 0}, "greater than or equal"),
        ({"confirm": "always"}, "'never', 'doubt' or 'terminal'"),
        ({"kind": "fal"}, "'cometapi', 'kling' or 'powertokens'"),
        ({"surprise": 1}, "surprise"),
        ({"flags": {"surprise": True}}, "surprise"),
    ],
)
def test_what_cannot_work_is_refused_with_the_fix(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ProviderSettings.model_validate({"kind": "cometapi"} | fields)

    assert words in str(caught.value)


def test_a_sandbox_on_loopback_needs_neither_tls_nor_key() -> None:
    account = ProviderSettings(kind="cometapi", base_url="http://127.0.0.1:9999/")

    assert ("http://127.0.0.1:9999", True, True) == (
        account.origin,
        account.is_on_loopback,
        account.has_credentials,
    )


def test_no_secret_is_shown() -> None:
    account = ProviderSettings(
        kind="kling", access_key="ak", secret_key="very-secret", api_key="key-secret", webhook_secrets=(SECRET,)
    )

    for shown in (repr(account), str(account), account.model_dump_json()):
        assert not [each for each in ("very-secret", "key-secret", SECRET) if each in shown]
