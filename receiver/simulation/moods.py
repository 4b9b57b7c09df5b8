"""What the simulated provider turns away unseen (429, arrears, maintenance), and who left it no peace. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from receiver.simulation.faults import Spell, arrears_spell, maintenance_spell, throttled_for
from receiver.simulation.knobs import Knobs
from submitter.moments import Moment, millis

# What happens within two seconds runs side by side, and a question may be on its way: neither can know yet.
UNAWARE = 2_500  # ms
STOPPED_FOR = timedelta(minutes=10)  # docs/asking.md: what an account in trouble is left in peace
RETRY_AFTER = timedelta(seconds=30)  # what maintenance asks for

_ARREARS = b'{"code":1102,"message":"Account balance not enough","request_id":"r"}'
_MAINTENANCE = b'{"code":5001,"message":"Server temporarily unavailable","request_id":"r"}'
_TOO_FAST = b'{"code":1302,"message":"API request too fast","request_id":"r"}'
_TOO_MANY = b"<html>429 Too Many Requests</html>"  # of something in front of it


@dataclass(frozen=True, slots=True)
class Said:
    """What the provider answers: a status and a body, and perhaps how long it wants to be left in peace."""

    http_status: int
    body: bytes
    retry_after: timedelta | None = None


@dataclass(slots=True)
class _Peace:
    told_at: Moment
    until: Moment
    is_renewed: bool = False  # told to the one request that tried, after a stop: no other was to be on its way


@dataclass(slots=True)
class Moods:
    """Whether a request is looked at at all. `disturbed` are the moments of those that came where none was to come."""

    knobs: Knobs
    beginning: Moment
    disturbed: list[Moment] = field(default_factory=list)
    _arrears: Spell = field(init=False)
    _maintenance: Spell = field(init=False)
    _requests: int = 0
    _peaces: list[_Peace] = field(default_factory=list)
    _stop: _Peace | None = None  # the latest, until a request is served

    def __post_init__(self) -> None:
        self._arrears = arrears_spell(self.knobs)
        self._maintenance = maintenance_spell(self.knobs)

    @property
    def may_close(self) -> bool:
        """Whether there may be a quarter of an hour in which no question is answered: then a doubt has no answer."""
        return bool(self.knobs.arrears or self.knobs.maintenance or self.knobs.lag)

    def is_in_arrears(self, now: Moment) -> bool:
        """Whether every request is refused."""
        return now - self.beginning in self._arrears

    def on_request(self, now: Moment) -> Said | None:
        """What a request comes to that is not looked at, a create or a question; None for one that is."""
        said = self._answer(now)
        if said is not None:
            self._ask_for_peace(said, now)
        return said

    def excuse(self, *, told_since: Moment) -> None:
        """What was told since then need not be known: a kill came before it was written down, or a clock was set."""
        self._peaces = [each for each in self._peaces if each.told_at < told_since]
        if self._stop is not None and self._stop.told_at >= told_since:
            self._stop = None

    def _answer(self, now: Moment) -> Said | None:
        self._requests += 1
        if any(each.told_at + (0 if each.is_renewed else UNAWARE) <= now < each.until for each in self._peaces):
            self.disturbed.append(now)
        if self.is_in_arrears(now):
            return Said(429, _ARREARS)
        if self._stop is not None and now >= self._stop.until:
            self._stop = None
        since = now - self.beginning
        if since in self._maintenance:
            return Said(503, _MAINTENANCE, retry_after=RETRY_AFTER)
        seconds = throttled_for(self.knobs, self._requests)
        if seconds is None:
            return None
        return Said(429, _TOO_FAST if seconds % 2 else _TOO_MANY, retry_after=timedelta(seconds=seconds))

    def _ask_for_peace(self, said: Said, now: Moment) -> None:
        self._peaces = [each for each in self._peaces if each.until > now - UNAWARE]
        if said.retry_after is not None:
            self._peaces.append(_Peace(told_at=now, until=now + millis(said.retry_after)))
            return
        is_renewed = self._stop is not None and now >= self._stop.until
        self._stop = _Peace(told_at=now, until=now + millis(STOPPED_FOR), is_renewed=is_renewed)
        self._peaces.append(self._stop)
