"""Seeded dice: the same seed and key always fall the same way, so that an incident can be replayed."""

import hashlib


def digest(seed: int, key: str, kind: str) -> bytes:
    """32 bytes that depend on the seed, whom they are thrown for, and what about."""
    return hashlib.sha256(f"{seed}\x1f{kind}\x1f{key}".encode("utf-8", "surrogatepass")).digest()


def chance(seed: int, key: str, kind: str) -> float:
    """A number in [0, 1), evenly spread over keys."""
    # 53 bits are what a float holds: with 64 the largest ones would round up to 1.0.
    return (int.from_bytes(digest(seed, key, kind)[:8], "big") >> 11) / (1 << 53)


def pick(seed: int, key: str, kind: str, *, among: tuple[str, ...]) -> str:
    """One of `among`."""
    return among[int(chance(seed, key, kind) * len(among))]


def number(seed: int, key: str, kind: str, *, digits: int) -> str:
    """A decimal number of exactly so many digits, as text."""
    lowest = 10 ** (digits - 1)
    return str(lowest + int.from_bytes(digest(seed, key, kind)[:16], "big") % (9 * lowest))
