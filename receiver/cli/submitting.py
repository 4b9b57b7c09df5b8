"""submit: from a prompt to a task, and, if wanted, to its images."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from receiver.cli.desk import IN_PROCESS, TIMEOUT, ask, desk
from receiver.cli.options import ConfigOption, JsonOption, load
from receiver.cli.output import FAILED, MISUSED, CommandError, err, note, out, print_json
from receiver.config import Config
from submitter.errors import Refused
from submitter.journal import HttpJournal
from submitter.request import read_request
from submitter.submit import Submitter

ROUND = 20  # seconds that one waiting request may take


def submit(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What to draw; '-' reads it from standard input.")],
    config: ConfigOption = None,
    provider: Annotated[str | None, typer.Option(help="The account; not needed where there is one only.")] = None,
    endpoint: Annotated[str, typer.Option(help="omni-image or generations.")] = "omni-image",
    n: Annotated[int | None, typer.Option("-n", help="How many images, 1 to 9.")] = None,
    model_name: Annotated[str | None, typer.Option("--model", help="The model; each account has a default.")] = None,
    resolution: Annotated[str | None, typer.Option(help="1k, 2k or 4k.")] = None,
    aspect_ratio: Annotated[str | None, typer.Option(help="16:9, 1:1, …")] = None,
    image: Annotated[list[str] | None, typer.Option(help="A picture to start from: a URL or a file.")] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other field of the request, as name=JSON.", metavar="NAME=JSON"),
    ] = None,
    external_task_id: Annotated[str | None, typer.Option("--id", help="Your own id for the task.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the images.", min=0)] = 0.0,
    receiver: Annotated[
        str | None,
        typer.Option(envvar="HOOKLEDGER_RECEIVER", help="A receiver elsewhere; this machine sends, that one keeps."),
    ] = None,
    receiver_key: Annotated[
        str | None, typer.Option(envvar="HOOKLEDGER_RECEIVER_KEY", help="A key of that receiver.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Submit one task. Without --wait it returns when the provider has answered."""
    settings = load(context, config)
    request = {
        "prompt": sys.stdin.read().strip() if prompt == "-" else prompt,
        "n": n,
        "model_name": model_name,
        "resolution": resolution,
        "aspect_ratio": aspect_ratio,
        **_pictures(endpoint, image or []),
        **dict(map(_field, fields or [])),
    }
    asked = {
        "provider": provider or _only_account(settings),
        "endpoint": endpoint,
        "request": {name: value for name, value in request.items() if value is not None},
        "external_task_id": external_task_id,
    }
    if receiver is None:
        task = asyncio.run(_submit_here(settings, asked, wait))
    else:
        task = asyncio.run(_submit_elsewhere(settings, asked, wait, receiver, receiver_key))
    _show(task, as_json=as_json)


async def _submit_here(config: Config, asked: dict[str, Any], wait: float) -> dict[str, Any]:
    async with desk(config, with_worker=wait > 0) as client:
        if client.base_url == IN_PROCESS:
            note("no receiver runs on this ledger: callbacks are missed until 'serve' runs, then asked for")
        task = await ask(client, "POST", "/v1/tasks", json=asked)
        return await _awaited(client, task, wait)


async def _submit_elsewhere(
    config: Config, asked: dict[str, Any], wait: float, receiver: str, key: str | None
) -> dict[str, Any]:
    """This machine holds the provider's key and sends; the receiver holds the ledger and the callback secret."""
    account = asked["provider"]
    if account not in config.providers:
        raise CommandError(f"no account {account!r} is configured here: its key is needed to send", code=MISUSED)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx.AsyncClient(base_url=receiver, headers=headers, timeout=TIMEOUT) as client,
        HttpJournal(receiver, api_key=key) as journal,
        Submitter({account: config.providers[account]}, journal=journal) as submitter,
    ):
        request = read_request(asked["endpoint"], asked["request"])
        try:
            submitted = await submitter.submit(account, request, external_task_id=asked["external_task_id"])
        except Refused as refused:
            raise CommandError(str(refused)) from None
        task = await ask(client, "GET", f"/v1/tasks/{submitted.external_task_id}")
        return await _awaited(client, task, wait)


async def _awaited(client: httpx.AsyncClient, task: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The task at rest, or as it is when the time is up."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    with err.status(f"{task['external_task_id']}: {task['state']}") as status:
        while not _is_at_rest(task) and (left := until - loop.time()) > 0:
            path = f"/v1/tasks/{task['external_task_id']}"
            task = await ask(client, "GET", path, params={"wait": min(left, ROUND)})
            status.update(f"{task['external_task_id']}: {task['state']}")
    return task


def _show(task: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(task)
    else:
        out.print(f"{task['external_task_id']} {task['state']} {task['message']}".rstrip(), markup=False)
        for image in task["images"]:
            out.print(image["url"], markup=False)
    if task["state"] in {"failed", "refused", "expired"}:
        sys.exit(FAILED)


def _is_at_rest(task: dict[str, Any]) -> bool:
    return task["state"] in {"succeeded", "failed", "refused", "expired"}


def _only_account(config: Config) -> str:
    if len(config.providers) == 1:
        return next(iter(config.providers))
    named = ", ".join(config.providers)
    problem = (
        f"which account? --provider is one of {named}" if named else "no account is configured: see config.example.toml"
    )
    raise CommandError(problem, code=MISUSED)


def _pictures(endpoint: str, images: list[str]) -> dict[str, Any]:
    if not images:
        return {}
    read = [_picture(image) for image in images]
    if endpoint == "generations":
        if len(read) > 1:
            raise CommandError("generations starts from one picture: give one --image", code=MISUSED)
        return {"image": read[0]}
    return {"image_list": [{"image": each} for each in read]}


def _picture(image: str) -> str:
    if image.startswith(("http://", "https://")):
        return image
    try:
        return base64.b64encode(Path(image).read_bytes()).decode()
    except OSError as error:
        raise CommandError(f"--image {image}: {error.strerror}", code=MISUSED) from None


def _field(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandError(f"--set {text}: write name=value, such as --set negative_prompt=rain", code=MISUSED)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
