"""POST /callbacks/{provider}/{external_task_id}/{token}: the door that providers knock at."""

from __future__ import annotations

import time

import structlog
from starlette.requests import Request
from starlette.responses import Response

from receiver.bodies import read_body
from receiver.callback_url import PROBE, token_matches
from receiver.ledger.base import Heard
from receiver.ledger.errors import ForeignTask, Unwritable
from receiver.problems import Problem, not_acknowledged
from receiver.runtime import Runtime
from receiver.task import Decision, Source
from submitter.errors import Unreadable
from submitter.providers.base import Provider, Received
from submitter.signatures import BadSignature

log = structlog.get_logger("callbacks")

_JSON = "application/json"
FOREIGN = "the ids in this report belong to another task"  # which one is no business of the sender's


async def receive_callback(request: Request) -> Response:
    """200 with the verdict, once its effect is on disk; any error as a problem document."""
    began = time.perf_counter()
    runtime: Runtime = request.app.state.runtime
    provider, external_task_id = _addressed(request, runtime)
    if runtime.is_stopping:
        raise not_acknowledged("shutting_down", "the receiver is stopping")
    body = await read_body(request, limit=runtime.config.callbacks.max_body_bytes)
    if external_task_id == PROBE:
        return Response(b'{"verdict":"probe"}', media_type=_JSON)

    decision = await _hear(runtime, provider, external_task_id, _received(request, runtime, body))
    runtime.counters.heard(provider.name, str(decision.verdict))
    status, answer = provider.acknowledgement(str(decision.verdict))
    log.info(
        "callback.heard",
        verdict=decision.verdict,
        task=external_task_id,
        provider=provider.name,
        state=decision.task.state,
        ms=round((time.perf_counter() - began) * 1000, 1),
    )
    return Response(answer, status_code=status, media_type=_JSON)


def _addressed(request: Request, runtime: Runtime) -> tuple[Provider, str]:
    """Whom the URL's token admits, decided before a byte of the body is read. Raises Problem 404."""
    named, external_task_id = request.path_params["provider"], request.path_params["external_task_id"]
    provider = runtime.providers.get(named)
    is_genuine = token_matches(
        request.path_params["token"],
        provider=named,
        external_task_id=external_task_id,
        secrets=runtime.callback_secrets,
    )
    if provider is None or not is_genuine:
        log.info("callback.unknown", provider=named if provider else None)
        raise Problem(404, "not_found", "no such callback URL")
    return provider, external_task_id


def _received(request: Request, runtime: Runtime, body: bytes) -> Received:
    url = runtime.journal.public_url + request.scope["path"]  # request.url trips over a hostile Host header
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Received(method=request.method, url=url, headers=headers, body=body)


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
    except BadSignature as error:
        raise _rejected(401, "bad_signature", str(error), provider, external_task_id) from None
    except (Unreadable, ForeignTask, Unwritable) as error:
        code = "foreign_task" if isinstance(error, ForeignTask) else "unreadable"
        await runtime.ledger.keep_unreadable(
            provider=provider.name,
            external_task_id=external_task_id,
            body=received.body,
            reason=f"{code}: {error}",
            now=now,
        )
        detail = FOREIGN if isinstance(error, ForeignTask) else str(error)
        raise _rejected(422, code, detail, provider, external_task_id) from None


def _rejected(status: int, code: str, detail: str, provider: Provider, external_task_id: str) -> Problem:
    log.warning("callback.rejected", code=code, task=external_task_id, provider=provider.name, reason=detail)
    return Problem(status, code, detail)
