"""The composition root: builds the receiver from its configuration, starts its worker, ends it in order."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

import structlog

from receiver.accounts import Accounts, limits_of, query_plan, rules_of
from receiver.boot import public_url_of, sqlite_path
from receiver.config import Config
from receiver.counters import Counters
from receiver.deadlines import Deadlines
from receiver.feed import Feed
from receiver.inbound import InboundLimits
from receiver.ingest import Ingest, LedgerJudge
from receiver.journal import LedgerJournal
from receiver.keyring import Keyring
from receiver.keys import StoredKey
from receiver.ledger.base import Change
from receiver.ledger.openings import NOBODY, Client, Opened, OpenedAs
from receiver.ledger.sqlite import SqliteLedger
from receiver.outbox.opening import OpenDestination, open_destinations
from receiver.pathhealth import PathHealth, PathState
from receiver.replay import Replay, accounts_of
from receiver.task import Decision
from receiver.telling import Telling
from receiver.waiting import Waiting
from receiver.watch import LedgerWatch
from receiver.worker import Duty, Worker
from submitter.client import Connect, ProviderClient
from submitter.journal import Submission
from submitter.moments import Moment
from submitter.providers import provider_for
from submitter.providers.base import Provider
from submitter.submit import Submitter, system_clock

log = structlog.get_logger("runtime")

CALLBACK_SECRET = "callback_secret"  # noqa: S105 - the name of a setting
SOURCE = "source"  # the setting that names this ledger in the world
FIX_OF_PATH = {
    PathState.DARK: "no callback arrives: 'hookledger doctor' finds out why; every task is asked about meanwhile",
    PathState.LIMPING: "some callbacks are lost: 'hookledger doctor' tries the way they take",
}


class Runtime:
    """Everything a running receiver consists of: `await Runtime.open(…)`, perhaps `start_worker`, then `aclose`."""

    def __init__(
        self,
        config: Config,
        ledger: SqliteLedger,
        callback_secrets: tuple[str, ...],
        *,
        source: str,
        keys: Sequence[StoredKey],
        destinations: Sequence[OpenDestination],
        clock: Callable[[], Moment],
        connect: Connect = ProviderClient,
    ) -> None:
        self.config = config
        self.source = source  # the ledger's own name, as CloudEvents have it
        self.clock = clock
        self.ledger = ledger
        self.callback_secrets = callback_secrets
        self.keyring = Keyring(
            ledger,
            keys,
            operator_keys=[key.get_secret_value() for key in config.api.keys],
            server_secrets=callback_secrets,
        )
        self.waiting = Waiting()
        self.feed = Feed(ledger)
        self.watch = LedgerWatch(ledger, self.waiting, self.feed)
        self.inbound = InboundLimits()
        self.counters = Counters()
        self.is_stopping = False
        plan = query_plan(config)
        self.providers: Mapping[str, Provider] = {
            name: provider_for(name, account) for name, account in config.providers.items()
        }
        judge = LedgerJudge(rules=rules_of(config, self.providers), plan=plan)
        self.ingest = Ingest(ledger, judge, on_work=self._decided)
        self.journal = LedgerJournal(
            ledger,
            self.ingest,
            accounts=limits_of(config, self.providers),
            public_url=public_url_of(config),
            secret=callback_secrets[0],
            plan=plan,
            clock=clock,
            on_work=self.wake_worker,
        )
        self.replay = Replay(ledger, self.ingest, accounts_of(config.providers), clock=clock)
        self.submitter = Submitter(
            config.providers, journal=self.journal, watch=self.watch, clock=clock, connect=connect
        )
        self.accounts = Accounts(
            config,
            ledger,
            ingest=self.ingest,
            journal=self.journal,
            submitter=self.submitter,
            clock=clock,
            counters=self.counters,
            wake=self._wake,
        )
        self._telling = Telling(
            ledger, destinations, config.gateway, source=source, clock=clock, counters=self.counters, wake=self._wake
        )
        self.worker = Worker(
            [*self.accounts.duties, Deadlines(ledger, judge), *self._telling.duties],
            clock=clock,
            sending=self.accounts.in_flight,
            telling=self._telling.in_flight,
        )
        self._working: asyncio.Task[None] | None = None
        self._is_closed = False
        ledger.on_change = self._changed

    @classmethod
    async def open(
        cls,
        config: Config,
        *,
        clock: Callable[[], Moment] = system_clock,
        address: str | None = None,
        connect: Connect = ProviderClient,
    ) -> Runtime:
        """Lock and open the ledger and build the rest. `address` is where this process will answer, if it will.

        `connect` makes the clients of the accounts. Raises ConfigError, LedgerLocked and LedgerUnusable.
        """
        ledger = await SqliteLedger.open(
            sqlite_path(config), now=clock(), address=address, lock_wait=config.ledger.lock_wait
        )
        try:
            callback_secrets = await _callback_secrets(config, ledger)
            source = await ledger.setting(SOURCE, uuid4().urn)
            destinations = open_destinations(config, clock=clock)
            await ledger.subscribe([each.subscription for each in destinations], now=clock())
            if address is not None:  # it is for this process that callbacks come
                await ledger.note_start(list(config.providers), now=clock())
            return cls(
                config,
                ledger,
                callback_secrets,
                source=source,
                keys=await ledger.keys(),
                destinations=destinations,
                clock=clock,
                connect=connect,
            )
        except BaseException:
            await ledger.aclose()
            raise

    async def submit(self, submission: Submission, *, client: Client = NOBODY) -> Opened:
        """Write it down and send it, unless it waits for a slot or was submitted before. Raises Refused.

        Cancelling the caller cancels neither.
        """
        return await asyncio.shield(self.begin_submitting(submission, client=client))

    def begin_submitting(
        self, submission: Submission, *, client: Client, on_opened: Callable[[Opened], None] = lambda _: None
    ) -> asyncio.Task[Opened]:
        """As `submit`, and it goes on by itself. `on_opened` is called when it is written down and not yet sent."""
        return self.submitter.in_flight.begin(self._submit(submission, client, on_opened))

    async def _submit(self, submission: Submission, client: Client, on_opened: Callable[[Opened], None]) -> Opened:
        opened = await self.journal.write_down(submission, client=client)
        on_opened(opened)
        if opened.outcome is OpenedAs.TO_SEND:
            await self.send(submission, opened)
        return opened

    async def send(self, submission: Submission, opened: Opened) -> None:
        """Send what was opened to be sent. Raises Refused."""
        named = replace(submission, external_task_id=opened.external_task_id, fence=opened.fence)
        await self.submitter.send(named, self.journal.callback_url(named.provider, named.external_task_id))

    def start_worker(self) -> None:
        """Send, ask and expire from now on, until closed."""
        self._working = asyncio.create_task(self.worker.run(), name="worker")

    def wake_worker(self) -> None:
        """Something was queued, a doubt was raised, or a slot is free."""
        self.worker.wake()

    def begin_stopping(self) -> None:
        """Let those who wait go, and take no new work: what is in flight is finished by `aclose`."""
        self.is_stopping = True
        self.feed.end()
        self.waiting.wake_all()
        self.worker.stop()

    async def aclose(self) -> None:
        """Finish what is in flight, write it down, close. Closing twice is closing once."""
        if self._is_closed:
            return
        self._is_closed = True
        self.begin_stopping()
        if self._working is not None:
            await self._working
        await self.accounts.in_flight.drain()
        await self.submitter.aclose()
        await self._telling.aclose()
        await self.feed.aclose()
        await self.keyring.aclose()
        await self.ledger.aclose()
        log.info("receiver.stopped")

    async def note_life(self, provider: str) -> None:
        """A probe came by this account's callback path. Raises LedgerUnavailable."""
        turned = await self.ledger.note_life(provider, self.ingest.judge, now=self.clock())
        if turned is not None:
            self._path_turned(provider, turned)

    def _path_turned(self, provider: str, path: PathHealth) -> None:
        """Said after the commit: what is due for the account is another."""
        self.counters.turned(provider, path.state)
        say = log.info if path.state is PathState.ALIVE else log.warning
        say(f"path.{path.state}", provider=provider, loss=round(path.loss, 3), fix=FIX_OF_PATH.get(path.state))
        self.accounts.wake_poller(provider)

    def _changed(self, change: Change) -> None:
        """Something was committed: those who wait for it are told."""
        self.waiting.wake(change.tasks)
        if change.has_events:
            self.feed.wake()
        self._telling.wake_for(change)

    def _decided(self, decision: Decision) -> None:
        """A decision leaves something to do: those whose work it is are told."""
        if decision.path is not None:
            self._path_turned(decision.task.provider, decision.path)
        self.accounts.wake_for(decision)

    def _wake(self, duty: Duty) -> None:
        self.worker.wake(duty)


async def _callback_secrets(config: Config, ledger: SqliteLedger) -> tuple[str, ...]:
    """The configured ones, and one that the ledger keeps: its own where none is configured, on this machine alone.

    A ledger that began with its own goes on to accept it: URLs that were minted by it stay valid.
    """
    configured = tuple(secret.get_secret_value() for secret in config.callbacks.secrets)
    if configured:
        kept = await ledger.kept_setting(CALLBACK_SECRET)
        return configured if kept is None else (*configured, kept)
    return (await ledger.setting(CALLBACK_SECRET, secrets.token_urlsafe(32)),)
