"""What an app's HTTP answer means for the message it was told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

from receiver.outbox.destination import Attempt, Delivered, GiveUp, TryAgain
from submitter.moments import Moment
from submitter.retryafter import moment_of, pause_asked

MAX_ANSWER_BYTES = 65_536  # an app has nothing to say beyond "yes"
LONGEST_PAUSE = timedelta(hours=24)  # a longer Retry-After is taken as this
LONGEST_REASON = 300

TOO_LONG = TryAgain(reason=f"answered with more than {MAX_ANSWER_BYTES // 1024} KiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerHead:
    """The status, and the headers that matter; an empty text where one is missing."""

    status: int
    location: str = ""
    retry_after: str = ""
    date: str = ""


def attempt_of(head: AnswerHead, *, now: Moment) -> Attempt:
    """What came of the attempt, as far as the head tells: a body without end spoils a Delivered yet."""
    if 200 <= head.status < 300:
        return Delivered(status=head.status)
    said = f"answered {_named(head.status)}"
    if head.status == HTTPStatus.GONE:
        return GiveUp(reason=said, is_gone=True)
    if 300 <= head.status < 400:
        said = f"redirects are refused: {said}, to {_origin(head.location)}"
    served_at = moment_of(head.date)
    after = pause_asked(head.retry_after, served_at=now if served_at is None else served_at, longest=LONGEST_PAUSE)
    return try_again(said, after=after)


def try_again(reason: str, *, after: timedelta | None = None) -> TryAgain:
    """TryAgain in words that a log and a page can take: printable, 300 characters at most."""
    shown = "".join(character if character.isprintable() else "?" for character in reason[:LONGEST_REASON])
    return TryAgain(reason=shown, after=after)


def _named(status: int) -> str:
    """The number with its standard name: the phrase that came with it is the app's own, and may say anything."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _origin(location: str) -> str:
    """Where a redirect leads, without what may be secret: user, password, path and query."""
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "no URL"
    if not location:
        return "nowhere"
    if host is None:
        return "another path there"
    named = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{named}" + (f":{port}" if port else "")
