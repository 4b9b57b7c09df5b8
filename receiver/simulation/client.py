"""The client of a simulated account: a ProviderClient whose calls lead to a World, and take no time of ours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol
from urllib.parse import parse_qs, urlsplit

import httpx

from receiver.simulation.clock import VirtualClock
from receiver.simulation.faults import NOT_ANSWERED, NOTHING_CREATED, CreateFate
from receiver.simulation.knobs import MOST_MEANS
from receiver.simulation.moods import Said
from receiver.simulation.world import INTERNAL, Life, World
from submitter.client import Answer, ProviderClient
from submitter.errors import Unanswered
from submitter.moments import Moment, millis
from submitter.providers import Call
from submitter.request import OmniImageRequest
from submitter.settings import ProviderSettings

_KINDS: tuple[tuple[str, Literal["1k", "2k", "4k"]], ...] = (
    ("kling-image-o1", "1k"),
    ("kling-v3-omni", "1k"),
    ("kling-image-o1", "2k"),
    ("kling-v3-omni", "2k"),
    ("kling-v3-omni", "4k"),
)
REQUESTS = [
    OmniImageRequest(prompt="a simulated picture", model_name=model, resolution=resolution)
    for model, resolution in _KINDS[:MOST_MEANS]
]
"""What apps ask for, by the mean that their task is drawn by: a timing class each."""


class Created(Protocol):
    """What is to be done when the provider has taken a task: its callbacks begin."""

    def __call__(self, life: Life, *, answered_at: Moment) -> Awaitable[None]:
        """Send what comes before the answer, and see to what comes after."""


class SimulatedClient(ProviderClient):
    """The real dialect on both sides of it: calls as they would be sent, answers as bytes."""

    def __init__(
        self,
        name: str,
        settings: ProviderSettings,
        *,
        clock: Callable[[], Moment],
        world: World,
        time: VirtualClock,
        on_created: Created,
        on_refused: Callable[[Life], None],
    ) -> None:
        super().__init__(name, settings, clock=clock)
        self._world = world
        self._time = time
        self._on_created = on_created
        self._on_refused = on_refused

    async def _exchange(self, http: httpx.AsyncClient, call: Call) -> tuple[Answer, Moment | None]:  # noqa: ARG002
        said = await self._create(call) if call.method == "POST" else self._ask(call)
        return Answer(http_status=said.http_status, body=said.body, retry_after=said.retry_after), None

    async def _create(self, call: Call) -> Said:
        fields, now = call.json or {}, self._time.true_now
        turned_away = self._world.moods.on_request(now)
        if turned_away is not None:
            if self._world.moods.is_in_arrears(now):
                self._on_refused(self._world.life_named(fields["external_task_id"]))
            return turned_away
        life, fate = self._world.create(fields["external_task_id"], fields["callback_url"], now=now)
        answered_after = life.fate.answered_after
        if fate in NOT_ANSWERED:
            answered_after = millis(self._settings.timeout)
        if fate not in NOTHING_CREATED and life.created_twice == 0:
            await self._on_created(life, answered_at=now + answered_after)
        self._time.pass_by(answered_after)
        if fate in NOT_ANSWERED:
            raise Unanswered("simulated silence")
        return self._world.answer_create(life) if fate is CreateFate.ANSWERED else INTERNAL

    def _ask(self, call: Call) -> Said:
        url, now = urlsplit(call.path), self._time.true_now
        asked = parse_qs(url.query)
        if "pageNum" in asked:
            return self._world.answer_page(int(asked["pageNum"][0]), int(asked["pageSize"][0]), now=now)
        for name in ("task_ids", "external_task_ids"):
            if name in asked:
                return self._world.answer_batch(asked[name][0].split(","), now=now)
        return self._world.answer_query(url.path.rpartition("/")[2], now=now)
