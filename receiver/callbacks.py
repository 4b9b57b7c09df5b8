"""POST /callbacks/{provider}/{external_task_id}/{token}: the door that providers knock at."""

from __future__ import annotations

import time

import structlog
from starlette.types import Receive, Scope, Send

from receiver.bodies import read_body
from receiver.callback_url import PROBE, token_matches
from receiver.flood import count_invalid
from receiver.ledger.errors import ForeignTask, Unwritable
from receiver.ledger.judging import Heard
from receiver.problems import Problem, not_acknowledged
from receiver.runtime import Runtime
from receiver.task import Decision, Source
from submitter.errors import Unreadable
from submitter.providers.base import Provider, Received
from submitter.signatures import BadSignature

log = structlog.get_logger("callbacks")

FOREIGN = "the ids in this report belong to another task"  # which one is no business of the sender's


class CallbackEndpoint:
    """200 with the verdict, once its effect is on disk; any error as a problem document.

    An ASGI application and not a function of a Request: on this road, what Request and Response add is a good
    part of the whole (docs/performance.md).
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._log = log.bind()  # bound once, to the configuration as it is now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One callback. Raises Problem and the ledger's errors, which the application answers."""
        began = time.perf_counter()
        runtime = self._runtime
        provider, external_task_id = _addressed(scope, runtime)
        if runtime.is_stopping:
            raise not_acknowledged("shutting_down", "the receiver is stopping")
        runtime.ingest.require_room()
        body = await read_body(scope, receive, limit=runtime.config.callbacks.max_body_bytes)
        if external_task_id == PROBE:
            await runtime.note_life(provider.name)
            await _answer(send, 200, b'{"verdict":"probe"}')
            return

        try:
            decision = await _hear(runtime, provider, external_task_id, _received(scope, runtime, body))
        except BadSignature as error:
            count_invalid(runtime.inbound, _peer(scope), now=runtime.clock())
            raise _rejected(401, "bad_signature", str(error), provider, external_task_id) from None
        verdict = str(decision.verdict)
        runtime.counters.heard(provider.name, verdict)
        status, answer = provider.acknowledgement(verdict)
        await _answer(send, status, answer)
        self._log.info(
            "callback.heard",
            verdict=verdict,
            task=external_task_id,
            provider=provider.name,
            state=decision.task.state,
            ms=round((time.perf_counter() - began) * 1000, 1),
        )


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _addressed(scope: Scope, runtime: Runtime) -> tuple[Provider, str]:
    """Whom the URL's token admits, decided before a byte of the body is read. Raises Problem 404 or 429."""
    path_params = scope["path_params"]
    named, external_task_id = path_params["provider"], path_params["external_task_id"]
    provider = runtime.providers.get(named)
    is_genuine = token_matches(
        path_params["token"], provider=named, external_task_id=external_task_id, secrets=runtime.callback_secrets
    )
    if provider is None or not is_genuine:
        count_invalid(runtime.inbound, _peer(scope), now=runtime.clock())
        log.info("callback.unknown", provider=named if provider else None)
        raise Problem(404, "not_found", "no such callback URL")
    return provider, external_task_id


def _peer(scope: Scope) -> str | None:
    client = scope.get("client")
    return None if client is None else str(client[0])


def _received(scope: Scope, runtime: Runtime, body: bytes) -> Received:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    named = scope["path_params"]  # and not the path: a proxy may have taken a part of it away, or a mount added one
    path = f"/callbacks/{named['provider']}/{named['external_task_id']}/{named['token']}"
    return Received(method="POST", url=runtime.journal.public_url + path, headers=headers, body=body)


async def _hear(runtime: Runtime, provider: Provider, external_task_id: str, received: Received) -> Decision:
    now = runtime.clock()
    try:
        report, trust = provider.read_callback(received, now=now)
        return await runtime.ingest.hear(
            Heard(
                provider=provider.name,
                external_task_id=external_task_id,
                report=report,
                source=Source.CALLBACK,
                trust=trust,
                now=now,
                body=received.body,
            )
        )
    except (Unreadable, ForeignTask, Unwritable) as error:
        code = "foreign_task" if isinstance(error, ForeignTask) else "unreadable"
        await runtime.ledger.keep_unreadable(
            provider=provider.name,
            external_task_id=external_task_id,
            body=received.body,
            reason=f"{code}: {error}",
            trust=provider.trust_of(received, now=now),  # known already: it is verified before anything is read
            now=now,
        )
        detail = FOREIGN if isinstance(error, ForeignTask) else str(error)
        raise _rejected(422, code, detail, provider, external_task_id) from None


def _rejected(status: int, code: str, detail: str, provider: Provider, external_task_id: str) -> Problem:
    log.warning("callback.rejected", code=code, task=external_task_id, provider=provider.name, reason=detail)
    return Problem(status, code, detail)
