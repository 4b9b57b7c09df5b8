"""What ails the way callbacks take, from what became of a post to the public URL: each trouble with its fix. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from urllib.parse import urljoin, urlsplit

from receiver.callback_url import without_tokens

LONGEST_QUOTE = 120


class Failure(StrEnum):
    """Where an attempt ended before anything was answered."""

    UNRESOLVED = "unresolved"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    NO_CONNECTION = "no_connection"  # in time
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_OF_ANOTHER = "certificate_of_another"
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    NO_TLS = "no_tls"
    NO_ANSWER = "no_answer"  # in time
    NO_HTTP = "no_http"


class Trouble(StrEnum):
    """What keeps callbacks from arriving, by what mends it."""

    NAME = "name"
    PRIVATE = "private"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    FIREWALL = "firewall"
    EXPIRED = "certificate_expired"
    OTHER_NAME = "certificate_of_another"
    UNTRUSTED = "certificate_untrusted"
    TLS = "tls"
    HANGS = "hangs"
    NO_HTTP = "no_http"
    REDIRECT = "redirect"
    WRONG_HOST = "wrong_host"
    WRONG_PATH = "wrong_path"
    OTHER_RECEIVER = "other_receiver"
    LOGIN = "login"
    FILTERED = "filtered"
    NOTHING_BEHIND = "nothing_behind"
    OWN = "own_trouble"
    COLD_START = "cold_start"
    SLOW = "slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came back. `body` is its beginning; where it came late, `again` is how long the same took right after."""

    status: int
    took: timedelta
    body: bytes = b""
    location: str = ""
    again: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What became of one post to `url`. `private` are those of its addresses that nobody outside can reach."""

    url: str
    addresses: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    failure: Failure | None = None
    detail: str = ""
    answered: Answered | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a callback would meet. Without a trouble it would arrive."""

    says: str
    trouble: Trouble | None = None
    fix: str = ""


FIXES: Mapping[Trouble, str] = {
    Trouble.NAME: "make a DNS record for this name, or mend public_url",
    Trouble.PRIVATE: "point the name at a public address, or put a tunnel's name into public_url",
    Trouble.REFUSED: "start 'hookledger serve', and let what listens there pass requests on to it",
    Trouble.UNREACHABLE: "mend the route to this address, or the DNS record that names it",
    Trouble.FIREWALL: "open the port in the firewall or security group; where only this machine cannot reach its own "
    "public address, run 'hookledger doctor' elsewhere",
    Trouble.EXPIRED: "renew the certificate; or set this machine's clock, if that is what is wrong",
    Trouble.OTHER_NAME: "get a certificate that has this name, or write the name that it has into public_url",
    Trouble.UNTRUSTED: "use a certificate of a public authority, and serve its whole chain (fullchain.pem)",
    Trouble.TLS: "let the port speak TLS 1.2 or newer",
    Trouble.HANGS: "look whether the receiver behind it hangs, and at the proxy's own time-outs",
    Trouble.NO_HTTP: "let an HTTP server listen there: something else does",
    Trouble.REDIRECT: "providers follow no redirects: write the address that it leads to into public_url",
    Trouble.WRONG_HOST: "let the proxy or tunnel pass /callbacks/ on to 'hookledger serve', or mend public_url",
    Trouble.WRONG_PATH: "let the proxy take public_url's own path away, and nothing else, before it passes requests on",
    Trouble.OTHER_RECEIVER: "another receiver answers there, or this one with other callbacks.secrets or providers: "
    "give both one configuration, or mend public_url",
    Trouble.LOGIN: "let /callbacks/ pass without a login: providers have none",
    Trouble.FILTERED: "let POST /callbacks/ pass the firewall (WAF, bot protection, country or rate rules)",
    Trouble.NOTHING_BEHIND: "start 'hookledger serve' where this proxy passes requests on to",
    Trouble.OWN: "look at the receiver's log: callbacks are refused until that is mended, and may not come again",
    Trouble.COLD_START: "keep one instance running (at least 1, no scaling to zero): a provider may not wait",
    Trouble.SLOW: "find what is slow, the receiver's disk or the way to it: a provider may not wait",
}

_OF_FAILURE: Mapping[Failure, tuple[Trouble, str]] = {
    Failure.UNRESOLVED: (Trouble.NAME, "has no address"),
    Failure.REFUSED: (Trouble.REFUSED, "refuses connections"),
    Failure.UNREACHABLE: (Trouble.UNREACHABLE, "cannot be reached"),
    Failure.NO_CONNECTION: (Trouble.FIREWALL, "does not answer at all, as behind a firewall"),
    Failure.CERTIFICATE_EXPIRED: (Trouble.EXPIRED, "has a certificate that is not valid today"),
    Failure.CERTIFICATE_OF_ANOTHER: (Trouble.OTHER_NAME, "has a certificate for another name"),
    Failure.CERTIFICATE_UNTRUSTED: (Trouble.UNTRUSTED, "has a certificate that no public authority vouches for"),
    Failure.NO_TLS: (Trouble.TLS, "does not speak TLS as it should"),
    Failure.NO_ANSWER: (Trouble.HANGS, "takes connections and does not answer"),
    Failure.NO_HTTP: (Trouble.NO_HTTP, "answers, but no HTTP"),
}
_FILTERED = frozenset({403, 406, 415, 429, 451})
_LOGIN = frozenset({401, 407, 511})
_LEAST_OF_FIVES = 500


