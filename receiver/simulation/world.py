"""The simulated provider: what is true of each task at each moment, and what it says of it on the wire. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from receiver.simulation.faults import NOTHING_CREATED, CreateFate, Fate, fate_of, is_query_lost, shuffled
from receiver.simulation.knobs import Knobs
from receiver.simulation.moods import Moods, Said
from submitter.moments import Moment
from submitter.report import ReportedStatus

BEGINNING: Moment = 1_800_000_000_000  # when a simulated world begins: any moment would do
PROVIDER = "kling"
ENDPOINT = "omni-image"
TIME_OUT = Said(504, b'{"code":5002,"message":"time-out"}')
INTERNAL = Said(500, b'{"code":5000,"message":"internal error"}')
FORGED_URL = "https://forged.example/0.png"
_PREFIX = "sim-"


@dataclass(slots=True, kw_only=True)
class Life:
    """A task as the provider has it, and all that was said about it: what the ledger is held against."""

    number: int
    external_task_id: str
    fate: Fate
    callback_url: str = ""
    created_at: Moment | None = None
    creates: int = 0  # that reached the provider
    created_twice: int = 0  # that did so although it had it already
    answered_creates: int = 0
    queries: int = 0  # about it alone
    failed_queries: int = 0  # that were answered by nothing about it
    told: int = 0  # answers to them that told of it
    shown: int = 0  # answers about many that told of it: whether anybody looked is not known here
    acknowledged: int = 0
    unacknowledged: int = 0  # what nobody was there for, or no longer when it was written
    true_finals_acknowledged: int = 0
    strangers_acknowledged: int = 0  # who knew no token
    forgeries: int = 0  # under its own token: kept, perhaps, although a kill came before they were acknowledged

    @property
    def provider_task_id(self) -> str:
        """The provider's own name for it."""
        return f"86{self.number:016d}"

    @property
    def final(self) -> ReportedStatus:
        """How it ends."""
        return ReportedStatus.FAILED if self.fate.has_failed else ReportedStatus.SUCCEED

    @property
    def final_at(self) -> Moment | None:
        """When it ends, if it has begun."""
        return None if self.created_at is None else self.created_at + self.fate.final_after

    def is_shown_at(self, now: Moment) -> bool:
        """Whether a question finds it: what was written a moment ago may not be read yet."""
        return self.created_at is not None and now - self.created_at >= self.fate.shown_after

    @property
    def image_url(self) -> str:
        """Where its image lies once it has succeeded."""
        return f"https://images.example/{self.number}.png"

    def status_at(self, now: Moment) -> ReportedStatus:
        """What is true of it at this moment."""
        age = now - (self.created_at or now)
        if age >= self.fate.final_after:
            return self.final
        return ReportedStatus.PROCESSING if age >= self.fate.processing_after else ReportedStatus.SUBMITTED


