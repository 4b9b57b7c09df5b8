"""What a key may do, and whose tasks it sees. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from receiver.task import Task


class Scope(StrEnum):
    """What a key is good for."""

    SUBMIT = "submit"
    READ = "read"
    OPERATE = "operate"
    TICK = "tick"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the sender of a request may do.

    `tenant` is None for the operator, who sees every task and submits his own as tenant ''. No `providers` are all.
    """

    name: str
    tenant: str | None
    scopes: frozenset[Scope]
    providers: frozenset[str] = frozenset()
    quota: int | None = None
    pass_through: bool = False

    @property
    def owner(self) -> str:
        """The tenant of what it submits."""
        return self.tenant or ""

    def sees(self, task: Task) -> bool:
        """Whether the task is there for it at all."""
        return (self.tenant is None or self.tenant == task.tenant) and self.may_use(task.provider)

    def may_use(self, provider: str) -> bool:
        """Whether the account is there for it."""
        return not self.providers or provider in self.providers


OPERATOR = Access(name="operator", tenant=None, scopes=frozenset(Scope))
"""Who holds one of `api.keys`, or is this machine where there are none."""
