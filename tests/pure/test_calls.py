"""Requests described and not sent: which path, under which id, with whose key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from submitter.moments import Moment
from submitter.providers import Call
from submitter.providers.kling import signed_token
from tests.pure.builders import ID, NOW, OURS, provider, received

KINDS = ["kling", "cometapi", "powertokens"]
GET = Call(method="GET", path="/v1/images/omni-image/1")


@pytest.mark.parametrize("endpoint", ["omni-image", "generations"])
@pytest.mark.parametrize(("kind", "prefix"), [("kling", ""), ("cometapi", "/kling"), ("powertokens", "/kling")])
def test_a_task_is_asked_for_by_the_provider_s_id_first(kind: str, prefix: str, endpoint: str) -> None:
    call = provider(kind).query_call(endpoint=endpoint, provider_task_id=ID, external_task_id=OURS)

    assert Call(method="GET", path=f"{prefix}/v1/images/{endpoint}/{ID}") == call


@pytest.mark.parametrize("kind", ["kling", "powertokens"])
def test_a_task_without_a_provider_s_id_is_asked_for_by_ours_where_that_is_promised(kind: str) -> None:
    call = provider(kind).query_call(endpoint="omni-image", provider_task_id=None, external_task_id=OURS)

    assert call.path.endswith(f"/{OURS}")


def test_comet_promises_no_look_up_by_our_id() -> None:
    with pytest.raises(ValueError, match="external id"):
        provider("cometapi").query_call(endpoint="omni-image", provider_task_id=None, external_task_id=OURS)


def test_a_flag_says_otherwise_of_an_account() -> None:
    account = provider("cometapi", flags={"query_by_external_id": True})

    call = account.query_call(endpoint="omni-image", provider_task_id=None, external_task_id=OURS)

    assert f"/kling/v1/images/omni-image/{OURS}" == call.path


@pytest.mark.parametrize("kind", KINDS)
def test_without_any_id_nothing_can_be_asked(kind: str) -> None:
    with pytest.raises(ValueError, match=kind):
        provider(kind).query_call(endpoint="omni-image", provider_task_id=None, external_task_id=None)


@given(said=st.text(min_size=1))
def test_any_id_stays_one_segment_of_the_path(said: str) -> None:
    path = provider().query_call(endpoint="omni-image", provider_task_id=said, external_task_id=None).path

    segment = path.removeprefix("/kling/v1/images/omni-image/")
    assert said == unquote(segment)
    assert not set(segment) & set("/?#.\\ \n")


def test_kling_has_a_list() -> None:
    call = provider("kling").list_call(endpoint="omni-image", page=2, page_size=500)

    assert Call(method="GET", path="/v1/images/omni-image?pageNum=2&pageSize=500") == call


@pytest.mark.parametrize("kind", ["cometapi", "powertokens"])
def test_the_others_have_none(kind: str) -> None:
    with pytest.raises(ValueError, match="no list"):
        provider(kind).list_call(endpoint="omni-image", page=1, page_size=30)


@pytest.mark.parametrize("kind", KINDS)
def test_an_api_key_goes_out_as_a_bearer(kind: str) -> None:
    call = provider(kind).authorize(GET, now=NOW)

    assert {"Authorization": "Bearer key"} == call.headers
    assert {} == GET.headers


@pytest.mark.parametrize("now", [NOW, NOW + 999])
def test_kling_s_token_says_who_and_until_when(now: Moment) -> None:
    """Decoded by hand: HS256, `iss` the access key, `exp` in 1800 s, `nbf` 5 s ago (wire.md §1)."""
    account = provider("kling", access_key="ak", secret_key="sk")

    scheme, token = account.authorize(GET, now=now).headers["Authorization"].split(" ")

    header, claims, mac = token.split(".")
    assert "Bearer" == scheme
    assert {"alg": "HS256", "typ": "JWT"} == _decoded(header)
    assert {"iss": "ak", "exp": NOW // 1000 + 1_800, "nbf": NOW // 1000 - 5} == _decoded(claims)
    expected = hmac.new(b"sk", f"{header}.{claims}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64encode(expected).rstrip(b"=").decode() == mac


@given(access_key=st.text(min_size=1), secret_key=st.text(min_size=1), now=st.integers(0, 2**43))
def test_a_token_has_only_characters_of_a_header(access_key: str, secret_key: str, now: int) -> None:
    token = signed_token(access_key, secret_key, now=now)

    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert access_key == _decoded(token.split(".")[1])["iss"]


def test_an_api_key_goes_before_a_signed_token() -> None:
    account = provider("kling", api_key="key", access_key="ak", secret_key="sk")

    assert "Bearer key" == account.authorize(GET, now=NOW).headers["Authorization"]


@pytest.mark.parametrize(
    ("kind", "by_external_id", "has_list", "one_id"),
    [("kling", True, True, True), ("cometapi", False, False, False), ("powertokens", True, False, False)],
)
def test_each_adapter_assumes_what_wire_md_says(kind: str, by_external_id: bool, has_list: bool, one_id: bool) -> None:
    assumed = provider(kind).capabilities

    assert (by_external_id, has_list, one_id) == (
        assumed.query_by_external_id,
        assumed.list_query,
        assumed.callback_id_is_task_id,
    )
    assert (False, False) == (assumed.batch_query, assumed.signs_callbacks)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flag", ["query_by_external_id", "list_query", "batch_query", "callback_id_is_task_id"])
@pytest.mark.parametrize("said", [True, False])
def test_every_doubtful_point_is_a_flag(kind: str, flag: str, said: bool) -> None:
    assert said == getattr(provider(kind, flags={flag: said}).capabilities, flag)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verdict", ["applied", "duplicate", "stale", "conflict", "probe"])
def test_whatever_was_understood_is_acknowledged_with_200(kind: str, verdict: str) -> None:
    status, body = provider(kind).acknowledgement(verdict)

    assert (200, {"verdict": verdict}) == (status, json.loads(body))


@pytest.mark.parametrize("kind", KINDS)
def test_this_family_shakes_no_hands(kind: str) -> None:
    assert provider(kind).handshake(received({"challenge": "x"})) is None


def _decoded(part: str) -> dict[str, object]:
    decoded: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return decoded


def test_several_tasks_are_asked_for_at_once_where_a_flag_says_so() -> None:
    account = provider("kling", flags={"batch_query": True})

    assert "/tasks?task_ids=1,a%2Fb" == account.batch_call(provider_task_ids=["1", "a/b"]).path
    assert "/tasks?external_task_ids=t_a,t_b" == account.batch_call(external_task_ids=["t_a", "t_b"]).path


@pytest.mark.parametrize("kind", KINDS)
def test_no_adapter_assumes_that_several_can_be_asked_for_at_once(kind: str) -> None:
    with pytest.raises(ValueError, match=r"flags\.batch_query"):
        provider(kind).batch_call(provider_task_ids=["1"])


@pytest.mark.parametrize(("theirs", "ours"), [([], []), (["1"], ["t_a"]), (["1"] * 21, [])])
def test_a_batch_is_of_one_to_twenty_ids_of_one_kind(theirs: list[str], ours: list[str]) -> None:
    account = provider("kling", flags={"batch_query": True})

    with pytest.raises(ValueError, match="1 to 20 ids of one kind"):
        account.batch_call(provider_task_ids=theirs, external_task_ids=ours)
