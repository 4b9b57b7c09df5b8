"""How many invalid callbacks a source may send: a token bucket for each, and a bounded number of them. Pure.

Valid callbacks never come here: the URL's token is looked at first. A source that has used its bucket up is told
to wait, and one line of the log says so, in place of one for each request.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from submitter.moments import Moment

# After a mistake (a secret rotated away, a path changed) a gateway's callbacks are all invalid, and each is to be told
# so, and logged: some thousand tasks an hour, three callbacks each, are 1 a second. Ten times that, and a minute of it
# at once, is still answered one by one; what comes faster is no mistake of a gateway's.
BURST = 600
REFILL_PER_SECOND = 10
# Some 200 bytes each: under 1 MiB, whoever knocks.
SOURCES = 4_096
# Where the table is full of sources that are not forgotten yet, newcomers share this one.
EVERYONE_ELSE = "others"

_WHOLE = 1_000  # a token in thousandths: 10 a second are then 10 of these a millisecond, and no float is needed
_FULL = BURST * _WHOLE
_IPV6_SITE = 64  # bits: the smallest network that is handed out, so that one host has 2^64 addresses in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """A time in which a source was held off, now over: how many of its callbacks were not looked into."""

    source: str
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one invalid callback came to. `retry_after` is in seconds, and 0 for one that is admitted."""

    source: str
    retry_after: int
    begins: bool

    @property
    def is_admitted(self) -> bool:
        """Whether it is answered for what it is."""
        return self.retry_after == 0


@dataclass(slots=True)
class _Bucket:
    level: int
    seen: Moment
    refused: int = 0

    def refill(self, now: Moment) -> None:
        """A clock that steps back refills nothing, and refills again from there on."""
        self.level = min(_FULL, self.level + max(0, now - self.seen) * REFILL_PER_SECOND)
        self.seen = now


class InboundLimits:
    """The buckets, the source that was seen longest ago first."""

    def __init__(self, *, sources: int = SOURCES) -> None:
        self._most = sources
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._held_off: OrderedDict[str, None] = OrderedDict()  # the sources whose spell is not told as over

    def __len__(self) -> int:
        return len(self._buckets)

    def spend(self, peer: str | None, *, now: Moment) -> Spent:
        """Take a token out of the bucket that this peer's source has."""
        source, bucket = self._bucket(source_of(peer), now)
        if source in self._held_off:
            self._held_off.move_to_end(source)
        if bucket.level >= _WHOLE:
            bucket.level -= _WHOLE
            return Spent(source=source, retry_after=0, begins=False)
        bucket.refused += 1
        self._held_off[source] = None
        missing = _WHOLE - bucket.level
        return Spent(source=source, retry_after=-(-missing // (REFILL_PER_SECOND * 1_000)), begins=bucket.refused == 1)

    def ended(self, *, now: Moment) -> list[Spell]:
        """The spells that are over, each told once: its bucket is full again, a minute after the source's last."""
        over = []
        while self._held_off and _is_full(self._buckets[next(iter(self._held_off))], now):
            over.append(self._end_oldest())
        return over

    def end_all(self) -> list[Spell]:
        """What was not told yet, where nothing more will come."""
        return [self._end_oldest() for _ in range(len(self._held_off))]

    def _end_oldest(self) -> Spell:
        source, _ = self._held_off.popitem(last=False)
        bucket = self._buckets[source]
        spell = Spell(source=source, refused=bucket.refused)
        bucket.refused = 0
        return spell

    def _bucket(self, source: str, now: Moment) -> tuple[str, _Bucket]:
        if source not in self._buckets and not self._has_room(now):
            source = EVERYONE_ELSE
        bucket = self._buckets.setdefault(source, _Bucket(_FULL, now))
        self._buckets.move_to_end(source)
        bucket.refill(now)
        return source, bucket

    def _has_room(self, now: Moment) -> bool:
        """Whether one more is remembered. To forget a full bucket changes nothing: unknown sources have one."""
        if len(self._buckets) < self._most:
            return True
        source, oldest = next(iter(self._buckets.items()))
        if source in self._held_off or not _is_full(oldest, now):
            return False
        del self._buckets[source]
        return True


def source_of(peer: str | None) -> str:
    """The address that counts: an IPv6 host has a whole /64 to itself; a socket without addresses is one source."""
    if peer is None:
        return "local"
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_SITE), strict=False))


def _is_full(bucket: _Bucket, now: Moment) -> bool:
    return bucket.level + max(0, now - bucket.seen) * REFILL_PER_SECOND >= _FULL
