"""What this process has done since it began, counted under labels that are few whatever arrives."""

from __future__ import annotations

from collections import Counter


class Counters:
    """Callbacks by provider and verdict, refusals by route, code and provider, questions by provider, attempts to
    tell by destination and result, requests to the gateway by provider, kind and outcome, turns of callback paths by
    provider and state.

    A label is never a token, an id or a path: a route is its pattern, a provider an account of the configuration.
    """

    def __init__(self) -> None:
        self.callbacks: Counter[tuple[str, str]] = Counter()
        self.refusals: Counter[tuple[str, str, str]] = Counter()
        self.questions: Counter[str] = Counter()
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.gateway: Counter[tuple[str, str, str]] = Counter()
        self.turns: Counter[tuple[str, str]] = Counter()

    def heard(self, provider: str, verdict: str) -> None:
        """A callback was acknowledged with this verdict."""
        self.callbacks[provider, verdict] += 1

    def refused(self, code: str, *, route: str = "", provider: str = "") -> None:
        """A request was answered with a problem of this code. Without a route it did not get as far as one."""
        self.refusals[route, code, provider] += 1

    def asked(self, provider: str) -> None:
        """A question about a task left for its provider."""
        self.questions[provider] += 1

    def told(self, destination: str, result: str) -> None:
        """An attempt to tell a destination came to this."""
        self.attempts[destination, result] += 1

    def turned(self, provider: str, state: str) -> None:
        """The path that an account's callbacks take has become this."""
        self.turns[provider, state] += 1

    def gateway_answered(self, provider: str, kind: str, http_status: int) -> None:
        """A client of the gateway was answered. Without a provider it named none that it may use."""
        self.gateway[provider, kind, _OUTCOMES.get(http_status // 100, "refused")] += 1


_OUTCOMES = {2: "served", 5: "failed"}
