"""Standard Webhooks, against the published vector, the reference library and hostile headers."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from submitter.errors import Unreadable
from submitter.moments import Moment
from submitter.providers import Trust
from submitter.signatures import BadSignature, key_of, sign, verify
from tests.pure.builders import NOW, provider, received

# wire.md §4, as Kling publishes it.
SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
BODY = b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'
HEADERS = {
    "webhook-id": "9876543210",
    "webhook-timestamp": "1781080794",
    "webhook-signature": "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
}
SENT: Moment = 1_781_080_794_000
OTHER = "whsec_" + base64.b64encode(b"another secret of 24 byte").decode()
KEYS = st.binary(min_size=1, max_size=64).map(lambda key: "whsec_" + base64.b64encode(key).decode())
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=40)


def test_the_published_vector_is_signed_as_published() -> None:
    signature = sign(SECRET, message_id="9876543210", sent_at=SENT, body=BODY)

    assert HEADERS["webhook-signature"] == signature


def test_the_published_vector_verifies() -> None:
    assert verify([SECRET], HEADERS, BODY, now=SENT) is None


@pytest.mark.parametrize("away", [-300_000, -299_999, 0, 299_999, 300_000])
def test_a_timestamp_up_to_300_seconds_away_is_now(away: int) -> None:
    assert verify([SECRET], HEADERS, BODY, now=SENT + away) is None


@pytest.mark.parametrize("away", [-300_001, 300_001, 3_600_000])
def test_a_timestamp_further_away_is_not(away: int) -> None:
    with pytest.raises(BadSignature, match="300 s"):
        verify([SECRET], HEADERS, BODY, now=SENT + away)


@pytest.mark.parametrize("into_the_second", [0, 1, 999])
def test_the_boundary_is_counted_from_the_second_that_was_signed(into_the_second: int) -> None:
    """The timestamp has whole seconds and this clock milliseconds: none of them is rounded in the sender's favour."""
    late = SENT + 300_000 + into_the_second

    try:
        verify([SECRET], HEADERS, BODY, now=late)
    except BadSignature:
        is_now = False
    else:
        is_now = True

    assert (into_the_second == 0) == is_now


@pytest.mark.parametrize("prefixed", [[True, False], [False, True]])
def test_a_secret_is_the_same_with_and_without_its_prefix(prefixed: list[bool]) -> None:
    signing, verifying = (SECRET if each else SECRET.removeprefix("whsec_") for each in prefixed)
    signature = sign(signing, message_id="9876543210", sent_at=SENT, body=BODY)

    assert HEADERS["webhook-signature"] == signature
    assert verify([verifying], HEADERS, BODY, now=SENT) is None


@pytest.mark.parametrize("secrets", [[SECRET, OTHER], [OTHER, SECRET]])
def test_during_a_rotation_either_secret_is_valid(secrets: list[str]) -> None:
    assert verify(secrets, HEADERS, BODY, now=SENT) is None


@pytest.mark.parametrize(
    "listed", ["v1,AAAA {}", "{} v1,AAAA", "v2,whatever v1a,AAAA {}", "v1,not-base64!! {}", "  {}", ", v1, {}"]
)
def test_any_signature_of_the_list_may_match(listed: str) -> None:
    headers = HEADERS | {"webhook-signature": listed.format(HEADERS["webhook-signature"])}

    assert verify([SECRET], headers, BODY, now=SENT) is None


@pytest.mark.parametrize(("place", "is_read"), [(1, True), (16, True), (17, False), (5_000, False)])
def test_of_an_endless_list_the_first_sixteen_are_read(place: int, is_read: bool) -> None:
    listed = " ".join([*["v1,AAAA"] * (place - 1), HEADERS["webhook-signature"]])

    try:
        verify([SECRET], HEADERS | {"webhook-signature": listed}, BODY, now=SENT)
    except BadSignature:
        matched = False
    else:
        matched = True

    assert is_read == matched


@pytest.mark.parametrize("message_id", ["msg.with.dots", ".", "msg_é", "a b", "消息", "\ud800"])
def test_a_message_id_may_be_any_text(message_id: str) -> None:
    signature = sign(SECRET, message_id=message_id, sent_at=SENT, body=BODY)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(SENT // 1000), "webhook-signature": signature}

    assert verify([SECRET], headers, BODY, now=SENT) is None
    with pytest.raises(BadSignature):
        verify([SECRET], headers | {"webhook-id": message_id + "."}, BODY, now=SENT)


def test_dots_moved_from_the_id_to_the_body_give_bytes_that_are_no_report() -> None:
    """`id.timestamp.body` can be cut elsewhere where an id has dots: what then is the body begins with a number."""
    seconds = SENT // 1000
    signature = sign(SECRET, message_id=f"msg.{seconds}", sent_at=SENT + 1000, body=BODY)
    headers = {"webhook-id": "msg", "webhook-timestamp": str(seconds), "webhook-signature": signature}
    cut = f"{seconds + 1}.".encode() + BODY

    assert verify([SECRET], headers, cut, now=SENT) is None
    with pytest.raises(Unreadable):
        _kling().read_callback(received(cut, headers), now=SENT)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "9876543211"},
        {"webhook-timestamp": "1781080795"},
        {"webhook-signature": "v1,VsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="},
        {"webhook-signature": "v2," + HEADERS["webhook-signature"][3:]},
        {"webhook-signature": HEADERS["webhook-signature"][3:]},
        {"webhook-signature": ""},
        {"webhook-id": ""},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "1781080794.0"},
        {"webhook-timestamp": " 1781080794"},
        {"webhook-timestamp": "١٧٨١٠٨٠٧٩٤"},
        {"webhook-timestamp": "-1781080794"},
        {"webhook-timestamp": "9" * 5000},
    ],
)
def test_anything_else_than_what_was_signed_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        verify([SECRET], HEADERS | changed, BODY, now=SENT)