class World:
    """All tasks of the provider's account. Time is given; nothing is sent."""

    def __init__(self, knobs: Knobs) -> None:
        self.knobs = knobs
        self.moods = Moods(knobs, BEGINNING)
        self.requests = 0  # questions of every kind, as a bill would count them
        self._shared_at: list[Moment] = []  # those about many
        self._lives: dict[str, Life] = {}
        self._by_provider_id: dict[str, Life] = {}
        self._newest: dict[str, Life] = {}  # in the order they were created

    @property
    def lives(self) -> Sequence[Life]:
        """Every task that anybody wanted, in the order of their numbers."""
        return list(self._lives.values())

    def requests_about(self, lives: Sequence[Life]) -> int:
        """Questions about each of these alone, and all about many since the first of them was there."""
        since = min((life.created_at for life in lives if life.created_at is not None), default=0)
        return sum(life.queries for life in lives) + sum(at >= since for at in self._shared_at)

    def wanted(self, number: int) -> Life:
        """The task of this number, which an app is about to submit."""
        life = Life(number=number, external_task_id=f"{_PREFIX}{number:08d}", fate=fate_of(self.knobs, number))
        return self._lives.setdefault(life.external_task_id, life)

    def create(self, external_task_id: str, callback_url: str, *, now: Moment) -> tuple[Life, CreateFate]:
        """A create leaves us: what becomes of it. Only the first may get lost, or its answer."""
        life = self._lives[external_task_id]
        fate = life.fate.create if life.creates == 0 else CreateFate.ANSWERED
        life.creates += 1
        if fate in NOTHING_CREATED:
            return life, fate
        if life.created_at is not None:
            life.created_twice += 1
            return life, fate
        life.created_at, life.callback_url = now, callback_url
        self._by_provider_id[life.provider_task_id] = life
        self._newest[external_task_id] = life
        return life, fate

    def answer_create(self, life: Life) -> Said:
        """What the create is answered: a task, or that there is one already (wire.md §5)."""
        if life.created_twice:
            return Said(400, b'{"code":1201,"message":"external_task_id already exists","request_id":"r"}')
        life.answered_creates += 1
        return Said(200, _envelope(task_object(life, ReportedStatus.SUBMITTED, life.created_at or 0)))

    def life_named(self, external_task_id: str) -> Life:
        """The task of this name, which somebody wanted."""
        return self._lives[external_task_id]

    def answer_query(self, asked_by: str, *, now: Moment) -> Said:
        """What a question about one task is answered."""
        life = self._by_provider_id.get(asked_by) or self._lives.get(asked_by)
        return self._answer([] if life is None else [life], is_many=False, now=now)

    def answer_batch(self, asked_by: Sequence[str], *, now: Moment) -> Said:
        """The same for several at once: those that are known."""
        lives = [self._by_provider_id.get(each) or self._lives.get(each) for each in asked_by]
        return self._answer([life for life in lives if life is not None], is_many=True, now=now)

    def answer_page(self, page: int, page_size: int, *, now: Moment) -> Said:
        """A page of the account's tasks: newest first, unless this answer is in no order."""
        first = (page - 1) * page_size
        order = shuffled(self.knobs, self.requests, len(self._newest))
        if order is not None:
            newest = list(self._newest.values())
            return self._answer([newest[place] for place in order[first : first + page_size]], is_many=True, now=now)
        return self._answer(
            list(islice(reversed(self._newest.values()), first, first + page_size)), is_many=True, now=now
        )

    def _answer(self, lives: Sequence[Life], *, is_many: bool, now: Moment) -> Said:
        self.requests += 1
        turned_away = self.moods.on_request(now)
        if turned_away is None and is_query_lost(self.knobs, self.requests):
            turned_away = TIME_OUT
        known = [] if turned_away is not None else [life for life in lives if life.is_shown_at(now)]
        if is_many:
            self._shared_at.append(now)
        for life in () if is_many else lives:
            life.queries += 1
            life.failed_queries += not known
        if turned_away is not None:
            return turned_away
        for life in known:
            life.shown += is_many
            life.told += not is_many
        if is_many:
            return Said(
                200, _envelope(b"[" + b",".join(task_object(each, each.status_at(now), now) for each in known) + b"]")
            )
        if not known:
            return Said(400, b'{"code":1201,"message":"Task not found by id","request_id":"r"}')
        return Said(200, _envelope(task_object(known[0], known[0].status_at(now), now)))


def task_object(life: Life, status: ReportedStatus, now: Moment) -> bytes:
    """The documented object of wire.md §3: what a callback's body is, and an answer's `data`."""
    updated_at = min(now, life.final_at or now)
    result, units = "{}", ""
    if status is ReportedStatus.SUCCEED:
        result = f'{{"images":[{{"index":0,"url":"{life.image_url}"}}]}}'
        units = ',"final_unit_deduction":"8"'
    return (
        f'{{"task_id":"{life.provider_task_id}","task_status":"{status}","task_status_msg":"",'
        f'"task_info":{{"external_task_id":"{life.external_task_id}"}},"created_at":{life.created_at or now},'
        f'"updated_at":{updated_at}{units},"task_result":{result}}}'
    ).encode()


def forged_object(life: Life) -> bytes:
    """What somebody says who has no part in it: the opposite of how the task will end."""
    status, result = ReportedStatus.FAILED, "{}"
    if life.fate.has_failed:
        status, result = ReportedStatus.SUCCEED, f'{{"images":[{{"index":0,"url":"{FORGED_URL}"}}]}}'
    return f'{{"task_id":"{life.provider_task_id}","task_status":"{status}","task_result":{result}}}'.encode()


def _envelope(data: bytes) -> bytes:
    return b'{"code":0,"message":"SUCCEED","request_id":"r","data":' + data + b"}"
