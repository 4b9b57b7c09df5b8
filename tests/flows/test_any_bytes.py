"""Any bytes, as a body or over a connection: a report or unreadable, 2xx or 4xx; the receiver lives on."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import WIRE_SEEDS, WORDS
from tests.fuzz.bodies import Bodies, bodies
from tests.fuzz.mutations import LEAVES, NAMES, mutated
from tests.fuzz.wire import Wire, wire

TRIED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
FRAGMENTS = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([word.encode("latin-1") for word in WORDS["wire"]]),
    st.sampled_from(WIRE_SEEDS),
    st.integers(0, 2**70).map(lambda number: b"%d" % number),
)
JSON = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=20,
)
REPORT = b'{"task_id":"1","task_status":"succeed","task_result":{"images":[{"index":0,"url":"https://a.example/0"}]}}'


@pytest.fixture(scope="module")
def hearer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bodies]:
    with bodies(tmp_path_factory.mktemp("bodies")) as hearing:
        yield hearing


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with wire(tmp_path_factory.mktemp("wire")) as sending:
        yield sending


@TRIED
@given(body=st.binary(max_size=200))
def test_any_bytes_as_a_body_are_heard_or_told_no(hearer: Bodies, body: bytes) -> None:
    hearer.hear(body)


@TRIED
@given(seed=st.integers(0, 2**32), rounds=st.integers(1, 6))
def test_any_report_gone_wrong_is_heard_or_told_no(hearer: Bodies, seed: int, rounds: int) -> None:
    body = REPORT
    for each in range(rounds):
        body = mutated(body, seed=seed + each, longest=65_536) or body

    hearer.hear(body)


def test_what_was_heard_was_not_all_unreadable(hearer: Bodies) -> None:
    hearer.hear(REPORT)

    assert hearer.readable
    assert hearer.written


@TRIED
@given(data=st.binary(max_size=300), piece=st.sampled_from([1, 7, 4096]))
def test_any_bytes_over_a_connection_are_answered_or_end_it(line: Wire, data: bytes, piece: int) -> None:
    line.send(data, piece=piece)


@TRIED
@given(fragments=st.lists(FRAGMENTS, max_size=12), piece=st.sampled_from([1, 16, 4096]))
def test_any_pieces_of_http_are_answered_or_end_the_connection(line: Wire, fragments: list[bytes], piece: int) -> None:
    line.send(b"".join(fragments), piece=piece)


@pytest.mark.parametrize("piece", [1, 3, 4096])
@pytest.mark.parametrize("seed", WIRE_SEEDS)
def test_the_seeds_are_answered_however_they_come(line: Wire, seed: bytes, piece: int) -> None:
    before = set(line.statuses)
    line.statuses.clear()

    line.send(seed, piece=piece)

    assert line.statuses
    line.statuses |= before


def test_after_all_of_it_the_receiver_answers_as_ever(line: Wire) -> None:
    assert line.is_alive()


def test_the_corpus_is_understood_at_both_ends(line: Wire) -> None:
    for seed in WIRE_SEEDS:
        line.send(seed, piece=4096)

    assert {200, 400} <= line.statuses
