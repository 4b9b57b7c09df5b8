"""Replay: reads what was kept as unreadable again, after an adapter was mended, and hears what can be read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import structlog

from receiver.ingest import Ingest
from receiver.ledger.base import Ledger
from receiver.ledger.errors import ForeignTask, Unwritable
from receiver.ledger.judging import Heard
from receiver.ledger.reading import KeptUnreadable
from receiver.task import Source, Verdict
from submitter.errors import Unreadable
from submitter.moments import Moment
from submitter.providers import provider_for
from submitter.providers.base import Provider, Trust
from submitter.report import StatusReport
from submitter.settings import ProviderSettings

log = structlog.get_logger("replay")


class Stays(StrEnum):
    """Why one stays in the drawer."""

    STILL_UNREADABLE = "still_unreadable"
    CUT = "cut"  # more came than was kept
    FOREIGN = "foreign"  # it can be read, and names another task


READ = "read"
COUNTED = (READ, *Verdict, *Stays)
"""What a replay is counted by: `read` is the sum of the verdicts and the foreign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What reading a callback again takes of an account."""

    provider: Provider
    requires_signature: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one page came to. `next` is the key to go on after, or None at the drawer's end."""

    counts: Mapping[str, int]
    next: int | None


class CannotBeRead(Exception):
    """It stays in the drawer; the message is its reason."""

    def __init__(self, reason: str, *, stays: Stays = Stays.STILL_UNREADABLE) -> None:
        super().__init__(reason)
        self.stays = stays


class Replay:
    """Takes the drawer from its front, page by page.

    Each report is heard at the trust that its sender had then and as of now: what it changes, it changes now, and
    events tell when. It leaves the drawer in the transaction of its effect, so that to replay twice is to replay once.
    """

    def __init__(
        self, ledger: Ledger, ingest: Ingest, accounts: Mapping[str, Account], *, clock: Callable[[], Moment]
    ) -> None:
        self._ledger = ledger
        self._ingest = ingest
        self._accounts = accounts
        self._clock = clock

    async def run_once(self, *, after: int, limit: int) -> Turn:
        """One page, heard in the order it came. Raises LedgerUnavailable: then what was heard has left the drawer."""
        page = await self._ledger.unreadable(after, limit=limit)
        callbacks = [kept for kept in page if kept.is_callback]
        outcomes = await asyncio.gather(*map(self._replay, callbacks), return_exceptions=True)
        counts = dict.fromkeys(COUNTED, 0)
        reasons: dict[int, str] = {}
        for kept, outcome in zip(callbacks, outcomes, strict=True):
            if isinstance(outcome, CannotBeRead):
                counts[outcome.stays] += 1
                counts[READ] += outcome.stays is Stays.FOREIGN
                reasons[kept.key] = str(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            elif outcome is not None:
                counts[outcome] += 1
                counts[READ] += 1
        if reasons:
            await self._ledger.give_reasons(reasons)
        return Turn(counts=counts, next=page[-1].key if len(page) == limit else None)

    async def _replay(self, kept: KeptUnreadable) -> Verdict | None:
        """The verdict; None where it has left the drawer meanwhile. Raises CannotBeRead."""
        heard = Heard(
            provider=kept.provider,
            external_task_id=kept.external_task_id,
            report=read_again(kept, self._accounts),
            source=Source.CALLBACK,
            trust=kept.trust,
            now=self._clock(),
            body=kept.body,
        )
        try:
            decision = await self._ingest.replay(kept.key, heard)
        except ForeignTask as error:
            raise CannotBeRead(f"foreign_task: {error}", stays=Stays.FOREIGN) from error
        except Unwritable as error:
            raise CannotBeRead(f"unreadable: {error}") from error
        if decision is None:
            return None
        log.info(
            "callback.replayed",
            verdict=decision.verdict,
            task=kept.external_task_id,
            provider=kept.provider,
            state=decision.task.state,
        )
        return decision.verdict


def accounts_of(providers: Mapping[str, ProviderSettings]) -> dict[str, Account]:
    """The accounts as a replay needs them."""
    return {
        name: Account(provider=provider_for(name, settings), requires_signature=settings.require_signature)
        for name, settings in providers.items()
    }


def read_again(kept: KeptUnreadable, accounts: Mapping[str, Account]) -> StatusReport:
    """The report in kept bytes, as the account's dialect reads them today. Raises CannotBeRead."""
    if kept.is_cut:
        raise CannotBeRead(kept.reason, stays=Stays.CUT)
    account = accounts.get(kept.provider)
    if account is None:
        raise CannotBeRead(f"unreadable: no account {kept.provider!r} is configured")
    if account.requires_signature and kept.trust is Trust.TOKEN:
        raise CannotBeRead("unreadable: it came without a signature, and this account requires one by now")
    try:
        return account.provider.read_report(kept.body)
    except Unreadable as error:
        raise CannotBeRead(f"unreadable: {error}") from error
