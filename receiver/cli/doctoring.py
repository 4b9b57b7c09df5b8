"""doctor: whether a task would go out and its callback come in, and what to mend where not."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from receiver.boot import never_told, not_acted_on, problems_at_boot, public_url_of, sqlite_path
from receiver.callback_url import PROBE, mint_callback_url, without_tokens
from receiver.cli.options import ConfigOption, JsonOption, load
from receiver.cli.output import FAILED, MISUSED, out, print_json
from receiver.config import Config
from receiver.diagnosis import diagnose
from receiver.ledger.errors import LedgerError
from receiver.ledger.sqlite import SqliteReader
from receiver.ledger.sqlite.lock import holder_of, is_held
from receiver.outbox.resolving import resolve_by_system
from receiver.pathhealth import PathHealth, PathState
from receiver.probe import Patience, probe
from receiver.runtime import CALLBACK_SECRET, FIX_OF_PATH
from submitter.client import ProviderClient, trusted_roots
from submitter.errors import Refusal, Refused, SubmitterError
from submitter.moments import iso
from submitter.submit import system_clock

NOBODY = "hookledger-doctor"  # a task that nobody has: to be told so takes a key that works
RECEIVER_ANSWERS_WITHIN = 5.0


class Health(StrEnum):
    """What a check came to."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


