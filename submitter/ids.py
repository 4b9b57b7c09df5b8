"""External task ids: those we mint, and those a caller may bring."""

from __future__ import annotations

import re
import secrets

from submitter.errors import FieldProblem, InvalidRequest
from submitter.moments import Moment

EXTERNAL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_external_task_id(*, now: Moment) -> str:
    """`t_` and 26 characters of Crockford's base 32: 48 bits of time, then 80 random bits (a ULID).

    Ids minted later sort later, so a ledger's index grows at its end. A letter comes first because one
    gateway reads a leading number as its own row id (wire.md §2).
    """
    number = (now & (1 << 48) - 1) << 80 | secrets.randbits(80)
    return "t_" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def check_external_task_id(external_task_id: str) -> str:
    """The id itself. Raises InvalidRequest unless it is 1 to 64 of `[A-Za-z0-9_-]` and not `probe`."""
    if EXTERNAL_ID.fullmatch(external_task_id) is None:
        raise InvalidRequest([FieldProblem("external_task_id", "must be 1 to 64 of the characters A-Z a-z 0-9 _ -")])
    if external_task_id == "probe":
        raise InvalidRequest([FieldProblem("external_task_id", "'probe' is reserved: choose another id")])
    return external_task_id