def diagnose(attempt: Attempt) -> Finding:
    """What a callback to this URL would meet, and what to do about it.

    Raises ValueError for an attempt that neither was answered nor failed.
    """
    host = urlsplit(attempt.url).netloc
    if attempt.private:
        return _trouble(Trouble.PRIVATE, f"{host} is {', '.join(attempt.private)}: no provider can reach that")
    if attempt.failure is not None:
        trouble, says = _OF_FAILURE[attempt.failure]
        why = _cut(without_tokens(attempt.detail))  # an echo has the whole request in it
        return _trouble(trouble, f"{host} {says}" + (f": {why}" if why else ""))
    if attempt.answered is None:
        raise ValueError("an attempt was answered, or it failed")
    return _of_answer(host, attempt.url, attempt.answered)


def _of_answer(host: str, url: str, answered: Answered) -> Finding:
    said = _json_of(answered.body)
    if answered.status == 200 and said.get("verdict") == "probe":
        return _of_pace(host, answered)
    if {"code", "title", "status", "detail"} <= said.keys():
        return _of_our_problem(host, answered, str(said["code"]), str(said["detail"]))
    if 300 <= answered.status < 400:
        return _of_redirect(host, url, answered)
    quoted = f"{host} answered {answered.status}{_quoted(answered.body)}"
    if answered.status in _LOGIN:
        return _trouble(Trouble.LOGIN, f"{quoted}: it wants a login")
    if answered.status in _FILTERED:
        return _trouble(Trouble.FILTERED, f"{quoted}: something in front of the receiver turns callbacks away")
    if answered.status >= _LEAST_OF_FIVES:
        return _trouble(Trouble.NOTHING_BEHIND, f"{quoted}: a proxy is there, and no receiver behind it")
    return _trouble(Trouble.WRONG_HOST, f"{quoted}: that is no hookledger")


def _of_pace(host: str, answered: Answered) -> Finding:
    took = f"{host} is this receiver, and answered after {_seconds(answered.took)}"
    if answered.again is None:
        return Finding(says=took)
    if answered.again < answered.took / 2:
        return _trouble(
            Trouble.COLD_START, f"{took}, then after {_seconds(answered.again)}: it had to be started first"
        )
    return _trouble(Trouble.SLOW, took)


def _of_our_problem(host: str, answered: Answered, code: str, detail: str) -> Finding:
    if code == "too_many_invalid" or (code == "not_found" and "callback URL" in detail):
        return _trouble(Trouble.OTHER_RECEIVER, f"{host} is a hookledger that does not know this token")
    if code == "not_found":
        return _trouble(Trouble.WRONG_PATH, f"{host} is a hookledger, and /callbacks/ does not arrive there as such")
    return _trouble(Trouble.OWN, f"{host} is this receiver, and answered {answered.status} {code}: {_cut(detail)}")


def _of_redirect(host: str, url: str, answered: Answered) -> Finding:
    before = urlsplit(url)
    try:
        target = urljoin(url, answered.location)
        after = urlsplit(target)
    except ValueError:
        return _trouble(Trouble.REDIRECT, f"{host} redirects ({answered.status}) to what is no address")
    says = f"{host} redirects ({answered.status}) to {_cut(without_tokens(target))}"
    if before == after:
        return _trouble(Trouble.REDIRECT, f"{says}: in a circle")
    if (before.path.rstrip("/"), before.netloc) == (after.path.rstrip("/"), after.netloc):
        if before.scheme != after.scheme:
            return _trouble(Trouble.REDIRECT, f"{says}: from {before.scheme} to {after.scheme}")
        return _trouble(Trouble.REDIRECT, f"{says}: for a slash at the end, which a rule of the proxy wants")
    if before.path == after.path:
        return _trouble(Trouble.REDIRECT, f"{says}: to another host")
    return _trouble(Trouble.REDIRECT, says)


def _trouble(trouble: Trouble, says: str) -> Finding:
    return Finding(says=says, trouble=trouble, fix=FIXES[trouble])


def _json_of(body: bytes) -> Mapping[str, object]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _quoted(body: bytes) -> str:
    """The beginning of a page, as a person recognises it."""
    text = without_tokens(" ".join(body.decode("utf-8", "replace").split()))
    return f" ({_cut(text)})" if text else ""


def _cut(text: str) -> str:
    """What a stranger said, bounded, and nothing that would move a terminal's cursor."""
    printable = "".join(each if each.isprintable() else " " for each in text[: LONGEST_QUOTE + 1])
    return printable if len(printable) <= LONGEST_QUOTE else printable[: LONGEST_QUOTE - 1] + "…"


def _seconds(duration: timedelta) -> str:
    return f"{duration.total_seconds():.3g} s"
