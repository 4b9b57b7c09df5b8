"""What the gateway says, and to which paths it listens: pure, so looked at without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.gateway.dialect import NOT_FOUND, STUMBLED, UNREACHABLE, Objection, not_found, refused, succeeded
from receiver.gateway.objections import invalid, objection_of, refusal_as_it_came, refusal_in
from receiver.gateway.paths import Asked, Kind, Paths
from receiver.gateway.wishes import Reach, read_key, read_wishes
from receiver.ledger.errors import LedgerUnavailable, Overloaded, QuotaReached, TaskExists, UnknownTask
from receiver.problems import CODES, Problem
from submitter.errors import Deferred, Fault, FieldProblem, InvalidRequest, Refusal, Refused, Unanswered
from submitter.providers import KINDS
from submitter.settings import Kind as Dialect
from submitter.settings import ProviderSettings

PATHS = Paths("/kling")
IMAGES = "/kling/v1/images/omni-image"
TEXT = Objection(http_status=400, code=1200, message="no", is_own=True)


def said(answer: Any) -> Any:
    return json.loads(answer.body)


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_submitter_reads_what_is_said(kind: Dialect) -> None:
    """The reader was written for the providers, and not for us."""
    provider = KINDS[kind](kind, ProviderSettings(kind=kind))
    data = {"task_id": "t_1", "task_status": "processing", "task_info": {}, "created_at": 1, "updated_at": 2}
    answer = succeeded(data, request_id="r")
    [report] = provider.read_answer(200, answer.body)
    missing = not_found(kind, request_id="r")
    with pytest.raises(Refused) as unknown:
        provider.read_answer(missing.http_status, missing.body)
    with pytest.raises(Unanswered):
        provider.read_answer(503, refused(kind, UNREACHABLE, request_id="r").body)
    with pytest.raises(Refused) as wrong:
        provider.read_answer(400, refused(kind, TEXT, request_id="r").body)

    assert ("t_1", "processing") == (report.provider_task_id, report.status)
    assert Refusal.NOT_FOUND is unknown.value.kind
    assert Refusal.PARAMETERS is wrong.value.kind


def test_each_kind_has_its_own_shape() -> None:
    own = {kind: said(refused(kind, TEXT, request_id="r")) for kind in KINDS}
    passed = {kind: said(refused(kind, NOT_FOUND, request_id="r")) for kind in KINDS}

    assert own["kling"] == own["powertokens"] == {"code": 1200, "message": "no", "request_id": "r"}
    error = {"message": "no", "type": "comet_api_error", "param": "", "code": "invalid_request"}
    assert {"error": error} == own["cometapi"]
    assert [1201, "1201", 1201] == [passed[kind]["code"] for kind in ("kling", "cometapi", "powertokens")]


def test_a_pause_is_said_in_whole_seconds() -> None:
    assert "2" == refused("kling", UNREACHABLE, request_id="r").retry_after
    assert refused("kling", TEXT, request_id="r").retry_after is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Problem(401, "api_key_required", "no"), (401, 1002)),
        (Problem(401, "key_expired", "no"), (401, 1004)),
        (Problem(401, "key_not_yet_valid", "no"), (401, 1003)),
        (Problem(403, "scope_missing", "no"), (403, 1103)),
        (Problem(404, "not_found", "no"), (404, 1203)),
        (Problem(413, "too_large", "no"), (413, 1201)),
        (Problem(503, "shutting_down", "no"), (503, 5001)),
        (Problem(418, "teapot", "no"), (500, 5000)),
        (InvalidRequest([FieldProblem("n", "no")]), (400, 1201)),
        (TaskExists("x"), (400, 1201)),
        (QuotaReached(1), (429, 1303)),
        (Overloaded("full"), (503, 5001)),
        (LedgerUnavailable("disk full"), (503, 5001)),
        (Deferred("no route"), (503, 5001)),
        (Unanswered("slow"), (504, 5002)),
        (Refused("page", code="", http_status=301), (500, 5000)),
        (UnknownTask("x"), (500, 5000)),
        (ZeroDivisionError(), (500, 5000)),
    ],
)
def test_every_error_of_ours_is_one_that_a_provider_has(error: Exception, expected: tuple[int, int]) -> None:
    objection = objection_of(error, has_credentials=True)

    assert expected == (objection.http_status, objection.code)
    assert (objection.retry_after is not None) == (expected[0] in {429, 503})


def test_no_code_of_a_key_is_a_stumble() -> None:
    unauthorized = [name for name, code in CODES.items() if code.status in {401, 403}]
    objections = [objection_of(Problem(CODES[name].status, name, ""), has_credentials=False) for name in unauthorized]

    assert {1001, 1103} == {each.code for each in objections}
    assert STUMBLED not in objections


def test_trouble_of_the_store_tells_a_client_nothing_of_it() -> None:
    assert "disk" not in objection_of(LedgerUnavailable("disk I/O error in /srv"), has_credentials=True).message


def test_one_wrong_form_makes_it_a_wrong_form() -> None:
    value, form = FieldProblem("n", "too many"), FieldProblem("prompt", "is missing", Fault.FORM)

    assert (1201, 1200) == (invalid([value]).code, invalid([value, form]).code)
    assert "n: too many; prompt: is missing" == invalid([value, form]).message


def test_a_refusal_that_somebody_else_heard_is_read_from_the_tasks_words() -> None:
    for refusal in (Refused("no\nfoxes", code="1301", http_status=400), Refused("no", code="", http_status=400)):
        again = refusal_in(str(refusal))

        assert (refusal.code, refusal.message) == (again.code, again.message.removeprefix("refused: "))


@pytest.mark.parametrize("status", [200, 400, 429])
def test_a_refusal_in_json_is_passed_on_byte_by_byte(status: int) -> None:
    body = b'{ "code" : 1301,\n"message":"no \xf0\x9f\xa6\x8a" }'
    answer = refusal_as_it_came("cometapi", Refused("no", code="1301", http_status=status, body=body), request_id="r")

    assert (status, body) == (answer.http_status, answer.body)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", IMAGES, Asked(Kind.CREATE, "omni-image")),
        ("GET", IMAGES, Asked(Kind.LIST, "omni-image")),
        ("HEAD", f"{IMAGES}/x", Asked(Kind.QUERY, "omni-image", "x")),
        ("GET", f"{IMAGES}/a%2Fb%25", Asked(Kind.QUERY, "omni-image", "a/b%")),
        ("GET", "/kling/v1/images/generations/x", Asked(Kind.QUERY, "generations", "x")),
        ("GET", "/v1/images/omni-image/x", None),
        ("GET", f"{IMAGES}/x/y", None),
        ("GET", f"{IMAGES}/", None),
        ("POST", f"{IMAGES}/x", None),
        ("PUT", IMAGES, None),
        ("GET", "/kling/v1/videos/x", None),
        ("GET", "", None),
    ],
)
def test_the_ledger_serves_the_documented_paths_and_no_others(method: str, path: str, expected: Asked | None) -> None:
    assert expected == PATHS.asked(method, path)


WORDS = ["kling", "KLING", "v1", "images", "omni-image", "omni%2Dimage", "generations", "x", "é", "%C3%A9", "@"]
SIGNS = ["/", "//", "%2F", "%252F", ".", "..", "%2e%2E", ";", "\\", "%5c", "%00", "%20", "?", "#"]
PIECES = st.sampled_from([*WORDS, *SIGNS])


@given(st.lists(PIECES, max_size=14).map("".join))
def test_what_may_pass_is_one_path_by_every_reading(path: str) -> None:
    if not PATHS.may_pass(path):
        return
    parts = path.removesuffix("/").split("/")

    assert path.isascii()
    assert "" == parts[0]
    assert not {"", ".", "..", "%2e%2E"} & set(parts[1:])
    assert not any(strange in path.lower() for strange in ("\\", "%5c", "%2f", "%25", "%00", ";", "?", "#"))
    assert not PATHS.is_own(path)


@pytest.mark.parametrize(
    "path",
    [
        IMAGES,
        f"{IMAGES}/",
        IMAGES.upper(),
        "/kling//v1/images/omni-image",
        "/kling/v1/./images/omni%252dimage",
        "/kling/v1/images/omni-image/%20/",
        "/kling/v1/images/omni-image;v=2",
        "\\kling\\v1\\images\\generations",
    ],
)
def test_a_create_is_known_however_it_is_spelt(path: str) -> None:
    assert PATHS.is_own(path)
    assert not PATHS.may_pass(path)


def test_empty_wishes_are_none() -> None:
    body = {"prompt": "x", "external_task_id": "", "callback_url": None}
    wishes = read_wishes("kling", body, reach=Reach.PUBLIC)

    assert (None, None, {"prompt": "x"}) == (wishes.task_id, wishes.callback_url, wishes.fields)


def test_the_letters_of_a_resolution_are_free_where_its_page_writes_them_so() -> None:
    read = [read_wishes(kind, {"resolution": "4K"}, reach=Reach.PUBLIC).fields["resolution"] for kind in KINDS]

    assert {"powertokens": "4k", "kling": "4K", "cometapi": "4K"} == dict(zip(KINDS, read, strict=True))


@pytest.mark.parametrize("header", ["x" * 201, "ä", "a\x7fb"])
def test_an_idempotency_key_is_short_and_visible(header: str) -> None:
    with pytest.raises(InvalidRequest, match="Idempotency-Key"):
        read_key(header)


def test_no_idempotency_key_is_none() -> None:
    assert (None, None, "k") == (read_key(None), read_key(""), read_key("k"))
