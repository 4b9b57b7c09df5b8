"""serve and tick."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from receiver.app import create_app
from receiver.boot import own_address, require_bootable
from receiver.cli.desk import ask, desk
from receiver.cli.options import ConfigOption, JsonOption, load
from receiver.cli.output import MISUSED, CommandError, out, print_json
from receiver.config import Config
from receiver.logs import configure_logs
from receiver.runtime import Runtime
from receiver.serving import bind
from receiver.serving import serve as serve_app


def serve(
    context: typer.Context,
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on; 0 takes any that is free.")] = None,
) -> None:
    """Hear callbacks, answer /v1, and send, ask and expire until stopped."""
    settings = load(context, config, {"server.host": host, "server.port": port})
    require_bootable(settings, os.environ)
    configure_logs(format=settings.logging.format, level=settings.logging.level)
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        asyncio.run(_serve(settings))
    else:
        uvloop.run(_serve(settings))


def tick(
    context: typer.Context,
    config: ConfigOption = None,
    seconds: Annotated[float, typer.Option(help="When to stop at the latest.", min=0, max=25)] = 8.0,
    as_json: JsonOption = False,
) -> None:
    """One bounded pass of the worker: send, ask and expire what is due."""
    settings = load(context, config)
    done = asyncio.run(_tick(settings, seconds))
    if as_json:
        print_json(done)
    else:
        out.print(", ".join(f"{count} {what}" for what, count in done.items()))


async def _serve(config: Config) -> None:
    try:
        listener = bind(config.server.host, config.server.port)
    except OSError as error:
        where = f"{config.server.host}:{config.server.port}"
        raise CommandError(f"cannot listen on {where}: {error.strerror}; choose another --port", code=MISUSED) from None
    with listener:
        port = listener.getsockname()[1]
        listening = config.model_copy(update={"server": config.server.model_copy(update={"port": port})})
        runtime = await Runtime.open(listening, address=own_address(listening))
        try:
            await serve_app(create_app(runtime), runtime, listener)
        finally:
            await runtime.aclose()  # where uvicorn ended before the lifespan did


async def _tick(config: Config, seconds: float) -> dict[str, int]:
    async with desk(config) as client:
        return await ask(client, "POST", "/v1/tick", params={"seconds": seconds})
