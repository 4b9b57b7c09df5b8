"""Where commands that write go: the running receiver, or one of their own for the moment."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
from pydantic import SecretStr

from receiver.app import create_app
from receiver.boot import require_bootable, sqlite_path
from receiver.cli.output import MISUSED, CommandError, note
from receiver.config import Config
from receiver.ledger.errors import LedgerLocked
from receiver.ledger.sqlite.lock import holder_of, is_held
from receiver.logs import configure_logs
from receiver.runtime import Runtime

IN_PROCESS = "http://localhost"
TIMEOUT = 60.0  # seconds: a create waits for the provider


@asynccontextmanager
async def desk(config: Config, *, with_worker: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    """A client of /v1: through the process that holds the ledger, else through a receiver in this process.

    Raises ConfigError where `serve` would not start either, and CommandError where another process holds the
    ledger and cannot be reached.
    """
    configure_logs(format="console", level="warning")
    runtime = await _own_runtime(config)
    if runtime is None:
        holder = await _answering_holder(config)
        note(f"through the receiver at {holder}")
        async with httpx.AsyncClient(
            base_url=holder, headers=_key_header(config), timeout=TIMEOUT, trust_env=False
        ) as client:
            yield client
        return
    try:
        app = create_app(runtime, with_worker=with_worker)
    except BaseException:
        await runtime.aclose()  # an open ledger would hang the exit
        raise
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url=IN_PROCESS,
            headers=_key_header(runtime.config),
            timeout=TIMEOUT,
        ) as client,
    ):
        try:
            yield client
        except asyncio.CancelledError:
            _ignore_further_interrupts()
            note("ending: a create in flight is waited for and written down, for it may be paid for")
            raise
        finally:
            _ignore_further_interrupts()


def _ignore_further_interrupts() -> None:
    """A second Ctrl-C would leave the ledger's connections open, and they would hang the exit.

    The system ignores them, not a handler of ours: Python takes those away before its process has ended.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


async def ask(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> dict[str, Any]:
    """The JSON answer. Raises CommandError with the problem's own words."""
    response = await client.request(method, path, **options)
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise CommandError(f"{path} answered HTTP {response.status_code} without JSON: is it a hookledger receiver?")
    if response.is_success:
        return answer
    code = MISUSED if response.status_code == 422 else 1
    said = str(answer.get("detail", f"HTTP {response.status_code}"))
    provider_code = answer.get("provider_code")
    raise CommandError(f"refused with code {provider_code}: {said}" if provider_code else said, code=code)


async def _own_runtime(config: Config) -> Runtime | None:
    """A receiver in this process, or None where another one answers for the ledger."""
    if not is_held(sqlite_path(config)):  # else its holder's configuration counts, and not ours
        require_bootable(config, os.environ)
    try:
        return await Runtime.open(_for_ourselves(config, timedelta(0)))
    except LedgerLocked as locked:
        if locked.holder is not None:
            return None
    # Held by another command, or by one that is about to leave its address: wait a little.
    try:
        return await Runtime.open(_for_ourselves(config, config.ledger.lock_wait))
    except LedgerLocked as locked:
        if locked.holder is None:
            raise
        return None


async def _answering_holder(config: Config) -> str:
    """The address of the process that holds the ledger, if it answers. Raises CommandError."""
    path = sqlite_path(config)
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        for pause in (0.2, 0.5, 0.0):
            _, address = holder_of(path)
            if address is not None and await _is_alive(client, address):
                return address
            await asyncio.sleep(pause)
    raise CommandError(
        f"{path} is in use by another process that does not answer: stop it and run this again, or start "
        "'hookledger serve' there and this command goes through it",
        code=MISUSED,
    )


async def _is_alive(client: httpx.AsyncClient, address: str) -> bool:
    try:
        return (await client.get(f"{address}/livez")).is_success
    except httpx.HTTPError:
        return False


def _for_ourselves(config: Config, lock_wait: timedelta) -> Config:
    """The same receiver, reachable by this process alone, which makes itself a key."""
    return config.model_copy(
        update={
            "api": config.api.model_copy(update={"keys": (SecretStr(secrets.token_urlsafe(24)),)}),
            "ledger": config.ledger.model_copy(update={"lock_wait": lock_wait}),
        }
    )


def _key_header(config: Config) -> dict[str, str]:
    return {"Authorization": f"Bearer {config.api.keys[0].get_secret_value()}"} if config.api.keys else {}