COLOURS: Mapping[Health, str] = {Health.OK: "green", Health.NOTE: "yellow", Health.WRONG: "bold red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. `about` is the account, where it is of one."""

    check: str
    health: Health
    says: str
    about: str = ""
    trouble: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What the ledger's file says: who holds it, the secret that callback URLs are minted by, and the paths."""

    checks: Sequence[Check]
    address: str | None = None
    secret: str | None = None
    paths: Mapping[str, PathHealth] | None = None


def doctor(
    context: typer.Context,
    config: ConfigOption = None,
    is_asking: Annotated[bool, typer.Option("--ask", help="Try each account's key with one free query, too.")] = False,
    patience: Annotated[float, typer.Option(help="Seconds to wait for an answer.", min=0.1, max=300)] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration, the ledger, the accounts, and the way callbacks take: post to it as a provider would."""
    settings = load(context, config)
    checks = _of_configuration(settings)
    is_usable = not any(each.health is Health.WRONG for each in checks)
    if is_usable:
        checks = [*checks, *asyncio.run(_looked_at(settings, Patience(answered=timedelta(seconds=patience))))]
        checks = [*checks, *(asyncio.run(_asked(settings)) if is_asking else [])]
    is_healthy = not any(each.health is Health.WRONG for each in checks)
    if as_json:
        print_json({"ok": is_healthy, "checks": [_check_json(each) for each in checks]})
    else:
        _print(checks)
    if not is_healthy:
        sys.exit(FAILED if is_usable else MISUSED)


def _of_configuration(config: Config) -> list[Check]:
    problems = problems_at_boot(config, os.environ)
    if problems:
        return [Check(check="configuration", health=Health.WRONG, says=str(each)) for each in problems]
    notes = [*not_acted_on(config), *never_told(config)]
    if not config.providers:
        notes.append("there is no account yet: write a table [providers.NAME]")
    whither = public_url_of(config) if config.public_url else "where 'hookledger serve' listens: no public_url is set"
    return [
        Check(check="configuration", health=Health.OK, says=f"callbacks go to {whither}"),
        *(Check(check="configuration", health=Health.NOTE, says=each) for each in notes),
    ]


async def _looked_at(config: Config, patience: Patience) -> list[Check]:
    kept = await _of_ledger(config)
    if kept.secret is None:
        return [*kept.checks]
    # Without a public_url the receiver is where it listens, which --port may have changed.
    base = kept.address if kept.address is not None and not config.public_url else public_url_of(config)
    urls = {
        name: mint_callback_url(base, provider=name, external_task_id=PROBE, secret=kept.secret)
        for name in config.providers
    }
    probed = await asyncio.gather(*(_probed(config, name, url, patience) for name, url in urls.items()))
    paths = kept.paths or {}
    return [*kept.checks, *probed, *(_of_path(name, paths.get(name, PathHealth())) for name in config.providers)]


async def _of_ledger(config: Config) -> _Kept:
    """The file by itself, and whoever holds it."""
    path = sqlite_path(config)
    if not path.exists():
        fix = "start 'hookledger serve', which makes it"
        return _Kept(checks=[_ledger(Health.WRONG, f"there is no {path} yet", fix)])
    try:
        reader = await SqliteReader.open(path)
        try:
            kept, paths = await reader.kept_setting(CALLBACK_SECRET), await reader.paths()
        finally:
            await reader.aclose()
    except LedgerError as error:
        return _Kept(checks=[_ledger(Health.WRONG, str(error))])
    secrets = [each.get_secret_value() for each in config.callbacks.secrets]
    secret = secrets[0] if secrets else kept
    checks, address = await _of_holder(path)
    return _Kept(checks=checks, address=address, secret=secret, paths=paths)


async def _of_holder(path: Path) -> tuple[list[Check], str | None]:
    if not is_held(path):
        writable = os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)
        if not writable:
            fix = "let the user that runs 'hookledger serve' write the file and its folder"
            return [_ledger(Health.WRONG, f"{path} cannot be written by this user", fix)], None
        says = f"{path} is current, and no receiver runs on it"
        return [_ledger(Health.WRONG, says, "start 'hookledger serve': nobody hears callbacks meanwhile")], None
    pid, address = holder_of(path)
    if address is None:
        return [_ledger(Health.NOTE, f"{path} is held by another command (process {pid})")], None
    try:
        async with httpx.AsyncClient(timeout=RECEIVER_ANSWERS_WITHIN, trust_env=False) as http:
            ready = await http.get(f"{address}/readyz")
    except httpx.HTTPError as error:
        fix = "stop that process and start 'hookledger serve' anew, or run the doctor on its machine"
        says = f"its receiver at {address} does not answer ({type(error).__name__})"
        return [_ledger(Health.WRONG, says, fix)], address
    if not ready.is_success:
        fix = "look at its log, and at the disk"
        return [_ledger(Health.WRONG, f"its receiver at {address} takes no writes: {ready.text[:200]}", fix)], address
    return [_ledger(Health.OK, f"{path} takes writes, by the receiver at {address}")], address


def _ledger(health: Health, says: str, fix: str = "") -> Check:
    return Check(check="ledger", health=health, says=says, fix=fix)


async def _probed(config: Config, name: str, url: str, patience: Patience) -> Check:
    stopwatch = asyncio.get_running_loop().time
    attempt = await probe(url, patience=patience, roots=trusted_roots(), resolve=resolve_by_system, stopwatch=stopwatch)
    if config.providers[name].is_on_loopback or config.allow_private_public_url:
        attempt = replace(attempt, private=())
    finding = diagnose(attempt)
    return Check(
        check="callbacks",
        about=name,
        health=Health.OK if finding.trouble is None else Health.WRONG,
        says=finding.says,
        trouble=finding.trouble or "",
        fix=finding.fix,
    )


def _of_path(name: str, path: PathHealth) -> Check:
    if path.state is PathState.ALIVE:
        return Check(check="path", about=name, health=Health.OK, says="alive, as far as anybody knows")
    says = f"{path.state} since {iso(path.since)}: "
    if path.state is PathState.DARK:
        says += "questions found what no callback had brought"
        fix = (
            "where the post above arrives: see that the provider sends callbacks at all, and what filters its addresses"
        )
        return Check(check="path", about=name, health=Health.WRONG, says=says, trouble=path.state, fix=fix)
    says += f"about {path.loss:.0%} of the callbacks are lost"
    return Check(
        check="path", about=name, health=Health.NOTE, says=says, trouble=path.state, fix=FIX_OF_PATH[path.state]
    )


async def _asked(config: Config) -> list[Check]:
    """One query of each account about a task that nobody has: it costs nothing (wire.md §1)."""
    return list(await asyncio.gather(*(_asked_one(config, name) for name in config.providers)))


async def _asked_one(config: Config, name: str) -> Check:
    async with ProviderClient(name, config.providers[name], clock=system_clock) as client:
        try:
            answer = await client.query(endpoint="omni-image", provider_task_id=NOBODY, external_task_id=NOBODY)
            client.provider.read_answer(answer.http_status, answer.body)
        except Refused as refused:
            return _of_refusal(name, refused)
        except SubmitterError as error:
            fix = "look at base_url, at the way out of this network, and at the provider's status page"
            return Check(check="account", about=name, health=Health.WRONG, says=without_tokens(str(error)), fix=fix)
    return Check(check="account", about=name, health=Health.OK, says="its key works")


def _of_refusal(name: str, refused: Refused) -> Check:
    says = f"refused with {refused.code or refused.kind}"  # and not its message, which may quote what was sent
    if refused.kind in {Refusal.CREDENTIALS, Refusal.TOKEN_TIME}:
        fix = "write the key anew from the provider's console" + (
            ", and set this machine's clock" if refused.kind is Refusal.TOKEN_TIME else ""
        )
        return Check(check="account", about=name, health=Health.WRONG, says=says, trouble=refused.kind, fix=fix)
    if refused.kind is Refusal.ACCOUNT:
        fix = "top the account up, or see in the provider's console why it is stopped"
        return Check(check="account", about=name, health=Health.WRONG, says=says, trouble=refused.kind, fix=fix)
    return Check(check="account", about=name, health=Health.OK, says="its key works")


def _check_json(check: Check) -> dict[str, Any]:
    return {
        "check": check.check,
        "about": check.about or None,
        "health": check.health,
        "says": check.says,
        "trouble": check.trouble or None,
        "fix": check.fix or None,
    }


def _print(checks: Sequence[Check]) -> None:
    for each in checks:
        about = f"{each.check} ({each.about})" if each.about else each.check
        out.print(f"{each.health:5}", style=COLOURS[each.health], end=" ")
        out.print(f"{about}: {each.says}", markup=False)
        if each.fix:
            out.print(f"      → {each.fix}", markup=False)
