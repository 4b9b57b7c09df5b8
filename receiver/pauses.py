"""How long an account is left in peace for what it said, why, as that may be kept and shown, and what ends a stop."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from receiver.callback_url import without_tokens
from receiver.ledger.asking import Pause
from receiver.ledger.openings import AccountRefusal
from submitter.client import MAX_PAUSE
from submitter.errors import Deferred, Refusal, Refused, SubmitterError
from submitter.moments import Moment, millis
from submitter.report import StatusReport

ACCOUNT_TROUBLE_PAUSES = timedelta(minutes=10)  # arrears are mended by a person, not by trying again
MAX_REASON = 4_000


def rest(provider: str, after: timedelta, reason: str, *, now: Moment) -> Pause:
    """As long as it asked for; an hour at most."""
    return Pause(provider=provider, until=now + millis(min(after, MAX_PAUSE)), reason=told(reason))


def stop(provider: str, refused: Refused, *, now: Moment) -> Pause:
    """Until a person has looked at the account; creates are told why, where that is trouble of the account itself."""
    refusal = AccountRefusal(http_status=refused.http_status, code=refused.code, message=told(refused.message))
    return Pause(
        provider=provider,
        until=now + millis(ACCOUNT_TROUBLE_PAUSES),
        reason=told(str(refused)),
        is_stop=True,
        refusal=refusal if refused.kind is Refusal.ACCOUNT else None,
    )


def is_service(said: Sequence[StatusReport] | SubmitterError) -> bool:
    """Whether who says this serves the account, whatever he says of the request: by a word of the provider's own.

    Nothing, a 5xx, or a 429 without a code, from something in front of it, are no such word.
    """
    if isinstance(said, Refused):
        return said.kind not in {Refusal.ACCOUNT, Refusal.CREDENTIALS}
    if isinstance(said, Deferred):
        return said.code != ""
    return not isinstance(said, SubmitterError)


def told(reason: str) -> str:
    """The reason as it may be kept and shown: without U+0000, bounded, and with no callback URL's token in it."""
    return without_tokens(reason.replace("\x00", "\ufffd"))[:MAX_REASON]