@pytest.mark.parametrize("name", HEADERS)
def test_a_missing_header_is_refused(name: str) -> None:
    headers = {key: value for key, value in HEADERS.items() if key != name}

    with pytest.raises(BadSignature):
        verify([SECRET], headers, BODY, now=SENT)


def test_another_body_is_refused() -> None:
    with pytest.raises(BadSignature):
        verify([SECRET], HEADERS, BODY + b" ", now=SENT)


@pytest.mark.parametrize("secrets", [[], [OTHER]])
def test_without_the_secret_nothing_verifies(secrets: list[str]) -> None:
    with pytest.raises(BadSignature):
        verify(secrets, HEADERS, BODY, now=SENT)


@given(
    headers=st.dictionaries(st.sampled_from([*HEADERS]), ANY_TEXT | st.sampled_from([*HEADERS.values()])),
    body=st.binary(max_size=40) | st.just(BODY),
)
def test_any_headers_and_any_bytes_give_none_or_bad_signature(headers: dict[str, str], body: bytes) -> None:
    try:
        outcome = verify([SECRET, OTHER], headers, body, now=SENT)
    except BadSignature:
        outcome = None

    assert outcome is None


@given(listed=st.binary(max_size=60), timestamp=st.binary(max_size=14), message_id=st.binary(max_size=20))
def test_any_header_bytes_give_none_or_bad_signature(listed: bytes, timestamp: bytes, message_id: bytes) -> None:
    """As a server hands them on: each byte is a character."""
    headers = {
        "webhook-id": message_id.decode("latin-1"),
        "webhook-timestamp": timestamp.decode("latin-1"),
        "webhook-signature": "v1," + listed.decode("latin-1"),
    }
    for changed in (headers, headers | {"webhook-timestamp": HEADERS["webhook-timestamp"]}):
        with pytest.raises(BadSignature):
            verify([SECRET, OTHER], changed, BODY, now=SENT)


@given(secret=KEYS, message_id=st.text("abc0129_-.", min_size=1), body=st.text(), seconds=st.integers(0, 2**32))
def test_the_reference_library_signs_alike(secret: str, message_id: str, body: str, seconds: int) -> None:
    theirs = Webhook(secret).sign(message_id, datetime.fromtimestamp(seconds, UTC), body)

    ours = sign(secret, message_id=message_id, sent_at=seconds * 1000 + 999, body=body.encode())

    assert theirs == ours


@given(secret=KEYS, message_id=st.text("abc0129_-.é", min_size=1), body=st.text(), seconds=st.integers(0, 2**32))
def test_what_the_reference_library_signs_verifies_here(secret: str, message_id: str, body: str, seconds: int) -> None:
    theirs = Webhook(secret).sign(message_id, datetime.fromtimestamp(seconds, UTC), body)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(seconds), "webhook-signature": theirs}

    assert verify([secret], headers, body.encode(), now=seconds * 1000) is None


def test_what_is_signed_here_verifies_in_the_reference_library() -> None:
    """The library reads the clock itself, so this once the clock's own now is given."""
    now = int(datetime.now(UTC).timestamp() * 1000)
    signature = sign(SECRET, message_id="msg_1", sent_at=now, body=b'{"a":"\xc3\xa9"}')
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(now // 1000), "webhook-signature": signature}

    assert {"a": "é"} == Webhook(SECRET).verify('{"a":"é"}', headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify('{"a":"é"}', headers)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_é", "whsec_a", "whsec_not base64!", "plain text", "пароль", "whsec_\ud800", "WHSEC_AAAA"],
)
def test_a_secret_that_is_no_base64_is_refused_in_words(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        key_of(secret)


def test_an_error_names_no_secret() -> None:
    with pytest.raises(ValueError, match="webhook secret") as caught:
        key_of("whsec_very-secret!")

    assert "very-secret" not in str(caught.value)


# --- which callbacks are trusted how far


def _kling(**changes: object) -> object:
    return provider("kling", webhook_secrets=[SECRET], **changes)


def test_a_signed_callback_is_trusted_as_signed() -> None:
    _, trust = _kling().read_callback(received(BODY, HEADERS), now=SENT)

    assert Trust.SIGNED == trust


def test_a_missing_signature_is_token_trust() -> None:
    _, trust = _kling().read_callback(received(BODY), now=SENT)

    assert Trust.TOKEN == trust


def test_a_missing_signature_is_refused_where_one_is_required() -> None:
    with pytest.raises(BadSignature):
        _kling(require_signature=True).read_callback(received(BODY), now=SENT)


@pytest.mark.parametrize("is_required", [False, True])
def test_a_wrong_signature_is_refused_before_the_body_is_read(is_required: bool) -> None:
    headers = HEADERS | {"webhook-id": "other"}

    with pytest.raises(BadSignature):
        _kling(require_signature=is_required).read_callback(received("not JSON", headers), now=SENT)


def test_a_signature_nobody_can_check_is_token_trust() -> None:
    _, trust = provider("kling").read_callback(received(BODY, HEADERS), now=NOW)

    assert Trust.TOKEN == trust
