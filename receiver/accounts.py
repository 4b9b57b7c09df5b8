"""The accounts: what the configuration asks of each, and who asks about its tasks and sends them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from receiver.config import Config
from receiver.counters import Counters
from receiver.ingest import Ingest
from receiver.journal import Account, LedgerJournal
from receiver.ledger.base import Ledger
from receiver.listing import LONGEST_PATIENCE
from receiver.planner import Planner
from receiver.poller import Poller
from receiver.questions import Worth
from receiver.schedule import QueryPlan
from receiver.sender import Sender
from receiver.task import Decision, Rules
from receiver.worker import Duty
from submitter.client import ProviderClient
from submitter.inflight import InFlight
from submitter.moments import Moment
from submitter.providers.base import Provider
from submitter.submit import Submitter


class Accounts:
    """A poller and a sender of each account that is configured, and which of them has something to do; one planner."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        *,
        ingest: Ingest,
        journal: LedgerJournal,
        submitter: Submitter,
        clock: Callable[[], Moment],
        counters: Counters,
        wake: Callable[[Duty], None],
    ) -> None:
        """`wake` is called where there is something to do for a duty."""
        self.in_flight = InFlight()  # where creates run, uncancelled
        self._config = config
        self._ledger = ledger
        self._ingest = ingest
        self._journal = journal
        self._submitter = submitter
        self._clock = clock
        self._counters = counters
        self._wake = wake
        self.pollers = {name: self._poller(client) for name, client in submitter.clients.items()}
        self._senders = {name: self._sender(name) for name in config.providers}
        self._planner = Planner(ledger, ingest.judge, on_planned=self._wake_pollers)

    @property
    def duties(self) -> list[Duty]:
        """Everybody's. With polling switched off a poller asks only when a person wants to know."""
        asking: list[Duty] = [*self.pollers.values(), self._planner] if self._config.polling.enabled else []
        return [*self._senders.values(), *asking]

    def wake_for(self, decision: Decision) -> None:
        """Who has something to do now: the poller of a doubt, the sender of an account whose slot is free."""
        provider = decision.task.provider
        account = self._config.providers.get(provider)
        if account is None:
            return  # no longer configured: nobody asks or sends for it
        if decision.ask_now and self._config.polling.enabled:
            self._wake(self.pollers[provider])
        if account.slots is not None:
            self._wake(self._senders[provider])

    def path_turned(self, provider: str) -> None:
        """Other tasks of this account are due, and more may be left to plan."""
        if self._config.polling.enabled and provider in self.pollers:
            self._wake(self.pollers[provider])
            self._wake(self._planner)

    def _wake_account(self, provider: str) -> None:
        self._wake(self._senders[provider])
        if self._config.polling.enabled:
            self._wake(self.pollers[provider])

    def _wake_pollers(self) -> None:
        for poller in self.pollers.values():
            self._wake(poller)

    def _poller(self, client: ProviderClient) -> Poller:
        polling = self._config.polling
        return Poller(
            self._ledger,
            self._ingest,
            client,
            budget_per_minute=polling.budget_per_minute,
            clock=self._clock,
            counters=self._counters,
            patience=min(LONGEST_PATIENCE, polling.interval / 2),
            on_served=lambda: self._wake_account(client.provider.name),
        )

    def _sender(self, provider: str) -> Sender:
        account = self._config.providers[provider]
        sender = Sender(
            self._ledger,
            self._journal,
            self._submitter,
            provider=provider,
            slot_limit=account.slots,
            units_per_day=account.limits.units_per_day,
            clock=self._clock,
            in_flight=self.in_flight,
            on_room=lambda: self._wake(sender),
        )
        return sender


def query_plan(config: Config) -> QueryPlan:
    """The schedule of questions that the configuration asks for."""
    polling = config.polling
    worth = Worth(query_price=polling.query_price, second_worth=polling.second_worth) if polling.learn else None
    return QueryPlan(
        first_after=polling.first_after, interval=polling.interval, give_up_after=polling.give_up_after, worth=worth
    )


def rules_of(config: Config, providers: Mapping[str, Provider]) -> dict[str, Rules]:
    """By which rules each account's reports are judged."""
    return {
        name: Rules(
            confirm=config.providers[name].confirm,
            callback_id_is_task_id=provider.capabilities.callback_id_is_task_id,
        )
        for name, provider in providers.items()
    }


def limits_of(config: Config, providers: Mapping[str, Provider]) -> dict[str, Account]:
    """The accounts as the journal needs them: how each is read, and how much of it may be used."""
    return {
        name: Account(
            provider=provider,
            slot_limit=config.providers[name].slots,
            units_per_day=config.providers[name].limits.units_per_day,
        )
        for name, provider in providers.items()
    }
