"""Bytes that are hardly HTTP: each is answered 2xx or 4xx with a code that is counted, or the line is closed."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from starlette.types import Receive, Scope, Send

from receiver.boundedhttp import Limits
from submitter import OmniImageRequest
from tests.flows.builders import House, World, eventually, listening, path_of, receiving, sandboxed, served
from tests.flows.rawhttp import answers_to, line_to, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Limits()
HURRIED = Limits(head_seconds=0.15, linger_seconds=0.3)
LIVE = request("/livez")
PROCESSING = b'{"task_status":"processing"}'
TLS_HELLO = bytes.fromhex("16030100f8010000f40303") + bytes(240)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with receiving(tmp_path_factory.mktemp("ledger"), world, "cometapi") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hurried(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with receiving(tmp_path_factory.mktemp("hurried"), world, "cometapi", limits=HURRIED) as running:
        yield running


async def expected(house: House, name: str) -> str:
    """The path at which a task that runs for long is called back about."""
    fox = OmniImageRequest(prompt="a red fox [[drop_all,seconds=600]]")
    await house.runtime.submitter.submit("cometapi", fox, external_task_id=name)
    return path_of(house.runtime.journal.callback_url("cometapi", name))


async def state_of(house: House, name: str) -> str:
    state: str = (await house.task(name))["state"]
    return state


def post(*lines: bytes) -> bytes:
    return b"".join([b"POST /livez HTTP/1.1\r\nhost: x\r\n", *lines])


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "garbage": (b"\x00\x01\x02\x03 what is this\r\n\r\n", 400, "bad_http"),
    "a TLS hello": (TLS_HELLO, 400, "bad_http"),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), 400, "bad_http"),
    "an unknown version": (b"GET / HTTP/7.3\r\n\r\n", 400, "bad_http"),
    "another protocol's version": (b"OPTIONS rtsp://x RTSP/1.0\r\n\r\n", 400, "bad_http"),
    "an unknown method": (b"FROBNICATE / HTTP/1.1\r\n\r\n", 400, "bad_http"),
    "a tunnel": (b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n", 400, "bad_http"),
    "a target that is none": (b"GET : HTTP/1.1\r\n\r\n", 400, "bad_http"),
    "the whole server as target": (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", 404, "not_found"),
    "a NUL in the target": (b"GET /li\x00vez HTTP/1.1\r\n\r\n", 400, "bad_http"),
    "a target that is not ASCII": (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", 400, "bad_http"),
    "a NUL in a header": (b"GET / HTTP/1.1\r\na: \x00\r\n\r\n", 400, "bad_http"),
    "a space before the colon": (b"GET / HTTP/1.1\r\nhost : x\r\n\r\n", 400, "bad_http"),
    "a header without a name": (b"GET / HTTP/1.1\r\n: x\r\n\r\n", 400, "bad_http"),
    "a folded header": (b"GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", 400, "bad_http"),
    "a bare line feed": (b"GET / HTTP/1.1\nhost: x\n\n", 400, "bad_http"),
    "a negative length": (post(b"content-length: -1\r\n\r\n"), 400, "bad_http"),
    "a length that is no number": (post(b"content-length: 0x10\r\n\r\n"), 400, "bad_http"),
    "two lengths": (post(b"content-length: 1\r\ncontent-length: 2\r\n\r\nab"), 400, "bad_http"),
    "one length twice": (post(b"content-length: 1\r\ncontent-length: 1\r\n\r\na"), 400, "bad_http"),
    "a length beyond 64 bits": (post(b"content-length: 99999999999999999999999\r\n\r\n"), 400, "bad_http"),
    "a length and chunks": (
        post(b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        400,
        "bad_http",
    ),
    "chunks and a length": (
        post(b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n"),
        400,
        "bad_http",
    ),
    "another encoding than chunks": (post(b"transfer-encoding: gzip\r\n\r\nabc"), 400, "bad_http"),
    "chunks that are not last": (post(b"transfer-encoding: chunked, gzip\r\n\r\nabc"), 400, "bad_http"),
    "a long target": (request("/" + "a" * LIMITS.target_bytes), 414, "path_too_long"),
    "a target without end": (b"GET /" + b"a" * 40_000, 414, "path_too_long"),
    "many headers": (request("/livez", **{f"x{n}": n for n in range(LIMITS.headers)}), 431, "headers_too_large"),
    "a long header": (request("/livez", x="y" * LIMITS.head_bytes), 431, "headers_too_large"),
    "a header without end": (b"GET / HTTP/1.1\r\nx: " + b"y" * 40_000, 431, "headers_too_large"),
    "a header's name without end": (b"GET / HTTP/1.1\r\n" + b"y" * 40_000, 431, "headers_too_large"),
    "empty lines without end": (b"\r\n" * 20_000, 431, "headers_too_large"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_no_decent_http_is_refused_with_a_code_and_counted(
    house: House, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    bytes_sent, status, code = REFUSED[what]
    label = ("" if status != 404 else "unrouted", code, "")
    before = house.runtime.counters.refusals[label]

    async with line_to(house) as line:
        await line.send(bytes_sent)
        reply = await line.reply()
        if status != 404:
            assert await line.reply() is None

    assert reply is not None
    assert (status, code) == reply.said
    assert "application/problem+json" == reply.headers["content-type"]
    assert status == 404 or "close" == reply.headers["connection"]
    assert before + 1 == house.runtime.counters.refusals[label]
    assert [] == [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


async def test_a_large_head_behind_another_request_is_refused_too(house: House) -> None:
    large = request("/livez", x="y" * LIMITS.head_bytes)
    async with line_to(house) as line:
        await line.send(LIVE + large[:-4])
        first = await line.reply()
        await line.send(large[-4:])
        replies = await line.replies()

    assert first is not None
    assert (200, [(431, "headers_too_large")]) == (first.status, [reply.said for reply in replies])


async def test_an_old_request_without_a_version_is_answered_and_nothing_more(house: House) -> None:
    replies = await answers_to(house, b"GET /livez\r\n\r\n")

    assert all(200 <= reply.status < 500 for reply in replies)


SERVED: dict[str, tuple[bytes, int]] = {
    "an absolute target": (b"GET http://elsewhere.example/livez HTTP/1.1\r\nhost: x\r\n\r\n", 200),
    "HTTP/1.0 without a host": (b"GET /livez HTTP/1.0\r\n\r\n", 200),
    "no host at all": (b"GET /livez HTTP/1.1\r\n\r\n", 200),
    "a host that is none": (request("/livez", host="[::::"), 200),
    "a slash too many": (request("/livez/", host="[::::"), 404),
    "an escaped NUL": (request("/v1/tasks/%00"), 404),
    "escapes that are not UTF-8": (request("/v1/tasks/%ff%fe%c0%80"), 404),
    "escapes that are none": (request("/v1/tasks/%zz%"), 404),
    "an escaped surrogate": (request("/v1/tasks/%ed%a0%80"), 404),
    "escaped slashes": (request("/v1/tasks/..%2f..%2fetc%2fpasswd"), 404),
    "odd queries": (request("/v1/tasks?limit=%00&after=%ff&&&=&limit=nan"), 422),
    "a limit of a thousand digits": (request("/v1/tasks?limit=" + "9" * 5_000), 422),
    "an infinite wait": (request("/v1/tasks/x?wait=inf"), 422),
    "a wrong method": (request("/livez", b""), 405),
    "an unknown expectation": (request("/livez", expect="miracles"), 200),
    "an empty line before": (b"\r\n\r\n" + LIVE, 200),
    "header values of any byte": (request("/livez", x=bytes(range(0x80, 0x100)).decode("latin-1")), 200),
}


@pytest.mark.parametrize("what", SERVED)
async def test_what_is_odd_but_http_is_served(house: House, what: str) -> None:
    bytes_sent, status = SERVED[what]

    async with line_to(house) as line:
        await line.send(bytes_sent)
        reply = await line.reply()

    assert reply is not None
    assert status == reply.status
    assert status == 200 or "" != reply.said[1]


@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.3, IRC/6.9"])
async def test_another_protocol_is_declined_by_answering_in_this_one(
    house: House, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade = request("/livez", connection="Upgrade", upgrade=protocol, sec_websocket_key="x", sec_websocket_version=13)

    replies = await answers_to(house, upgrade + b"\x81\x85not http any more")

    assert [(200, "close")] == [(reply.status, reply.headers["connection"]) for reply in replies]
    assert [] == [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


async def test_a_callback_that_asks_for_another_protocol_is_heard(house: House) -> None:
    path = await expected(house, "upgrading")

    replies = await answers_to(house, request(path, PROCESSING, connection="Upgrade", upgrade="websocket") + b"\x81")

    assert [(200, "applied")] == [reply.said for reply in replies]


async def test_who_says_nothing_is_not_waited_for(hurried: House) -> None:
    before = hurried.runtime.counters.refusals["", "too_slow", ""]

    assert [(408, "too_slow")] == [reply.said for reply in await answers_to(hurried)]
    assert before + 1 == hurried.runtime.counters.refusals["", "too_slow", ""]


@pytest.mark.parametrize("beginning", [b"P", b"POST /callbacks", LIVE[:-2], b"\r\n"])
async def test_a_head_that_does_not_end_is_not_waited_for(hurried: House, beginning: bytes) -> None:
    assert [(408, "too_slow")] == [reply.said for reply in await answers_to(hurried, beginning)]


async def test_drops_of_a_head_buy_no_time(hurried: House) -> None:
    async with line_to(hurried) as line:
        hearing = asyncio.create_task(line.replies())
        for byte in LIVE[:30]:
            await line.send(bytes([byte]))
            await asyncio.sleep(0.01)
        replies = await hearing

    assert [(408, "too_slow")] == [reply.said for reply in replies]


@pytest.mark.parametrize("rest", [b"\r\n", b"\r\n" * 40])
async def test_empty_lines_after_an_answer_buy_no_time_and_no_second_answer(hurried: House, rest: bytes) -> None:
    """One more answer would be taken for that of the request which the client is about to send."""
    async with line_to(hurried, LIVE) as line:
        first = await line.reply()
        await line.send(rest)
        replies = await line.replies()

    assert first is not None
    assert (200, []) == (first.status, replies)


async def test_a_head_that_came_while_nobody_read_is_not_taken_for_a_slow_one(hurried: House) -> None:
    """While a pipelined request waits, reading is paused: what lies in the socket was sent in time."""
    path = await expected(hurried, "paused")
    waiting = request("/v1/tasks/paused?wait=0.5")
    callback = request(path, PROCESSING)
    async with line_to(hurried, waiting + LIVE + callback[:30]) as line:
        await asyncio.sleep(0.02)  # lest both pieces come in one
        await line.send(callback[30:])
        replies = [await line.reply() for _ in range(3)]

    assert [200, 200, 200] == [reply.status for reply in replies if reply is not None]


async def test_a_head_that_came_while_this_machine_stood_still_is_not_taken_for_a_slow_one(world: World) -> None:
    """Its time is up in the very turn of the loop in which the request before it is answered."""
    begun, asked = asyncio.Event(), asyncio.Event()

    async def answers_late(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/late":
            begun.set()
            await asked.wait()
            asyncio.get_running_loop().call_soon(time.sleep, 2 * HURRIED.head_seconds)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    with listening() as listener:
        async with (
            served(answers_late, listener, limits=HURRIED),
            line_to(listener.getsockname()[1], request("/late") + LIVE + LIVE[:9]) as line,
        ):
            await begun.wait()
            await line.send(LIVE[9:])
            asked.set()
            replies = [await line.reply() for _ in range(3)]

    assert [204, 204, 204] == [reply.status for reply in replies if reply is not None]


async def test_who_resets_in_the_midst_of_many_answers_leaves_no_trace(house: House) -> None:
    for _ in range(20):
        async with line_to(house) as line:
            await line.send(request("/nothing") * 12)
            await asyncio.sleep(0)
            line.writer.transport.abort()

    assert 200 == (await house.http.get("/livez")).status_code  # and see the last test of this file


async def test_a_hundred_slow_heads_do_not_pile_up_and_harm_nobody(hurried: House) -> None:
    async def slow() -> list[tuple[int, str]]:
        return [reply.said for reply in await answers_to(hurried, b"POST /callbacks/x")]

    slow_ones = [asyncio.create_task(slow()) for _ in range(100)]
    async with line_to(hurried, LIVE) as line:
        amid = await line.reply()

    assert amid is not None
    assert 200 == amid.status
    assert [[(408, "too_slow")]] * 100 == await asyncio.gather(*slow_ones)


async def test_pipelined_requests_are_answered_in_their_order(house: House) -> None:
    path = await expected(house, "pipelined")
    async with line_to(house) as line:
        await line.send(request(path, PROCESSING) + request("/nowhere") + request(path, PROCESSING) + LIVE)
        replies = [await line.reply() for _ in range(4)]

    assert [(200, "applied"), (404, "not_found"), (200, "duplicate"), (200, "")] == [
        reply.said for reply in replies if reply is not None
    ]


async def test_of_pipelined_requests_only_so_many_are_queued(house: House) -> None:
    replies = await answers_to(house, LIVE * 500)

    assert [200] * (LIMITS.pipelined + 1) + [429] == [reply.status for reply in replies]
    assert (429, "too_many_pipelined") == replies[-1].said


async def test_answers_that_are_owed_come_before_a_refusal(house: House) -> None:
    path = await expected(house, "before-garbage")

    replies = await answers_to(house, request(path, PROCESSING) + b"\x00garbage")

    assert [(200, "applied"), (400, "bad_http")] == [reply.said for reply in replies]


async def test_a_slow_head_behind_a_request_takes_nothing_from_it(hurried: House) -> None:
    replies = await answers_to(hurried, request("/v1/tasks/none?wait=1") + b"GET /")

    assert (404, "not_found") == replies[0].said


@pytest.mark.parametrize("count", [1, 5])
async def test_who_has_said_all_and_still_listens_is_answered(house: House, count: int) -> None:
    path = await expected(house, f"half-closed-{count}")
    async with line_to(house) as line:
        await line.send(request(path, PROCESSING) * count)
        line.hang_up_half()
        replies = await line.replies()

    assert [(200, "applied"), *[(200, "duplicate")] * (count - 1)] == [reply.said for reply in replies]
    assert "processing" == await state_of(house, f"half-closed-{count}")


async def test_who_hangs_up_does_not_undo_what_was_sent(house: House) -> None:
    path = await expected(house, "hung-up")
    async with line_to(house) as line:
        await line.send(request(path, PROCESSING))

    await house.until("hung-up", lambda task: task["state"] == "processing")


@pytest.mark.parametrize("cut_at", [1, 60, -6, -1])
@pytest.mark.parametrize("chunked", [False, True])
async def test_what_was_cut_short_changes_nothing(house: House, cut_at: int, chunked: bool) -> None:
    name = f"cut-{cut_at}-{chunked}"
    path = await expected(house, name)
    body = PROCESSING
    sent = request(path, body)
    if chunked:
        sent = request(
            path, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), content_length=None, transfer_encoding="chunked"
        )
    async with line_to(house) as line:
        await line.send(sent[:cut_at])
        line.hang_up_half()
        assert [] == await line.replies()

    assert 200 == (await house.http.get("/livez")).status_code
    assert "submitted" == await state_of(house, name)


async def test_a_body_that_was_cut_short_is_counted(house: House) -> None:
    path = await expected(house, "cut-and-counted")
    key = ("/callbacks/{provider}/{external_task_id}/{token}", "cut_short", "cometapi")
    before = house.runtime.counters.refusals[key]
    async with line_to(house) as line:
        await line.send(request(path, PROCESSING)[:-1])

    async def counted() -> bool:
        return before < house.runtime.counters.refusals[key]

    assert await eventually(counted)


async def test_behind_whole_requests_one_that_is_cut_short_is_dropped_alone(house: House) -> None:
    path = await expected(house, "cut-behind")
    async with line_to(house) as line:
        await line.send(LIVE + request(path, PROCESSING)[:-1])
        line.hang_up_half()
        replies = await line.replies()

    assert [200] == [reply.status for reply in replies]
    assert "submitted" == await state_of(house, "cut-behind")


@pytest.mark.parametrize("rest", [b"zz\r\n", b"-1\r\n", b"fffffffffffffffffff\r\n", b"5\r\nabcdefg", b"0x5\r\n"])
async def test_a_body_with_a_bad_chunk_changes_nothing(house: House, rest: bytes) -> None:
    name = f"bad-chunk-{rest[:3].decode().strip()}"
    path = await expected(house, name)
    head = request(path, b"", content_length=None, transfer_encoding="chunked")
    body = PROCESSING

    replies = await answers_to(house, head, b"%x\r\n%b\r\n" % (len(body), body), rest)

    assert [(400, "bad_http")] == [reply.said for reply in replies]
    assert "submitted" == await state_of(house, name)


async def test_a_body_in_chunks_of_a_byte_is_heard(house: House) -> None:
    path = await expected(house, "in-crumbs")
    head = request(path, b"", content_length=None, transfer_encoding="chunked")
    crumbs = b"".join(b"1;why=not\r\n%c\r\n" % byte for byte in PROCESSING)

    async with line_to(house) as line:
        await line.send(head, crumbs, b"0\r\nx-sum: 7\r\n\r\n")
        reply = await line.reply()

    assert reply is not None
    assert (200, "applied") == reply.said


@pytest.mark.parametrize("flood", [b"1;" + b"x" * 8_192, b"0\r\nx: " + b"y" * 8_192, b"0\r\n" + b"a: b\r\n" * 1_300])
async def test_what_stands_around_a_body_has_an_end(house: House, flood: bytes) -> None:
    path = await expected(house, f"flood-{flood[:3].hex()}-{len(flood)}")
    head = request(path, b"", content_length=None, transfer_encoding="chunked")
    more = flood[-8_190:]

    async with line_to(house) as line:
        await line.send(head, flood)
        for _ in range(10):
            await line.send(more)
            await asyncio.sleep(0.005)  # so that the pieces are read apart
        replies = await line.replies()

    assert [(400, "bad_http")] == [reply.said for reply in replies]


async def test_trailers_are_no_headers(house: House) -> None:
    """A proxy judges headers and lets trailers pass: `via` up there would have been a 403."""
    head = request("/v1/tasks", b"", content_length=None, transfer_encoding="chunked")

    async with line_to(house) as line:
        await line.send(head + b"2\r\n{}\r\n0\r\nvia: 1.1 x\r\n\r\n")
        reply = await line.reply()

    assert reply is not None
    assert 422 == reply.status


async def test_who_expects_to_be_told_to_go_on_is_told(house: House) -> None:
    path = await expected(house, "polite")
    body = PROCESSING
    async with line_to(house) as line:
        await line.send(request(path, b"", content_length=len(body), expect="100-continue"))
        told = await line.reply()
        await line.send(body)
        reply = await line.reply()

    assert told is not None
    assert reply is not None
    assert (100, (200, "applied")) == (told.status, reply.said)


async def test_who_expects_to_be_told_and_may_not_is_refused_at_once(hurried: House) -> None:
    path = "/callbacks/cometapi/x/AAAAAAAAAAAAAAAAAAAAAAAA"

    replies = await answers_to(hurried, request(path, b"", content_length=99, expect="100-continue"))

    assert [(404, "not_found")] == [reply.said for reply in replies]


async def test_a_sender_that_is_too_loud_to_listen_still_hears_why(house: House) -> None:
    """Closed upon unread bytes, the connection would be reset and the answer with it."""
    path = await expected(house, "loud")
    async with line_to(house) as line:
        await line.send(request(path, b"", content_length=None, transfer_encoding="chunked"))
        await line.send(*[b"8000\r\n" + b"x" * 0x8000 + b"\r\n"] * 60)
        reply = await line.reply()

    assert reply is not None
    assert (413, "too_large") == reply.said


async def test_a_body_nobody_reads_is_not_waited_for(hurried: House) -> None:
    async with line_to(hurried) as line:
        await line.send(b"GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        replies = await line.replies()

    assert [200] == [reply.status for reply in replies]


async def test_a_connection_goes_on_after_a_body_that_came_late(house: House) -> None:
    path = "/callbacks/cometapi/x/AAAAAAAAAAAAAAAAAAAAAAAA"
    async with line_to(house) as line:
        await line.send(request(path, b"", content_length=5))
        first = await line.reply()
        await line.send(b"late!" + LIVE)
        second = await line.reply()

    assert first is not None
    assert second is not None
    assert ((404, "not_found"), 200) == (first.said, second.status)


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity", "\xff"])
async def test_a_compressed_body_is_declined(house: House, encoding: str) -> None:
    name = f"packed-{encoding.encode('latin-1').hex()[-48:]}"
    path = await expected(house, name)
    body = gzip.compress(PROCESSING)

    async with line_to(house) as line:
        await line.send(request(path, body, content_encoding=encoding))
        reply = await line.reply()

    assert reply is not None
    assert ((415, "unsupported_encoding"), "identity") == (reply.said, reply.headers["accept-encoding"])
    assert "submitted" == await state_of(house, name)


@pytest.mark.parametrize("kind", [None, "", "text/plain", "application/x-www-form-urlencoded", "\xff;;charset=klingon"])
async def test_the_content_type_is_not_looked_at(house: House, kind: str | None) -> None:
    path = await expected(house, f"typed-{(kind or str(kind)).encode('latin-1').hex()[-48:]}")

    async with line_to(house) as line:
        await line.send(request(path, PROCESSING, content_type=kind))
        reply = await line.reply()

    assert reply is not None
    assert (200, "applied") == reply.said


@pytest.mark.parametrize("host", ["[", "a b/c?d#e", "", "\uff03".encode().decode("latin-1"), "x" * 4_000])
async def test_a_hostile_host_does_not_keep_a_callback_out(house: House, host: str) -> None:
    path = await expected(house, f"host-{len(host)}")

    async with line_to(house) as line:
        await line.send(request(path, PROCESSING, host=host))
        reply = await line.reply()

    assert reply is not None
    assert (200, "applied") == reply.said


async def test_after_all_of_it_the_receiver_has_stumbled_over_nothing(house: House, tmp_path: Path) -> None:
    codes = {code for _, code, _ in house.runtime.counters.refusals}

    assert "internal" not in codes
    assert 200 == (await house.http.get("/readyz")).status_code
