"""The clients' side of the outbox: what a delivery to a client's callback_url is called, which shows its origin only.

Such a destination is `@https://app.example.com:443`, and `@acme@https://app.example.com:443` where the task is the
tenant acme's: tenants who name the same origin share neither its breaker nor its places. No configured destination
can be called so. Pure.
"""

from __future__ import annotations

from urllib.parse import urlsplit

CLIENTS = "@"
BEYOND_CLIENTS = "A"
"""As text, all names of clients' destinations lie from the one to the other."""

_PORTS = {"https": 443, "http": 80}
_NOWHERE = "nowhere"
_LONGEST_HOST = 253


def client_destination(callback_url: str, *, tenant: str) -> str:
    """What the destination of this URL is called. One that cannot be read is `@nowhere`: it is told nothing."""
    return f"{CLIENTS}{tenant}{CLIENTS if tenant else ''}{_origin(callback_url)}"


def is_clients(destination: str) -> bool:
    """Whether a client named it, and not the configuration."""
    return destination.startswith(CLIENTS)


def label_of(destination: str) -> str:
    """By what it is counted: all clients' as one, for there may be any number of them."""
    return CLIENTS if is_clients(destination) else destination


def tenant_of(destination: str) -> str:
    """Whose clients' it is."""
    return destination.rpartition(CLIENTS)[0].removeprefix(CLIENTS)


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return _NOWHERE
    if not host or len(host) > _LONGEST_HOST or CLIENTS in host or not host.isprintable():
        return _NOWHERE
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
