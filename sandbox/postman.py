"""The postman: sends callbacks when they are due, signs them, repeats what nobody acknowledged."""

import asyncio
import functools
import heapq
import logging
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import httpx

from sandbox.answers import Gateway
from sandbox.bodies import callback_body
from sandbox.dice import digest
from sandbox.records import CallbackAttempt, Records
from sandbox.script import Step
from sandbox.settings import SandboxSettings
from sandbox.signing import signature_headers
from sandbox.world import Task

# Callbacks under way: more would be slower, for httpx looks through all its connections at each request.
AT_ONCE = 32
USER_AGENT = "hookledger-sandbox"

logger = logging.getLogger("sandbox.postman")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A step to be sent, with those that may leave only after it."""

    task: Task
    steps: tuple[Step, ...]
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the callback's receiver said: a status, or why there is none."""

    http_status: int | None
    body: bytes = b""
    error: str | None = None

    def acknowledged(self) -> bool:
        """Whether it took the callback."""
        return self.http_status is not None and 200 <= self.http_status < 300


class Postman:
    """Callbacks of one task leave in the order of its script; those of different tasks side by side."""

    def __init__(self, settings: SandboxSettings, records: Records, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._records = records
        self._clock = clock
        self._due: list[tuple[float, int, Parcel]] = []
        self._serial = count()
        self._news = asyncio.Event()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._rounds: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(
            verify=_trusted(),
            trust_env=False,
            follow_redirects=False,
            timeout=settings.callback_timeout,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=AT_ONCE),
            headers={"user-agent": USER_AGENT},
        )

    def start(self) -> None:
        """Begin to send what falls due."""
        self._start(self._run())

    async def aclose(self) -> None:
        """Break off what is under way."""
        for under_way in self._rounds:
            under_way.cancel()
        await asyncio.gather(*self._rounds, return_exceptions=True)
        await self._client.aclose()

    def post(self, task: Task, steps: Sequence[Step]) -> None:
        """Have the steps sent, each at its moment."""
        if steps:
            self._push(steps[0].at, Parcel(task=task, steps=tuple(steps)))

    async def post_now(self, task: Task, step: Step) -> None:
        """Send one step, and wait until it was answered or given up for this time."""
        # Waited for, not awaited: shutting down cancels the round, and must not look like an error of the waiter.
        await asyncio.wait({self._start(self._deliver(Parcel(task=task, steps=(step,))))})

    async def post_by_hand(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send just this, once."""
        if self._client.is_closed:
            return Reply(http_status=None, error="closing")
        try:
            answer = await self._client.post(url, content=body, headers={"content-type": "application/json", **headers})
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            return Reply(http_status=None, error=type(error).__name__)
        return Reply(http_status=answer.status_code, body=answer.content)

    def signature(self, task: Task, message: str, body: bytes) -> Mapping[str, str]:
        """The signing headers, where this gateway signs."""
        secret = self._settings.webhook_secret
        if secret is None or task.order.gateway is not Gateway.KLING:
            return {}
        message_id = "msg_" + digest(task.choice.seed, task.task_id, f"message.{message}")[:12].hex()
        return signature_headers(secret, message_id=message_id, timestamp=int(self._clock()), body=body)

    async def _run(self) -> None:
        while True:
            await self._something_is_due()
            await self._room.acquire()
            self._start(self._with_room(heapq.heappop(self._due)[2]))

    def _push(self, at: float, parcel: Parcel) -> None:
        heapq.heappush(self._due, (at, next(self._serial), parcel))
        self._news.set()

    async def _something_is_due(self) -> None:
        while not self._due or self._due[0][0] > self._clock():
            self._news.clear()
            wait = self._due[0][0] - self._clock() if self._due else None
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        started = asyncio.create_task(work)
        self._rounds.add(started)
        started.add_done_callback(self._rounds.discard)
        return started

    async def _with_room(self, parcel: Parcel) -> None:
        try:
            await self._deliver(parcel)
        except Exception:
            logger.exception("callback.broke task=%s", parcel.task.task_id)
        finally:
            self._room.release()
        # The next one waits for this one's answer, but not for its repetitions.
        if parcel.attempt == 1:
            self.post(parcel.task, parcel.steps[1:])

    async def _deliver(self, parcel: Parcel) -> None:
        step = parcel.steps[0]
        for fault in (step.lost_by,) if step.lost_by else step.faults:
            self._records.befell(fault, task_id=parcel.task.task_id)
        if step.lost_by:
            self._write_down(parcel, Reply(http_status=None), copy=0, signed=False)
        elif step.together:
            await asyncio.gather(*(self._send(parcel, copy) for copy in range(step.copies)))
        else:
            for copy in range(step.copies):
                await self._send(parcel, copy)

    async def _send(self, parcel: Parcel, copy: int) -> None:
        task, step = parcel.task, parcel.steps[0]
        body = callback_body(task, step)
        message = f"{step.status}.{step.claim}.{step.at}"
        signature = {} if step.forged else self.signature(task, message, body)
        reply = await self.post_by_hand(_address(task, step), body, signature)
        self._write_down(parcel, reply, copy=copy, signed=bool(signature))
        if not reply.acknowledged() and not step.forged and parcel.attempt < self._settings.max_callback_attempts:
            pause = self._settings.callback_retry_seconds * 2 ** (parcel.attempt - 1) * self._settings.pace
            again = replace(step, copies=1)
            self._push(self._clock() + pause, Parcel(task=task, steps=(again,), attempt=parcel.attempt + 1))

    def _write_down(self, parcel: Parcel, reply: Reply, *, copy: int, signed: bool) -> None:
        step = parcel.steps[0]
        attempt = CallbackAttempt(
            at=self._clock(),
            status=step.status,
            claim=step.claim,
            shape=step.shape,
            attempt=parcel.attempt,
            copy=copy,
            forged=step.forged,
            signed=signed,
            lost=bool(step.lost_by),
            http_status=reply.http_status,
            error=reply.error,
        )
        self._records.called_back(parcel.task.task_id, attempt)


def _address(task: Task, step: Step) -> str:
    url = httpx.URL(task.order.callback_url or "")
    if not step.url_altered:
        return str(url)
    head, _, token = url.path.rstrip("/").rpartition("/")
    altered = ("B" if token[:1] == "A" else "A") + token[1:]
    return str(url.copy_with(path=f"{head}/{altered}"))


@functools.cache
def _trusted() -> ssl.SSLContext:
    # Reading the roots takes tens of milliseconds: once a process, not once a sandbox.
    return httpx.create_ssl_context()
