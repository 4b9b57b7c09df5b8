"""Bodies that mean harm: over a real server and through the ledger, each is 2xx or 4xx and harms no other."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from receiver.ledger.errors import Unwritable
from receiver.ledger.judging import Heard
from receiver.task import Decision, Source, Verdict
from submitter.providers.base import Trust
from submitter.report import ReportedStatus, StatusReport
from tests.flows.builders import House, World, path_of, receiving, sandboxed

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGEST = 262_144
A_LOOK = 0.25  # seconds of computing: no body may keep the loop, and with it everybody else, for longer
GOOD = 64


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with receiving(tmp_path_factory.mktemp("ledger"), world, "cometapi") as running:
        yield running


def news(**fields: object) -> bytes:
    return json.dumps({"task_status": "processing", **fields}).encode()


def full_of(item: str, *, before: str, after: str) -> bytes:
    """As many items as a callback may hold."""
    count = (LARGEST - len(before) - len(after)) // (len(item) + 1)
    return (before + ",".join([item] * count) + after).encode()


def nested(depth: int, inner: str = '{"task_status":"processing"}') -> bytes:
    return ('{"data":' * depth + inner + "}" * depth).encode()


STATUS = '{"task_status":"processing",'
UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "spaces": b" \n\t" * 1_000,
    "a byte order mark": b"\xef\xbb\xbf" + news(),
    "UTF-16": news().decode().encode("utf-16"),
    "invalid UTF-8": b'{"task_status":"\xff\xfe"}',
    "an overlong NUL": b'{"task_status":"processing","message":"\xc0\x80"}',
    "a surrogate as UTF-8": b'{"task_status":"processing","message":"\xed\xa0\x80"}',
    "a bare NUL": b'{"task_status":"processing","message":"\x00"}',
    "a lone high surrogate": b'{"task_status":"\\ud800"}',
    "a lone low surrogate": b'{"task_status":"processing","message":"\\udc00"}',
    "a lone surrogate nobody reads": b'{"task_status":"processing","\\ud800":1}',
    "not a number": b'{"task_status":"processing","created_at":NaN}',
    "infinity": b'{"task_status":"processing","created_at":-Infinity}',
    "an id of thousands of digits": b'{"task_status":"processing","task_id":%b}' % (b"9" * 5_000),
    "a number of a quarter of a million digits": b'{"task_status":"processing","x":%b}' % (b"9" * 250_000),
    "an id of thousands of characters": news(task_id="x" * 10_000),
    "arrays to the brim": b"[" * LARGEST,
    "objects to the brim": b'{"a":' * (LARGEST // 5),
    "arrays in arrays": b'{"task_status":"processing","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "a list of numbers to the brim": full_of("0", before="[", after="]"),
    "wrappers beyond count": nested(150),
    "more wrappers than anybody uses": nested(9),
    "wrappers around nothing": nested(150, "{}"),
    "a trailing comma": b'{"task_status":"processing",}',
    "two documents": news() + news(),
    "gzip": bytes.fromhex("1f8b0800000000000003"),
    "HTML": b"<html><body>502 Bad Gateway</body></html>",
    "a form": b"task_status=processing&task_id=1",
}
UNDERSTOOD: dict[str, bytes] = {
    "one key twice": b'{"task_status":"failed","task_status":"processing"}',
    "a key to the brim": full_of('"task_status":"processing"', before="{", after="}"),
    "a float beyond all": b'{"task_status":"processing","created_at":1e999,"final_unit_deduction":1e999}',
    "a float below all": b'{"task_status":"processing","created_at":-1e-999}',
    "a number of four thousand digits": b'{"task_status":"processing","created_at":%b}' % (b"9" * 4_000),
    "an index of four thousand digits": (
        b'{"task_status":"processing","task_result":{"images":[{"index":%b,"url":"https://a.example"}]}}'
        % (b"9" * 4_000)
    ),
    "U+0000 everywhere": news(task_id="1\x002", task_status_msg="a\x00b", task_result={"images": [{"url": "\x00"}]}),
    "U+FEFF in words": news(task_id="\ufeff1", message="\ufeff"),
    "a pair of surrogates": b'{"task_status":"processing","message":"\\ud83e\\udd8a"}',
    "characters of all planes": news(message="".join(map(chr, range(1, 0xD800, 97))) + "\U0010ffff\u202e\ufffe"),
    "an endless status": b'{"task_status":"%b"}' % (b"s" * 200_000),
    "an endless message": news(task_status_msg="m" * 200_000),
    "an endless URL": news(task_result={"images": [{"index": 0, "url": "https://a.example/" + "u" * 200_000}]}),
    "an endless deduction": news(final_unit_deduction="8" * 200_000),
    "thousands of images": full_of(
        '{"url":"https://a.example/1"}', before=STATUS + '"task_result":{"images":[', after="]}}"
    ),
    "thousands of images that are none": full_of("1", before=STATUS + '"task_result":{"images":[', after="]}}"),
    "thousands of outputs": full_of('{"type":"video"}', before=STATUS + '"outputs":[', after="]}"),
    "thousands of bills": full_of("{}", before=STATUS + '"billing":[', after="]}"),
    "ids with odd characters": news(task_id="../..\u2028'; drop table tasks; -- \u202e%s{}"),
    "as many wrappers as are read": nested(8),
    "depth that nobody reads": b'{"task_status":"processing","x":' + b"[" * 150 + b"]" * 150 + b"}",
    "a status that is a number": b'{"task_status":1e400}',
    "a status of another case": b'{"task_status":" PROCESSING "}',
}


async def heard(house: House, name: str, body: bytes) -> tuple[int, str, float]:
    """The status, the verdict or code, and how much computing the answer took."""
    path = path_of(house.runtime.journal.callback_url("cometapi", name))
    gc.disable()  # it would look through all that this test run holds, which is none of the body's doing
    try:
        began = time.process_time()
        answer = await house.http.post(path, content=body)
        took = time.process_time() - began
    finally:
        gc.enable()
    document = answer.json()
    return answer.status_code, document.get("code") or document["verdict"], took


def slug(what: str) -> str:
    return what.replace(" ", "-").replace("+", "")


@pytest.mark.parametrize("what", UNREADABLE)
async def test_what_is_no_report_is_told_so(house: House, what: str) -> None:
    status, code, took = await heard(house, f"no-{slug(what)}", UNREADABLE[what])

    assert (422, "unreadable") == (status, code)
    assert took < A_LOOK
    assert 404 == (await house.http.get(f"/v1/tasks/no-{slug(what)}")).status_code


@pytest.mark.parametrize("what", UNDERSTOOD)
async def test_what_is_a_report_is_heard_kept_and_shown(house: House, what: str) -> None:
    name = f"yes-{slug(what)}"

    status, verdict, took = await heard(house, name, UNDERSTOOD[what])
    again, repeated, _ = await heard(house, name, UNDERSTOOD[what])
    history = await house.history(name)

    assert (200, 200) == (status, again)
    assert (verdict, repeated) in {("applied", "duplicate"), ("stale", "duplicate")}
    assert took < A_LOOK
    assert 1 == len(history["reports"])
    assert 2 == history["reports"][0]["count"]


async def test_a_body_a_byte_too_long_is_refused_and_one_of_just_the_length_is_heard(house: House) -> None:
    body = news()

    longest = await heard(house, "longest", body + b" " * (LARGEST - len(body)))
    longer = await heard(house, "longer", body + b" " * (LARGEST - len(body) + 1))

    assert ((200, "applied"), (413, "too_large")) == (longest[:2], longer[:2])


@pytest.mark.parametrize(
    "what",
    [
        "objects to the brim",
        "a lone high surrogate",
        "an id of thousands of digits",
        "wrappers beyond count",
        "U+0000 everywhere",
        "thousands of images",
        "an endless message",
        "ids with odd characters",
    ],
)
async def test_a_poison_in_the_midst_of_good_ones_harms_none(house: House, what: str) -> None:
    poison = (UNREADABLE | UNDERSTOOD)[what]
    names = [f"good-{slug(what)}-{number}" for number in range(GOOD)]
    good = [heard(house, name, news()) for name in names]
    half = GOOD // 2

    said = await asyncio.gather(*good[:half], heard(house, f"poison-{slug(what)}", poison), *good[half:])
    poisoned = said.pop(half)

    assert [(200, "applied")] * GOOD == [each[:2] for each in said]
    assert poisoned[0] in {200, 422}  # an id that was named before is another task's by now


async def test_in_one_batch_what_no_store_can_hold_is_refused_alone(house: House) -> None:
    """No reader lets such text through; if one ever did, the others of its batch would not pay for it."""

    def said(number: int) -> Heard:
        name = f"batched-{number}"
        message = "\ud800" if number == GOOD // 2 else "fine"
        report = StatusReport(
            provider="cometapi",
            provider_task_id=None,
            external_task_id=name,
            status=ReportedStatus.PROCESSING,
            message=message,
        )
        return Heard(
            provider="cometapi",
            external_task_id=name,
            report=report,
            source=Source.CALLBACK,
            trust=Trust.TOKEN,
            now=house.runtime.clock(),
        )

    batch = [said(number) for number in range(GOOD + 1)]
    outcomes = await house.runtime.ledger.apply(batch, house.runtime.ingest.judge)
    poisoned = outcomes.pop(GOOD // 2)

    assert isinstance(poisoned, Unwritable)
    assert [Verdict.APPLIED] * GOOD == [each.verdict for each in outcomes if isinstance(each, Decision)]
    assert None is await house.runtime.ledger.record(f"batched-{GOOD // 2}")


async def test_all_poisons_at_once_harm_none(house: House) -> None:
    poisons = list((UNREADABLE | UNDERSTOOD).values())
    mixed = [
        heard(house, f"mixed-{number}", poisons[number // 2] if number % 2 else news())
        for number in range(2 * len(poisons))
    ]

    said = await asyncio.gather(*mixed)

    assert [(200, "applied")] * len(poisons) == [each[:2] for each in said[::2]]
    assert {200, 422} == {each[0] for each in said[1::2]}


async def test_after_all_of_it_nothing_was_stumbled_over(house: House) -> None:
    assert "internal" not in {code for _, code, _ in house.runtime.counters.refusals}
    assert house.runtime.ledger.trouble is None
