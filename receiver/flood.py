"""Invalid callbacks are counted against their source; beyond its measure they are answered 429, and not logged each."""

from __future__ import annotations

import structlog

from receiver.inbound import InboundLimits, Spell
from receiver.problems import Problem
from submitter.moments import Moment

log = structlog.get_logger("callbacks")


def count_invalid(limits: InboundLimits, peer: str | None, *, now: Moment) -> None:
    """Count one invalid callback of this peer. Raises Problem 429 once its source has sent too many."""
    tell_ended(limits.ended(now=now))
    spent = limits.spend(peer, now=now)
    if spent.is_admitted:
        return
    if spent.begins:
        log.warning("callbacks.held_off", source=spent.source)
    raise Problem(
        429,
        "too_many_invalid",
        "too many callbacks without a valid token or signature came from this address",
        headers={"Retry-After": str(spent.retry_after)},
    )


def tell_ended(spells: list[Spell]) -> None:
    """One line for each source that is heard again, with how many of its callbacks were not."""
    for spell in spells:
        log.warning("callbacks.held_off_no_more", source=spell.source, refused=spell.refused)
